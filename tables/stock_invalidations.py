"""Allocations lose what they hold of a lot: it expired, was counted anew, or was thrown away (contracts 3.1)."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from streams.events import (
    StockAllocation,
    StockAllocationInvalidated,
    StockAllocationLine,
    StockClaim,
    StockExpiryPolicy,
    StockInvalidationCause,
)
from tables.facts import changed
from tables.stock_allocations import hold, rest_in, rest_of, with_lines
from tables.stock_draft import Draft
from tables.stock_facts import INSUFFICIENT_STOCK, ZERO, Refusal, add, subtract
from tables.stock_names import AllocationId, allocation_name, claim_name, claims_of
from tables.stock_picks import Demand, Pick, good_until, lines_of, pick, total_of

AT_ONCE = 200
"""Allocations of an expired lot that one command goes through; the lot's timer asks again for the others."""


class Loss(NamedTuple):
    """What an allocation loses, and why."""

    lot_id: str
    cause: StockInvalidationCause
    policy: StockExpiryPolicy


def tell_holders(draft: Draft, lot_id: str) -> bool:
    """Go through allocations that hold something of an expired lot, oldest first, as the policy says.

    Returns:
        Whether there are more.
    """
    lot = draft.known_lot(lot_id)
    waiting = [sequence for sequence in claims_of(draft, lot_id) if sequence > lot.told]
    loss = Loss(lot_id, "LOT_EXPIRED", draft.policy.on_reserved_lot_expiry)
    for sequence in waiting[:AT_ONCE]:
        invalidate(draft, sequence, loss)
    if waiting:
        told = waiting[:AT_ONCE][-1]
        lot = draft.known_lot(lot_id)
        draft.put_lot(lot_id, lot, changed(lot, told=told))
    return len(waiting) > AT_ONCE


def make_room(draft: Draft, lot_id: str, wanted: Decimal, cause: StockInvalidationCause) -> None:
    """Invalidate what allocations hold of a lot, the newest first, until no more than ``wanted`` is reserved."""
    for sequence in reversed(claims_of(draft, lot_id)):
        if draft.known_lot(lot_id).reserved <= wanted:
            return
        invalidate(draft, sequence, Loss(lot_id, cause, "RELEASE"))


def invalidate(draft: Draft, sequence: int, loss: Loss) -> None:
    """Tell an allocation that a lot cannot serve it; unless the policy is to tell only, it holds it no longer."""
    claim: StockClaim | None = draft.get(claim_name(loss.lot_id, sequence))
    suffix = claim.allocation if claim is not None else ""
    allocation: StockAllocation | None = draft.get(allocation_name(suffix))
    if allocation is None:
        raise LookupError(f"a claim on lot {loss.lot_id!r} has no allocation; rebuild the table")
    lost = next(rest_of(line) for line in allocation.lines if line.lot_id == loss.lot_id)
    picks: list[Pick] = []
    shortfall = ZERO
    if loss.policy != "NOTIFY":
        allocation = _without(draft, allocation, loss.lot_id, lost)
        if loss.policy == "REALLOCATE" and not allocation.lot_id:
            picks = _replacements(draft, allocation, lost)
            hold(draft, suffix, sequence, picks)
            allocation = _with(allocation, picks)
        shortfall = subtract(lost, total_of(picks))
        if not rest_in(allocation.lines):
            allocation = with_lines(allocation, allocation.lines, "INVALIDATED", draft.at, loss.cause)
        draft.put(allocation_name(suffix), allocation)
    draft.facts.append(
        StockAllocationInvalidated(
            timestamp=draft.at,
            tenant_id=draft.event.tenant_id,
            allocation_id=str(AllocationId(draft.product, draft.warehouse, suffix)),
            product_id=draft.product,
            warehouse_id=draft.warehouse,
            cause=loss.cause,
            policy=loss.policy,
            lot_id=loss.lot_id,
            quantity=lost,
            replacements=lines_of(picks),
            shortfall=shortfall,
            status=allocation.status,
            order_id=allocation.order_id,
            version=draft.version,
            envelope=draft.envelope,
        )
    )


def _without(draft: Draft, allocation: StockAllocation, lot_id: str, lost: Decimal) -> StockAllocation:
    """Return an allocation without what it still held of a lot; what has left of it stays on record."""
    draft.hold(lot_id, draft.known_lot(lot_id), lost.copy_negate())
    draft.unclaim(lot_id, allocation.sequence)
    kept = []
    for line in allocation.lines:
        if line.lot_id != lot_id:
            kept.append(line)
        elif line.consumed:
            kept.append(StockAllocationLine(lot_id=lot_id, quantity=line.consumed, consumed=line.consumed))
    return with_lines(allocation, tuple(kept))


def _replacements(draft: Draft, allocation: StockAllocation, quantity: Decimal) -> list[Pick]:
    until = good_until(draft.at, allocation.needed_at, allocation.min_remaining_days)
    try:
        return pick(draft, Demand(quantity, allocation.strategy, "", until), partial=True)
    except Refusal as refusal:
        if refusal.code != INSUFFICIENT_STOCK:
            raise
        return []


def _with(allocation: StockAllocation, picks: list[Pick]) -> StockAllocation:
    more = {each.lot_id: each.quantity for each in picks}
    lines = [
        StockAllocationLine(
            lot_id=line.lot_id,
            quantity=add(line.quantity, more.pop(line.lot_id, ZERO)),
            consumed=line.consumed,
        )
        for line in allocation.lines
    ]
    lines += [StockAllocationLine(lot_id=lot_id, quantity=quantity) for lot_id, quantity in more.items()]
    return with_lines(allocation, tuple(lines))
