"""Earning and redeeming points (contracts 3.3, N21, N24)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from streams.events import (
    CustomerProfileUpdated,
    LoyaltyLink,
    LoyaltyPointsActivated,
    LoyaltyPointsEarned,
    LoyaltyPointsExpired,
    LoyaltyPointsExpiringSoon,
    LoyaltyPointsRedeemed,
    LoyaltyPointsRejected,
    LoyaltyPointsReverseRequested,
    LoyaltyPointsUpdateRequested,
)
from tables import loyalty_spending
from tables.loyalty_names import HEAD, LINES
from tests.unit.tables.customer_world import DAY, Customer
from tests.unit.tables.scenario import NOON, Scenario


def test_an_earn_makes_a_lot_and_says_what_there_is_now() -> None:
    customer = Customer()
    earned = customer.one(
        LoyaltyPointsEarned, customer.earn(100, "e1", days=30, reason="order", reference="o1")
    )
    assert (earned.transaction_id, earned.points, earned.status) == ("e1", 100, "ACTIVE")
    assert (earned.balance, earned.pending, earned.debt, earned.version) == (100, 0, 0, 2)
    assert (earned.activates_at, earned.expires_at) == (NOON, NOON + 30 * DAY)
    assert (earned.reason, earned.reference) == ("order", "o1")
    assert customer.lot("e1").status == "ACTIVE"


def test_an_earn_stores_four_records_however_long_the_history() -> None:
    customer = Customer()
    for number in range(200):
        customer.earn(1, f"e{number}", days=400 + number)
    before = dict(customer.records)
    customer.earn(1, "another", days=1_000)
    changed = [name for name, record in customer.records.items() if before.get(name) is not record]
    assert len(changed) == 4
    assert {name[0] for name in changed} == {"h", "t", "e", "g"}


def test_a_redemption_takes_the_soonest_to_expire_first_and_what_never_does_last() -> None:
    customer = Customer()
    customer.earn(50, "never")
    customer.earn(30, "late", days=60, at=NOON + timedelta(hours=1))
    customer.earn(20, "soon", days=10, at=NOON + timedelta(hours=2))
    redeemed = customer.one(LoyaltyPointsRedeemed, customer.redeem(60, "r1", reason="gift"))
    assert redeemed.lots == (
        LoyaltyLink(lot_id="soon", points=20),
        LoyaltyLink(lot_id="late", points=30),
        LoyaltyLink(lot_id="never", points=10),
    )
    assert (redeemed.balance, redeemed.points) == (40, 60)
    assert customer.left() == {"never": 40}


def test_lots_of_the_same_expiry_are_spent_in_the_order_of_earning() -> None:
    customer = Customer()
    for minutes, lot in enumerate(["b", "c", "a"]):
        customer.earn(10, lot, expires_at=NOON + 30 * DAY, at=NOON + timedelta(minutes=minutes))
    assert list(customer.left()) == ["b", "c", "a"]


def test_a_redemption_larger_than_the_balance_is_refused_whole() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.earn(50, "later", pending_days=5)
    [rejected] = customer.redeem(101, "r1")
    assert isinstance(rejected, LoyaltyPointsRejected)
    assert (rejected.reason_code, rejected.balance, rejected.shortfall) == ("INSUFFICIENT_POINTS", 100, 1)
    assert (rejected.transaction_id, rejected.points) == ("r1", -101)
    customer.one(LoyaltyPointsRedeemed, customer.redeem(100, "r2"))


def test_two_redemptions_that_race_never_make_the_balance_negative() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.one(LoyaltyPointsRedeemed, customer.redeem(70, "r1"))
    assert customer.refusal(customer.redeem(70, "r2")) == "INSUFFICIENT_POINTS"
    assert customer.head.balance == 30


def test_pending_points_cannot_be_spent_before_they_are_active() -> None:
    customer = Customer()
    earned = customer.one(LoyaltyPointsEarned, customer.earn(100, "e1", pending_days=2))
    assert (earned.status, earned.balance, earned.pending) == ("PENDING", 0, 100)
    assert customer.refusal(customer.redeem(1, "r1")) == "INSUFFICIENT_POINTS"
    facts = customer.redeem(100, "r2", at=NOON + 2 * DAY)
    assert [type(fact) for fact in facts] == [LoyaltyPointsActivated, LoyaltyPointsRedeemed]


def test_a_timer_activates_what_nobody_asks_for() -> None:
    customer = Customer()
    customer.earn(100, "e1", pending_days=2, days=30)
    assert customer.run_timers(NOON + 2 * DAY - timedelta(milliseconds=1)) == []
    [activated] = customer.run_timers(NOON + 2 * DAY)
    assert isinstance(activated, LoyaltyPointsActivated)
    assert (activated.lot_id, activated.points, activated.balance, activated.pending) == ("e1", 100, 100, 0)


def test_points_are_announced_a_week_before_they_expire_and_then_expire() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=30)
    customer.earn(5, "e2", days=31)
    customer.redeem(40, "r1")
    soon, expired = (
        customer.run_timers(NOON + 30 * DAY - timedelta(microseconds=1)),
        customer.run_timers(NOON + 30 * DAY),
    )
    assert [(fact.lot_id, fact.points) for fact in soon] == [("e1", 60), ("e2", 5)]
    assert all(isinstance(fact, LoyaltyPointsExpiringSoon) for fact in soon)
    [gone] = expired
    assert isinstance(gone, LoyaltyPointsExpired)
    assert (gone.lot_id, gone.points, gone.balance) == ("e1", 60, 5)
    assert (customer.lot("e1").status, customer.head.expired) == ("EXPIRED", 60)


def test_an_announcement_is_no_new_version_of_the_customer() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=30)
    soon = customer.one(LoyaltyPointsExpiringSoon, customer.run_timers(NOON + 23 * DAY))
    assert soon.version == customer.head.version == 2


def test_at_one_instant_points_expire_before_others_become_active() -> None:
    customer = Customer()
    customer.earn(100, "old", days=10)
    customer.earn(50, "new", pending_days=10)
    facts = customer.redeem(50, "r1", at=NOON + 10 * DAY)
    assert [type(fact) for fact in facts] == [
        LoyaltyPointsExpired,
        LoyaltyPointsActivated,
        LoyaltyPointsRedeemed,
    ]


def test_a_lot_that_lives_shorter_than_a_week_is_not_announced() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=7)
    assert "s" not in customer.records
    customer.earn(100, "e2", pending_days=10, days=15)
    facts = customer.run_timers(NOON + 30 * DAY)
    assert customer.of(LoyaltyPointsExpiringSoon, facts) == []
    assert len(customer.of(LoyaltyPointsExpired, facts)) == 2


@pytest.mark.parametrize("timer_first", [True, False])
def test_at_the_instant_of_its_expiry_a_lot_cannot_be_redeemed_in_either_order(timer_first: bool) -> None:
    customer = Customer()
    customer.earn(100, "e1", days=10)
    instant = NOON + 10 * DAY
    if timer_first:
        customer.run_timers(instant)
    assert customer.refusal(customer.redeem(100, "r1", at=instant)) == "INSUFFICIENT_POINTS"
    customer.run_timers(instant)
    assert (customer.head.expired, customer.head.redeemed, customer.head.balance) == (100, 0, 0)


def test_just_before_its_expiry_a_lot_is_redeemed_and_nothing_is_left_to_expire() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=10)
    customer.one(
        LoyaltyPointsRedeemed, customer.redeem(100, "r1", at=NOON + 10 * DAY - timedelta(microseconds=1))
    )
    assert customer.run_timers(NOON + 11 * DAY) == []
    assert customer.head.expired == 0


def test_a_refused_redemption_leaves_even_the_expiry_to_its_timer() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=10)
    [rejected] = customer.redeem(100, "r1", at=NOON + 11 * DAY)
    assert rejected.balance == 0
    assert customer.head.balance == 100
    customer.one(LoyaltyPointsExpired, customer.run_timers(NOON + 11 * DAY))


def test_many_lots_that_expire_at_once_are_worked_off_in_parts() -> None:
    customer = Customer()
    for number in range(1_100):
        customer.send(
            customer.command(
                LoyaltyPointsUpdateRequested,
                transaction_id=f"e{number}",
                points_change=1,
                expires_at=NOON + 10 * DAY,
            )
        )
    late = NOON + 20 * DAY
    assert customer.refusal(customer.redeem(1, "r1", at=late)) == "CONFLICT"
    facts = customer.run_timers(late + DAY)
    assert len(customer.of(LoyaltyPointsExpired, facts)) == 1_100
    assert customer.head.balance == 0


def test_a_redemption_of_many_lots_keeps_its_links_in_pages() -> None:
    customer = Customer()
    for number in range(120):
        customer.earn(1, f"e{number}", days=10 + number)
    redeemed = customer.one(LoyaltyPointsRedeemed, customer.redeem(120, "r1"))
    assert [link.lot_id for link in redeemed.lots] == [f"e{number}" for number in range(120)]
    assert customer.records["t|r1"].pages == 2
    customer.reverse("r1", "v1", 75)
    assert list(customer.left()) == [f"e{number}" for number in range(45, 120)]
    customer.reverse("r1", "v2")
    assert len(customer.left()) == 120


def test_an_unknown_customer_earns_only_where_the_command_makes_one() -> None:
    customer = Customer(exists=False)
    assert customer.refusal(customer.earn(10, "e1")) == "NOT_FOUND"
    assert customer.refusal(customer.redeem(10, "r1", auto_create=True)) == "NOT_FOUND"
    assert customer.records == {}
    facts = customer.earn(10, "e1", auto_create=True)
    assert [type(fact) for fact in facts] == [CustomerProfileUpdated, LoyaltyPointsEarned]
    assert (customer.head.balance, customer.head.status) == (10, "ACTIVE")


@pytest.mark.parametrize(
    ("status", "code"), [("BLOCKED", "CUSTOMER_BLOCKED"), ("DELETED", "CUSTOMER_DELETED")]
)
def test_who_is_blocked_or_deleted_neither_earns_nor_redeems_but_points_expire(
    status: str, code: str
) -> None:
    customer = Customer()
    customer.earn(100, "e1", days=10)
    customer.upsert(status=status)
    assert customer.refusal(customer.earn(10, "e2")) == code
    assert customer.refusal(customer.redeem(10, "r1")) == code
    assert customer.refusal(customer.hold(10, "h1")) == code
    assert len(customer.of(LoyaltyPointsExpired, customer.run_timers(NOON + 10 * DAY))) == 1
    customer.reverse("e1", "v1")
    assert customer.lot("e1").status == "REVERSED"


@pytest.mark.parametrize(
    "fields",
    [
        {"points_change": 0},
        {"points_change": 10**12 + 1},
        {"points_change": -(10**12) - 1},
        {"transaction_id": ""},
        {"transaction_id": "x" * 201},
        {"reason": "x" * 501},
        {"reference": "x" * 501},
        {"expires_at": NOON},
        {"expires_at": NOON - DAY},
        {"expires_at": NOON + DAY, "activates_at": NOON + DAY},
        {"points_change": -5, "expires_at": NOON + DAY},
        {"points_change": -5, "activates_at": NOON + DAY},
        {"customer_id": ""},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    customer = Customer()
    customer.earn(100, "e1")
    command = customer.command(
        LoyaltyPointsUpdateRequested, **{"transaction_id": "t1", "points_change": 5, **fields}
    )
    assert customer.refusal(customer.send(command)) == "VALIDATION_FAILED"


def test_points_that_were_to_become_active_in_the_past_are_active_at_once() -> None:
    customer = Customer()
    earned = customer.one(LoyaltyPointsEarned, customer.earn(10, "e1", activates_at=NOON - DAY))
    assert (earned.status, earned.activates_at) == ("ACTIVE", NOON)


def test_a_transaction_repeated_long_after_changes_nothing_and_another_one_under_its_id_is_a_conflict() -> (
    None
):
    customer = Customer()
    customer.earn(100, "e1", reason="order")
    customer.redeem(10, "r1")
    before = dict(customer.records)
    assert customer.earn(100, "e1", reason="order", at=NOON + 90 * DAY) == []
    assert customer.redeem(10, "r1") == []
    assert customer.records == before
    for points, transaction in ((99, "e1"), (-100, "e1"), (-11, "r1"), (10, "r1")):
        assert customer.refusal(customer.earn(points, transaction)) == "DUPLICATE_CONFLICT"


def test_points_in_too_many_lots_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loyalty_spending, "MAX_LOTS", 3)
    customer = Customer()
    for number in range(5):
        customer.earn(10, f"e{number}", days=20 + number)
    assert customer.refusal(customer.redeem(31, "r1")) == "TOO_MANY_LOTS"
    customer.one(LoyaltyPointsRedeemed, customer.redeem(30, "r2"))


def test_what_is_owed_cannot_be_spent_even_where_it_lies_in_too_many_lots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    customer = Customer()
    customer.earn(90, "big", days=10)
    customer.redeem(90, "r1")
    for number in range(10):
        customer.earn(10, f"e{number}", days=20 + number)
    monkeypatch.setattr(loyalty_spending, "MAX_LOTS", 3)
    # Past the checks of customer_world, because debt and balance stand side by side for once.
    reversal = customer.command(
        LoyaltyPointsReverseRequested, transaction_id="v1", original_transaction_id="big"
    )
    Scenario.send(customer, reversal)
    assert (customer.head.debt, customer.head.balance) == (60, 70)
    redemption = customer.command(LoyaltyPointsUpdateRequested, transaction_id="r2", points_change=-11)
    [rejected] = Scenario.send(customer, redemption)
    assert (rejected.reason_code, rejected.balance, rejected.shortfall) == ("INSUFFICIENT_POINTS", 10, 1)


def test_a_command_that_expects_another_version_is_refused() -> None:
    customer = Customer()
    customer.earn(100, "e1", expected_version=1)
    assert customer.refusal(customer.redeem(10, "r1", expected_version=1)) == "VERSION_CONFLICT"
    customer.one(LoyaltyPointsRedeemed, customer.redeem(10, "r1", expected_version=2))
    nobody = Customer(exists=False)
    assert nobody.refusal(nobody.earn(10, "e1", auto_create=True, expected_version=1)) == "VERSION_CONFLICT"
    nobody.earn(10, "e1", auto_create=True, expected_version=0)


def test_the_ledger_keeps_the_last_500_lines() -> None:
    customer = Customer()
    for number in range(LINES + 20):
        customer.earn(1, f"e{number}")
    lines = customer.lines()
    assert len(lines) == LINES
    assert (lines[0].transaction_id, lines[-1].transaction_id) == ("e20", f"e{LINES + 19}")
    assert lines[-1].balance == LINES + 20


def test_totals_never_leave_what_the_contracts_hold() -> None:
    customer = Customer()
    customer.earn(10**12, "e1")
    head = customer.head
    customer.records[HEAD] = type(head)(status="ACTIVE", earned=10**18 - 1, redeemed=10**18 - 1)
    [rejected] = super(Customer, customer).send(
        customer.command(LoyaltyPointsUpdateRequested, transaction_id="e2", points_change=2)
    )
    assert rejected.reason_code == "VALIDATION_FAILED"
