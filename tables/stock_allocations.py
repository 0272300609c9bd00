"""Reservations: how one is made and extended (contracts 3.1). How one ends: ``stock_ends``, ``stock_exits``."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from streams.events import (
    StockAllocation,
    StockAllocationAllocated,
    StockAllocationExtended,
    StockAllocationExtendRequested,
    StockAllocationLine,
    StockAllocationPartiallyAllocated,
    StockAllocationRequested,
    StockAllocationStatus,
)
from tables.facts import changed
from tables.state import State
from tables.stock_checks import (
    check_date,
    check_id,
    check_known,
    check_place,
    check_quantity,
    check_ttl,
    check_unit,
    suffix_of,
)
from tables.stock_draft import Draft
from tables.stock_facts import (
    ALLOCATION,
    CANCELLED_BEFORE_ALLOCATION,
    CONFLICT,
    EXTENSIONS_EXHAUSTED,
    NOT_FOUND,
    VALIDATION_FAILED,
    ZERO,
    Refusal,
    add,
    subtract,
)
from tables.stock_levels import finish
from tables.stock_names import allocation_name, allocation_prefix, tombstone_name
from tables.stock_picks import STRATEGIES, Demand, Pick, good_until, lines_of, pick, total_of

MAX_DAYS = 36_500
REMEMBERED = timedelta(hours=24)
"""How long an allocation that ended, and the release of an unknown one, are remembered."""

MAX_EXTENSIONS = 1
"""How often an allocation may be extended where no policy says it (peer-features F44): a cart that is left does not
keep its goods from others for long."""


def allocate(state: State, event: StockAllocationRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a reservation: all of it, a part where that is allowed, or a refusal."""
    draft = Draft(state, event, at)
    suffix = _check(draft, event)
    draft.settle()
    until = good_until(at, event.needed_at, event.min_remaining_days)
    demand = Demand(event.quantity, event.strategy, event.lot_id, until)
    picks = pick(draft, demand, partial=event.allow_partial)
    expires_at = at + _lifetime(event.ttl_seconds)
    hold(draft, suffix, draft.version, picks)
    draft.put(
        allocation_name(suffix),
        StockAllocation(
            requested=event.quantity,
            sequence=draft.version,
            due_at=expires_at,
            created_at=at,
            lines=tuple([StockAllocationLine(lot_id=each.lot_id, quantity=each.quantity) for each in picks]),
            request_id=event.request_id,
            order_id=event.order_id,
            strategy=event.strategy,
            lot_id=event.lot_id,
            needed_at=event.needed_at,
            min_remaining_days=event.min_remaining_days,
        ),
    )
    draft.facts.append(_allocated(draft, event, suffix, picks, expires_at))
    return finish(draft)


@lru_cache(maxsize=1024)
def _lifetime(seconds: int) -> timedelta:
    # Most requests of a shop ask for the same, and making it takes as long as all its checks.
    return timedelta(seconds=seconds)


def hold(draft: Draft, suffix: str, sequence: int, picks: list[Pick]) -> None:
    """Reserve picks for an allocation."""
    for lot_id, lot, quantity in picks:
        draft.hold(lot_id, lot, quantity)
        draft.claim(lot_id, sequence, suffix)


def _check(draft: Draft, event: StockAllocationRequested) -> str:
    """Check a request, and return the last part of its allocation's id."""
    check_place(draft)
    check_quantity(draft, event.quantity)
    if event.strategy not in STRATEGIES or (event.strategy == "LOT" and not event.lot_id):
        message = "strategy is FEFO, FIFO, LIFO, or LOT with a lot_id; use one of them"
        raise Refusal(VALIDATION_FAILED, message)
    check_ttl(event.ttl_seconds)
    if event.min_remaining_days is not None and not 0 <= event.min_remaining_days <= MAX_DAYS:
        raise Refusal(VALIDATION_FAILED, f"min_remaining_days is from 0 to {MAX_DAYS}; correct it")
    check_date("needed_at", event.needed_at)
    suffix = suffix_of(draft, event.allocation_id) if event.allocation_id else _suffix(event)
    check_unit(draft, event.uom)
    check_known(draft)
    if draft.get(tombstone_name(suffix)) is not None:
        message = (
            "the allocation was released before it was made; ask again under a new id if it is still wanted"
        )
        raise Refusal(CANCELLED_BEFORE_ALLOCATION, message)
    if draft.get(allocation_name(suffix)) is not None:
        raise Refusal(CONFLICT, "there is an allocation with this id already; use a new id for a new one")
    return suffix


def _suffix(event: StockAllocationRequested) -> str:
    suffix = event.request_id or event.event_id
    check_id("request_id", suffix)
    return suffix


