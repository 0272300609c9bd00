"""What a customer and the records of one are called (contracts 3.3).

One record holds the numbers, and everything that grows is in small ones: a lot or another transaction under its id, a
page of a book, a page of links, a line of the ledger.
"""

from __future__ import annotations

from typing import Any, Final

from streams.events import (
    LoyaltyBook,
    LoyaltyBookEntry,
    LoyaltyBookPage,
    LoyaltyLot,
    LoyaltyPointsHoldRequested,
)
from streams.keys import key_of
from tables.lots import Book

HEAD: Final = "h"
PROFILE: Final = "p"
PREFERENCES: Final = "f"
ACTIVATION: Final = "a"
EXPIRY: Final = "x"
NOTICE: Final = "s"
"""Timers: the next activation, expiry and announcement of an expiry."""

LINE_PREFIX: Final = "g|"
LINKS_PREFIX: Final = "k|"

LINES: Final = 500
"""Ledger lines that are kept; a new one takes the slot of the oldest (contracts 3.3)."""
SLOTS: Final = tuple(f"{LINE_PREFIX}{slot}" for slot in range(LINES))

ACTIVE: Final = Book("e", 2, LoyaltyBookPage, LoyaltyBook, LoyaltyBookEntry)
"""Active lots with points left: soonest to expire first, those that never do last, then in the order of earning."""
PENDING: Final = Book("q", 2, LoyaltyBookPage, LoyaltyBook, LoyaltyBookEntry)
"""Pending lots with points left, by activation."""


def of_customer(record: Any) -> str:
    """Return the key of a customer's commands and facts."""
    return key_of(record.tenant_id, record.customer_id)


def transacting(command: Any) -> str:
    """Return by which id a transaction is known; an earn, a redemption, a reversal and a capture share the ids."""
    return f"transaction|{command.transaction_id}"


def holding(command: LoyaltyPointsHoldRequested) -> str:
    """Return by which id a hold is known."""
    return f"hold|{command.hold_id}"


def active_key(lot_id: str, lot: LoyaltyLot) -> str:
    """Return the key of a lot in the book of active lots."""
    return ACTIVE.key(lot_id, lot.expires_at, lot.earned_at)


def pending_key(lot_id: str, lot: LoyaltyLot) -> str:
    """Return the key of a lot in the book of pending lots."""
    return PENDING.key(lot_id, lot.activates_at, lot.earned_at)


def transaction_name(transaction_id: str) -> str:
    """Return the name of a transaction: a lot (which is an earn), a redemption or a reversal."""
    return f"t|{transaction_id}"


def hold_name(hold_id: str) -> str:
    """Return the name of a hold."""
    return f"o|{hold_id}"


def waiting_name(transaction_id: str) -> str:
    """Return the name of the reversals that came before the transaction with this id."""
    return f"w|{transaction_id}"


def line_name(number: int) -> str:
    """Return the name of the slot of a ledger line."""
    return SLOTS[number % LINES]


def links_name(owner: str, page: int) -> str:
    """Return the name of a page of links (from 1) of the redemption or hold called ``owner``."""
    return f"{LINKS_PREFIX}{page}|{owner}"
