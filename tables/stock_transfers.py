"""Transfers between warehouses (contracts 3.1).

Goods leave here and are on their way until the other warehouse tells how it ended: they landed, or were refused and are
back in their lot. Each lot travels by itself, under an id made of the movement's.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from streams.events import (
    StockEntryRequested,
    StockLine,
    StockMovementRecordRequested,
    StockTransferLanded,
    StockTransferReturned,
    StockTransferSettleRequested,
    StockTransit,
)
from tables.state import State
from tables.stock_checks import check_id
from tables.stock_draft import Draft
from tables.stock_entries import Arrival, apart, receive
from tables.stock_exits import Lines, take_free
from tables.stock_facts import VALIDATION_FAILED, Refusal, add, subtract
from tables.stock_history import keep
from tables.stock_levels import finish
from tables.stock_names import transit_name
from tables.stock_picks import Pick, lines_of


def send(draft: Draft, event: StockMovementRecordRequested, quantity: Decimal) -> Lines:
    """Take goods out of their lots and send them on: an entry for each lot at the other warehouse.

    Raises:
        Refusal: there is not enough, a lot may not leave, or there is no other warehouse.
    """
    check_id("to_warehouse_id", event.to_warehouse_id)
    if event.to_warehouse_id == draft.warehouse:
        raise Refusal(VALIDATION_FAILED, "the goods are in that warehouse already; name another one")
    picks = take_free(draft, quantity, event.lot_id, event.reason)
    for number, each in enumerate(picks):
        transfer_id = f"transfer/{draft.warehouse}/{event.movement_id or event.event_id}/{number}"
        lot = each.lot
        draft.put(
            transit_name(transfer_id),
            StockTransit(
                to_warehouse_id=event.to_warehouse_id,
                lot_id=each.lot_id,
                quantity=each.quantity,
                received_at=lot.received_at,
                left_at=draft.at,
                expiration_date=lot.expiration_date,
                removal_date=lot.removal_date,
            ),
        )
        draft.facts.append(_onward(draft, event, transfer_id, each))
    draft.in_transit = add(draft.in_transit, quantity)
    return lines_of(picks)


def _onward(
    draft: Draft, event: StockMovementRecordRequested, transfer_id: str, goods: Pick
) -> StockEntryRequested:
    return StockEntryRequested(
        timestamp=draft.at,
        tenant_id=event.tenant_id,
        movement_id=transfer_id,
        product_id=draft.product,
        warehouse_id=event.to_warehouse_id,
        lot_id=goods.lot_id,
        quantity=goods.quantity,
        uom=draft.uom,
        expiration_date=goods.lot.expiration_date,
        removal_date=goods.lot.removal_date,
        received_at=goods.lot.received_at,
        reference=event.reference,
        transfer_id=transfer_id,
        from_warehouse_id=draft.warehouse,
        envelope=draft.envelope,
    )


def settle(state: State, event: StockTransferSettleRequested, at: datetime) -> tuple[Any, ...]:
    """Decide how goods on their way have ended; nothing where they are not on their way any more."""
    name = transit_name(event.transfer_id)
    transit: StockTransit | None = state.get(name)
    if transit is None:
        return ()
    draft = Draft(state, event, at)
    draft.settle()
    draft.put(name, None)
    draft.in_transit = subtract(draft.in_transit, transit.quantity)
    if event.landed:
        draft.facts.append(StockTransferLanded(lot_id=transit.lot_id, **_ended(draft, event, transit)))
    else:
        _take_back(draft, event, transit)
    return finish(draft)


def _take_back(draft: Draft, event: StockTransferSettleRequested, transit: StockTransit) -> None:
    goods = apart(
        draft,
        Arrival(
            transit.lot_id,
            transit.quantity,
            transit.expiration_date,
            transit.removal_date,
            transit.received_at,
        ),
        event.transfer_id,
    )
    receive(draft, goods)
    line = StockLine(lot_id=goods.lot_id, quantity=goods.quantity)
    keep(draft, "RETURN", f"{event.transfer_id}/back", goods.quantity, (line,), reason=event.reason_code)
    draft.facts.append(
        StockTransferReturned(
            lot_id=goods.lot_id,
            reason_code=event.reason_code,
            on_hand=draft.on_hand,
            reserved=draft.reserved,
            available=draft.available,
            **_ended(draft, event, transit),
        )
    )


def _ended(draft: Draft, event: StockTransferSettleRequested, transit: StockTransit) -> dict[str, Any]:
    return {
        "timestamp": draft.at,
        "tenant_id": event.tenant_id,
        "product_id": draft.product,
        "warehouse_id": draft.warehouse,
        "transfer_id": event.transfer_id,
        "to_warehouse_id": transit.to_warehouse_id,
        "quantity": transit.quantity,
        "in_transit": draft.in_transit,
        "version": draft.version,
        "envelope": draft.envelope,
    }
