"""E-mail through a real SMTP server on this machine (contracts 3.4)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from pydantic import SecretStr

from agents.sender_smtp import SmtpSender, message_id
from ops.stack.processes import free_ports
from streams.events import NotificationDeliveryOrdered
from streams.settings import Settings


class Mailbox:
    """Takes every e-mail, or answers as it is told."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.at_rcpt = ""
        self.at_data = ""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.at_rcpt:
            return self.at_rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.at_data == "hang up":
            server.transport.close()
            return ""
        if self.at_data:
            return self.at_data
        letter = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(letter, EmailMessage)
        self.letters.append(letter)
        self.recipients += envelope.rcpt_tos
        return "250 2.0.0 Ok: queued as 4FzK2x"


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def server(mailbox: Mailbox) -> Iterator[Controller]:
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_ports(1)[0], enable_SMTPUTF8=True)
    controller.start()
    yield controller
    controller.stop()


def settings(port: int, **more: Any) -> Settings:
    fields = {
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_tls": "none",
        "smtp_from": "shop@sluice.example",
    }
    return Settings(**{**fields, **more})


def order(**more: Any) -> NotificationDeliveryOrdered:
    fields: dict[str, Any] = {
        "event_id": "o-1",
        "timestamp": datetime.now(UTC),
        "tenant_id": "t",
        "notification_id": "n-1",
        "attempt": 1,
        "idempotency_key": "k",
        "channel": "EMAIL",
        "recipient": "ada@lovelace.example",
        "subject": "Grüße",
        "body": "Dear Ada,\n.\nyour order is on its way. 東京",
        "locale": "de-CH",
    }
    return NotificationDeliveryOrdered(**{**fields, **more})


async def test_a_notification_is_one_e_mail(server: Controller, mailbox: Mailbox) -> None:
    result = await SmtpSender(settings(server.port)).send(order(), "t|k")
    assert (result.outcome, result.provider_id) == ("SENT", "4FzK2x")
    [letter] = mailbox.letters
    assert mailbox.recipients == ["ada@lovelace.example"]
    assert (letter["From"], letter["To"]) == ("shop@sluice.example", "ada@lovelace.example")
    assert (letter["Subject"], letter["Content-Language"]) == ("Grüße", "de-CH")
    assert letter.get_content().replace("\r\n", "\n").rstrip("\n") == order().body


async def test_every_attempt_has_the_same_message_id_and_no_other_notification_has_it(
    server: Controller, mailbox: Mailbox
) -> None:
    sender = SmtpSender(settings(server.port))
    for attempt, key in ((1, "t|k"), (2, "t|k"), (1, "t|other")):
        await sender.send(order(attempt=attempt), key)
    ids = [letter["Message-ID"] for letter in mailbox.letters]
    assert ids == [f"<{message_id(key)}@sluice.example>" for key in ("t|k", "t|k", "t|other")]


@pytest.mark.parametrize(
    ("at_rcpt", "at_data", "code", "retryable"),
    [
        ("550 5.1.1 <ada@lovelace.example> unknown", "", "SMTP_550", False),
        ("451 4.7.1 ada@lovelace.example is greylisted", "", "SMTP_451", True),
        ("", "554 5.7.1 spam to ada@lovelace.example", "SMTP_554", False),
        ("", "452 4.3.1 no space", "SMTP_452", True),
    ],
)
async def test_a_refusal_is_final_or_temporary_as_the_server_says_and_names_nobody(
    server: Controller, mailbox: Mailbox, at_rcpt: str, at_data: str, code: str, retryable: bool
) -> None:
    mailbox.at_rcpt, mailbox.at_data = at_rcpt, at_data
    result = await SmtpSender(settings(server.port)).send(order(), "t|k")
    assert (result.outcome, result.error_code, result.retryable) == ("FAILED", code, retryable)
    assert "lovelace" not in repr(result)
    assert not result.uncertain


async def test_a_connection_that_breaks_off_leaves_it_open_whether_it_was_sent(
    server: Controller, mailbox: Mailbox
) -> None:
    mailbox.at_data = "hang up"
    result = await SmtpSender(settings(server.port)).send(order(), "t|k")
    assert (result.outcome, result.retryable, result.uncertain) == ("FAILED", True, True)


async def test_a_server_that_is_away_is_tried_again() -> None:
    result = await SmtpSender(settings(free_ports(1)[0])).send(order(), "t|k")
    assert (result.error_code, result.retryable, result.uncertain) == ("SMTP_UNREACHABLE", True, False)
    assert "SLUICE_SMTP_HOST" in result.error


async def test_encryption_that_the_server_does_not_have_is_not_done_without(server: Controller) -> None:
    result = await SmtpSender(settings(server.port, smtp_tls="starttls")).send(order(), "t|k")
    assert (result.outcome, result.error_code) == ("FAILED", "SMTP_NOT_SUPPORTED")


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize(("password", "outcome"), [("right", "SENT"), ("wrong", "FAILED")])
async def test_it_logs_in_where_a_login_is_set(mailbox: Mailbox, password: str, outcome: str) -> None:
    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and data.password == b"right"
        return AuthResult(success=right, handled=False)

    port = free_ports(1)[0]
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=port,
        auth_require_tls=False,
        auth_required=True,
        authenticator=authenticate,
    )
    controller.start()
    try:
        # With these settings a worker does not start: a password must not travel in the clear, only in this test.
        chosen = settings(port).model_copy(
            update={"smtp_username": "u", "smtp_password": SecretStr(password)}
        )
        result = await SmtpSender(chosen).send(order(), "t|k")
    finally:
        controller.stop()
    assert result.outcome == outcome
    if outcome == "FAILED":
        assert (result.error_code, result.retryable) == ("SMTP_535", True)
        assert "SLUICE_SMTP_PASSWORD" in result.error
        assert "wrong" not in repr(result)
