"""Notifications as a service (001-39 to 001-42)."""

from __future__ import annotations

from typing import Any

from agents.client_service import Service, as_dict, result
from streams.client import Rejected
from streams.events import (
    NotificationBatchAccepted,
    NotificationBatchSendRequested,
    NotificationCancelRejected,
    NotificationCancelRequested,
    NotificationSendRequested,
    NotificationStatusProvided,
    NotificationStatusRequested,
)
from tables.notification_send import notification_id


class NotificationClient(Service):
    """Notifications of a tenant."""

    async def send_notification(self, notification_data: dict[str, Any]) -> str:
        """Send a notification, at once or later, and return its id.

        Args:
            notification_data: fields of ``NotificationSendRequested``: ``channel``, ``recipient``, ``template``,
                ``params``, ``send_at`` ...; the same ``notification_id`` or ``idempotency_key`` is the same
                notification.
        """
        command = self.command(NotificationSendRequested, notification_data)
        await self.ask(command)
        return notification_id(command)

    async def send_batch_notifications(
        self, notifications: list[dict[str, Any]], **further: Any
    ) -> list[str]:
        """Send many notifications and return their ids in the order of the list.

        Args:
            notifications: each as for ``send_notification``.
            further: ``batch_id``: the same one is the same batch.

        Returns:
            An id for each; "" for one that was refused, which is no reason not to send the others.
        """
        fields = {"items": notifications, **further}
        command = self.command(NotificationBatchSendRequested, fields, "batch_id")
        accepted = result(await self.ask(command), NotificationBatchAccepted)
        refused, ids = {error.index for error in accepted.errors}, iter(accepted.ids)
        return ["" if place in refused else next(ids) for place in range(len(notifications))]

    async def get_notification_status(self, notification_id: str) -> dict[str, Any]:
        """Return how a notification is doing: ``status``, ``attempts``, ``last_error`` ...

        Raises:
            Rejected: NOT_FOUND.
        """
        command = self.command(NotificationStatusRequested, {"notification_id": notification_id})
        return as_dict(result(await self.ask(command), NotificationStatusProvided))

    async def cancel_notification(self, notification_id: str) -> bool:
        """Cancel a notification; return whether it was: only one that is not being sent yet can be."""
        try:
            await self.ask(self.command(NotificationCancelRequested, {"notification_id": notification_id}))
        except Rejected as refusal:
            if isinstance(refusal.fact, NotificationCancelRejected):
                return False
            raise
        return True
