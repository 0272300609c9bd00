"""Taking earns and redemptions back (contracts 3.3, N23)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from streams.events import (
    LoyaltyLink,
    LoyaltyPointsActivated,
    LoyaltyPointsEarned,
    LoyaltyPointsRedeemed,
    LoyaltyPointsRejected,
    LoyaltyPointsReversalDeferred,
    LoyaltyPointsReversed,
    LoyaltyPointsReverseRequested,
    LoyaltyReversal,
)
from tests.unit.tables.customer_world import DAY, Customer
from tests.unit.tables.scenario import NOON


def reversed_(facts: list[Any]) -> LoyaltyPointsReversed:
    [fact] = facts
    assert isinstance(fact, LoyaltyPointsReversed)
    return fact


def test_an_unspent_earn_is_taken_out_of_its_lot() -> None:
    customer = Customer()
    customer.earn(50, "other", days=10)
    customer.earn(100, "e1", days=20)
    fact = reversed_(customer.reverse("e1", "v1", reason="returned"))
    assert (fact.kind, fact.points, fact.taken, fact.shortfall, fact.balance) == ("EARN", 100, 100, 0, 50)
    assert customer.lot("e1").status == "REVERSED"
    assert customer.left() == {"other": 50}


def test_a_pending_earn_is_taken_back_before_it_ever_is_active() -> None:
    customer = Customer()
    customer.earn(100, "e1", pending_days=5)
    fact = reversed_(customer.reverse("e1", "v1", 40))
    assert (fact.taken, fact.pending, fact.balance) == (40, 60, 0)
    customer.reverse("e1", "v2")
    assert customer.run_timers(NOON + 6 * DAY) == []
    assert (customer.head.pending, customer.head.balance, customer.head.reversed) == (0, 0, 100)


def test_reversing_an_earn_that_is_spent_takes_what_remains_and_leaves_debt() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.redeem(70, "r1")
    fact = reversed_(customer.reverse("e1", "v1"))
    assert (fact.taken, fact.shortfall, fact.recovered) == (30, 70, 0)
    assert (fact.balance, fact.debt) == (0, 70)
    assert customer.head.reversed == 30


def test_debt_is_recovered_from_the_next_earns() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.redeem(100, "r1")
    customer.reverse("e1", "v1")
    first = customer.one(LoyaltyPointsEarned, customer.earn(60, "e2"))
    assert (first.recovered, first.balance, first.debt) == (60, 0, 40)
    second = customer.one(LoyaltyPointsEarned, customer.earn(60, "e3"))
    assert (second.recovered, second.balance, second.debt) == (40, 20, 0)
    assert customer.left() == {"e3": 20}


def test_debt_is_recovered_from_pending_points_when_they_become_active() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.redeem(100, "r1")
    customer.earn(150, "e2", pending_days=3)
    fact = reversed_(customer.reverse("e1", "v1"))
    assert (fact.debt, fact.pending) == (100, 150)
    activated = customer.one(LoyaltyPointsActivated, customer.run_timers(NOON + 3 * DAY))
    assert (activated.recovered, activated.balance, activated.debt) == (100, 50, 0)


def test_nobody_spends_while_in_debt_so_other_lots_pay_at_once() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=5)
    customer.earn(50, "e2", days=50)
    customer.redeem(100, "r1")
    fact = reversed_(customer.reverse("e1", "v1"))
    assert (fact.shortfall, fact.recovered, fact.debt, fact.balance) == (100, 50, 50, 0)


def test_points_that_paid_debt_count_as_spent_when_their_own_earn_is_reversed() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.redeem(100, "r1")
    customer.reverse("e1", "v1")
    customer.earn(100, "e2")
    fact = reversed_(customer.reverse("e2", "v2"))
    assert (fact.taken, fact.shortfall, fact.debt) == (0, 100, 100)


def test_points_of_an_earn_that_expired_are_not_owed() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=10)
    customer.redeem(30, "r1")
    customer.run_timers(NOON + 10 * DAY)
    fact = reversed_(customer.reverse("e1", "v1", at=NOON + 11 * DAY))
    assert (fact.taken, fact.expired, fact.shortfall, fact.debt) == (0, 70, 30, 30)


def test_expired_points_are_counted_once_by_reversals_in_parts() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=10)
    customer.redeem(30, "r1")
    customer.run_timers(NOON + 10 * DAY)
    first = reversed_(customer.reverse("e1", "v1", 60))
    second = reversed_(customer.reverse("e1", "v2", 40))
    assert (first.expired, first.shortfall) == (60, 0)
    assert (second.expired, second.shortfall, second.debt) == (10, 30, 30)


def test_points_restored_at_the_instant_of_their_expiry_expire_at_once() -> None:
    customer = Customer()
    customer.earn(100, "e1", days=10)
    customer.redeem(100, "r1")
    fact = reversed_(customer.reverse("r1", "v1", at=NOON + 10 * DAY))
    assert (fact.expired, fact.balance) == (100, 0)


def test_a_redemption_returns_to_its_lots_with_their_expiry() -> None:
    customer = Customer()
    customer.earn(10, "a", days=10)
    customer.earn(20, "b", days=20)
    customer.earn(30, "c", days=30)
    customer.redeem(45, "r1")
    fact = reversed_(customer.reverse("r1", "v1"))
    assert fact.lots == (
        LoyaltyLink(lot_id="c", points=15),
        LoyaltyLink(lot_id="b", points=20),
        LoyaltyLink(lot_id="a", points=10),
    )
    assert customer.left() == {"a": 10, "b": 20, "c": 30}
    assert customer.lot("a").expires_at == NOON + 10 * DAY
    assert customer.head.restored == 45


def test_a_partial_reversal_leaves_the_links_of_a_smaller_redemption() -> None:
    customer = Customer()
    customer.earn(10, "a", days=10)
    customer.earn(20, "b", days=20)
    customer.redeem(25, "r1")
    customer.reverse("r1", "v1", 10)
    assert customer.left() == {"b": 15}
    customer.reverse("r1", "v2", 15)
    assert customer.left() == {"a": 10, "b": 20}


def test_a_redemption_over_three_lots_of_which_one_expired_is_restored_once() -> None:
    customer = Customer()
    for lot, days in (("a", 10), ("b", 20), ("c", 30)):
        customer.earn(100, lot, days=days)
    customer.redeem(300, "r1")
    later = NOON + 15 * DAY
    part = reversed_(customer.reverse("r1", "v1", 150, at=later))
    assert (part.expired, part.balance) == (0, 150)
    assert customer.reverse("r1", "v1", 150) == [], "a repeated id is the same reversal"
    rest = reversed_(customer.reverse("r1", "v2"))
    assert (rest.points, rest.expired, rest.balance) == (150, 100, 200)
    assert customer.refusal(customer.reverse("r1", "v3")) == "ALREADY_REVERSED"
    assert (customer.head.restored, customer.head.expired) == (300, 100)
    assert (customer.lot("a").status, customer.lot("b").status) == ("EXPIRED", "ACTIVE")


def test_grace_lets_restored_points_live_on_whose_lot_has_expired() -> None:
    customer = Customer()
    customer.earn(100, "a", days=10)
    customer.redeem(100, "r1")
    later = NOON + 15 * DAY
    fact = reversed_(customer.reverse("r1", "v1", at=later, grace_days=5))
    assert (fact.expired, fact.balance) == (0, 100)
    assert customer.lot("a").expires_at == later + 5 * DAY
    customer.run_timers(later + 5 * DAY)
    assert (customer.head.balance, customer.head.expired) == (0, 100)


def test_an_earn_and_the_redemption_of_it_taken_back_leave_neither_points_nor_debt() -> None:
    for order in ("earn first", "redemption first"):
        customer = Customer()
        customer.earn(100, "e1", days=10)
        customer.redeem(100, "r1")
        first, second = ("e1", "r1") if order == "earn first" else ("r1", "e1")
        customer.reverse(first, "v1")
        customer.reverse(second, "v2", at=NOON + 20 * DAY if order == "earn first" else None)
        assert (customer.head.balance, customer.head.debt) == (0, 0), order


def test_reversals_of_an_original_add_up_to_no_more_than_it() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.reverse("e1", "v1", 60)
    assert customer.refusal(customer.reverse("e1", "v2", 41)) == "EXCEEDS_ORIGINAL"
    customer.reverse("e1", "v3", 40)
    assert customer.refusal(customer.reverse("e1", "v4")) == "ALREADY_REVERSED"


def test_a_reversal_repeated_long_after_is_no_second_one_and_another_one_under_its_id_is_a_conflict() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.reverse("e1", "v1", 60)
    assert customer.reverse("e1", "v1", 60) == []
    assert customer.refusal(customer.reverse("e1", "v1", 61)) == "DUPLICATE_CONFLICT"
    assert customer.refusal(customer.earn(5, "v1")) == "DUPLICATE_CONFLICT"
    assert customer.refusal(customer.reverse("v1", "v9")) == "VALIDATION_FAILED"


@pytest.mark.parametrize(
    "fields",
    [
        {"transaction_id": ""},
        {"original_transaction_id": ""},
        {"original_transaction_id": "v1"},
        {"points": 0},
        {"points": -1},
        {"points": 10**12 + 1},
        {"grace_days": -1},
        {"grace_days": 3_651},
        {"reason": "x" * 501},
    ],
)
def test_a_reversal_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    customer = Customer()
    given = {"transaction_id": "v1", "original_transaction_id": "e1", **fields}
    command = customer.command(LoyaltyPointsReverseRequested, **given)
    assert customer.refusal(customer.send(command)) == "VALIDATION_FAILED"


def test_a_reversal_that_comes_first_waits_for_its_original() -> None:
    customer = Customer()
    [deferred] = customer.reverse("e1", "v1")
    assert isinstance(deferred, LoyaltyPointsReversalDeferred)
    assert deferred.until == NOON + DAY
    facts = customer.earn(100, "e1", at=NOON + timedelta(hours=1))
    assert [type(fact) for fact in facts] == [LoyaltyPointsEarned, LoyaltyPointsReversed]
    assert facts[1].envelope == deferred.envelope
    assert (customer.head.balance, customer.head.waiting) == (0, 0)
    assert isinstance(customer.records["t|v1"], LoyaltyReversal)
    assert customer.run_timers(NOON + 2 * DAY) == []


def test_reversals_of_a_redemption_and_of_a_captured_hold_wait_too() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    customer.reverse("r1", "v1")
    customer.reverse("c1", "v2")
    assert [type(fact) for fact in customer.redeem(60, "r1")] == [
        LoyaltyPointsRedeemed,
        LoyaltyPointsReversed,
    ]
    customer.hold(30, "h1")
    assert len(customer.of(LoyaltyPointsReversed, customer.capture("h1", "c1"))) == 1
    assert (customer.head.balance, customer.head.waiting) == (100, 0)


def test_a_reversal_of_somebody_unknown_waits_until_the_customer_is_made() -> None:
    customer = Customer(exists=False)
    customer.reverse("e1", "v1", 30)
    customer.reverse("e2", "v2")
    customer.earn(100, "e1", auto_create=True)
    assert (customer.head.balance, customer.head.waiting) == (70, 1)


def test_a_reversal_whose_original_never_comes_is_refused_after_a_day() -> None:
    customer = Customer()
    customer.reverse("e1", "v1")
    customer.reverse("e1", "v2", 5, at=NOON + timedelta(hours=2))
    assert customer.run_timers(NOON + DAY - timedelta(milliseconds=1)) == []
    [first] = customer.run_timers(NOON + DAY)
    assert isinstance(first, LoyaltyPointsRejected)
    assert (first.reason_code, first.transaction_id) == ("NOT_FOUND", "v1")
    [second] = customer.run_timers(NOON + 2 * DAY)
    assert second.transaction_id == "v2"
    assert customer.head.waiting == 0
    customer.earn(100, "e1")
    assert customer.head.balance == 100


def test_of_the_reversals_that_wait_only_those_that_fit_are_done() -> None:
    customer = Customer()
    customer.reverse("e1", "v1", 70)
    customer.reverse("e1", "v2", 70)
    facts = customer.earn(100, "e1")
    assert reversed_(customer.of(LoyaltyPointsReversed, facts)).transaction_id == "v1"
    [rejected] = customer.run_timers(NOON + timedelta(seconds=1))
    assert (rejected.reason_code, rejected.transaction_id) == ("EXCEEDS_ORIGINAL", "v2")
    assert customer.head.waiting == 0


def test_a_reversal_that_waited_too_long_is_not_done_even_where_its_timer_is_late() -> None:
    customer = Customer()
    customer.reverse("e1", "v1")
    facts = customer.earn(100, "e1", at=NOON + DAY)
    assert customer.of(LoyaltyPointsReversed, facts) == []
    [rejected] = customer.run_timers(NOON + 2 * DAY)
    assert (rejected.reason_code, customer.head.balance) == ("NOT_FOUND", 100)


def test_a_waiting_reversal_repeated_is_the_same_and_another_one_under_its_id_is_a_conflict() -> None:
    customer = Customer()
    customer.reverse("e1", "v1", 5)
    assert customer.reverse("e1", "v1", 5) == []
    assert customer.refusal(customer.reverse("e1", "v1", 6)) == "DUPLICATE_CONFLICT"


def test_only_so_many_reversals_wait() -> None:
    customer = Customer(exists=False)
    for number in range(20):
        customer.reverse("e1", f"v{number}", 1)
    assert customer.refusal(customer.reverse("e1", "v20", 1)) == "CONFLICT"
    for number in range(2, 1_001):
        customer.reverse(f"e{number}", f"w{number}")
    assert customer.refusal(customer.reverse("another", "w")) == "CONFLICT"


def test_a_timer_that_asks_early_is_set_again() -> None:
    customer = Customer()
    customer.reverse("e1", "v1")
    waiting = customer.records["w|e1"]
    early = customer.aggregate.on_due(customer.key, "w|e1", waiting)
    assert customer.send(early, NOON + DAY - timedelta(seconds=5)) == []
    assert customer.records["w|e1"].due_at > waiting.due_at
    assert customer.send(early, NOON + 2 * DAY) == [], "the due time is another one now"
    assert len(customer.run_timers(NOON + 2 * DAY)) == 1


def test_a_reversal_may_expect_a_version() -> None:
    customer = Customer()
    customer.earn(100, "e1")
    assert customer.refusal(customer.reverse("e1", "v1", expected_version=1)) == "VERSION_CONFLICT"
    reversed_(customer.reverse("e1", "v1", expected_version=2))