def _allocated(
    draft: Draft, event: StockAllocationRequested, suffix: str, picks: list[Pick], expires_at: datetime
) -> StockAllocationAllocated | StockAllocationPartiallyAllocated:
    allocated = total_of(picks) if event.allow_partial else event.quantity
    shortfall = subtract(event.quantity, allocated)
    fact = StockAllocationAllocated(  # the first fields by position: see stock_facts.UNNAMED
        draft.at,
        event.allocation_id or allocation_prefix(draft.product, draft.warehouse) + suffix,
        draft.product,
        draft.warehouse,
        event.quantity,
        allocated,
        expires_at,
        tenant_id=event.tenant_id,
        request_id=event.request_id,
        uom=draft.uom,
        lines=lines_of(picks),
        strategy=event.strategy,
        order_id=event.order_id,
        on_hand=draft.on_hand,
        reserved=draft.reserved,
        available=draft.available,
        version=draft.version,
        envelope=draft.envelope,
    )
    if not shortfall:
        return fact
    fields = {name: getattr(fact, name) for name in fact.__struct_fields__}
    return StockAllocationPartiallyAllocated(shortfall=shortfall, **fields)


def ended(allocation: StockAllocation) -> Refusal:
    """Return the refusal of a command for an allocation that has ended, such as ALLOCATION_EXPIRED."""
    status = allocation.status
    message = f"the allocation is {status.lower()}; allocate anew if the goods are still wanted"
    return Refusal(ALLOCATION + status, message)


def active(draft: Draft, allocation_id: str) -> tuple[str, StockAllocation]:
    """Return an allocation that a command is about, and the last part of its id.

    Raises:
        Refusal: there is none, or it has ended.
    """
    suffix = suffix_of(draft, allocation_id)
    allocation: StockAllocation | None = draft.get(allocation_name(suffix))
    if allocation is None:
        raise Refusal(
            NOT_FOUND, "there is no allocation with this id, or it ended over a day ago; check the id"
        )
    if allocation.status != "ACTIVE":
        raise ended(allocation)
    return suffix, allocation


def rest_of(line: StockAllocationLine) -> Decimal:
    """Return what of a line has not left yet."""
    return subtract(line.quantity, line.consumed) if line.consumed else line.quantity


def rest_in(lines: tuple[StockAllocationLine, ...]) -> Decimal:
    """Return what an allocation with these lines still holds while it is active."""
    rest = ZERO
    for line in lines:
        rest = add(rest, rest_of(line))
    return rest


def with_lines(
    allocation: StockAllocation,
    lines: tuple[StockAllocationLine, ...],
    status: StockAllocationStatus = "ACTIVE",
    ended_at: datetime | None = None,
    reason: str = "",
) -> StockAllocation:
    """Return an allocation that holds other quantities, or one that has ended and is remembered for a day."""
    return StockAllocation(  # the first fields by position: see stock_facts.UNNAMED
        allocation.requested,
        allocation.sequence,
        due_at=allocation.due_at if ended_at is None else ended_at + REMEMBERED,
        created_at=allocation.created_at,
        status=status,
        lines=lines,
        request_id=allocation.request_id,
        order_id=allocation.order_id,
        strategy=allocation.strategy,
        lot_id=allocation.lot_id,
        needed_at=allocation.needed_at,
        min_remaining_days=allocation.min_remaining_days,
        extensions=allocation.extensions,
        ended_at=ended_at,
        reason=reason,
        asks=allocation.asks,
    )


def extend(state: State, event: StockAllocationExtendRequested, at: datetime) -> tuple[Any, ...]:
    """Decide whether an allocation lives longer; one whose time is over does not, even before its timer came."""
    draft = Draft(state, event, at)
    check_place(draft)
    check_ttl(event.ttl_seconds)
    suffix, allocation = active(draft, event.allocation_id)
    if at >= allocation.due_at:
        raise ended(changed(allocation, status="EXPIRED"))
    most = MAX_EXTENSIONS if draft.policy.max_extensions is None else draft.policy.max_extensions
    if allocation.extensions >= most:
        message = (
            f"the limit of extensions is {most}; allocate anew, or set a policy with more max_extensions"
        )
        raise Refusal(EXTENSIONS_EXHAUSTED, message)
    expires_at = max(allocation.due_at, at + _lifetime(event.ttl_seconds))
    extensions = allocation.extensions + 1
    draft.put(allocation_name(suffix), changed(allocation, due_at=expires_at, extensions=extensions))
    draft.facts.append(
        StockAllocationExtended(
            timestamp=at,
            tenant_id=event.tenant_id,
            allocation_id=event.allocation_id,
            product_id=draft.product,
            warehouse_id=draft.warehouse,
            expires_at=expires_at,
            extensions=extensions,
            order_id=allocation.order_id,
            version=draft.version,
            envelope=draft.envelope,
        )
    )
    return finish(draft)
