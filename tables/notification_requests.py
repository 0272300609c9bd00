"""Notifications that others cause: alerts and realtime messages (contracts 3.4: "also consumes").

Who raises an alert or pushes a message may name how and whom to notify, in the labels or metadata
``notify_channel`` and ``notify_recipient``. Without them the notification goes to the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, get_args

from streams.events import (
    Alert,
    AlertState,
    NotificationChannel,
    NotificationSendRequested,
    RealtimeMessage,
)
from tables.facts import caused_by
from tables.state import State

CHANNELS: frozenset[NotificationChannel] = frozenset(get_args(NotificationChannel))
CHANNEL = "notify_channel"
RECIPIENT = "notify_recipient"
OWN = "sluice.notification_id"
"""Metadata of a realtime message that is itself a notification: the IN_APP sender sets it."""


def _channel(labels: Mapping[str, str]) -> NotificationChannel:
    """Return the channel that labels name. One that does not exist is refused with the request, not ignored."""
    wanted = labels.get(CHANNEL, "LOG").upper()
    return next((channel for channel in CHANNELS if channel == wanted), "UNKNOWN")


def of_alert(event: Alert, state: AlertState, at: datetime) -> NotificationSendRequested:
    """Return the request that tells of an alert which has just begun or ended.

    Args:
        event: the alert.
        state: its fingerprint's state as the event leaves it.
        at: the event's append time.
    """
    since = state.since.isoformat()
    verb = "fires" if state.status == "firing" else "is resolved"
    text = f"{state.severity} alert {state.alert_type} on {state.subject} {verb} since {since}"
    return NotificationSendRequested(
        timestamp=at,
        tenant_id=event.tenant_id,
        idempotency_key=f"alert/{state.alert_type}/{state.subject}/{state.alert_id}/{state.status}/{since}",
        channel=_channel(event.labels),
        recipient=event.labels.get(RECIPIENT, ""),
        template="{text}\n{description}" if event.description else "{text}",
        subject="{subject}",
        params={
            "text": text,
            "description": event.description,
            "subject": f"{state.alert_type} {verb}",
        },
        priority="HIGH" if state.severity == "critical" else "NORMAL",
        envelope=caused_by(event),
    )


def push(state: State, event: RealtimeMessage, at: datetime) -> tuple[Any, ...]:
    """Decide a realtime message: a notification that is not our own goes to its recipients, all else is ignored."""
    if event.message_type != "notification" or OWN in event.metadata or not event.payload.get("content"):
        return ()
    return tuple(_pushed(event, user, at) for user in _users(event))


def _users(event: RealtimeMessage) -> Iterator[str]:
    if event.recipients:
        yield from dict.fromkeys(recipient.user_id for recipient in event.recipients)
        return
    kind, _, user = event.channel.partition(":")
    if kind == "user" and user:
        yield user


def _pushed(event: RealtimeMessage, user: str, at: datetime) -> NotificationSendRequested:
    message = event.message_id or event.event_id or f"{event.channel}/{event.timestamp.isoformat()}"
    return NotificationSendRequested(
        timestamp=at,
        tenant_id=event.tenant_id,
        idempotency_key=f"realtime/{message}/{user}",
        channel=_channel(event.metadata),
        recipient=event.metadata.get(RECIPIENT, user),
        template="{content}",
        subject="{title}" if "title" in event.payload else "",
        params=dict(event.payload),
        expires_at=event.expires_at,
        envelope=caused_by(event),
    )
