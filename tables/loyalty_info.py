"""What a customer has, and how much of it expires next: the answer to whoever asks (contracts 3.3)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.events import CustomerHead, LoyaltyInfoProvided, LoyaltyInfoRequested
from tables.loyalty_account import Account
from tables.loyalty_checks import (
    NOT_FOUND,
    UNKNOWN_CUSTOMER,
    Refused,
)
from tables.loyalty_lots import lot_of
from tables.loyalty_names import ACTIVE, HEAD
from tables.loyalty_settle import caught_up
from tables.loyalty_tiers import month_of, qualifying
from tables.state import State


def provide_info(state: State, event: LoyaltyInfoRequested, at: datetime) -> tuple[Any, ...]:
    """Answer with a customer's points and tier as they are at ``at``, even where a timer is late. Nothing changes.

    Raises:
        Refused: there is no such customer.
    """
    return (info(state, event, at),)


def info(state: State, event: LoyaltyInfoRequested, at: datetime) -> LoyaltyInfoProvided:
    """Return a customer's points and tier.

    Raises:
        Refused: there is no such customer.
    """
    head: CustomerHead | None = state.get(HEAD)
    if head is None:
        raise Refused(NOT_FOUND, UNKNOWN_CUSTOMER)
    account = Account(state, head, event, at)
    caught_up(account)
    account.facts.clear()
    account.version = head.version
    date, points = _next_expiration(account)
    account.add(
        LoyaltyInfoProvided,
        earned=account.earned,
        redeemed=account.redeemed,
        reversed=account.reversed,
        expired=account.expired,
        restored=account.restored,
        tier=account.head.tier,
        tier_since=account.head.tier_since,
        qualifying_points=qualifying(account.months, account.month, month_of(at)),
        review_at=account.head.review_at,
        next_expiration_date=date,
        next_expiration_points=points,
        **account.numbers,
    )
    provided: LoyaltyInfoProvided = account.facts[0]
    return provided


def _next_expiration(account: Account) -> tuple[datetime | None, int]:
    """Return when points expire next, and how many do at that instant."""
    date, points = None, 0
    for key in ACTIVE.walk(account):
        lot = lot_of(account, ACTIVE.lot_id(key))
        if lot.expires_at is None or (date is not None and lot.expires_at != date):
            break
        date = lot.expires_at
        points += lot.remaining
    return date, points
