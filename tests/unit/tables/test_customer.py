"""Who a customer is, and what is answered about the customer (contracts 3.3, 001-35 to 001-38)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from streams.events import (
    CustomerProfileProvided,
    CustomerProfileUpdated,
    CustomerRequestRejected,
    CustomerValidated,
    Envelope,
    LoyaltyPointsEarned,
)
from streams.keys import key_of
from tables.customer import CUSTOMER
from tests.unit.tables.customer_world import CUSTOMER_ID, DAY, Customer
from tests.unit.tables.scenario import NOON, TENANT


def refused(facts: list[Any]) -> str:
    [fact] = facts
    assert isinstance(fact, CustomerRequestRejected)
    return fact.reason_code


def test_a_customer_is_made_and_then_changed_field_by_field() -> None:
    customer = Customer(exists=False)
    made = customer.one(
        CustomerProfileUpdated,
        customer.upsert(name="Ann", email="ann@example.com", preferences={"news": "yes", "sms": "no"}),
    )
    assert (made.status, made.previous_status, made.version) == ("ACTIVE", None, 1)
    changed = customer.one(
        CustomerProfileUpdated,
        customer.upsert(
            phone="+1",
            attributes={"vip": "1"},
            preferences={"sms": ""},
            status="BLOCKED",
            at=NOON + DAY,
        ),
    )
    assert (changed.name, changed.email, changed.phone) == ("Ann", "ann@example.com", "+1")
    assert (changed.attributes, changed.preferences) == ({"vip": "1"}, {"news": "yes"})
    assert (changed.status, changed.previous_status, changed.version) == ("BLOCKED", "ACTIVE", 2)
    assert (changed.created_at, changed.updated_at) == (NOON, NOON + DAY)


def test_a_profile_comes_with_preferences_only_where_they_are_asked_for() -> None:
    customer = Customer()
    customer.upsert(name="Ann", preferences={"news": "yes"})
    assert customer.one(CustomerProfileProvided, customer.profile()).preferences is None
    provided = customer.one(CustomerProfileProvided, customer.profile(include_preferences=True))
    assert (provided.name, provided.preferences, provided.version) == ("Ann", {"news": "yes"}, 2)
    customer.upsert(preferences={"news": ""})
    again = customer.one(CustomerProfileProvided, customer.profile(include_preferences=True))
    assert again.preferences == {}
    assert "f" not in customer.records


def test_of_an_unknown_customer_there_is_neither_profile_nor_loyalty() -> None:
    customer = Customer(exists=False)
    assert refused(customer.profile()) == "NOT_FOUND"
    with pytest.raises(AssertionError):
        customer.info()
    assert isinstance(customer.published[-1], CustomerRequestRejected)
    assert customer.records == {}


@pytest.mark.parametrize(
    ("status", "valid", "reason"),
    [
        ("ACTIVE", True, ""),
        ("BLOCKED", False, "CUSTOMER_BLOCKED"),
        ("DELETED", False, "CUSTOMER_DELETED"),
        (None, False, "NOT_FOUND"),
    ],
)
def test_a_customer_is_valid_who_exists_and_is_active(status: str | None, valid: bool, reason: str) -> None:
    customer = Customer(exists=status is not None)
    if status is not None:
        customer.upsert(status=status)
    validated = customer.one(CustomerValidated, customer.validate())
    assert (validated.valid, validated.reason) == (valid, reason)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "UNKNOWN"},
        {"name": "x" * 501},
        {"attributes": {str(number): "x" for number in range(101)}},
        {"preferences": {"x" * 501: "x"}},
        {"attributes": {"x": "x" * 501}},
        {"customer_id": ""},
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    customer = Customer()
    before = dict(customer.records)
    assert refused(customer.upsert(**fields)) == "VALIDATION_FAILED"
    assert customer.records == before


def test_an_upsert_may_expect_a_version_and_zero_means_a_new_customer() -> None:
    customer = Customer(exists=False)
    assert refused(customer.upsert(expected_version=1)) == "VERSION_CONFLICT"
    customer.upsert(expected_version=0)
    assert refused(customer.upsert(expected_version=0)) == "VERSION_CONFLICT"


def test_loyalty_info_tells_what_expires_next() -> None:
    customer = Customer()
    customer.earn(10, "a", expires_at=NOON + 10 * DAY)
    customer.earn(20, "b", expires_at=NOON + 10 * DAY)
    customer.earn(40, "c", expires_at=NOON + 20 * DAY)
    customer.earn(80, "d")
    customer.redeem(5, "r1")
    info = customer.info()
    assert (info.balance, info.next_expiration_date, info.next_expiration_points) == (
        145,
        NOON + 10 * DAY,
        25,
    )
    assert (info.earned, info.redeemed, info.tier, info.version) == (150, 5, "BASIC", 6)


def test_loyalty_info_is_of_its_own_time_even_where_timers_are_late_and_changes_nothing() -> None:
    customer = Customer()
    customer.earn(10, "a", days=10)
    customer.earn(20, "b", pending_days=5)
    before = dict(customer.records)
    info = customer.info(at=NOON + 11 * DAY)
    assert (info.balance, info.pending, info.expired, info.next_expiration_date) == (20, 0, 10, None)
    assert customer.records == before


def test_facts_name_their_command_and_its_request() -> None:
    customer = Customer()
    envelope = Envelope(correlation_id="request-1", causation_id="other")
    earned = customer.one(
        LoyaltyPointsEarned, customer.earn(10, "e1", event_id="command-1", envelope=envelope)
    )
    assert earned.envelope == Envelope(correlation_id="request-1", causation_id="command-1")


def test_a_timer_names_the_customer_of_its_key() -> None:
    customer = Customer()
    customer.earn(10, "e1", pending_days=1, days=30)
    customer.hold(10, "h|1", at=NOON + DAY)
    customer.reverse("r|1", "v1")
    customer.earn(5_000, "e2", days=30, pending_days=2)
    key = key_of("a|b", "50%")
    for name, record in customer.records.items():
        if CUSTOMER.due(name, record) is not None:
            command = CUSTOMER.on_due(key, name, record)
            assert (command.tenant_id, command.customer_id) == ("a|b", "50%")
            assert command.event_id.startswith(f"due|{key}|{name}")
    commands = {
        type(CUSTOMER.on_due(key, n, r)).__name__ for n, r in customer.records.items() if CUSTOMER.due(n, r)
    }
    assert len(commands) >= 4


def test_a_timer_for_a_fraction_of_a_millisecond_asks_after_it() -> None:
    customer = Customer()
    customer.earn(10, "e1", expires_at=NOON + timedelta(microseconds=1_500))
    timer = customer.records["x"]
    assert (timer.at - NOON, timer.due_at - NOON) == (
        timedelta(microseconds=1_500),
        timedelta(microseconds=2_000),
    )


def test_a_lot_timer_that_asks_early_is_set_again_and_a_stale_one_does_nothing() -> None:
    customer = Customer()
    customer.earn(10, "e1", days=30)
    for name in ("x", "s"):
        timer = customer.records[name]
        command = CUSTOMER.on_due(customer.key, name, timer)
        assert customer.send(command, timer.at - timedelta(seconds=2)) == []
        assert customer.records[name].due_at > timer.due_at
        assert customer.send(command, timer.at + timedelta(seconds=9)) == []
    assert len(customer.run_timers(NOON + 40 * DAY)) == 2
    assert (customer.head.balance, customer.records.get("x"), customer.records.get("s")) == (0, None, None)


def test_a_timer_of_a_lot_that_was_spent_meanwhile_moves_on() -> None:
    customer = Customer()
    customer.earn(10, "a", days=10)
    customer.earn(10, "b", days=20)
    customer.redeem(10, "r1")
    assert customer.records["x"].lot_id == "a"
    customer.run_timers(NOON + 10 * DAY)
    assert (customer.records["x"].lot_id, customer.head.expired) == ("b", 0)


def test_what_is_no_command_about_customers_is_a_defect() -> None:
    customer = Customer()
    with pytest.raises(LookupError, match="row in the routes"):
        CUSTOMER.decide(customer, customer.one(CustomerValidated, customer.validate()), NOON)


def test_the_customer_of_these_tests_has_the_key_of_the_routes() -> None:
    assert Customer().key == key_of(TENANT, CUSTOMER_ID)
