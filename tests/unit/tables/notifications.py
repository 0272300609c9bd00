"""Given, when, then for notifications: the scenario of one of them, and the commands it gets."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from streams.events import (
    NotificationCancelRequested,
    NotificationContent,
    NotificationDeliveryReported,
    NotificationProgress,
    NotificationSendRequested,
    NotificationStatusRequested,
)
from tables.notification import NOTIFICATION
from tests.unit.tables.scenario import NOON, TENANT, Scenario

ID = "n-1"
KEY = f"{TENANT}|{ID}"


def request(**more: Any) -> NotificationSendRequested:
    """Return a request to send an e-mail; its fields may be given."""
    fields: dict[str, Any] = {
        "event_id": "send-1",
        "timestamp": NOON,
        "tenant_id": TENANT,
        "notification_id": ID,
        "idempotency_key": "order-7",
        "channel": "EMAIL",
        "recipient": "ada@lovelace.example",
        "template": "Dear {name}, your order is on its way.",
        "subject": "Order {number}",
        "params": {"name": "Ada", "number": "7"},
    }
    return NotificationSendRequested(**{**fields, **more})


class Sending(Scenario):
    """One notification."""

    def __init__(self) -> None:
        super().__init__(NOTIFICATION, KEY)

    def asked(self, **more: Any) -> list[Any]:
        """Request to send it."""
        return self.send(request(**more))

    def report(self, outcome: str, attempt: int = 1, **more: Any) -> list[Any]:
        """Report on an attempt, or with attempt 0 as the provider."""
        fields = {**self._common(self.at), "notification_id": ID, "outcome": outcome, "attempt": attempt}
        return self.send(NotificationDeliveryReported(**{**fields, **more}))

    def cancel(self) -> list[Any]:
        """Cancel it."""
        return self.send(
            NotificationCancelRequested(**self._common(self.at), notification_id=ID, reason="not wanted")
        )

    def ask(self) -> list[Any]:
        """Ask how it is doing."""
        return self.send(NotificationStatusRequested(**self._common(self.at), notification_id=ID))

    def later(self, seconds: float) -> datetime:
        """Let time pass."""
        self.at += timedelta(seconds=seconds)
        return self.at

    @property
    def progress(self) -> NotificationProgress:
        found: NotificationProgress = self.records["progress"]
        return found

    @property
    def content(self) -> NotificationContent:
        found: NotificationContent = self.records["content"]
        return found

    @property
    def status(self) -> str:
        return self.progress.status


def names(facts: list[Any]) -> list[str]:
    """Return the record names of facts, without what they all begin with."""
    return [type(fact).__name__.removeprefix("Notification") for fact in facts]
