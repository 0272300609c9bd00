"""Notifications end to end: real providers, a sender that dies, a state that is rebuilt (contracts 3.4, N57, N58)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from aiosmtpd.controller import Controller

from ops import reset
from ops.errors import OpsError
from ops.setup import setup
from ops.stack.local import LocalStack
from ops.stack.processes import free_ports
from streams.client import Client
from streams.codec import Codec
from streams.events import (
    Alert,
    NotificationBatchItem,
    NotificationBatchSendRequested,
    NotificationCancelRequested,
    NotificationOptOutSetRequested,
    NotificationSendRequested,
    NotificationStatusProvided,
    NotificationStatusRequested,
    RealtimeMessage,
)
from streams.registry import Registry
from streams.settings import Settings
from streams.topics import NOTIFICATION_DELIVERIES, NOTIFICATION_EVENTS, REALTIME_PUSH
from tests.faults.cluster import committed, ends, environment_of, read, settings_of
from tests.faults.processes import Worker, until

pytestmark = pytest.mark.broker

READY_S = 60.0


class Provider(ThreadingHTTPServer):
    """Takes webhooks.

    Attributes:
        taken: idempotency key and notification of each request, in order.
        hold: requests are answered once it is set, and after ``delay_s``.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.taken: list[tuple[str, str]] = []
        self.delay_s = 0.0
        self.hold = threading.Event()
        self.hold.set()

    def of(self, notification: str) -> list[str]:
        """Return the keys under which a notification came."""
        return [key for key, name in self.taken if name == notification]


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Provider)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.taken.append((self.headers["Idempotency-Key"], body["notification_id"]))
        self.server.hold.wait(60)
        threading.Event().wait(self.server.delay_s)
        try:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"id": "p-1"}')
        except OSError:
            return  # the worker that asked is dead

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Mailbox:
    """Takes e-mail."""

    def __init__(self) -> None:
        self.letters: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.letters.append(envelope.content)
        return "250 2.0.0 Ok: queued as 4FzK2x"


@dataclass
class Office:
    """A worker, its providers, and a tenant that nobody else has."""

    settings: Settings
    worker: Worker
    second: Worker
    provider: Provider
    mailbox: Mailbox
    tenant: str

    @property
    def hook(self) -> str:
        return f"http://127.0.0.1:{self.provider.server_port}/hook"

    def start(self) -> None:
        self.worker.start()
        until(self.ready, READY_S, "the worker")

    def ready(self, worker: Worker | None = None) -> bool:
        page = (worker or self.worker).page("/health/ready")
        return page is not None and page["status"] == "UP"

    def ask(self, *commands: Any) -> list[Any]:
        """Send commands one after the other; return their replies."""
        return asyncio.run(self._ask(commands))

    async def _ask(self, commands: tuple[Any, ...]) -> list[Any]:
        async with Client(self.settings) as client:
            return [await client.request(command, timeout=READY_S) for command in commands]

    def publish(self, event: Any) -> None:
        """Send an event that nobody replies to."""

        async def publish() -> None:
            async with Client(self.settings) as client:
                await client.publish(event)

        asyncio.run(publish())

    def common(self, notification: str) -> dict[str, Any]:
        return {
            "timestamp": datetime.now(UTC),
            "tenant_id": self.tenant,
            "notification_id": f"{self.tenant}-{notification}",
        }

    def send(self, notification: str, channel: str, recipient: str, **more: Any) -> Any:
        """Request to send; return the reply."""
        fields = {
            "channel": channel,
            "recipient": recipient,
            "template": "Hello {who}",
            "params": {"who": "Ada"},
        }
        [reply] = self.ask(NotificationSendRequested(**self.common(notification), **{**fields, **more}))
        return reply

    def status(self, notification: str) -> NotificationStatusProvided:
        """Ask how a notification is doing."""
        [reply] = self.ask(NotificationStatusRequested(**self.common(notification)))
        [found] = reply.facts
        assert isinstance(found, NotificationStatusProvided)
        return found

    def becomes(self, notification: str, status: str) -> NotificationStatusProvided:
        """Wait until a notification has a status."""
        until(lambda: self.status(notification).status == status, READY_S, f"{notification} is {status}")
        return self.status(notification)

    def cancel(self, notification: str) -> Any:
        [reply] = self.ask(NotificationCancelRequested(**self.common(notification)))
        return reply

    def records(self, topic: str) -> list[Any]:
        """Return what a topic holds of the tenant, each event once."""
        return asyncio.run(self._records(topic))

    async def _records(self, topic: str) -> list[Any]:
        registry = Registry(self.settings)
        codec = Codec(registry)
        values = [stored.value for stored in read(self.settings, topic)]
        await codec.resolve({int.from_bytes(value[1:5], "big") for value in values if value})
        found = {event.event_id: event for event in codec.decode_batch(values) if self.owns(event)}
        await registry.close()
        return list(found.values())

    def owns(self, event: Any) -> bool:
        return getattr(event, "tenant_id", "") == self.tenant

    def senders_done(self) -> bool:
        """Return whether the senders have committed every order there is."""
        group = self.settings.model_copy(update={"app_id": f"{self.settings.app_id}-senders"})
        done = committed(group, NOTIFICATION_DELIVERIES.name)
        return all(
            end in (0, done[number]) for number, end in ends(group, NOTIFICATION_DELIVERIES.name).items()
        )


