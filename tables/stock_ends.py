"""How an allocation ends: released, expired, and after a day forgotten (contracts 3.1).

A release is idempotent: repeated, or of an allocation that ended otherwise, it changes nothing and is answered with how
it ended. The release of one that is unknown is remembered for a day, so that a compensation which overtakes its action
still wins.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

from streams.events import (
    StockAllocation,
    StockAllocationConsumed,
    StockAllocationExpired,
    StockAllocationExpireRequested,
    StockAllocationForgetRequested,
    StockAllocationInvalidated,
    StockAllocationReleased,
    StockAllocationReleaseRequested,
    StockInvalidationCause,
    StockLine,
    StockReleaseTombstone,
)
from tables.facts import changed
from tables.state import State
from tables.stock_allocations import REMEMBERED, rest_of, with_lines
from tables.stock_checks import check_place, suffix_of
from tables.stock_draft import Draft
from tables.stock_facts import ZERO, Changed
from tables.stock_levels import finish
from tables.stock_names import allocation_name, allocation_of, tombstone_name
from tables.stock_picks import total_of

EARLY = timedelta(seconds=1)
"""A timer's command may be so much too early: clocks differ, and due times are cut to milliseconds."""

Lines = tuple[StockLine, ...]


def release(state: State, event: StockAllocationReleaseRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a release. Only what has not left comes back."""
    draft = Draft(state, event, at)
    check_place(draft)
    suffix = suffix_of(draft, event.allocation_id)
    allocation: StockAllocation | None = draft.get(allocation_name(suffix))
    if allocation is None:
        return _release_unknown(draft, event, suffix)
    if allocation.status != "ACTIVE":
        return (how_it_ended(draft, allocation),)
    draft.settle()
    lines = give_back(draft, allocation)
    draft.put(allocation_name(suffix), with_lines(allocation, allocation.lines, "RELEASED", at, event.reason))
    draft.facts.append(_released(draft, allocation, lines, at, event.reason))
    return finish(draft)


def expire(state: State, event: StockAllocationExpireRequested, at: datetime) -> tuple[Any, ...]:
    """Decide an allocation whose time is over; nothing happens where it was extended, or ended, since."""
    found = allocation_of(event.allocation_id)
    name = allocation_name(found.suffix if found is not None else "")
    allocation: StockAllocation | None = state.get(name)
    if found is None or allocation is None:
        return ()
    if allocation.status != "ACTIVE" or allocation.due_at != event.due_at:
        return ()
    if too_early(event.due_at, at):
        return ask_again(name, allocation)
    # As it was when the time was over: a lot that expired later, while no worker lived, was not reserved any more.
    draft = Draft(state, event, event.due_at)
    draft.settle()
    lines = give_back(draft, allocation)
    draft.at = max(at, event.due_at)
    draft.put(name, with_lines(allocation, allocation.lines, "EXPIRED", draft.at))
    draft.facts.append(_expired(draft, allocation, lines, draft.at))
    draft.settle()
    return finish(draft)


def forget(state: State, event: StockAllocationForgetRequested, at: datetime) -> tuple[Any, ...]:
    """Decide that an allocation which ended, or a release, need not be remembered any longer."""
    found = allocation_of(event.allocation_id)
    suffix = found.suffix if found is not None else ""
    for name in (allocation_name(suffix), tombstone_name(suffix)):
        record: Any = state.get(name)
        if record is not None and record.due_at == event.due_at and getattr(record, "status", "") != "ACTIVE":
            return ask_again(name, record) if too_early(event.due_at, at) else (Changed({name: None}),)
    return ()


def too_early(due_at: datetime, at: datetime) -> bool:
    """Return whether a timer's command came before its time: the clock of the worker that sent it is wrong."""
    return at < due_at - EARLY


def ask_again(name: str, record: Any) -> tuple[Changed]:
    """Return the change after which a timer that came too early asks under a new id."""
    return (Changed({name: changed(record, asks=record.asks + 1)}),)


def give_back(draft: Draft, allocation: StockAllocation) -> Lines:
    """Return what an allocation still holds to its lots, and which lots that were."""
    lines = _held(allocation)
    for line in lines:
        draft.hold(line.lot_id, draft.known_lot(line.lot_id), line.quantity.copy_negate())
        draft.unclaim(line.lot_id, allocation.sequence)
    return lines


def _held(allocation: StockAllocation) -> Lines:
    found = [(line.lot_id, rest_of(line)) for line in allocation.lines]
    return tuple([StockLine(lot_id=lot_id, quantity=rest) for lot_id, rest in found if rest])


def _release_unknown(draft: Draft, event: StockAllocationReleaseRequested, suffix: str) -> tuple[Any, ...]:
    name = tombstone_name(suffix)
    known: StockReleaseTombstone | None = draft.get(name)
    if known is not None:
        return (_not_found(draft, known.released_at, known.reason, repeated=True),)
    due_at = draft.at + REMEMBERED
    draft.put(name, StockReleaseTombstone(released_at=draft.at, due_at=due_at, reason=event.reason))
    draft.facts.append(_not_found(draft, draft.at, event.reason, repeated=False))
    return finish(draft)


def _not_found(
    draft: Draft,
    released_at: datetime,
    reason: str,
    *,
    repeated: bool,
) -> StockAllocationReleased:
    common = {**_common(draft, repeated=repeated), **_sums(draft)}
    return StockAllocationReleased(
        result="NOT_FOUND", quantity=ZERO, reason=reason, released_at=released_at, **common
    )


def how_it_ended(draft: Draft, allocation: StockAllocation) -> Any:
    """Return how an allocation ended, as the answer to a release that comes after its end."""
    ended_at = allocation.ended_at or draft.at
    if allocation.status == "RELEASED":
        lines = _held(allocation)
        return _released(draft, allocation, lines, ended_at, allocation.reason, repeated=True)
    if allocation.status == "EXPIRED":
        return _expired(draft, allocation, _held(allocation), ended_at, repeated=True)
    if allocation.status == "CONSUMED":
        return consumed(draft, allocation, ended_at, repeated=True)
    common = _common(draft, repeated=True)
    return StockAllocationInvalidated(
        cause=cast(StockInvalidationCause, allocation.reason),
        lot_id="",
        quantity=ZERO,
        status="INVALIDATED",
        order_id=allocation.order_id,
        **common,
    )


def _common(draft: Draft, *, repeated: bool) -> dict[str, Any]:
    return {
        "timestamp": draft.at,
        "tenant_id": draft.event.tenant_id,
        "allocation_id": draft.event.allocation_id,
        "product_id": draft.product,
        "warehouse_id": draft.warehouse,
        "repeated": repeated,
        "version": draft.head.version if repeated else draft.version,
        "envelope": draft.envelope,
    }


def _sums(draft: Draft) -> dict[str, Any]:
    return {"on_hand": draft.on_hand, "reserved": draft.reserved, "available": draft.available}


def _released(
    draft: Draft,
    allocation: StockAllocation,
    lines: Lines,
    released_at: datetime,
    reason: str,
    *,
    repeated: bool = False,
) -> StockAllocationReleased:
    return StockAllocationReleased(
        quantity=total_of(lines),
        lines=lines,
        reason=reason,
        released_at=released_at,
        order_id=allocation.order_id,
        **_common(draft, repeated=repeated),
        **_sums(draft),
    )


def _expired(
    draft: Draft,
    allocation: StockAllocation,
    lines: Lines,
    expired_at: datetime,
    *,
    repeated: bool = False,
) -> StockAllocationExpired:
    return StockAllocationExpired(
        quantity=total_of(lines),
        lines=lines,
        expired_at=expired_at,
        order_id=allocation.order_id,
        **_common(draft, repeated=repeated),
        **_sums(draft),
    )


def consumed(
    draft: Draft,
    allocation: StockAllocation,
    consumed_at: datetime,
    *,
    repeated: bool = False,
) -> StockAllocationConsumed:
    """Return the fact that all an allocation held has left."""
    lines = tuple([StockLine(lot_id=line.lot_id, quantity=line.quantity) for line in allocation.lines])
    return StockAllocationConsumed(
        quantity=total_of(lines),
        lines=lines,
        consumed_at=consumed_at,
        order_id=allocation.order_id,
        **_common(draft, repeated=repeated),
    )
