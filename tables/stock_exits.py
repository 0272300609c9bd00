"""Goods leave: of an allocation, in parts and over several lots, or of lots directly (contracts 3.1)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from streams.events import (
    StockAllocation,
    StockAllocationLine,
    StockExitRecorded,
    StockExitRequested,
    StockLine,
    StockLot,
)
from tables.state import State
from tables.stock_allocations import active, rest_in, rest_of, with_lines
from tables.stock_checks import check_known, check_place, check_quantity, check_unit, id_of
from tables.stock_draft import Draft
from tables.stock_ends import consumed
from tables.stock_facts import (
    EXCEEDS_ALLOCATION,
    INSUFFICIENT_STOCK,
    LOT_EXPECTED,
    LOT_EXPIRED,
    LOT_QUARANTINED,
    ZERO,
    Refusal,
    add,
    subtract,
)
from tables.stock_history import keep
from tables.stock_levels import finish
from tables.stock_names import allocation_name
from tables.stock_picks import Demand, Pick, lines_of, pick
from tables.stock_values import is_over, with_sums

DISPOSALS = frozenset({"SCRAP", "RETURN_TO_VENDOR"})
"""Reasons for which goods leave that may not be used any more."""

BLOCKED = {
    LOT_EXPIRED: "has expired; let it leave with reason SCRAP or RETURN_TO_VENDOR, or set allow_expired_exit",
    LOT_QUARANTINED: "is in quarantine; release it first, or let it leave with reason SCRAP or RETURN_TO_VENDOR",
    LOT_EXPECTED: "has not arrived yet; wait for it",
}

Lines = tuple[StockLine, ...]


def leave(state: State, event: StockExitRequested, at: datetime) -> tuple[Any, ...]:
    """Decide an exit: all of it or nothing."""
    draft = Draft(state, event, at)
    movement_id, lines, order_id = take_out(draft, event, event.quantity)
    keep(
        draft,
        "EXIT",
        movement_id,
        event.quantity,
        lines,
        allocation_id=event.allocation_id,
        reason=event.reason,
        reference=event.reference,
    )
    exited = StockExitRecorded(  # the first fields by position: see stock_facts.UNNAMED
        at,
        movement_id,
        draft.product,
        draft.warehouse,
        tenant_id=event.tenant_id,
        allocation_id=event.allocation_id,
        quantity=event.quantity,
        uom=draft.uom,
        lines=lines,
        reason=event.reason,
        reference=event.reference,
        order_id=order_id,
        on_hand=draft.on_hand,
        reserved=draft.reserved,
        available=draft.available,
        version=draft.version,
        envelope=draft.envelope,
    )
    draft.facts.append(exited)
    return finish(draft)


def take_out(draft: Draft, event: Any, quantity: Decimal) -> tuple[str, Lines, str | None]:
    """Take goods out of their lots, as an exit or a movement of type EXIT asks.

    Returns:
        The movement's id, what left which lot, and the order where an allocation tells it.
    """
    check_place(draft)
    movement_id = id_of(event)
    check_quantity(draft, quantity)
    check_unit(draft, event.uom)
    check_known(draft)
    if not event.allocation_id:
        draft.settle()
        picks = take_free(draft, quantity, event.lot_id, event.reason)
        return movement_id, lines_of(picks), None
    suffix, allocation = active(draft, event.allocation_id)
    draft.settle()
    lines = _take_held(draft, suffix, allocation, quantity)
    return movement_id, lines, allocation.order_id


def take_free(draft: Draft, quantity: Decimal, lot_id: str, reason: str) -> list[Pick]:
    """Take what nobody has reserved out of a lot, or of those that go off first where none is named.

    Returns:
        How much of which lot, and what the lot was like before.

    Raises:
        Refusal: there is not enough, or the lot may not leave.
    """
    if lot_id:
        lot = draft.known_lot(lot_id)
        _may_leave(draft, lot_id, lot, reason)
        there = subtract(lot.on_hand, lot.reserved)
        if quantity > there:
            message = "the lot has less that is not reserved; take less, or release an allocation first"
            raise Refusal(INSUFFICIENT_STOCK, message, there)
        picks = [Pick(lot_id, lot, quantity)]
    else:
        picks = pick(draft, Demand(quantity))
    for each in picks:
        on_hand = subtract(each.lot.on_hand, each.quantity)
        draft.put_lot(each.lot_id, each.lot, with_sums(each.lot, on_hand, each.lot.reserved))
    draft.sum_out = add(draft.sum_out, quantity)
    return picks


def _blocked(draft: Draft, lot: StockLot, reason: str) -> str:
    """Return the code that forbids a lot to leave, or an empty string."""
    if lot.status == "EXPECTED":
        return LOT_EXPECTED
    if reason in DISPOSALS:
        return ""
    if lot.status == "QUARANTINED":
        return LOT_QUARANTINED
    over_and_out = is_over(lot, draft.at) and not draft.policy.allow_expired_exit
    return LOT_EXPIRED if over_and_out else ""


def _may_leave(draft: Draft, lot_id: str, lot: StockLot, reason: str) -> None:
    code = _blocked(draft, lot, reason)
    if code:
        raise Refusal(code, f"lot {lot_id!r} {BLOCKED[code]}")


def _take_held(draft: Draft, suffix: str, allocation: StockAllocation, quantity: Decimal) -> Lines:
    """Take goods of an allocation out of its lots, in the order of its lines.

    Lines of lots that may not leave wait; where the others are not enough, nothing leaves.
    """
    event, only = draft.event, draft.event.lot_id
    rest, movable, problem = quantity, ZERO, ""
    taken: list[StockLine] = []
    lines: list[StockAllocationLine] = []
    for line in allocation.lines:
        there = rest_of(line)
        if there and (not only or line.lot_id == only):
            lot = draft.known_lot(line.lot_id)
            code = _blocked(draft, lot, event.reason)
            if code:
                problem = f"{code}|{line.lot_id}"
            else:
                movable = add(movable, there)
                part = min(there, rest)
                if part:
                    rest = subtract(rest, part)
                    taken.append(StockLine(lot_id=line.lot_id, quantity=part))
                    line = StockAllocationLine(  # noqa: PLW2901 - the line as the exit leaves it
                        lot_id=line.lot_id, quantity=line.quantity, consumed=add(line.consumed, part)
                    )
                    _out_of(draft, line, lot, part, allocation.sequence)
        lines.append(line)
    if rest:
        raise _too_much(allocation, quantity, movable, problem, only)
    draft.sum_out = add(draft.sum_out, quantity)
    _keep(draft, suffix, allocation, tuple(lines))
    return tuple(taken)


def _out_of(draft: Draft, line: StockAllocationLine, lot: StockLot, part: Decimal, sequence: int) -> None:
    after = with_sums(lot, subtract(lot.on_hand, part), subtract(lot.reserved, part))
    draft.put_lot(line.lot_id, lot, after)
    if line.consumed == line.quantity:
        draft.unclaim(line.lot_id, sequence)


def _keep(
    draft: Draft, suffix: str, allocation: StockAllocation, lines: tuple[StockAllocationLine, ...]
) -> None:
    if rest_in(lines):
        after = with_lines(allocation, lines)
    else:
        after = with_lines(allocation, lines, "CONSUMED", draft.at)
        draft.facts.append(consumed(draft, after, draft.at))
    draft.put(allocation_name(suffix), after)


def _too_much(
    allocation: StockAllocation, quantity: Decimal, movable: Decimal, problem: str, only: str
) -> Refusal:
    if problem and quantity <= rest_in(allocation.lines):
        code, _, lot_id = problem.partition("|")
        return Refusal(code, f"lot {lot_id!r} {BLOCKED[code]}", movable)
    where = f" in lot {only!r}" if only else ""
    message = f"the allocation holds less{where}; take at most that, or allocate more"
    return Refusal(EXCEEDS_ALLOCATION, message, movable)
