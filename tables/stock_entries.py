"""Goods come in: entries, returns, transfers that land (contracts 3.1)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from streams.events import (
    StockEntryRecorded,
    StockEntryRequested,
    StockLine,
    StockLot,
    StockLotStatus,
    StockMovementType,
)
from tables.state import State
from tables.stock_checks import check_date, check_id, check_place, check_quantity, check_unit, id_of
from tables.stock_draft import Draft
from tables.stock_facts import CONFLICT, UNNAMED, ZERO, Refusal, add, settled
from tables.stock_history import keep
from tables.stock_levels import finish
from tables.stock_names import DEFAULT_LOT
from tables.stock_values import is_over, with_sums

OTHER_DATE = "the lot has another {}; send that one, or use another lot id"


class Arrival(NamedTuple):
    """Goods that come in, and what they are told apart by."""

    lot_id: str
    quantity: Decimal
    expiration_date: datetime | None
    removal_date: datetime | None
    received_at: datetime | None


def enter(state: State, event: StockEntryRequested, at: datetime) -> tuple[Any, ...]:
    """Decide an entry. Goods of a transfer land in a lot of their own rather than be refused for their dates."""
    draft = Draft(state, event, at)
    check_place(draft)
    # A transfer's id is made of two ids, and may be longer than one.
    movement_id = event.transfer_id or id_of(event)
    check_quantity(draft, event.quantity)
    check_unit(draft, event.uom)
    draft.settle()
    goods = arrival_of(event, event.quantity)
    if event.transfer_id:
        goods = apart(draft, goods, event.transfer_id)
    kind: StockMovementType = "TRANSFER_IN" if event.transfer_id else "ENTRY"
    lot = receive(draft, goods)
    draft.uom = draft.uom or event.uom
    line = StockLine(lot_id=goods.lot_id, quantity=event.quantity)
    keep(draft, kind, movement_id, event.quantity, (line,), reference=event.reference)
    draft.facts.append(
        StockEntryRecorded(
            at,
            movement_id,
            draft.product,
            draft.warehouse,
            goods.lot_id,
            event.quantity,
            lot.received_at,
            lot.on_hand,
            draft.on_hand,
            draft.reserved,
            draft.available,
            draft.version,
            UNNAMED,
            event.tenant_id,
            type=kind,
            uom=draft.uom,
            expiration_date=lot.expiration_date,
            removal_date=lot.removal_date,
            reference=event.reference,
            transfer_id=event.transfer_id,
            from_warehouse_id=event.from_warehouse_id,
            lot_status=lot.status,
            envelope=draft.envelope,
        )
    )
    if event.transfer_id:
        draft.facts.append(settled(event, at))
    return finish(draft)


def arrival_of(event: Any, quantity: Decimal) -> Arrival:
    """Return the goods that an entry or a movement brings.

    Raises:
        Refusal: the lot's id or a date is not one.
    """
    lot_id = event.lot_id or DEFAULT_LOT
    check_id("lot_id", lot_id)
    check_date("expiration_date", event.expiration_date)
    check_date("removal_date", event.removal_date)
    check_date("received_at", event.received_at)
    return Arrival(lot_id, quantity, event.expiration_date, event.removal_date, event.received_at)


def receive(draft: Draft, goods: Arrival) -> StockLot:
    """Take goods into their lot and return it.

    Raises:
        Refusal: the lot has other dates than the goods.
    """
    before = draft.lot(goods.lot_id)
    if before is None:
        after = _new_lot(draft, goods)
    else:
        problem = _conflict(before, goods, draft.at)
        if problem:
            raise Refusal(CONFLICT, problem)
        after = with_sums(before, add(before.on_hand, goods.quantity), before.reserved)
    draft.put_lot(goods.lot_id, before, after)
    draft.sum_in = add(draft.sum_in, goods.quantity)
    return after


def apart(draft: Draft, goods: Arrival, transfer_id: str) -> Arrival:
    """Return goods of a transfer, under another lot id where their lot has other dates here.

    They have arrived whether or not that suits the books.
    """
    lot = draft.lot(goods.lot_id)
    if lot is None or not _conflict(lot, goods, draft.at):
        return goods
    return goods._replace(lot_id=f"{goods.lot_id}~{transfer_id}")


def _new_lot(draft: Draft, goods: Arrival) -> StockLot:
    at = draft.at
    received_at = goods.received_at or at
    lot = StockLot(
        on_hand=goods.quantity,
        received_at=received_at,
        reserved=ZERO,
        expiration_date=goods.expiration_date,
        removal_date=goods.removal_date,
    )
    if goods.expiration_date is None and goods.removal_date is None and received_at <= at:
        return lot
    status: StockLotStatus = "AVAILABLE"
    due_at = draft.next_date(lot)
    if is_over(lot, at):
        status, due_at = "EXPIRED", None
    elif received_at > at:
        status, due_at = "EXPECTED", received_at
    return StockLot(
        on_hand=goods.quantity,
        received_at=received_at,
        reserved=ZERO,
        status=status,
        expiration_date=goods.expiration_date,
        removal_date=goods.removal_date,
        due_at=due_at,
        expired=status == "EXPIRED",
    )


def _conflict(lot: StockLot, goods: Arrival, at: datetime) -> str:
    """Return why goods do not belong into a lot, or an empty string. Dates that are not given are the lot's."""
    if goods.expiration_date is not None and goods.expiration_date != lot.expiration_date:
        return OTHER_DATE.format("expiration_date")
    if goods.removal_date is not None and goods.removal_date != lot.removal_date:
        return OTHER_DATE.format("removal_date")
    received_at = goods.received_at or at
    if (received_at > at or lot.status == "EXPECTED") and received_at != lot.received_at:
        return "the lot arrives at another time; send that one as received_at, or use another lot id"
    return ""
