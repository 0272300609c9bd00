"""Cancelling a notification and asking after it (contracts 3.4)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.events import (
    NotificationCancelled,
    NotificationCancelRejected,
    NotificationCancelRequested,
    NotificationStatus,
    NotificationStatusProvided,
    NotificationStatusRequested,
)
from tables.facts import caused_by
from tables.notification_facts import CONFLICT, NOT_FOUND, Noted, about, ended, of, refused
from tables.state import State

UNKNOWN = "there is no such notification, or it was forgotten"


def cancel(state: State, event: NotificationCancelRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a cancellation: possible only while nothing was ordered from a sender."""
    found = of(state)
    if found is None:
        return (_not_cancelled(event, at, "UNKNOWN", NOT_FOUND, UNKNOWN),)
    progress, _ = found
    if progress.status not in ("PENDING", "SCHEDULED"):
        message = f"it is {progress.status}; only what is not being sent yet can be cancelled"
        return (_not_cancelled(event, at, progress.status, CONFLICT, message),)
    after = ended(progress, at, status="CANCELLED", reason=event.reason)
    return NotificationCancelled(**about(event, at, progress), reason=event.reason), Noted(after)


def _not_cancelled(
    event: NotificationCancelRequested, at: datetime, status: NotificationStatus, code: str, message: str
) -> NotificationCancelRejected:
    return NotificationCancelRejected(
        timestamp=at,
        tenant_id=event.tenant_id,
        notification_id=event.notification_id,
        status=status,
        rejected_event_id=event.event_id,
        reason_code=code,
        message=message,
        envelope=caused_by(event),
    )


def status(state: State, event: NotificationStatusRequested, at: datetime) -> tuple[Any, ...]:
    """Answer how a notification is doing."""
    found = of(state)
    if found is None:
        return (refused(event, at, event.notification_id, NOT_FOUND, UNKNOWN),)
    progress, content = found
    provided = NotificationStatusProvided(
        **about(event, at, progress),
        status=progress.status,
        channel=content.channel,
        attempts=progress.attempts,
        last_error=progress.error,
        provider_id=progress.provider_id,
        possibly_duplicate=progress.possibly_duplicate,
        changed_at=progress.changed_at,
        batch_id=content.batch_id,
    )
    return (provided,)
