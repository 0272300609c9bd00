"""Tiers: up at once, down at a review only (contracts 3.3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from streams.events import LoyaltyTierDowngraded, LoyaltyTierUpgraded
from tables.loyalty_tiers import REVIEW_AFTER, deserved, month_of, qualifying
from tests.unit.tables.customer_world import DAY, Customer
from tests.unit.tables.scenario import NOON


def test_a_customer_rises_at_once() -> None:
    customer = Customer()
    customer.earn(999, "e1")
    assert customer.head.tier == "BASIC"
    upgraded = customer.one(LoyaltyTierUpgraded, customer.earn(1, "e2"))
    assert (upgraded.tier, upgraded.previous_tier, upgraded.qualifying_points) == ("SILVER", "BASIC", 1_000)
    assert upgraded.review_at == NOON + REVIEW_AFTER
    assert customer.one(LoyaltyTierUpgraded, customer.earn(19_000, "e3")).tier == "PLATINUM"
    assert customer.of(LoyaltyTierUpgraded, customer.earn(19_000, "e4")) == []


def test_spending_never_lowers_a_tier_and_pending_points_qualify() -> None:
    customer = Customer()
    assert customer.one(LoyaltyTierUpgraded, customer.earn(5_000, "e1", pending_days=3)).tier == "GOLD"
    customer.earn(100, "e2")
    customer.redeem(100, "r1")
    assert customer.info().qualifying_points == 5_100


def test_an_earn_may_not_qualify() -> None:
    customer = Customer()
    assert customer.of(LoyaltyTierUpgraded, customer.earn(5_000, "e1", qualifying=False)) == []
    customer.reverse("e1", "v1")
    customer.earn(900, "e2")
    assert customer.info().qualifying_points == 900


def test_a_reversal_lowers_what_qualifies_and_the_tier_at_its_review() -> None:
    customer = Customer()
    customer.earn(1_500, "e1")
    customer.reverse("e1", "v1", 1_000)
    info = customer.info()
    assert (info.tier, info.qualifying_points) == ("SILVER", 500)
    assert customer.run_timers(NOON + REVIEW_AFTER - timedelta(milliseconds=1)) == []
    downgraded = customer.one(LoyaltyTierDowngraded, customer.run_timers(NOON + REVIEW_AFTER))
    assert (downgraded.tier, downgraded.previous_tier, downgraded.review_at) == ("BASIC", "SILVER", None)
    assert customer.run_timers(NOON + 4 * REVIEW_AFTER) == []


def test_who_still_deserves_the_tier_keeps_it_until_the_next_review() -> None:
    customer = Customer()
    customer.earn(5_000, "e1")
    customer.earn(1_200, "e2", at=NOON + 300 * DAY)
    facts = customer.run_timers(NOON + REVIEW_AFTER)
    downgraded = customer.one(LoyaltyTierDowngraded, facts)
    assert (downgraded.tier, downgraded.qualifying_points) == ("SILVER", 1_200)
    customer.earn(1_000, "e3", at=NOON + 500 * DAY)
    assert customer.run_timers(NOON + 2 * REVIEW_AFTER) == []
    assert (customer.head.tier, customer.head.review_at) == ("SILVER", NOON + 3 * REVIEW_AFTER)


def test_points_qualify_for_twelve_calendar_months() -> None:
    customer = Customer(at=datetime(2026, 1, 31, tzinfo=UTC))
    customer.earn(600, "january")
    customer.earn(300, "december", at=datetime(2026, 12, 31, tzinfo=UTC))
    assert customer.info().qualifying_points == 900
    assert customer.info(at=datetime(2027, 1, 1, tzinfo=UTC)).qualifying_points == 300
    customer.earn(50, "next", at=datetime(2027, 1, 2, tzinfo=UTC))
    assert customer.info().qualifying_points == 350
    assert len(customer.head.months) == 12
    customer.reverse("january", "v1")
    assert customer.info().qualifying_points == 350
    customer.reverse("december", "v2")
    assert customer.info().qualifying_points == 50
    customer.earn(7, "much later", at=datetime(2036, 1, 2, tzinfo=UTC))
    assert customer.info().qualifying_points == 7


def test_a_review_that_asks_early_or_is_stale_changes_no_tier() -> None:
    customer = Customer()
    customer.earn(1_000, "e1")
    customer.reverse("e1", "v1")
    command = customer.aggregate.on_due(customer.key, "h", customer.head)
    assert customer.send(command, NOON + REVIEW_AFTER - timedelta(seconds=3)) == []
    assert customer.send(command, NOON + REVIEW_AFTER) == []
    assert customer.head.tier == "SILVER"
    assert len(customer.run_timers(NOON + REVIEW_AFTER + DAY)) == 1


@pytest.mark.parametrize(
    ("points", "tier"),
    [
        (0, "BASIC"),
        (999, "BASIC"),
        (1_000, "SILVER"),
        (4_999, "SILVER"),
        (5_000, "GOLD"),
        (10**9, "PLATINUM"),
    ],
)
def test_a_tier_takes_its_points(points: int, tier: str) -> None:
    assert deserved(points) == tier


def test_months_that_are_too_old_do_not_count() -> None:
    now = month_of(NOON)
    assert qualifying((1, 2, 4), now, now) == 7
    assert qualifying((1, 2, 4), now - 10, now) == 3
    assert qualifying((1, 2, 4), now - 12, now) == 0
