"""Tiers (contracts 3.3): what a customer earned lately, not what is left of it.

Points qualify in the month in which they are earned, pending or not, and count for 12 calendar months (UTC), the month
itself included. A customer rises at once and falls only at a review, a year after the tier was reached or reviewed.
Redemptions change nothing; a reversal takes the points out of their month.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from streams.events import (
    CustomerHead,
    LoyaltyTierDowngraded,
    LoyaltyTierReviewRequested,
    LoyaltyTierUpgraded,
)
from tables.facts import changed
from tables.loyalty_account import Account, Assigned
from tables.loyalty_names import HEAD
from tables.state import State

TIERS: Final = (("BASIC", 0), ("SILVER", 1_000), ("GOLD", 5_000), ("PLATINUM", 20_000))
"""Tiers and the qualifying points they take, lowest first."""
RANKS: Final = {tier: rank for rank, (tier, _) in enumerate(TIERS)}
LOWEST: Final = TIERS[0][0]
WINDOW: Final = 12
"""Months that count."""
REVIEW_AFTER: Final = timedelta(days=365)


def month_of(time: datetime) -> int:
    """Return the month of a time (UTC), counted from the year 0."""
    return time.year * 12 + time.month - 1


def qualifying(months: tuple[int, ...], newest: int, now: int) -> int:
    """Return the points that qualify in the month ``now``.

    Args:
        months: points per month, the newest first.
        newest: month of the first of them.
        now: month, as ``month_of`` counts.
    """
    return sum(months) if newest == now else sum(months[: max(WINDOW - (now - newest), 0)])


def deserved(points: int) -> str:
    """Return the highest tier that some qualifying points give."""
    tier = LOWEST
    for name, least in TIERS:
        if points < least:
            break
        tier = name
    return tier


def qualify(account: Account, points: int) -> None:
    """Count points earned now, and let the customer rise where they suffice."""
    now = month_of(account.at)
    months = account.months
    if now > account.month:
        months = ((0,) * min(now - account.month, WINDOW) + months)[:WINDOW] if months else (0,)
        account.month = now
    account.months = (months[0] + points, *months[1:])
    total = sum(account.months)
    rank = RANKS.get(account.head.tier, 0)
    if rank + 1 < len(TIERS) and total >= TIERS[rank + 1][1]:
        _move(account, LoyaltyTierUpgraded, deserved(total), total)


def disqualify(account: Account, points: int, earned_at: datetime) -> None:
    """Take points out of the month in which they were earned. The tier stays until its review."""
    index = account.month - month_of(earned_at)
    months = account.months
    if 0 <= index < len(months):
        account.months = (*months[:index], max(months[index] - points, 0), *months[index + 1 :])


def review(state: State, event: LoyaltyTierReviewRequested, at: datetime) -> tuple[Any, ...]:
    """Answer a timer: let a customer fall who does not deserve the tier any more. A stale command changes nothing."""
    head: CustomerHead | None = state.get(HEAD)
    if head is None or head.review_at is None or head.review_at != event.due_at:
        return ()
    if at < head.review_at:  # the asking worker's clock runs ahead
        return (Assigned({HEAD: changed(head, review_at=head.review_at + timedelta(seconds=1))}),)
    account = Account(state, head, event, at)
    total = qualifying(head.months, head.month, month_of(at))
    tier = deserved(total)
    if RANKS[tier] < RANKS.get(head.tier, 0):
        _move(account, LoyaltyTierDowngraded, tier, total)
    else:
        account.head = changed(head, review_at=at + REVIEW_AFTER)
    return account.done()


def _move(account: Account, fact: type, tier: str, total: int) -> None:
    previous = account.head.tier
    again = None if tier == LOWEST else account.at + REVIEW_AFTER
    account.head = changed(account.head, tier=tier, tier_since=account.at, review_at=again)
    account.add(fact, tier=tier, previous_tier=previous, qualifying_points=total, review_at=again)
