"""What time does to point lots: activation, expiry, and the announcement of an expiry (contracts 3.3).

Every command about points first brings the lots up to its own time (``settle``), so what it finds does not depend on
whether a timer came before it. The timers only see to it that lots are not late where nothing else happens.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from streams.events import (
    LoyaltyLot,
    LoyaltyPointsActivated,
    LoyaltyPointsActivateRequested,
    LoyaltyPointsExpired,
    LoyaltyPointsExpireRequested,
    LoyaltyPointsExpiringSoon,
    LoyaltyPointsNoticeRequested,
    LoyaltyTimer,
)
from tables.facts import changed
from tables.lots import Book
from tables.loyalty_account import Account, Assigned, account_of
from tables.loyalty_checks import (
    CONFLICT,
    Refused,
)
from tables.loyalty_lots import NOTICE_BEFORE, enter, is_short, lot_of, timer
from tables.loyalty_names import ACTIVATION, ACTIVE, EXPIRY, NOTICE, PENDING, transaction_name
from tables.loyalty_spending import recover
from tables.state import State

AT_ONCE: Final = 500
"""Lots that one command brings up to date at most, so that what it stores stays bounded."""
MILLISECOND: Final = timedelta(milliseconds=1)
SECOND: Final = timedelta(seconds=1)

TIMERS: Final[dict[type, str]] = {
    LoyaltyPointsActivateRequested: ACTIVATION,
    LoyaltyPointsExpireRequested: EXPIRY,
}


def settle(account: Account) -> None:
    """Activate and expire what is due at the account's time.

    Raises:
        Refused: so much is due that the timers have to do it first.
    """
    if not caught_up(account):
        raise Refused(
            CONFLICT, f"more than {AT_ONCE} lots are due at once and being worked on; send the command anew"
        )


def caught_up(account: Account) -> bool:
    """Activate and expire what is due, at most ``AT_ONCE`` lots. Return whether that was all."""
    at = account.at
    activation, expiry = account.get(ACTIVATION), account.get(EXPIRY)
    if (activation is None or activation.at > at) and (expiry is None or expiry.at > at):
        return True
    done = 0
    while done < AT_ONCE and _step(account):
        done += 1
    _restart(account, ACTIVATION, PENDING)
    _restart(account, EXPIRY, ACTIVE)
    return done < AT_ONCE


def on_time(
    state: State, event: LoyaltyPointsActivateRequested | LoyaltyPointsExpireRequested, at: datetime
) -> tuple[Any, ...]:
    """Answer a timer: activate and expire what is due. A command for another due time than the timer's is stale."""
    name = TIMERS[type(event)]
    set_for: LoyaltyTimer | None = state.get(name)
    if set_for is None or set_for.due_at != event.due_at:
        return ()
    if at < set_for.at:
        return (asked_early(name, set_for),)
    account = account_of(state, event, at)
    caught_up(account)
    return account.done()


def announce(state: State, event: LoyaltyPointsNoticeRequested, at: datetime) -> tuple[Any, ...]:
    """Answer a timer: announce the lots that expire soon, each once."""
    set_for: LoyaltyTimer | None = state.get(NOTICE)
    if set_for is None or set_for.due_at != event.due_at:
        return ()
    if at < set_for.at:
        return (asked_early(NOTICE, set_for),)
    account = account_of(state, event, at)
    account.version -= 1  # nothing of the customer changes
    account.put(NOTICE, None)
    for key in ACTIVE.walk(account):
        lot_id = ACTIVE.lot_id(key)
        lot = lot_of(account, lot_id)
        if lot.expires_at is None:
            break
        when = lot.expires_at - NOTICE_BEFORE
        if when > at or len(account.facts) == AT_ONCE:
            account.put(NOTICE, timer(lot_id, when, account.version, at + MILLISECOND))
            break
        if not lot.announced:
            _announce(account, lot_id, lot)
    return (Assigned(account.records), *account.facts)


def asked_early(name: str, set_for: LoyaltyTimer) -> Assigned:
    """Return a timer set again that asked before its time, because the asking worker's clock runs ahead."""
    return Assigned({name: changed(set_for, due_at=set_for.due_at + SECOND)})


def _restart(account: Account, name: str, book: Book) -> None:
    """Set a timer to the first lot of a book. What is overdue is asked for at once, but not for the same due time."""
    key = book.first(account)
    when = None if key is None else _when(account, book, key)
    if key is None or when is None:
        if account.get(name) is not None:
            account.put(name, None)
    else:
        account.put(name, timer(book.lot_id(key), when, account.version, account.at + MILLISECOND))


def _when(account: Account, book: Book, key: str) -> datetime | None:
    lot = lot_of(account, book.lot_id(key))
    return lot.activates_at if book is PENDING else lot.expires_at


def _step(account: Account) -> bool:
    """Do what is due first: an expiry before an activation of the same instant. Return whether something was."""
    at = account.at
    pending, active = PENDING.first(account), ACTIVE.first(account)
    begins = None if pending is None else _when(account, PENDING, pending)
    ends = None if active is None else _when(account, ACTIVE, active)
    if active is not None and ends is not None and ends <= at and (begins is None or ends <= begins):
        _expire(account, active)
    elif pending is not None and begins is not None and begins <= at:
        _activate(account, pending)
    else:
        return False
    return True


def _activate(account: Account, key: str) -> None:
    lot_id = PENDING.lot_id(key)
    before = lot_of(account, lot_id)
    points = before.remaining
    short = is_short(before.expires_at, account.at)
    lot = changed(before, status="ACTIVE", announced=before.announced or short)
    PENDING.remove(account, key)
    account.put(transaction_name(lot_id), lot)
    account.line("ACTIVATED", lot_id, points, pending=-points)
    enter(account, lot_id, lot)
    recovered = recover(account, lot_id)
    account.add(
        LoyaltyPointsActivated,
        lot_id=lot_id,
        points=points,
        expires_at=lot.expires_at,
        recovered=recovered,
        **account.numbers,
    )


def _expire(account: Account, key: str) -> None:
    lot_id = ACTIVE.lot_id(key)
    lot = lot_of(account, lot_id)
    points = lot.remaining
    ACTIVE.remove(account, key)
    expired = changed(lot, status="EXPIRED", remaining=0, expired=lot.expired + points)
    account.put(transaction_name(lot_id), expired)
    account.expired += points
    account.line("EXPIRED", lot_id, -points)
    account.add(
        LoyaltyPointsExpired, lot_id=lot_id, points=points, expires_at=lot.expires_at, **account.numbers
    )


def _announce(account: Account, lot_id: str, lot: LoyaltyLot) -> None:
    account.put(transaction_name(lot_id), changed(lot, announced=True))
    account.add(LoyaltyPointsExpiringSoon, lot_id=lot_id, points=lot.remaining, expires_at=lot.expires_at)
