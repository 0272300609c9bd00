"""Batches of notifications: ids in order, and a bad item fails alone (contracts 3.4, N58)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from streams.events import (
    NotificationBatchAccepted,
    NotificationBatchItem,
    NotificationBatchSendRequested,
    NotificationDeliveryOrdered,
    NotificationSendRequested,
)
from tables.notification import NOTIFICATION
from tests.unit.tables.notifications import names
from tests.unit.tables.scenario import NOON, TENANT, Scenario

BATCH = "b-1"


def item(**more: Any) -> NotificationBatchItem:
    fields: dict[str, Any] = {
        "channel": "EMAIL",
        "recipient": "ada@lovelace.example",
        "template": "Dear {name}",
        "params": {"name": "Ada"},
    }
    return NotificationBatchItem(**{**fields, **more})


def send(*items: NotificationBatchItem, **more: Any) -> Scenario:
    scenario = Scenario(NOTIFICATION, f"{TENANT}|{BATCH}")
    fields: dict[str, Any] = {
        "event_id": "batch-event",
        "timestamp": NOON,
        "tenant_id": TENANT,
        "batch_id": BATCH,
        "items": items,
    }
    scenario.send(NotificationBatchSendRequested(**{**fields, **more}))
    return scenario


def test_of_a_thousand_three_bad_ones_fail_alone() -> None:
    items = [item(notification_id=f"n-{number}") for number in range(1000)]
    items[0] = item(notification_id="n-0", channel="UNKNOWN")
    items[500] = item(notification_id="n-500", params={})
    items[999] = item(notification_id="n-999", recipient="nobody")
    scenario = send(*items)
    accepted = scenario.one(NotificationBatchAccepted)
    assert list(accepted.ids) == [f"n-{number}" for number in range(1000) if number not in (0, 500, 999)]
    assert len(accepted.ids) == 997
    assert [(error.index, error.notification_id) for error in accepted.errors] == [
        (0, "n-0"),
        (500, "n-500"),
        (999, "n-999"),
    ]
    assert {error.reason_code for error in accepted.errors} == {"VALIDATION_FAILED"}
    requests = scenario.of(NotificationSendRequested)
    assert [request.notification_id for request in requests] == list(accepted.ids)
    assert {request.batch_id for request in requests} == {BATCH}
    assert scenario.records == {}


def test_each_request_of_a_batch_is_accepted_by_its_own_notification() -> None:
    for request in send(item(), item(idempotency_key="k")).of(NotificationSendRequested):
        single = Scenario(NOTIFICATION, f"{TENANT}|{request.notification_id}")
        assert names(single.send(request)) == ["Accepted", "DeliveryOrdered"]
        assert single.one(NotificationDeliveryOrdered).notification_id == request.notification_id
        assert single.records["content"].batch_id == BATCH


def test_items_without_an_id_get_one_of_their_place() -> None:
    scenario = send(item(), item(idempotency_key="k"), item(notification_id="n", idempotency_key="m"))
    assert scenario.one(NotificationBatchAccepted).ids == ("b-1-0", "k", "n")


def test_an_item_that_stands_twice_is_one_notification() -> None:
    scenario = send(item(notification_id="n"), item(notification_id="n"))
    assert scenario.one(NotificationBatchAccepted).ids == ("n", "n")
    assert len(scenario.of(NotificationSendRequested)) == 1


def test_two_items_cannot_share_an_id() -> None:
    scenario = send(item(notification_id="n"), item(notification_id="n", recipient="bob@example.org"))
    accepted = scenario.one(NotificationBatchAccepted)
    assert accepted.ids == ("n",)
    assert [(error.index, error.reason_code) for error in accepted.errors] == [(1, "DUPLICATE_CONFLICT")]


def test_a_batch_of_nothing_or_too_much_is_refused() -> None:
    for scenario in (send(), send(item(), batch_id=""), send(*[item()] * 5001)):
        [refusal] = scenario.published
        assert refusal.reason_code == "VALIDATION_FAILED"


def test_a_batch_of_last_month_is_not_sent_today() -> None:
    [refusal] = send(item(), timestamp=NOON - timedelta(days=8)).published
    assert (refusal.reason_code, refusal.notification_id) == ("LATE_EVENT", BATCH)
