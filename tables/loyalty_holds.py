"""Holds (contracts 3.3): points set aside, then redeemed or given back.

Held points are taken out of their lots, so neither another redemption nor an expiry can take them. A hold that ends
without being captured gives them back to the same lots; those whose lot has expired meanwhile expire at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from streams.events import (
    CustomerHead,
    LoyaltyHold,
    LoyaltyHoldStatus,
    LoyaltyPointsCaptureRequested,
    LoyaltyPointsHeld,
    LoyaltyPointsHoldExpireRequested,
    LoyaltyPointsHoldRequested,
    LoyaltyPointsRedeemed,
    LoyaltyPointsReleased,
    LoyaltyPointsReleaseRequested,
    LoyaltyRedemption,
)
from tables.facts import changed
from tables.loyalty_account import Account, Assigned, account_of
from tables.loyalty_checks import (
    DUPLICATE_CONFLICT,
    HOLD_ENDED,
    NOT_FOUND,
    REPEATED,
    UNKNOWN_CUSTOMER,
    VALIDATION_FAILED,
    Refused,
    check_id,
    check_open,
    check_points,
    check_text,
    check_version,
)
from tables.loyalty_names import HEAD, hold_name, transaction_name
from tables.loyalty_reversals import apply_waiting
from tables.loyalty_settle import SECOND, caught_up, settle
from tables.loyalty_spending import Kept, Returned, all_links, give_back, spend
from tables.state import State

MAX_TTL: Final = 30 * 86_400
"""Seconds that a hold lasts at most."""


def hold(state: State, event: LoyaltyPointsHoldRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a hold.

    Raises:
        Refused: it is not possible.
    """
    check_id("hold_id", event.hold_id)
    check_points(event.points)
    check_text(event.reason, event.reference)
    if not 0 < event.ttl_seconds <= MAX_TTL:
        raise Refused(VALIDATION_FAILED, f"ttl_seconds are 1 to {MAX_TTL}")
    name = hold_name(event.hold_id)
    known: LoyaltyHold | None = state.get(name)
    if known is not None:
        asked = (event.points, event.reason, event.reference)
        if asked == (known.points, known.reason, known.reference):
            return ()
        raise Refused(DUPLICATE_CONFLICT, REPEATED)
    account = _open_account(state, event, at)
    kept, links = spend(account, event.points, name)
    until = at + timedelta(seconds=event.ttl_seconds)
    account.put(
        name,
        LoyaltyHold(
            points=event.points,
            status="HELD",
            at=at,
            expires_at=until,
            due_at=until,
            links=kept.first,
            pages=kept.pages,
            reason=event.reason,
            reference=event.reference,
        ),
    )
    account.line("HELD", event.hold_id, -event.points, held=event.points, reason=event.reason)
    account.add(
        LoyaltyPointsHeld,
        hold_id=event.hold_id,
        points=event.points,
        expires_at=until,
        reason=event.reason,
        reference=event.reference,
        lots=links,
        **account.numbers,
    )
    return account.done()


def capture(state: State, event: LoyaltyPointsCaptureRequested, at: datetime) -> tuple[Any, ...]:
    """Decide the redemption of held points; what is held beyond is given back.

    Raises:
        Refused: it is not possible.
    """
    check_id("transaction_id", event.transaction_id)
    check_points(event.points)
    check_text(event.reason, event.reference)
    known = state.get(transaction_name(event.transaction_id))
    if known is not None:
        if _is_same(known, event):
            return ()
        raise Refused(DUPLICATE_CONFLICT, REPEATED)
    account = _open_account(state, event, at)
    name, held = hold_name(event.hold_id), _known(account, event.hold_id)
    if held.status != "HELD" or held.expires_at <= at:
        status = held.status if held.status != "HELD" else "EXPIRED"
        raise Refused(HOLD_ENDED, f"the hold is {status}; hold the points anew")
    points = held.points if event.points is None else event.points
    if points > held.points:
        raise Refused(VALIDATION_FAILED, f"{held.points} points are held; capture no more than that")
    kept = Kept(name, held.links, held.pages)
    rest = held.points - points
    returned = give_back(account, kept, rest, undo=True) if rest else Returned(kept, (), 0, 0)
    _redeemed(account, event, returned.kept, points)
    if rest:
        _released(account, event.hold_id, rest, returned, "CAPTURED", event.reason)
    account.put(name, _ended(held, "CAPTURED"))
    if account.head.waiting:
        apply_waiting(account, event.transaction_id)
    return account.done()


