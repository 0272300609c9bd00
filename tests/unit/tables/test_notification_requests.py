"""Notifications that alerts and realtime messages cause (contracts 3.4)."""

from __future__ import annotations

from typing import Any

import pytest

from streams.events import (
    NotificationAccepted,
    NotificationSendRequested,
    RealtimeMessage,
    RealtimeRecipient,
)
from tables.alerts import ALERTS
from tables.notification import NOTIFICATION
from tests.unit.tables.scenario import NOON, TENANT, Scenario, seconds
from tests.unit.tables.test_alerts import FINGERPRINT, alert

USER = "user:ada"


def told(scenario: Scenario) -> list[NotificationSendRequested]:
    """Return the requests published so far; each must be one that its notification accepts."""
    found = scenario.of(NotificationSendRequested)
    for request in found:
        single = Scenario(NOTIFICATION, f"{TENANT}|{request.idempotency_key}")
        single.send(request)
        single.one(NotificationAccepted)
    return found


def test_an_alert_notifies_when_it_begins_and_when_it_ends_and_not_in_between() -> None:
    scenario = Scenario(ALERTS, FINGERPRINT)
    for after in (0, 10, 20):
        scenario.send(alert(after=after))
    scenario.send(alert("resolved", 30))
    scenario.send(alert("resolved", 40))
    begun, ended = told(scenario)
    assert (begun.channel, begun.recipient, begun.tenant_id) == ("LOG", "", TENANT)
    assert "fires" in begun.params["text"]
    assert "is resolved" in ended.params["text"]
    assert begun.idempotency_key != ended.idempotency_key


def test_an_alert_that_comes_back_notifies_again_even_under_the_same_incident() -> None:
    scenario = Scenario(ALERTS, FINGERPRINT)
    scenario.send(alert())
    scenario.send(alert("resolved", 30))
    scenario.send(alert(after=60))
    assert len({request.idempotency_key for request in told(scenario)}) == 3


def test_a_new_incident_of_a_firing_alert_notifies() -> None:
    scenario = Scenario(ALERTS, FINGERPRINT)
    scenario.send(alert())
    scenario.send(alert(after=10, alert_id="incident-2"))
    assert len(told(scenario)) == 2


def test_a_second_source_of_a_firing_alert_notifies_nobody() -> None:
    scenario = Scenario(ALERTS, FINGERPRINT)
    scenario.send(alert(source="/ours"))
    scenario.send(alert(after=10, source="/theirs", alert_id="x-1"))
    scenario.send(alert("resolved", 20, source="/ours"))
    assert len(told(scenario)) == 1


def test_an_alert_that_was_over_before_it_was_noticed_notifies_nobody() -> None:
    scenario = Scenario(ALERTS, FINGERPRINT)
    scenario.send(alert(ended_at=NOON - seconds(3600)))
    assert told(scenario) == []


def test_the_labels_of_an_alert_say_whom_to_notify_and_how() -> None:
    scenario = Scenario(ALERTS, FINGERPRINT)
    labels = {"notify_channel": "email", "notify_recipient": "ops@example.org"}
    scenario.send(alert(labels=labels, severity="critical", description="over {limit}"))
    [request] = told(scenario)
    assert (request.channel, request.recipient, request.priority) == ("EMAIL", "ops@example.org", "HIGH")
    assert request.params["description"] == "over {limit}", "a description is no template"


def test_a_channel_that_does_not_exist_is_refused_and_not_ignored() -> None:
    scenario = Scenario(ALERTS, FINGERPRINT)
    scenario.send(alert(labels={"notify_channel": "pigeon"}))
    [request] = scenario.of(NotificationSendRequested)
    single = Scenario(NOTIFICATION, f"{TENANT}|{request.idempotency_key}")
    [refusal] = single.send(request)
    assert refusal.reason_code == "VALIDATION_FAILED"


def push(**more: Any) -> Scenario:
    scenario = Scenario(NOTIFICATION, USER)
    fields: dict[str, Any] = {
        "event_id": "push-1",
        "timestamp": NOON,
        "tenant_id": TENANT,
        "message_id": "m-1",
        "channel": USER,
        "message_type": "notification",
        "payload": {"content": "Your report is ready", "title": "Report"},
    }
    scenario.send(RealtimeMessage(**{**fields, **more}))
    assert scenario.records == {}
    return scenario


def test_a_pushed_notification_goes_to_each_of_its_recipients_once() -> None:
    users = (("ada", ""), ("bob", "c"), ("ada", "other tab"))
    recipients = tuple(RealtimeRecipient(user_id=user, connection_id=where) for user, where in users)
    scenario = push(recipients=recipients)
    requests = told(scenario)
    assert [(request.recipient, request.channel) for request in requests] == [("ada", "LOG"), ("bob", "LOG")]
    assert [request.idempotency_key for request in requests] == ["realtime/m-1/ada", "realtime/m-1/bob"]
    assert requests[0].params["content"] == "Your report is ready"
    assert requests[0].subject == "{title}"


def test_without_recipients_it_goes_to_the_user_of_the_channel() -> None:
    [request] = told(push())
    assert request.recipient == "ada"


def test_its_metadata_say_how_to_notify() -> None:
    metadata = {"notify_channel": "EMAIL", "notify_recipient": "ada@lovelace.example"}
    [request] = told(push(metadata=metadata))
    assert (request.channel, request.recipient) == ("EMAIL", "ada@lovelace.example")


def test_a_message_without_an_id_is_known_by_its_channel_and_time() -> None:
    [request] = told(push(message_id="", event_id=""))
    assert request.idempotency_key == f"realtime/{USER}/{NOON.isoformat()}/ada"


@pytest.mark.parametrize(
    "other",
    [
        {"message_type": "chat_message"},
        {"metadata": {"sluice.notification_id": "n-1"}},
        {"payload": {}},
        {"channel": "session:1"},
        {"channel": "user:"},
    ],
)
def test_everything_else_on_the_topic_is_ignored(other: dict[str, Any]) -> None:
    assert push(**other).published == []
