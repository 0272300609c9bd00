"""Point lots, the books they stand in, and the timers that watch over them (contracts 3.3).

A lot is active from ``activates_at`` on, and until before ``expires_at``. There is one timer of each kind for a
customer. It may be early, never late: the lot it was set for may have been spent meanwhile.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from streams.events import LoyaltyLot, LoyaltyTimer
from tables.loyalty_account import Account
from tables.loyalty_names import (
    ACTIVATION,
    ACTIVE,
    EXPIRY,
    NOTICE,
    PENDING,
    active_key,
    pending_key,
    transaction_name,
)

NOTICE_BEFORE: Final = timedelta(days=7)
"""An expiry is announced so long before. Lots that live shorter are not announced: who earned them was told."""


def lot_of(account: Account, lot_id: str) -> LoyaltyLot:
    """Return a lot that a book or a link names.

    Raises:
        LookupError: it is missing: the state is not what these rules wrote.
    """
    lot = account.get(transaction_name(lot_id))
    if type(lot) is not LoyaltyLot:
        raise LookupError(
            "a book or a link names a lot that is not there; rebuild the table from its changelog"
        )
    return lot


def enter(account: Account, lot_id: str, lot: LoyaltyLot) -> None:
    """Put a lot with points left, which is in no book, into that of its status, and start its timers."""
    if lot.status == "PENDING":
        PENDING.insert(account, pending_key(lot_id, lot))
        _start(account, ACTIVATION, lot_id, lot.activates_at)
        return
    ACTIVE.insert(account, active_key(lot_id, lot))
    if lot.expires_at is not None:
        _start(account, EXPIRY, lot_id, lot.expires_at)
        if not lot.announced:
            _start(account, NOTICE, lot_id, lot.expires_at - NOTICE_BEFORE)


def leave(account: Account, lot_id: str, lot: LoyaltyLot) -> None:
    """Take a lot out of the book it is in, which is that of its status."""
    if lot.status == "PENDING":
        PENDING.remove(account, pending_key(lot_id, lot))
    else:
        ACTIVE.remove(account, active_key(lot_id, lot))


def is_short(expires_at: datetime | None, active_from: datetime) -> bool:
    """Return whether a lot expires too soon to be announced."""
    return expires_at is not None and expires_at - active_from <= NOTICE_BEFORE


def timer(lot_id: str, when: datetime, version: int, not_before: datetime | None = None) -> LoyaltyTimer:
    """Return a timer for what happens to a lot at ``when``. It asks at a whole millisecond, as timers count them.

    Args:
        lot_id: the lot.
        when: when it happens.
        version: the customer's, so that no two timers are taken for each other.
        not_before: it asks then, where ``when`` is earlier.
    """
    due = when if not_before is None or when > not_before else not_before
    rest = due.microsecond % 1000
    if rest:
        due += timedelta(microseconds=1000 - rest)
    return LoyaltyTimer(lot_id=lot_id, at=when, due_at=due, version=version)


def _start(account: Account, name: str, lot_id: str, when: datetime) -> None:
    known = account.get(name)
    if known is None or when < known.at:
        account.put(name, timer(lot_id, when, account.version))