def release(state: State, event: LoyaltyPointsReleaseRequested, at: datetime) -> tuple[Any, ...]:
    """Decide the release of a hold. One that was given back already stays as it is, and nothing is said again.

    Raises:
        Refused: it is not possible.
    """
    check_text(event.reason)
    head: CustomerHead | None = state.get(HEAD)
    if head is None:
        raise Refused(NOT_FOUND, UNKNOWN_CUSTOMER)
    check_version(head, event)
    account = Account(state, head, event, at)
    held = _known(account, event.hold_id)
    if held.status == "CAPTURED":
        raise Refused(HOLD_ENDED, "the hold is CAPTURED; reverse the redemption")
    if held.status != "HELD":
        return ()
    settle(account)
    late = held.expires_at <= at
    _give_all_back(account, event.hold_id, held, "EXPIRED" if late else "RELEASED", event.reason)
    return account.done()


def end_hold(state: State, event: LoyaltyPointsHoldExpireRequested, at: datetime) -> tuple[Any, ...]:
    """Answer a timer: end a hold that nobody captured. A stale command changes nothing."""
    name = hold_name(event.hold_id)
    held: LoyaltyHold | None = state.get(name)
    if held is None or held.due_at != event.due_at:
        return ()
    account = account_of(state, event, at)
    if at < held.expires_at or not caught_up(account):
        later = max(event.due_at, at) + SECOND  # the asking worker's clock runs ahead, or the lots come first
        return (Assigned({name: changed(held, due_at=later)}),)
    _give_all_back(account, event.hold_id, held, "EXPIRED", "")
    return account.done()


def _open_account(
    state: State, event: LoyaltyPointsHoldRequested | LoyaltyPointsCaptureRequested, at: datetime
) -> Account:
    head: CustomerHead | None = state.get(HEAD)
    if head is None:
        raise Refused(NOT_FOUND, UNKNOWN_CUSTOMER)
    check_open(head)
    check_version(head, event)
    account = Account(state, head, event, at)
    settle(account)
    return account


def _known(account: Account, hold_id: str) -> LoyaltyHold:
    held: LoyaltyHold | None = account.get(hold_name(hold_id))
    if held is None:
        raise Refused(NOT_FOUND, "there is no such hold")
    return held


def _is_same(known: Any, event: LoyaltyPointsCaptureRequested) -> bool:
    """Return whether a transaction is what the command asks for: then it is repeated, long after its first time."""
    return (
        type(known) is LoyaltyRedemption
        and known.hold_id == event.hold_id
        and event.points in (None, known.points)
    )


def _ended(held: LoyaltyHold, status: LoyaltyHoldStatus) -> LoyaltyHold:
    ended: LoyaltyHold = changed(held, status=status, due_at=None, links=(), pages=0)
    return ended


def _redeemed(account: Account, event: LoyaltyPointsCaptureRequested, kept: Kept, points: int) -> None:
    account.put(
        transaction_name(event.transaction_id),
        LoyaltyRedemption(
            points=points,
            at=account.at,
            links=kept.first,
            pages=kept.pages,
            hold_id=event.hold_id,
            reason=event.reason,
            reference=event.reference,
        ),
    )
    account.redeemed += points
    account.line("CAPTURED", event.transaction_id, 0, held=-points, reason=event.reason)
    account.add(
        LoyaltyPointsRedeemed,
        transaction_id=event.transaction_id,
        points=points,
        reason=event.reason,
        reference=event.reference,
        hold_id=event.hold_id,
        lots=all_links(account, kept),
        **account.numbers,
    )


def _give_all_back(
    account: Account, hold_id: str, held: LoyaltyHold, status: LoyaltyHoldStatus, reason: str
) -> None:
    kept = Kept(hold_name(hold_id), held.links, held.pages)
    returned = give_back(account, kept, held.points, undo=True)
    _released(account, hold_id, held.points, returned, status, reason)
    account.put(hold_name(hold_id), _ended(held, status))


def _released(
    account: Account, hold_id: str, points: int, returned: Returned, status: LoyaltyHoldStatus, reason: str
) -> None:
    account.line("RELEASED", hold_id, points, held=-points, reason=reason)
    returned.write_off(account, hold_id)
    account.add(
        LoyaltyPointsReleased,
        hold_id=hold_id,
        points=points,
        status=status,
        reason=reason,
        recovered=returned.recovered,
        expired=returned.expired,
        **account.numbers,
    )
