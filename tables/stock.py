"""Stock: the aggregate of a product in a warehouse, its lots and reservations (contracts 3.1, 001-20 to 001-27).

The rules are in the modules beside this one: ``stock_entries``, ``stock_allocations`` and ``stock_ends``
(reservations), ``stock_exits``, ``stock_movements``, ``stock_transfers``, ``stock_lots`` and ``stock_invalidations``
(what becomes of lots), ``stock_policies``, ``stock_levels`` and ``stock_questions``. What they share:
``stock_draft`` (a state that is being changed), ``stock_values`` (of a lot), ``stock_picks`` (which lot serves),
``stock_history`` (the latest movements), ``stock_checks``, ``stock_facts`` and ``stock_names`` (of records).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from streams.events import (
    StockAllocation,
    StockAllocationExpireRequested,
    StockAllocationExtendRequested,
    StockAllocationForgetRequested,
    StockAllocationReleaseRequested,
    StockAllocationRequested,
    StockAvailabilityCheckRequested,
    StockBook,
    StockBookPage,
    StockClaim,
    StockEntryRequested,
    StockExitRequested,
    StockHead,
    StockLot,
    StockLotExpireRequested,
    StockLotQuarantineRequested,
    StockLotReleaseRequested,
    StockMovement,
    StockMovementRecordRequested,
    StockPolicy,
    StockPolicySetRequested,
    StockProductValidationRequested,
    StockReleaseTombstone,
    StockTransferSettleRequested,
    StockTransit,
)
from streams.keys import parts_of
from tables.state import Aggregate, Changes, Record, State
from tables.stock_allocations import allocate, extend
from tables.stock_ends import expire, forget, release
from tables.stock_entries import enter
from tables.stock_exits import leave
from tables.stock_facts import Changed, Refusal, refused
from tables.stock_lots import let_out, look_at, quarantine
from tables.stock_movements import record
from tables.stock_names import ALLOCATIONS, LOTS, TOMBSTONES, AllocationId
from tables.stock_policies import set_policy
from tables.stock_questions import check_availability, validate_product
from tables.stock_transfers import settle

NOTHING: Changes = {}

RULES: dict[type, Callable[[Any, Any, datetime], tuple[Any, ...]]] = {
    StockEntryRequested: enter,
    StockAllocationRequested: allocate,
    StockExitRequested: leave,
    StockAllocationReleaseRequested: release,
    StockAllocationExtendRequested: extend,
    StockMovementRecordRequested: record,
    StockLotQuarantineRequested: quarantine,
    StockLotReleaseRequested: let_out,
    StockPolicySetRequested: set_policy,
    StockAvailabilityCheckRequested: check_availability,
    StockProductValidationRequested: validate_product,
    StockTransferSettleRequested: settle,
    StockAllocationExpireRequested: expire,
    StockAllocationForgetRequested: forget,
    StockLotExpireRequested: look_at,
}
"""The rule of each command."""


def decide(state: State, event: Any, at: datetime) -> tuple[Any, ...]:
    """Answer a command for a product in a warehouse with facts; ``at`` is its append time.

    Raises:
        LookupError: the event is none of this aggregate's.
    """
    rule = RULES.get(type(event))
    if rule is None:
        raise LookupError(f"{type(event).__name__} is no command of stock; correct its row in the routes")
    try:
        return rule(state, event, at)
    except Refusal as refusal:
        return refused(event, at, refusal)


def fold(state: State, fact: Any) -> Changes:
    """Return the records a fact replaces.

    Published facts replace none: the values travel in the folded ones.
    """
    return fact if type(fact) is Changed else NOTHING


def due(name: str, record: Record) -> datetime | None:
    """Return when an allocation expires or is forgotten, and when a lot wants to be looked at."""
    if name.startswith((ALLOCATIONS, LOTS, TOMBSTONES)):
        time: datetime | None = record.due_at
        return time
    return None


def on_due(key: str, name: str, record: Record) -> Any:
    """Return the command of an allocation, a lot or a release that is due.

    Its id is the same however often the timer asks, unless the rules found that it came too early.
    """
    tenant, product, warehouse = parts_of(key)
    kind, what = name[:2], name[2:]
    common = {
        "event_id": f"due|{key}|{name}|{record.due_at.isoformat()}|{record.asks}",
        "timestamp": record.due_at,
        "tenant_id": tenant,
        "product_id": product,
        "warehouse_id": warehouse,
        "due_at": record.due_at,
    }
    if kind == LOTS:
        return StockLotExpireRequested(lot_id=what, **common)
    allocation_id = str(AllocationId(product, warehouse, what))
    if kind == ALLOCATIONS and record.status == "ACTIVE":
        return StockAllocationExpireRequested(allocation_id=allocation_id, **common)
    return StockAllocationForgetRequested(allocation_id=allocation_id, **common)


STOCK = Aggregate(
    name="stock",
    decide=decide,
    fold=fold,
    records=(
        StockHead,
        StockPolicy,
        StockLot,
        StockAllocation,
        StockClaim,
        StockReleaseTombstone,
        StockMovement,
        StockTransit,
        StockBook,
        StockBookPage,
    ),
    due=due,
    on_due=on_due,
)
