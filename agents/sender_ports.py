"""Ports: ways to send a notification. Each takes an order and an idempotency key, and says what became of it.

No text of a result, and nothing that is logged, holds the recipient or the text of a notification.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any, Protocol

from streams.events import (
    NotificationDeliveryOrdered,
    NotificationOutcome,
    RealtimeMessage,
    RealtimeRecipient,
)
from streams.topics import key_of
from tables.notification_requests import OWN

log = logging.getLogger(__name__)

MAX_KEY = 255
"""Providers limit the length of an idempotency key; 255 is usual."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an attempt.

    Attributes:
        outcome: SENT, DELIVERED or FAILED.
        provider_id: the provider's id of the notification.
        error_code, error: cause and remedy of a failure.
        retryable: whether another attempt may help.
        retry_after_ms: when the provider wants to be asked again.
        uncertain: the attempt may have been successful all the same.
        publish: what has to be published with the report.
    """

    outcome: NotificationOutcome
    provider_id: str = ""
    error_code: str = ""
    error: str = ""
    retryable: bool = False
    retry_after_ms: int | None = None
    uncertain: bool = False
    publish: tuple[Any, ...] = ()


def failed(code: str, message: str, *, retryable: bool = False, uncertain: bool = False) -> Result:
    """Return the result of an attempt that failed."""
    return Result("FAILED", error_code=code, error=message, retryable=retryable, uncertain=uncertain)


class Port(Protocol):
    """A way to send."""

    async def send(self, order: NotificationDeliveryOrdered, key: str) -> Result:
        """Make one attempt. Never takes longer than a minute, and raises only defects.

        Args:
            order: what to send.
            key: the same for every attempt at this notification, and no other notification has it.
        """


def provider_key(order: NotificationDeliveryOrdered) -> str:
    """Return the idempotency key that providers get: the caller's within its tenant, in visible ASCII."""
    key = key_of(order.tenant_id, order.idempotency_key)
    return key if len(key) <= MAX_KEY else hashlib.sha256(key.encode()).hexdigest()


class LogSender:
    """Writes a line to the worker's log."""

    async def send(self, order: NotificationDeliveryOrdered, key: str) -> Result:
        log.info("notification %s on %s", order.notification_id, order.channel)
        return Result("DELIVERED")


class InAppSender:
    """Pushes to the user's realtime channel (contracts 3.8). A message with a known id is shown once."""

    async def send(self, order: NotificationDeliveryOrdered, key: str) -> Result:
        channel = order.recipient if ":" in order.recipient else f"user:{order.recipient}"
        kind, _, user = channel.partition(":")
        payload = {"content": order.body}
        if order.subject:
            payload["title"] = order.subject
        message = RealtimeMessage(
            timestamp=order.timestamp,
            tenant_id=order.tenant_id,
            event_type="realtime.push.notification",
            message_id=key,
            channel=channel,
            message_type="notification",
            payload=payload,
            recipients=(RealtimeRecipient(user_id=user),) if kind == "user" else (),
            expires_at=order.expires_at,
            metadata={OWN: order.notification_id},
        )
        return Result("SENT", publish=(message,))


class NoProvider:
    """Stands for a channel that nothing is configured for."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    async def send(self, order: NotificationDeliveryOrdered, key: str) -> Result:
        message = f"nothing sends {order.channel} here; set {self._setting} on every worker"
        return failed("NO_PROVIDER", message)
