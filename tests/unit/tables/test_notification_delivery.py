"""Attempts, reports and the timer of notifications (contracts 3.4, N57)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import (
    NotificationDelivered,
    NotificationDeliveryOrdered,
    NotificationDueRequested,
    NotificationFailed,
    NotificationSent,
)
from tables.notification_facts import RETENTION
from tests.unit.tables.notifications import ID, Sending, names
from tests.unit.tables.scenario import NOON, TENANT, seconds

TERMINAL = ("DELIVERED", "FAILED", "CANCELLED", "EXPIRED")


def sending(**more: Any) -> Sending:
    """Return a notification whose first attempt was ordered."""
    scenario = Sending()
    scenario.asked(**more)
    scenario.published.clear()
    return scenario


def test_what_the_provider_took_is_sent() -> None:
    scenario = sending()
    scenario.report("SENT", provider_id="p-1")
    sent = scenario.one(NotificationSent)
    assert (sent.attempt, sent.provider_id, sent.possibly_duplicate) == (1, "p-1", False)
    assert (scenario.status, scenario.progress.provider_id) == ("SENT", "p-1")


def test_a_later_delivery_report_makes_it_delivered() -> None:
    scenario = sending()
    scenario.report("SENT", provider_id="p-1")
    assert names(scenario.report("DELIVERED", 0)) == ["Delivered"]
    assert (scenario.status, scenario.progress.provider_id) == ("DELIVERED", "p-1")


def test_a_delivery_report_before_sent_is_kept() -> None:
    scenario = sending()
    assert scenario.report("DELIVERED", 0) == []
    assert (scenario.status, scenario.progress.delivered_at) == ("SENDING", NOON)
    scenario.later(1)
    assert names(scenario.report("SENT")) == ["Sent", "Delivered"]
    assert (scenario.status, scenario.progress.delivered_at) == ("DELIVERED", NOON)


@pytest.mark.parametrize("outcome", ["FAILED", "EXPIRED"])
def test_what_was_delivered_is_not_sent_again_whatever_the_sender_says(outcome: str) -> None:
    scenario = sending()
    scenario.report("DELIVERED", 0)
    assert names(scenario.report(outcome, retryable=True)) == ["Sent", "Delivered"]


def test_a_delivery_report_ends_the_wait_for_the_next_attempt() -> None:
    scenario = sending()
    scenario.report("FAILED", retryable=True)
    assert names(scenario.report("DELIVERED", 0)) == ["Sent", "Delivered"]
    assert scenario.run_timers(NOON + timedelta(days=1)) == []


def test_a_sender_may_know_at_once_that_it_was_delivered() -> None:
    scenario = sending(channel="LOG")
    assert names(scenario.report("DELIVERED")) == ["Sent", "Delivered"]


def test_a_failed_attempt_is_repeated_with_growing_delays_under_the_same_key() -> None:
    scenario = sending(max_attempts=4)
    delays = []
    for attempt in (1, 2, 3):
        assert scenario.report("FAILED", attempt, retryable=True, error="no answer") == []
        delays.append(scenario.progress.due_at - scenario.at)  # type: ignore[operator]
        assert names(scenario.run_timers(scenario.progress.due_at)) == ["DeliveryOrdered"]  # type: ignore[arg-type]
    assert delays == [seconds(30), seconds(60), seconds(120)]
    orders = scenario.of(NotificationDeliveryOrdered)
    assert [order.attempt for order in orders] == [2, 3, 4]
    assert {order.idempotency_key for order in orders} == {"order-7"}
    assert names(scenario.report("FAILED", 4, retryable=True, error="no answer")) == ["Failed"]
    assert scenario.one(NotificationFailed).attempts == 4
    assert scenario.status == "FAILED"


def test_a_provider_may_ask_for_more_time() -> None:
    scenario = sending()
    scenario.report("FAILED", retryable=True, retry_after_ms=300_000)
    assert scenario.progress.due_at == NOON + seconds(300)


def test_a_provider_may_not_ask_for_less_or_for_years() -> None:
    for asked, delay in ((1, seconds(30)), (-5, seconds(30)), (2**63 - 1, timedelta(days=1))):
        scenario = sending()
        scenario.report("FAILED", retryable=True, retry_after_ms=asked)
        assert scenario.progress.due_at == NOON + delay


def test_a_failure_that_no_attempt_can_help_is_final() -> None:
    scenario = sending()
    scenario.report("FAILED", retryable=False, error_code="SMTP_550", error="no such mailbox")
    found = scenario.one(NotificationFailed)
    assert (found.error_code, found.error) == ("SMTP_550", "no such mailbox")


def test_a_notification_that_expires_while_it_waits_for_its_next_attempt_is_not_sent() -> None:
    scenario = sending(expires_at=NOON + seconds(30))
    scenario.report("FAILED", retryable=True)
    assert names(scenario.run_timers(NOON + seconds(30))) == ["Expired"]
    assert scenario.status == "EXPIRED"


def test_what_the_senders_found_too_old_is_expired() -> None:
    scenario = sending()
    assert names(scenario.report("EXPIRED", error="the order is too old")) == ["Expired"]
    assert scenario.progress.reason == "the order is too old"


def test_a_second_report_on_an_attempt_changes_nothing() -> None:
    for first in ("SENT", "FAILED", "EXPIRED"):
        scenario = sending()
        scenario.report(first, retryable=True)
        before = dict(scenario.records)
        assert scenario.report("FAILED", retryable=False) == []
        assert scenario.report("EXPIRED") == []
        assert scenario.records == before


def test_a_report_on_an_earlier_attempt_changes_nothing_unless_it_was_sent() -> None:
    scenario = sending()
    scenario.report("FAILED", 1, retryable=True)
    scenario.run_timers(NOON + seconds(30))
    assert scenario.report("FAILED", 1, retryable=False) == []
    assert scenario.report("SENT", 3) == [], "nobody ordered a third attempt"
    assert names(scenario.report("SENT", 1, possibly_duplicate=True)) == ["Sent"]
    assert scenario.status == "SENT"


def test_a_doubtful_attempt_stays_doubtful() -> None:
    scenario = sending()
    scenario.report("FAILED", 1, retryable=True, possibly_duplicate=True)
    scenario.run_timers(NOON + seconds(30))
    scenario.report("SENT", 2)
    assert scenario.one(NotificationSent).possibly_duplicate
    assert scenario.progress.possibly_duplicate


def test_a_bounce_after_it_was_sent_makes_it_failed() -> None:
    scenario = sending()
    scenario.report("SENT")
    assert names(scenario.report("FAILED", 0, error_code="BOUNCED", error="mailbox full")) == ["Failed"]
    assert scenario.status == "FAILED"


def test_a_provider_that_says_nothing_new_changes_nothing() -> None:
    scenario = sending()
    before = dict(scenario.records)
    assert scenario.report("SENT", 0) == []
    assert scenario.records == before


@pytest.mark.parametrize(("outcome", "attempt"), [("UNKNOWN", 1), ("SENT", -1)])
def test_a_report_that_says_nothing_is_refused(outcome: str, attempt: int) -> None:
    [refusal] = sending().report(outcome, attempt)
    assert refusal.reason_code == "VALIDATION_FAILED"


def test_a_report_on_what_nobody_knows_is_refused_from_a_provider_and_ignored_from_a_sender() -> None:
    assert Sending().report("EXPIRED", 1) == []
    [refusal] = Sending().report("DELIVERED", 0)
    assert refusal.reason_code == "NOT_FOUND"


def test_an_attempt_without_any_report_fails_in_the_end() -> None:
    scenario = sending()
    assert scenario.run_timers(NOON + timedelta(days=7) - seconds(1)) == []
    assert names(scenario.run_timers(NOON + timedelta(days=7))) == ["Failed"]
    assert scenario.one(NotificationFailed).error_code == "NO_REPORT"


def test_what_is_over_is_forgotten_after_its_retention() -> None:
    scenario = sending()
    scenario.report("SENT")
    scenario.later(60)
    scenario.report("DELIVERED", 0)
    scenario.run_timers(NOON + RETENTION)
    assert scenario.records != {}, "a change begins the retention anew"
    scenario.run_timers(NOON + RETENTION + seconds(60))
    assert scenario.records == {}


def test_a_timer_of_the_past_means_nothing() -> None:
    scenario = sending(send_at=NOON + seconds(60))
    due = scenario.progress.due_at
    assert due is not None
    stale = NotificationDueRequested(timestamp=due, tenant_id=TENANT, notification_id=ID, due_at=due)
    scenario.run_timers(due)
    before = dict(scenario.records)
    assert scenario.send(stale, due) == []
    assert scenario.records == before
    assert Sending().send(stale, due) == []


STEP = st.one_of(
    st.tuples(
        st.just("report"),
        st.sampled_from(["SENT", "DELIVERED", "FAILED", "EXPIRED"]),
        st.integers(0, 3),
        st.booleans(),
    ),
    st.tuples(st.sampled_from(["ask", "again", "cancel", "wait"])),
)


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.lists(STEP, max_size=12))
def test_terminal_states_never_change_and_one_attempt_is_under_way_at_most(
    scheduled: bool, steps: list[tuple[Any, ...]]
) -> None:
    scenario = Sending()
    send_at = NOON + seconds(45) if scheduled else None
    scenario.asked(send_at=send_at)
    terminal = None
    for step in steps:
        before = scenario.progress
        scenario.later(20)
        if step[0] == "report":
            scenario.report(step[1], step[2], retryable=step[3])
        elif step[0] == "ask":
            scenario.ask()
        elif step[0] == "again":
            scenario.asked(event_id="again", send_at=send_at)
        elif step[0] == "cancel":
            scenario.cancel()
        else:
            scenario.run_timers(scenario.at)
        progress = scenario.progress
        assert terminal in (None, progress.status)
        if progress.attempts > before.attempts:
            assert before.status == "SCHEDULED" or before.retrying, (
                "an attempt is ordered when none is under way"
            )
        terminal = progress.status if progress.status in TERMINAL else None
    orders = [order.attempt for order in scenario.of(NotificationDeliveryOrdered)]
    assert orders == list(range(1, len(orders) + 1))
    assert len(orders) <= 3
    assert len(scenario.of(NotificationSent)) <= 1
    assert len(scenario.of(NotificationDelivered)) <= 1
