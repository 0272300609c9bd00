"""Taking notifications in, cancelling them and asking after them (contracts 3.4, N57)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from streams.events import (
    NotificationAccepted,
    NotificationCancelRejected,
    NotificationCommandRejected,
    NotificationDeliveryOrdered,
    NotificationExpired,
    NotificationScheduled,
    NotificationStatusProvided,
)
from tables.notification_facts import RETENTION
from tables.notification_send import notification_id
from tests.unit.tables.notifications import ID, Sending, names, request
from tests.unit.tables.scenario import NOON, TENANT, seconds

TOMORROW = NOON + timedelta(days=1)


def test_a_notification_is_accepted_and_ordered_at_once() -> None:
    sending = Sending()
    assert names(sending.asked()) == ["Accepted", "DeliveryOrdered"]
    accepted, ordered = sending.one(NotificationAccepted), sending.one(NotificationDeliveryOrdered)
    assert (accepted.notification_id, accepted.status, accepted.repeated) == (ID, "SENDING", False)
    assert (ordered.attempt, ordered.idempotency_key, ordered.channel) == (1, "order-7", "EMAIL")
    assert (ordered.body, ordered.subject) == ("Dear Ada, your order is on its way.", "Order 7")
    assert ordered.timestamp == NOON
    assert (sending.status, sending.progress.attempts) == ("SENDING", 1)


def test_facts_for_everybody_name_neither_recipient_nor_text() -> None:
    sending = Sending()
    sending.asked()
    sending.report("FAILED", error_code="SMTP_550", error="refused")
    sending.ask()
    sending.cancel()
    for fact in sending.published:
        if not isinstance(fact, NotificationDeliveryOrdered):
            assert "lovelace" not in repr(fact)
            assert "Ada" not in repr(fact)


def test_the_idempotency_key_is_the_id_of_a_notification_without_one() -> None:
    assert notification_id(request(notification_id="")) == "order-7"
    assert notification_id(request(notification_id="", idempotency_key="")) == "send-1"
    assert notification_id(request()) == ID


def test_the_id_is_the_idempotency_key_of_a_notification_without_one() -> None:
    sending = Sending()
    sending.asked(idempotency_key="")
    assert sending.one(NotificationDeliveryOrdered).idempotency_key == ID


def test_a_repeated_request_is_the_same_notification() -> None:
    sending = Sending()
    sending.asked()
    sending.report("SENT")
    before = dict(sending.records)
    [again] = sending.asked(event_id="send-2", timestamp=NOON + seconds(60))
    assert (again.status, again.repeated) == ("SENT", True)
    assert sending.records == before


def test_another_notification_under_the_same_id_is_a_conflict() -> None:
    sending = Sending()
    sending.asked()
    before = dict(sending.records)
    [refusal] = sending.asked(event_id="send-2", recipient="bob@example.org")
    assert (refusal.reason_code, refusal.rejected_event_id) == ("DUPLICATE_CONFLICT", "send-2")
    assert sending.records == before


def test_a_notification_for_later_waits_for_its_time() -> None:
    sending = Sending()
    assert names(sending.asked(send_at=TOMORROW)) == ["Scheduled"]
    assert sending.one(NotificationScheduled).send_at == TOMORROW
    assert sending.run_timers(TOMORROW - seconds(1)) == []
    [ordered] = sending.run_timers(TOMORROW)
    assert (ordered.attempt, ordered.timestamp, sending.status) == (1, TOMORROW, "SENDING")


def test_a_time_that_has_come_is_now() -> None:
    sending = Sending()
    assert names(sending.asked(send_at=NOON)) == ["Accepted", "DeliveryOrdered"]


def test_a_notification_that_expired_while_it_was_queued_is_not_sent() -> None:
    sending = Sending()
    assert names(sending.asked(expires_at=NOON)) == ["Expired"]
    assert sending.one(NotificationExpired).attempts == 0
    assert sending.status == "EXPIRED"
    [again] = sending.asked(expires_at=NOON, event_id="send-2")
    assert (again.status, again.repeated) == ("EXPIRED", True)


def test_a_scheduled_notification_that_expired_before_the_timer_came_is_not_sent() -> None:
    sending = Sending()
    sending.asked(send_at=TOMORROW, expires_at=TOMORROW + seconds(10))
    sending.at = TOMORROW + seconds(10)
    assert names(sending.run_timers(TOMORROW)) == ["Expired"]
    assert (sending.status, sending.progress.attempts) == ("EXPIRED", 0)


def test_a_scheduled_notification_can_be_cancelled_and_is_never_sent() -> None:
    sending = Sending()
    sending.asked(send_at=TOMORROW)
    assert names(sending.cancel()) == ["Cancelled"]
    assert (sending.status, sending.progress.reason) == ("CANCELLED", "not wanted")
    assert sending.run_timers(TOMORROW + timedelta(days=7)) == []


def test_a_notification_that_is_being_sent_cannot_be_cancelled() -> None:
    sending = Sending()
    sending.asked()
    before = dict(sending.records)
    [refusal] = sending.cancel()
    assert isinstance(refusal, NotificationCancelRejected)
    assert (refusal.status, refusal.reason_code) == ("SENDING", "CONFLICT")
    assert sending.records == before


def test_a_notification_that_waits_for_its_next_attempt_cannot_be_cancelled() -> None:
    sending = Sending()
    sending.asked()
    sending.report("FAILED", retryable=True)
    assert names(sending.cancel()) == ["CancelRejected"]


@pytest.mark.parametrize("outcome", ["SENT", "DELIVERED", "FAILED", "EXPIRED"])
def test_what_is_over_cannot_be_cancelled(outcome: str) -> None:
    sending = Sending()
    sending.asked()
    sending.report(outcome)
    [refusal] = sending.cancel()
    assert refusal.status == outcome


def test_an_unknown_notification_can_be_neither_cancelled_nor_asked_about() -> None:
    sending = Sending()
    [cancelled], [asked] = sending.cancel(), sending.ask()
    assert (cancelled.status, cancelled.reason_code) == ("UNKNOWN", "NOT_FOUND")
    assert (asked.reason_code, asked.rejected_type) == ("NOT_FOUND", "notification.message.status_requested")
    assert sending.records == {}


def test_the_status_tells_how_far_it_has_come() -> None:
    sending = Sending()
    sending.asked(batch_id="b")
    sending.later(5)
    sending.report("FAILED", retryable=True, error_code="TIMEOUT", error="no answer in time")
    sending.ask()
    found = sending.one(NotificationStatusProvided)
    assert (found.status, found.channel, found.attempts) == ("SENDING", "EMAIL", 1)
    assert (found.last_error, found.changed_at, found.batch_id) == ("no answer in time", NOON, "b")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"channel": "UNKNOWN"}, "channel"),
        ({"recipient": ""}, "recipient"),
        ({"recipient": "ada"}, "e-mail address"),
        ({"recipient": "ada@lovelace.example\r\nBcc: all@example.org"}, "control characters"),
        ({"channel": "SMS", "recipient": "ada"}, "telephone number"),
        ({"channel": "WEBHOOK", "recipient": "file:///etc/passwd"}, "URL"),
        ({"template": ""}, "template is empty"),
        ({"params": {"number": "7"}}, "params has no 'name'"),
        (
            {"subject": "Order {number}", "params": {"name": "Ada", "number": "7\nBcc: x"}},
            "more than one line",
        ),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 11}, "max_attempts"),
        ({"send_at": TOMORROW, "expires_at": TOMORROW}, "expires_at"),
        ({"send_at": NOON + timedelta(days=367)}, "send_at"),
        ({"notification_id": "", "idempotency_key": "", "event_id": ""}, "idempotency_key"),
        ({"notification_id": "a\nb"}, "notification_id"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_cause_and_remedy(wrong: dict[str, Any], says: str) -> None:
    sending = Sending()
    [refusal] = sending.asked(**wrong)
    assert isinstance(refusal, NotificationCommandRejected)
    assert refusal.reason_code == "VALIDATION_FAILED"
    assert says in refusal.message
    assert "lovelace" not in refusal.message
    assert sending.records == {}


def test_a_request_of_last_month_is_not_sent_today() -> None:
    sending = Sending()
    [refusal] = sending.asked(timestamp=NOON - timedelta(days=8))
    assert refusal.reason_code == "LATE_EVENT"


def test_a_notification_is_remembered_for_longer_than_old_requests_are_taken() -> None:
    """Or a rebuild of the alerts would send what was sent and forgotten."""
    sending = Sending()
    sending.asked()
    sending.report("SENT")
    assert sending.run_timers(NOON + RETENTION - seconds(1)) == []
    sending.run_timers(NOON + RETENTION)
    assert sending.records == {}
    [refusal] = sending.asked(event_id="again")
    assert refusal.reason_code == "LATE_EVENT"


def test_channels_without_addresses_of_their_own_take_any_recipient() -> None:
    for channel, recipient in (("LOG", ""), ("PUSH", "device token"), ("IN_APP", "user-1")):
        sending = Sending()
        assert names(sending.asked(channel=channel, recipient=recipient)) == ["Accepted", "DeliveryOrdered"]


def test_facts_lead_back_to_their_cause() -> None:
    sending = Sending()
    sending.asked()
    ordered = sending.one(NotificationDeliveryOrdered)
    assert ordered.envelope is not None
    assert (ordered.envelope.causation_id, ordered.tenant_id) == ("send-1", TENANT)
