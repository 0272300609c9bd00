"""What stock rules answer with: new values of records, refusals, and the arithmetic of quantities."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from streams.events import (
    StockAllocationRejected,
    StockAllocationRequested,
    StockCommandRejected,
    StockEntryRequested,
    StockExitRejected,
    StockExitRequested,
    StockMovementRecordRequested,
    StockTransferSettleRequested,
)
from tables.exact import EXACT
from tables.facts import caused_by
from tables.state import Record
from tables.stock_names import place_of

add = EXACT.add
subtract = EXACT.subtract
ZERO = Decimal(0)
MAX_QUANTITY = Decimal("1E+18")
"""Quantities stay below; so no sum of real ones leaves the 38 digits of the contracts."""
STEPS = tuple(Decimal(1).scaleb(-scale) for scale in range(7))
"""The smallest quantity by the number of decimals that a unit of measure has."""
UNNAMED = ""
"""Event id of a fact: the publisher gives it one.

It stands where a record's first fields are given without their names, in the order of the contract: with more than 15
arguments by name CPython makes a dict of them at every call, which takes longer than the record.
"""

VALIDATION_FAILED = "VALIDATION_FAILED"
NOT_FOUND = "NOT_FOUND"
CONFLICT = "CONFLICT"
VERSION_CONFLICT = "VERSION_CONFLICT"
UNKNOWN_UNIT = "UNKNOWN_UNIT"
INSUFFICIENT_STOCK = "INSUFFICIENT_STOCK"
CANCELLED_BEFORE_ALLOCATION = "CANCELLED_BEFORE_ALLOCATION"
EXCEEDS_ALLOCATION = "EXCEEDS_ALLOCATION"
LOT_EXPIRED = "LOT_EXPIRED"
LOT_QUARANTINED = "LOT_QUARANTINED"
LOT_EXPECTED = "LOT_EXPECTED"
EXTENSIONS_EXHAUSTED = "EXTENSIONS_EXHAUSTED"
ALLOCATION = "ALLOCATION_"
"""A command for an allocation that has ended is refused with this and its status, such as ALLOCATION_EXPIRED."""


class Changed(dict[str, Record | None]):
    """Records have new values, by name; None deletes one."""


class Refusal(Exception):
    """A command cannot be done. Only the rules of stock raise it, and none of it leaves them.

    Attributes:
        code: reason code.
        message: cause and remedy.
        available: what could have been had, where that is the matter.
    """

    def __init__(self, code: str, message: str, available: Decimal | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.available = available


def refused(event: Any, at: datetime, refusal: Refusal) -> tuple[Any, ...]:
    """Return the fact of a refusal; where goods of a transfer are refused, they are sent back too."""
    product, warehouse = place_of(event)
    fields = {
        "timestamp": at,
        "tenant_id": event.tenant_id,
        "product_id": product,
        "warehouse_id": warehouse,
        "rejected_event_id": event.event_id,
        "rejected_type": event.TYPE,
        "reason_code": refusal.code,
        "message": refusal.message,
        "event_timestamp": event.timestamp,
        "envelope": caused_by(event),
    }
    kind = type(event)
    if kind is StockAllocationRequested:
        return (_no_allocation(event, refusal, fields),)
    if kind is StockExitRequested:
        return (
            StockExitRejected(
                movement_id=event.movement_id or event.event_id,
                allocation_id=event.allocation_id,
                lot_id=event.lot_id,
                quantity=event.quantity,
                available=refusal.available,
                **fields,
            ),
        )
    moves = kind in (StockEntryRequested, StockMovementRecordRequested)
    rejected = StockCommandRejected(
        movement_id=(event.movement_id or event.event_id) if moves else "",
        allocation_id=getattr(event, "allocation_id", ""),
        lot_id=getattr(event, "lot_id", ""),
        **fields,
    )
    if kind is StockEntryRequested and event.transfer_id:
        return (rejected, settled(event, at, refusal.code))
    return (rejected,)


def _no_allocation(
    event: StockAllocationRequested, refusal: Refusal, fields: dict[str, Any]
) -> StockAllocationRejected:
    available = refusal.available
    return StockAllocationRejected(
        allocation_id=event.allocation_id,
        request_id=event.request_id,
        quantity=event.quantity,
        available=available,
        shortfall=None if available is None else max(subtract(event.quantity, available), ZERO),
        order_id=event.order_id,
        **fields,
    )


def settled(event: StockEntryRequested, at: datetime, refused_with: str = "") -> StockTransferSettleRequested:
    """Return the command that tells the warehouse a transfer comes from how it ended."""
    return StockTransferSettleRequested(
        timestamp=at,
        tenant_id=event.tenant_id,
        product_id=event.product_id,
        warehouse_id=event.from_warehouse_id,
        transfer_id=event.transfer_id,
        landed=not refused_with,
        reason_code=refused_with,
        envelope=caused_by(event),
    )