@pytest.fixture(scope="module")
def office(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("notifications")
    tenant = folder.name
    settings = settings_of(stack, f"app-{tenant}", folder)
    asyncio.run(setup(settings))
    provider, mailbox, mail_port = Provider(), Mailbox(), free_ports(1)[0]
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    mail = Controller(mailbox, hostname="127.0.0.1", port=mail_port)
    mail.start()
    variables = environment_of(
        stack,
        SLUICE_APP_ID=settings.app_id,
        SLUICE_SESSION_TIMEOUT_S="2",
        SLUICE_SMTP_HOST="127.0.0.1",
        SLUICE_SMTP_PORT=str(mail_port),
        SLUICE_SMTP_TLS="none",
        SLUICE_SMTP_FROM="shop@sluice.example",
        SLUICE_SEND_TIMEOUT_S="30",
        SLUICE_WEBHOOK_ALLOW=f"http://127.0.0.1:{provider.server_port}/hook",
    )
    worker, second = (Worker(name, "worker", folder, variables, module="ops.cli") for name in ("w1", "w2"))
    office = Office(settings, worker, second, provider, mailbox, tenant)
    try:
        office.start()
        yield office
    finally:
        provider.hold.set()
        worker.stop()
        second.stop()
        mail.stop()
        provider.shutdown()
        provider.server_close()


def test_each_channel_sends_through_its_port(office: Office) -> None:
    assert office.send("mail", "EMAIL", "ada@lovelace.example", subject="Hi").status == "OK"
    office.send("hook", "WEBHOOK", office.hook)
    office.send("log", "LOG", "")
    office.send("app", "IN_APP", "ada")
    office.send("sms", "SMS", "+41791234567")
    office.send("elsewhere", "WEBHOOK", "http://127.0.0.1:1/hook")
    assert office.becomes("mail", "SENT").provider_id == "4FzK2x"
    assert office.becomes("hook", "SENT").provider_id == "p-1"
    office.becomes("log", "DELIVERED")
    office.becomes("app", "SENT")
    assert "SLUICE_SMS_WEBHOOK" in office.becomes("sms", "FAILED").last_error
    assert "SLUICE_WEBHOOK_ALLOW" in office.becomes("elsewhere", "FAILED").last_error
    [letter] = office.mailbox.letters
    assert b"Hello Ada" in letter
    assert office.provider.of(f"{office.tenant}-hook") == [f"{office.tenant}|{office.tenant}-hook"]
    [message] = [event for event in office.records(REALTIME_PUSH.name) if isinstance(event, RealtimeMessage)]
    assert (message.channel, message.payload["content"]) == ("user:ada", "Hello Ada")


def test_who_wants_nothing_gets_nothing_until_he_says_so(office: Office) -> None:
    who: dict[str, Any] = {
        "timestamp": datetime.now(UTC),
        "tenant_id": office.tenant,
        "recipient": "Bob@Example.org",
    }
    [reply] = office.ask(NotificationOptOutSetRequested(**who, channels=("EMAIL",)))
    assert reply.status == "OK"
    until(lambda: refused(office), READY_S, "the senders know")
    before = list(office.mailbox.letters)
    assert refused(office)
    assert office.mailbox.letters == before
    office.ask(NotificationOptOutSetRequested(**who, opted_out=False))
    until(lambda: not refused(office), READY_S, "the senders know that too")


def refused(office: Office) -> bool:
    """Write to somebody; return whether that was refused, which takes effect within milliseconds."""
    name = uuid4().hex
    office.send(name, "EMAIL", "bob@example.org")
    until(lambda: office.status(name).status in ("SENT", "FAILED"), READY_S, "it is sent or refused")
    return "wants no notifications" in office.status(name).last_error


def test_of_a_thousand_in_a_batch_three_bad_ones_fail_alone(office: Office) -> None:
    items = [
        NotificationBatchItem(channel="LOG", recipient="ada", template="{n}", params={"n": str(number)})
        for number in range(1000)
    ]
    for bad in (10, 500, 999):
        items[bad] = NotificationBatchItem(channel="LOG", recipient="ada", template="{missing}")
    batch = f"{office.tenant}-batch"
    [reply] = office.ask(
        NotificationBatchSendRequested(
            timestamp=datetime.now(UTC), tenant_id=office.tenant, batch_id=batch, items=tuple(items)
        )
    )
    [accepted] = [fact for fact in reply.facts if type(fact).__name__ == "NotificationBatchAccepted"]
    good = [f"{batch}-{number}" for number in range(1000) if number not in (10, 500, 999)]
    assert list(accepted.ids) == good
    assert [error.index for error in accepted.errors] == [10, 500, 999]
    listed = f"/notifications?tenant={office.tenant}&batch={batch}&status=DELIVERED&per_page=1"
    until(lambda: (office.worker.page(listed) or {}).get("total") == 997, READY_S, "all 997 are delivered")


def test_alerts_and_pushed_notifications_become_notifications(office: Office) -> None:
    now = datetime.now(UTC)
    labels = {"notify_channel": "WEBHOOK", "notify_recipient": office.hook}
    alert = Alert(
        timestamp=now,
        tenant_id=office.tenant,
        event_type="alerts.service_down",
        alert_type="service_down",
        subject="db",
        started_at=now,
        labels=labels,
    )
    office.publish(alert)
    push = RealtimeMessage(
        timestamp=now,
        tenant_id=office.tenant,
        message_id=f"{office.tenant}-m",
        channel="user:bob",
        message_type="notification",
        payload={"content": "Your report is ready"},
        metadata=labels,
    )
    office.publish(push)

    def told() -> bool:
        names = [name for _, name in office.provider.taken]
        return any(name.startswith("alert/service_down/db/") for name in names) and any(
            name == f"realtime/{office.tenant}-m/bob" for name in names
        )

    until(told, READY_S, "both were sent")


def test_only_what_is_not_being_sent_yet_can_be_cancelled(office: Office) -> None:
    office.send("later", "WEBHOOK", office.hook, send_at=datetime.now(UTC) + timedelta(hours=1))
    assert office.cancel("later").status == "OK"
    assert office.status("later").status == "CANCELLED"
    office.provider.hold.clear()
    try:
        office.send("now", "WEBHOOK", office.hook)
        until(lambda: office.provider.of(f"{office.tenant}-now"), READY_S, "it is being sent")
        refused = office.cancel("now")
        assert (refused.status, refused.facts[0].status) == ("REJECTED", "SENDING")
    finally:
        office.provider.hold.set()
    office.becomes("now", "SENT")
    assert office.provider.of(f"{office.tenant}-later") == []


def test_workers_that_come_and_go_send_everything_once(office: Office) -> None:
    def send_some(batch: str) -> set[str]:
        items = [NotificationBatchItem(channel="WEBHOOK", recipient=office.hook, template="hello")] * 100
        name = f"{office.tenant}-{batch}"
        fields: dict[str, Any] = {
            "timestamp": datetime.now(UTC),
            "tenant_id": office.tenant,
            "batch_id": name,
        }
        [reply] = office.ask(NotificationBatchSendRequested(**fields, items=tuple(items)))
        assert reply.status == "OK"
        return {f"{name}-{number}" for number in range(100)}

    def sent() -> list[str]:
        return [name for _, name in office.provider.taken]

    office.provider.delay_s = 0.02
    names = send_some("alone")
    office.second.start()
    until(lambda: len(names & set(sent())) > 20, READY_S, "the first orders are carried out")
    until(lambda: office.ready(office.second), READY_S, "the second worker")
    names |= send_some("together")
    assert office.second.stop() == 0
    names |= send_some("afterwards")
    until(lambda: names <= set(sent()), READY_S, "all were sent")
    office.provider.delay_s = 0
    assert [name for name in sent() if name in names and sent().count(name) > 1] == []
    doubtful = {fact.notification_id for fact in office.records(NOTIFICATION_EVENTS.name) if doubted(fact)}
    assert doubtful & names == set()


def doubted(fact: Any) -> bool:
    return bool(getattr(fact, "possibly_duplicate", False))


def test_a_sender_that_dies_after_the_call_calls_again_under_the_same_key_and_says_so(office: Office) -> None:
    office.provider.hold.clear()
    office.send("crash", "WEBHOOK", office.hook)
    name = f"{office.tenant}-crash"
    until(lambda: len(office.provider.of(name)) == 1, READY_S, "the provider was called")
    office.worker.kill()
    office.worker.wait(30)
    office.provider.hold.set()
    office.start()
    assert office.becomes("crash", "SENT").possibly_duplicate
    assert office.provider.of(name) == [f"{office.tenant}|{name}"] * 2
    office.send("after", "WEBHOOK", office.hook)
    assert not office.becomes("after", "SENT").possibly_duplicate


def test_a_rebuild_of_the_state_sends_nothing_again(office: Office) -> None:
    until(office.senders_done, READY_S, "all orders are committed")
    sent, letters = list(office.provider.taken), list(office.mailbox.letters)
    # Workers of other tests make the same orders of the same commands, under the same ids.
    orders = sum(ends(office.settings, NOTIFICATION_DELIVERIES.name).values())
    once = len({stored.header("ce_id") for stored in read(office.settings, NOTIFICATION_DELIVERIES.name)})
    assert office.worker.stop() == 0
    data = office.settings.model_copy(update={"data_dir": office.worker.log.parent / office.worker.name})
    until(lambda: rebuilt(data), READY_S, "the group has no members and the state is reset")
    office.start()
    assert office.becomes("crash", "SENT").possibly_duplicate
    for name, status in (("mail", "SENT"), ("log", "DELIVERED"), ("sms", "FAILED"), ("later", "CANCELLED")):
        assert office.status(name).status == status

    def repeated() -> bool:
        return sum(ends(office.settings, NOTIFICATION_DELIVERIES.name).values()) >= orders + once

    until(repeated, READY_S, "the rebuild has repeated the orders")
    until(office.senders_done, READY_S, "the senders have looked at them")
    assert office.provider.taken == sent
    assert office.mailbox.letters == letters
    assert office.becomes("after", "SENT").attempts == 1


def rebuilt(settings: Settings) -> bool:
    """Reset the state, where no worker is a member any more."""
    try:
        reset.execute(reset.plan(settings), settings)
    except OpsError:
        return False
    return True
