"""What senders make of orders: which port, too late or not, and what is reported (contracts 3.4, N57)."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession

from agents import senders as module
from agents.sender_ports import MAX_KEY, InAppSender, Result, provider_key
from agents.senders import Senders, build, ports
from streams.app import SluiceApp
from streams.events import NotificationDeliveryOrdered, NotificationDeliveryReported, NotificationOptOut
from streams.routes import INDEX
from streams.routing import Index
from streams.settings import Settings, SettingsError
from tables.notification_optout import address_key
from tests.unit.agents.test_sender_smtp import order


class Scripted:
    """A port that does as it is told."""

    def __init__(self, result: Result | Exception) -> None:
        self.result = result
        self.keys: list[str] = []

    async def send(self, order: NotificationDeliveryOrdered, key: str) -> Result:
        self.keys.append(key)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Wishes:
    """What recipients want, in place of the replica."""

    def __init__(self, *wanted: NotificationOptOut) -> None:
        self._wanted = {address_key(each.tenant_id, each.recipient): each for each in wanted}

    def get(self, kind: type, key: str) -> NotificationOptOut | None:
        return self._wanted.get(key)


def senders(port: Scripted, **settings: Any) -> Senders:
    found = Senders(SluiceApp(Settings(**settings), INDEX))
    found._ports = {"EMAIL": port}
    return found


async def report(
    port: Scripted, order: NotificationDeliveryOrdered, doubtful: bool = False, **settings: Any
) -> NotificationDeliveryReported:
    [found] = await senders(port, **settings).perform(order, doubtful)
    assert isinstance(found, NotificationDeliveryReported)
    return found


async def test_what_the_port_says_is_reported_on_the_attempt() -> None:
    port = Scripted(Result("SENT", provider_id="p-1"))
    found = await report(port, order(attempt=2))
    assert (found.notification_id, found.attempt, found.order_id) == ("n-1", 2, "o-1")
    assert (found.outcome, found.provider_id, found.possibly_duplicate) == ("SENT", "p-1", False)
    assert found.envelope is not None
    assert found.envelope.causation_id == "o-1"
    assert port.keys == ["t|k"]


async def test_what_an_earlier_sender_may_have_done_is_done_with_the_same_key_and_said() -> None:
    port = Scripted(Result("SENT"))
    assert (await report(port, order(), doubtful=True)).possibly_duplicate
    assert port.keys == ["t|k"]


async def test_what_may_have_been_done_all_the_same_is_said() -> None:
    port = Scripted(Result("FAILED", retryable=True, uncertain=True))
    assert (await report(port, order())).possibly_duplicate


@pytest.mark.parametrize(
    ("late", "says"),
    [
        ({"timestamp": datetime.now(UTC) - timedelta(hours=1, seconds=1)}, "SLUICE_NOTIFICATION_MAX_AGE"),
        ({"expires_at": datetime.now(UTC) - timedelta(seconds=1)}, "expired"),
    ],
)
async def test_an_order_that_comes_too_late_is_not_carried_out(late: dict[str, Any], says: str) -> None:
    port = Scripted(Result("SENT"))
    found = await report(port, order(**late))
    assert (found.outcome, port.keys) == ("EXPIRED", [])
    assert says in found.error


@pytest.mark.parametrize(
    ("wish", "outcome"),
    [
        ({}, "FAILED"),
        ({"recipient": "ADA@Lovelace.example"}, "FAILED"),
        ({"channels": ("SMS", "EMAIL")}, "FAILED"),
        ({"channels": ("SMS",)}, "SENT"),
        ({"opted_out": False}, "SENT"),
        ({"tenant_id": "another"}, "SENT"),
        ({"recipient": "bob@example.org"}, "SENT"),
    ],
)
async def test_who_wants_nothing_gets_nothing_whenever_it_was_said(
    wish: dict[str, Any], outcome: str
) -> None:
    port = Scripted(Result("SENT"))
    fields = {"timestamp": datetime.now(UTC), "tenant_id": "t", "recipient": "ada@lovelace.example"}
    found = senders(port)
    found._shared = Wishes(NotificationOptOut(**{**fields, **wish}))  # type: ignore[assignment]
    [report] = await found.perform(order(), False)
    assert (report.outcome, len(port.keys)) == (outcome, outcome == "SENT")
    if outcome == "FAILED":
        assert (report.error_code, report.retryable) == ("OPTED_OUT", False)
        assert "lovelace" not in repr(report)


async def test_how_old_an_order_may_be_is_a_setting() -> None:
    port = Scripted(Result("SENT"))
    old = order(timestamp=datetime.now(UTC) - timedelta(hours=5))
    found = await report(port, old, notification_max_age=timedelta(hours=6))
    assert found.outcome == "SENT"


async def test_a_defect_of_a_port_is_an_attempt_that_failed_and_shows_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = await report(Scripted(RuntimeError("to ada@lovelace.example")), order())
    assert (found.outcome, found.error_code, found.retryable) == ("FAILED", "INVARIANT_VIOLATION", True)
    assert "RuntimeError" in caplog.text
    assert "lovelace" not in caplog.text + repr(found)


async def test_a_port_that_takes_too_long_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LIMIT_S", 0.01)
    found = await report(Scripted(TimeoutError()), order())
    assert (found.error_code, found.retryable, found.possibly_duplicate) == ("TIMEOUT", True, True)


async def test_channels_without_a_provider_fail_with_the_remedy() -> None:
    async with ClientSession() as session:
        found = ports(Settings(), session)
        for channel, setting in (("EMAIL", "SMTP_HOST"), ("SMS", "SMS_WEBHOOK"), ("PUSH", "PUSH_WEBHOOK")):
            result = await found[channel].send(order(channel=channel), "t|k")
            assert (result.outcome, result.error_code, result.retryable) == ("FAILED", "NO_PROVIDER", False)
            assert f"SLUICE_{setting}" in result.error


async def test_the_log_gets_the_id_and_the_channel_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with ClientSession() as session:
        result = await ports(Settings(), session)["LOG"].send(order(channel="LOG"), "t|k")
    assert result.outcome == "DELIVERED"
    assert "notification n-1 on LOG" in caplog.text
    for secret in ("lovelace", "Dear Ada", "Grüße"):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("recipient", "channel", "users"),
    [("ada", "user:ada", ["ada"]), ("user:ada", "user:ada", ["ada"]), ("session:7", "session:7", [])],
)
async def test_in_app_is_a_message_on_the_users_channel(
    recipient: str, channel: str, users: list[str]
) -> None:
    result = await InAppSender().send(order(channel="IN_APP", recipient=recipient), "t|k")
    [message] = result.publish
    assert (message.channel, message.message_id, message.message_type) == (channel, "t|k", "notification")
    assert message.event_type == "realtime.push.notification"
    assert [user.user_id for user in message.recipients] == users
    assert message.payload == {"content": order().body, "title": "Grüße"}
    assert message.metadata == {"sluice.notification_id": "n-1"}, "marked as our own, or it would come round"


def test_the_key_for_providers_is_the_callers_within_its_tenant() -> None:
    assert provider_key(order(tenant_id="a|b", idempotency_key="ü")) == "a%7Cb|%C3%BC"
    long = provider_key(order(idempotency_key="k" * 1000))
    assert len(long) <= MAX_KEY
    assert long != provider_key(order(idempotency_key="k" * 1001))


def test_a_worker_may_leave_sending_to_others() -> None:
    app = SluiceApp(Settings(senders=False), INDEX)
    assert build(app) is None
    assert app.companions == []
    assert build(SluiceApp(Settings(), Index((), ()))) is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"smtp_host": "mail"}, "SMTP_FROM"),
        ({"smtp_username": "u"}, "SMTP_PASSWORD"),
        ({"smtp_username": "u", "smtp_password": "secret", "smtp_tls": "none"}, "in the clear"),
        ({"webhook_allow": "hooks.example.com"}, "https://hooks.example.com"),
        ({"webhook_allow": "https://a@b.example"}, "https://hooks.example.com"),
    ],
)
def test_settings_that_cannot_work_are_told(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.read(**wrong)
    assert "secret" not in str(caught.value)


def test_prefixes_of_webhooks_stand_with_commas_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_WEBHOOK_ALLOW", "https://a.example/in, http://b.example:8080")
    assert Settings().webhook_allow == ("https://a.example/in", "http://b.example:8080")
