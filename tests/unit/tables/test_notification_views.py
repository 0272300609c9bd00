"""What the views show of notifications: their progress and recipient, never their text (contracts 3.4)."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tables.notification_views import notification, notifications
from tables.readable import QueryError
from tests.unit.tables.notifications import Sending
from tests.unit.tables.scenario import NOON, seconds


def test_a_notification_shows_how_far_it_has_come_and_nothing_of_its_text() -> None:
    sending = Sending()
    sending.asked(batch_id="b", expires_at=NOON + timedelta(days=1))
    sending.later(5)
    sending.report("FAILED", retryable=True, error_code="TIMEOUT", error="no answer", possibly_duplicate=True)
    found = notification(sending)
    assert found == {
        "notification_id": "n-1",
        "tenant_id": "tenant-01",
        "status": "SENDING",
        "channel": "EMAIL",
        "recipient": "ada@lovelace.example",
        "priority": "NORMAL",
        "batch_id": "b",
        "accepted_at": "2026-11-20T12:00:00Z",
        "changed_at": "2026-11-20T12:00:00Z",
        "send_at": None,
        "expires_at": "2026-11-21T12:00:00Z",
        "attempts": 1,
        "max_attempts": 3,
        "next_attempt_at": "2026-11-20T12:00:35Z",
        "delivered_at": None,
        "provider_id": None,
        "possibly_duplicate": True,
        "error_code": "TIMEOUT",
        "last_error": "no answer",
        "reason": None,
    }
    assert "Dear" not in json.dumps(found)
    assert notification(Sending()) is None


def test_only_what_waits_has_a_next_attempt() -> None:
    sending = Sending()
    sending.asked(send_at=NOON + seconds(60))
    found = notification(sending)
    assert found is not None
    assert (found["status"], found["next_attempt_at"]) == ("SCHEDULED", "2026-11-20T12:01:00Z")
    sending.run_timers(NOON + seconds(60))
    sending.report("SENT")
    found = notification(sending)
    assert found is not None
    assert (found["status"], found["next_attempt_at"]) == ("SENT", None)


def several() -> list[Sending]:
    made = []
    for number, (recipient, channel) in enumerate((("ada", "PUSH"), ("bob", "PUSH"), ("ada", "LOG"))):
        sending = Sending()
        sending.at = NOON + seconds(number // 2)
        sending.asked(
            notification_id=f"n-{number}", recipient=recipient, channel=channel, batch_id=f"b{number}"
        )
        made.append(sending)
    made[1].report("SENT")
    return made


def test_the_list_has_those_accepted_last_first_and_then_by_id() -> None:
    found = [item["notification_id"] for item in notifications([*several(), Sending()], {})]
    assert found == ["n-2", "n-0", "n-1"]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"recipient": "ada"}, ["n-2", "n-0"]),
        ({"status": "SENT"}, ["n-1"]),
        ({"channel": "PUSH", "status": "SENDING"}, ["n-0"]),
        ({"batch": "b2"}, ["n-2"]),
        ({"recipient": "nobody"}, []),
    ],
)
def test_the_list_can_be_narrowed(query: dict[str, str], ids: list[str]) -> None:
    assert [item["notification_id"] for item in notifications(several(), query)] == ids


def test_a_status_that_does_not_exist_is_named() -> None:
    for wrong in ("FLYING", "UNKNOWN"):
        with pytest.raises(QueryError) as caught:
            notifications([], {"status": wrong})
        assert caught.value.field == "status"
