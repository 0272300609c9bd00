"""Movements of any type: ``record_movement`` (contracts 3.1, 001-23)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from streams.events import StockLine, StockLot, StockMovementRecorded, StockMovementRecordRequested
from tables.state import State
from tables.stock_checks import check_known, check_place, check_quantity, check_unit, id_of
from tables.stock_draft import Draft
from tables.stock_entries import arrival_of, receive
from tables.stock_exits import Lines, take_free, take_out
from tables.stock_facts import CONFLICT, VALIDATION_FAILED, ZERO, Refusal, add, subtract
from tables.stock_history import keep
from tables.stock_invalidations import make_room
from tables.stock_levels import finish
from tables.stock_picks import lines_of
from tables.stock_transfers import send
from tables.stock_values import with_sums

Event = StockMovementRecordRequested


def record(state: State, event: Event, at: datetime) -> tuple[Any, ...]:
    """Decide a movement of any type."""
    draft = Draft(state, event, at)
    check_place(draft)
    movement_id = id_of(event)
    rule = RULES.get(event.type)
    if rule is None:
        raise Refusal(VALIDATION_FAILED, f"type is one of {', '.join(RULES)}; correct it")
    if event.counted is not None and event.type != "ADJUSTMENT":
        raise Refusal(VALIDATION_FAILED, "only an ADJUSTMENT may be counted; give a quantity")
    check_unit(draft, event.uom)
    draft.settle()
    quantity, lines = rule(draft, event)
    draft.uom = draft.uom or event.uom
    keep(
        draft,
        event.type,
        movement_id,
        quantity,
        lines,
        allocation_id=event.allocation_id,
        reason=event.reason,
        reference=event.reference,
    )
    draft.facts.append(
        StockMovementRecorded(  # the first fields by position: see stock_facts.UNNAMED
            at,
            movement_id,
            draft.product,
            draft.warehouse,
            event.type,
            quantity,
            tenant_id=event.tenant_id,
            uom=draft.uom,
            lines=lines,
            allocation_id=event.allocation_id,
            reason=event.reason,
            reference=event.reference,
            to_warehouse_id=event.to_warehouse_id,
            on_hand=draft.on_hand,
            reserved=draft.reserved,
            available=draft.available,
            version=draft.version,
            envelope=draft.envelope,
        )
    )
    return finish(draft)


def _quantity(draft: Draft, event: Event) -> Decimal:
    if event.quantity is None:
        raise Refusal(VALIDATION_FAILED, "the movement needs a quantity; give one")
    check_quantity(draft, event.quantity)
    return event.quantity


def _come(draft: Draft, event: Event) -> tuple[Decimal, Lines]:
    goods = arrival_of(event, _quantity(draft, event))
    receive(draft, goods)
    return goods.quantity, (StockLine(lot_id=goods.lot_id, quantity=goods.quantity),)


def _go(draft: Draft, event: Event) -> tuple[Decimal, Lines]:
    quantity = _quantity(draft, event)
    _, lines, _ = take_out(draft, event, quantity)
    return quantity, lines


def _transfer(draft: Draft, event: Event) -> tuple[Decimal, Lines]:
    quantity = _quantity(draft, event)
    check_known(draft)
    return quantity, send(draft, event, quantity)


def _scrap(draft: Draft, event: Event) -> tuple[Decimal, Lines]:
    """Throw goods away: of a named lot whatever its status, else of those that go off first."""
    quantity = _quantity(draft, event)
    check_known(draft)
    if event.lot_id and event.force:
        lot = draft.known_lot(event.lot_id)
        if quantity <= lot.on_hand:
            make_room(draft, event.lot_id, subtract(lot.on_hand, quantity), "SCRAP")
    return quantity, lines_of(take_free(draft, quantity, event.lot_id, "SCRAP"))


def _adjust(draft: Draft, event: Event) -> tuple[Decimal, Lines]:
    """Correct what a lot holds, by a difference or to what was counted."""
    if not event.lot_id:
        raise Refusal(VALIDATION_FAILED, "an adjustment is of one lot; name it")
    lot = draft.lot(event.lot_id)
    quantity = _difference(draft, event, lot)
    if quantity > 0:
        receive(draft, arrival_of(event, quantity))
    else:
        _lower(draft, event, quantity)
    return quantity, (StockLine(lot_id=event.lot_id, quantity=quantity),)


def _difference(draft: Draft, event: Event, lot: StockLot | None) -> Decimal:
    if (event.counted is None) == (event.quantity is None):
        message = (
            "an adjustment has a quantity, which is the difference, or what was counted; give one of them"
        )
        raise Refusal(VALIDATION_FAILED, message)
    difference = event.quantity
    if event.counted is not None:
        if not event.counted.is_finite() or event.counted < 0:
            raise Refusal(VALIDATION_FAILED, "counted is a number from 0; correct it")
        difference = subtract(event.counted, ZERO if lot is None else lot.on_hand)
    if not difference:
        raise Refusal(VALIDATION_FAILED, "the lot holds just that, so there is nothing to adjust")
    check_quantity(draft, difference, signed=True)
    return difference


def _lower(draft: Draft, event: Event, difference: Decimal) -> None:
    lot = draft.known_lot(event.lot_id)
    on_hand = add(lot.on_hand, difference)
    if on_hand < 0:
        raise Refusal(CONFLICT, "the lot holds less than the adjustment takes away; count it again")
    if on_hand < lot.reserved:
        if not event.force:
            message = (
                "less would be left than is reserved; release allocations, or set force to invalidate them"
            )
            raise Refusal(CONFLICT, message)
        make_room(draft, event.lot_id, on_hand, "ADJUSTMENT")
        lot = draft.known_lot(event.lot_id)
    draft.put_lot(event.lot_id, lot, with_sums(lot, on_hand, lot.reserved))
    draft.sum_out = subtract(draft.sum_out, difference)


RULES: dict[str, Callable[[Draft, Event], tuple[Decimal, Lines]]] = {
    "ENTRY": _come,
    "EXIT": _go,
    "ADJUSTMENT": _adjust,
    "TRANSFER_OUT": _transfer,
    "TRANSFER_IN": _come,
    "RETURN": _come,
    "SCRAP": _scrap,
}
"""What each type of movement does to the lots: the quantity that is recorded, and by lot."""
