"""Points set aside (contracts 3.3)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from streams.events import (
    LoyaltyLink,
    LoyaltyPointsHeld,
    LoyaltyPointsHoldRequested,
    LoyaltyPointsRedeemed,
    LoyaltyPointsReleased,
    LoyaltyPointsReversed,
)
from tests.unit.tables.customer_world import DAY, Customer
from tests.unit.tables.scenario import NOON


def released(facts: list[Any]) -> LoyaltyPointsReleased:
    [fact] = [each for each in facts if isinstance(each, LoyaltyPointsReleased)]
    return fact


def test_held_points_cannot_be_spent_or_held_again() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=30)
    held = customer.one(LoyaltyPointsHeld, customer.hold(60, "h1", reason="basket"))
    assert (held.points, held.balance, held.held, held.expires_at) == (
        60,
        40,
        60,
        NOON + timedelta(minutes=15),
    )
    assert held.lots == (LoyaltyLink(lot_id="e1", points=60),)
    assert customer.refusal(customer.redeem(41, "r1")) == "INSUFFICIENT_POINTS"
    assert customer.refusal(customer.hold(41, "h2")) == "INSUFFICIENT_POINTS"


def test_a_captured_hold_is_a_redemption_that_can_be_reversed() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=30)
    customer.hold(60, "h1")
    redeemed = customer.one(LoyaltyPointsRedeemed, customer.capture("h1", "r1"))
    assert (redeemed.points, redeemed.hold_id, redeemed.balance, redeemed.held) == (60, "h1", 40, 0)
    assert redeemed.lots == (LoyaltyLink(lot_id="e1", points=60),)
    assert customer.run_timers(NOON + DAY) == []
    customer.one(LoyaltyPointsReversed, customer.reverse("r1", "v1"))
    assert customer.head.balance == 100


def test_a_hold_captured_in_part_returns_the_rest() -> None:
    customer = Customer()
    customer.earn(50, "a", days=10)
    customer.earn(50, "b", days=20)
    customer.hold(80, "h1")
    facts = customer.capture("h1", "r1", 60)
    assert customer.one(LoyaltyPointsRedeemed, facts).lots == (
        LoyaltyLink(lot_id="a", points=50),
        LoyaltyLink(lot_id="b", points=10),
    )
    back = released(facts)
    assert (back.points, back.status, back.balance) == (20, "CAPTURED", 40)
    assert customer.left() == {"b": 40}


def test_a_released_hold_returns_to_its_lots_and_releasing_again_changes_nothing() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=30)
    customer.hold(60, "h1")
    back = released(customer.release("h1", reason="cancelled"))
    assert (back.points, back.status, back.balance, back.held) == (60, "RELEASED", 100, 0)
    before = dict(customer.records)
    assert customer.release("h1") == []
    assert customer.records == before
    assert customer.refusal(customer.capture("h1", "r1")) == "HOLD_ENDED"


def test_a_hold_ends_by_itself_with_no_other_traffic() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=30)
    customer.hold(60, "h1", ttl_seconds=60)
    assert customer.run_timers(NOON + timedelta(seconds=59)) == []
    back = released(customer.run_timers(NOON + timedelta(seconds=60)))
    assert (back.status, back.balance) == ("EXPIRED", 100)


@pytest.mark.parametrize("command", ["capture", "release"])
def test_when_its_time_is_over_a_hold_is_expired_even_before_its_timer(command: str) -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.hold(60, "h1", ttl_seconds=60)
    over = NOON + timedelta(seconds=60)
    if command == "capture":
        assert customer.refusal(customer.capture("h1", "r1", at=over)) == "HOLD_ENDED"
    else:
        assert released(customer.release("h1", at=over)).status == "EXPIRED"


def test_held_points_outlive_their_lot_until_the_hold_ends() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=1)
    customer.hold(60, "h1", ttl_seconds=2 * 86_400)
    customer.hold(10, "h2", ttl_seconds=3 * 86_400)
    customer.run_timers(NOON + DAY)
    assert (customer.head.expired, customer.head.held) == (30, 70)
    customer.one(LoyaltyPointsRedeemed, customer.capture("h1", "r1", at=NOON + 1.5 * DAY))
    back = released(customer.run_timers(NOON + 4 * DAY))
    assert (back.expired, back.balance, customer.head.expired) == (10, 0, 40)


def test_released_points_pay_debt_before_they_can_be_spent() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.hold(60, "h1")
    customer.redeem(40, "r1")
    customer.reverse("e1", "v1", 50)
    assert customer.head.debt == 50
    back = released(customer.release("h1"))
    assert (back.recovered, back.balance, back.debt) == (50, 10, 0)


def test_a_hold_over_many_lots_keeps_its_links_in_pages_and_gives_them_up() -> None:
    customer = Customer()
    for number in range(130):
        customer.earn(1, f"e{number}", days=10 + number)
    customer.hold(130, "h1")
    assert customer.records["o|h1"].pages == 2
    facts = customer.capture("h1", "r1", 70)
    assert len(customer.one(LoyaltyPointsRedeemed, facts).lots) == 70
    assert len(customer.left()) == 60
    assert [name for name in customer.records if name.startswith("k|")] == ["k|1|o|h1"]
    customer.reverse("r1", "v1")
    assert len(customer.left()) == 130
    customer.hold(130, "h2")
    customer.release("h2")
    assert not [name for name in customer.records if name.endswith("o|h2") and name.startswith("k|")]


def test_a_repeated_hold_or_capture_is_the_same_and_another_one_under_its_id_is_a_conflict() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.hold(60, "h1")
    assert customer.hold(60, "h1") == []
    assert customer.refusal(customer.hold(61, "h1")) == "DUPLICATE_CONFLICT"
    customer.capture("h1", "r1")
    assert customer.capture("h1", "r1") == []
    assert customer.capture("h1", "r1", 60) == []
    assert customer.refusal(customer.capture("h1", "r1", 59)) == "DUPLICATE_CONFLICT"
    assert customer.refusal(customer.capture("h1", "e1")) == "DUPLICATE_CONFLICT"
    assert customer.refusal(customer.redeem(60, "r1")) == "DUPLICATE_CONFLICT"
    assert customer.refusal(customer.release("h1")) == "HOLD_ENDED"


def test_what_is_not_held_can_be_neither_captured_nor_released() -> None:
    customer = Customer()
    assert customer.refusal(customer.capture("h1", "r1")) == "NOT_FOUND"
    assert customer.refusal(customer.release("h1")) == "NOT_FOUND"
    nobody = Customer(exists=False)
    assert nobody.refusal(nobody.hold(1, "h1")) == "NOT_FOUND"
    assert nobody.refusal(nobody.capture("h1", "r1")) == "NOT_FOUND"
    assert nobody.refusal(nobody.release("h1")) == "NOT_FOUND"


@pytest.mark.parametrize(
    "fields",
    [
        {"points": 0},
        {"points": -5},
        {"hold_id": ""},
        {"ttl_seconds": 0},
        {"ttl_seconds": 31 * 86_400},
        {"reason": "x" * 501},
    ],
)
def test_a_hold_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    customer = Customer()
    customer.earn(100, "e1")
    command = customer.command(LoyaltyPointsHoldRequested, **{"hold_id": "h1", "points": 5, **fields})
    assert customer.refusal(customer.send(command)) == "VALIDATION_FAILED"


def test_no_more_is_captured_than_is_held() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.hold(60, "h1")
    assert customer.refusal(customer.capture("h1", "r1", 61)) == "VALIDATION_FAILED"
    assert customer.refusal(customer.capture("h1", "r1", 0)) == "VALIDATION_FAILED"


def test_a_timer_that_asks_early_is_set_again_and_a_stale_one_does_nothing() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.hold(60, "h1", ttl_seconds=60)
    command = customer.aggregate.on_due(customer.key, "o|h1", customer.records["o|h1"])
    assert customer.send(command, NOON + timedelta(seconds=59)) == []
    assert customer.head.held == 60
    assert customer.send(command, NOON + timedelta(seconds=61)) == []
    assert released(customer.run_timers(NOON + timedelta(seconds=70))).points == 60
