"""A lot's life: it arrives, will expire soon, expires, and may be held in quarantine (contracts 3.1)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.events import (
    StockLot,
    StockLotExpireRequested,
    StockLotExpiringSoon,
    StockLotQuarantined,
    StockLotQuarantineRequested,
    StockLotReleased,
    StockLotReleaseRequested,
    StockLotStatus,
)
from tables.facts import changed
from tables.state import State
from tables.stock_checks import check_place
from tables.stock_draft import Draft
from tables.stock_ends import ask_again, too_early
from tables.stock_facts import CONFLICT, Refusal
from tables.stock_invalidations import tell_holders
from tables.stock_levels import finish
from tables.stock_names import lot_name
from tables.stock_values import effective, is_over


def look_at(state: State, event: StockLotExpireRequested, at: datetime) -> tuple[Any, ...]:
    """Decide what becomes of a lot whose timer has come; nothing where the timer is stale."""
    name = lot_name(event.lot_id)
    lot: StockLot | None = state.get(name)
    if lot is None or lot.due_at != event.due_at:
        return ()
    if too_early(event.due_at, at):
        return ask_again(name, lot)
    draft = Draft(state, event, max(at, event.due_at))
    draft.settle()
    lot = draft.known_lot(event.lot_id)
    if is_over(lot, draft.at):
        _expire(draft, event.lot_id, lot)
    elif lot.status != "EXPECTED" and lot.due_at == event.due_at:
        _warn(draft, event.lot_id, lot)
    return finish(draft)


def _expire(draft: Draft, lot_id: str, lot: StockLot) -> None:
    if not lot.expired:
        draft.expire(lot_id, lot, lot.reserved)
    more = tell_holders(draft, lot_id)
    lot = draft.known_lot(lot_id)
    if more:
        draft.put_lot(lot_id, lot, changed(lot, due_at=draft.at, asks=lot.asks + 1))
    else:
        draft.put_lot(lot_id, lot, changed(lot, due_at=None))


def _warn(draft: Draft, lot_id: str, lot: StockLot) -> None:
    date = effective(lot)
    if date is None or lot.warned:
        raise LookupError(f"lot {lot_id!r} has a due time, but nothing to announce; rebuild the table")
    draft.put_lot(lot_id, lot, changed(lot, warned=True, due_at=date))
    draft.facts.append(
        StockLotExpiringSoon(
            expiration_date=lot.expiration_date,
            removal_date=lot.removal_date,
            expires_at=date,
            **draft.about(lot_id, lot),
        )
    )


def quarantine(state: State, event: StockLotQuarantineRequested, at: datetime) -> tuple[Any, ...]:
    """Decide that a lot is held back. What is reserved of it stays reserved, and may not leave meanwhile."""
    draft, lot = _named(state, event, at)
    if lot.status != "QUARANTINED":
        after: StockLot = changed(lot, status="QUARANTINED", due_at=_due_held(draft, lot))
        draft.put_lot(event.lot_id, lot, after)
    draft.facts.append(
        StockLotQuarantined(
            reason=event.reason,
            available=draft.available,
            version=draft.version,
            **draft.about(event.lot_id, lot),
        )
    )
    return finish(draft)


def _due_held(draft: Draft, lot: StockLot) -> datetime | None:
    # One that has not arrived has no timer for its arrival while it is held back: its release looks at the time.
    return draft.next_date(lot) if lot.status == "EXPECTED" else lot.due_at


def let_out(state: State, event: StockLotReleaseRequested, at: datetime) -> tuple[Any, ...]:
    """Decide that a lot is held back no longer."""
    draft, lot = _named(state, event, at)
    if lot.status != "QUARANTINED":
        raise Refusal(CONFLICT, "the lot is not in quarantine, so nothing holds it back; see its status")
    status: StockLotStatus = "AVAILABLE"
    due_at = lot.due_at
    if is_over(lot, at):
        status = "EXPIRED"
    elif lot.received_at > at:
        status, due_at = "EXPECTED", lot.received_at
    draft.put_lot(event.lot_id, lot, changed(lot, status=status, due_at=due_at))
    draft.facts.append(
        StockLotReleased(
            status=status,
            reason=event.reason,
            available=draft.available,
            version=draft.version,
            **draft.about(event.lot_id, lot),
        )
    )
    return finish(draft)


def _named(
    state: State, event: StockLotQuarantineRequested | StockLotReleaseRequested, at: datetime
) -> tuple[Draft, StockLot]:
    draft = Draft(state, event, at)
    check_place(draft)
    draft.settle()
    return draft, draft.known_lot(event.lot_id)
