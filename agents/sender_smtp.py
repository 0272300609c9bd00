"""Sending e-mail through an SMTP server.

SMTP knows no idempotency key. The Message-ID is made of ours, so mail servers and readers can tell a repetition.
"""

from __future__ import annotations

import hashlib
import re
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib

from agents.sender_ports import Result, failed
from streams.events import NotificationDeliveryOrdered
from streams.settings import Settings, reveal

QUEUED = re.compile(r"queued as <?([A-Za-z0-9._@-]{1,200})", re.IGNORECASE)
LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*").fullmatch
NOT_NOW = range(400, 500)
"""SMTP's answers of this kind say: later perhaps."""


class SmtpSender:
    """Sends each notification as one e-mail of plain text, over a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        """Take the server, the login and the sender's address from ``SLUICE_SMTP_*``."""
        self._settings = settings
        self._from = settings.smtp_from or ""

    async def send(self, order: NotificationDeliveryOrdered, key: str) -> Result:
        settings = self._settings
        try:
            _, answer = await aiosmtplib.send(
                self._message(order, key),
                sender=self._from,
                recipients=[order.recipient],
                hostname=settings.smtp_host,
                port=settings.smtp_port,
                username=settings.smtp_username,
                password=reveal(settings.smtp_password),
                use_tls=settings.smtp_tls == "tls",
                start_tls=settings.smtp_tls == "starttls",
                timeout=settings.send_timeout_s,
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            return _failure(error)
        except ValueError:
            return failed("VALIDATION_FAILED", "the address or the subject cannot be written in an e-mail")
        queued = QUEUED.search(answer)
        return Result("SENT", provider_id=queued.group(1) if queued else "")

    def _message(self, order: NotificationDeliveryOrdered, key: str) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._from
        message["To"] = order.recipient
        message["Subject"] = order.subject
        message["Date"] = format_datetime(order.timestamp)
        message["Message-ID"] = f"<{message_id(key)}@{self._from.rpartition('@')[2].rstrip('>')}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(order.body)
        if LANGUAGE(order.locale):
            message["Content-Language"] = order.locale  # after the content, which would remove it
        return message


def message_id(key: str) -> str:
    """Return the local part of the Message-ID of a notification: the same for each attempt at it."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def _failure(error: Exception) -> Result:
    """Return what an error means. Its own text is left out: servers repeat the address in it."""
    name = type(error).__name__
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        message = "the mail server refuses the login; correct SLUICE_SMTP_USERNAME and SLUICE_SMTP_PASSWORD"
        return failed(f"SMTP_{error.code}", message, retryable=True)
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return _refused(error.recipients[0].code, "the mail server refuses the recipient")
    if isinstance(error, aiosmtplib.SMTPConnectError):
        message = f"the mail server cannot be reached ({name}); see SLUICE_SMTP_HOST and SLUICE_SMTP_PORT"
        return failed("SMTP_UNREACHABLE", message, retryable=True)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _refused(error.code, "the mail server refuses the message")
    if isinstance(error, aiosmtplib.SMTPNotSupported) or type(error) is aiosmtplib.SMTPException:
        message = "the mail server lacks what the message, the login or SLUICE_SMTP_TLS needs"
        return failed("SMTP_NOT_SUPPORTED", message)
    message = f"the connection to the mail server broke off ({name})"
    return failed("SMTP_CONNECTION", message, retryable=True, uncertain=True)


def _refused(code: int, what: str) -> Result:
    return failed(f"SMTP_{code}", f"{what} with code {code}", retryable=code in NOT_NOW)
