"""What notification rules answer with: facts that are folded, and builders of those that are published.

Facts about a notification name neither its recipient nor its text: who reads ``notification.events`` need not be
allowed to read those.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from streams.events import (
    NotificationCommandRejected,
    NotificationContent,
    NotificationExpired,
    NotificationFailed,
    NotificationProgress,
)
from tables.facts import caused_by, changed
from tables.state import State

CONTENT = "content"
PROGRESS = "progress"
"""Names of the two records of a notification: what was requested, and how far it has come."""

VALIDATION_FAILED = "VALIDATION_FAILED"
NOT_FOUND = "NOT_FOUND"
CONFLICT = "CONFLICT"
DUPLICATE_CONFLICT = "DUPLICATE_CONFLICT"
LATE_EVENT = "LATE_EVENT"
NO_REPORT = "NO_REPORT"

RETENTION = timedelta(days=30)
"""How long a notification that is sent or given up can be asked about."""

REPORT_WITHIN = timedelta(days=7)
"""An attempt without a report for so long has failed: no sender acts on an order that old."""


class Noted(NamedTuple):
    """A notification came further.

    Attributes:
        progress: its new progress.
        content: what was requested, when it is new.
    """

    progress: NotificationProgress
    content: NotificationContent | None = None


class Forgotten(NamedTuple):
    """A notification was kept long enough."""


def of(state: State) -> tuple[NotificationProgress, NotificationContent] | None:
    """Return what is known of a notification, or None where there is none."""
    progress, content = state.get(PROGRESS), state.get(CONTENT)
    return None if progress is None or content is None else (progress, content)


def ended(progress: NotificationProgress, at: datetime, **values: Any) -> NotificationProgress:
    """Return the progress of a notification that nothing more is done about: it is kept for a while."""
    after: NotificationProgress = changed(
        progress, changed_at=at, due_at=at + RETENTION, retrying=False, **values
    )
    return after


def refused(event: Any, at: datetime, which: str, code: str, message: str) -> NotificationCommandRejected:
    """Return the refusal of a command.

    Args:
        event: what is refused.
        at: its append time.
        which: id of the notification or the batch.
        code: reason code, such as VALIDATION_FAILED.
        message: cause and remedy, without recipient or text.
    """
    return NotificationCommandRejected(
        timestamp=at,
        tenant_id=event.tenant_id,
        notification_id=which,
        rejected_event_id=event.event_id,
        rejected_type=type(event).TYPE,
        reason_code=code,
        message=message,
        envelope=caused_by(event),
    )


def about(event: Any, at: datetime, progress: NotificationProgress) -> dict[str, Any]:
    """Return the fields that every fact about a notification has; ``event`` is its cause."""
    return {
        "timestamp": at,
        "tenant_id": progress.tenant_id,
        "notification_id": progress.notification_id,
        "envelope": caused_by(event),
    }


def expired(
    event: Any, at: datetime, progress: NotificationProgress, content: NotificationContent, reason: str
) -> tuple[Any, ...]:
    """Return the facts of a notification that was not sent in time."""
    after = ended(progress, at, status="EXPIRED", reason=reason)
    fact = NotificationExpired(
        **about(event, at, progress),
        channel=content.channel,
        attempts=progress.attempts,
        reason=reason,
        batch_id=content.batch_id,
    )
    return fact, Noted(after)


def failed(
    event: Any,
    at: datetime,
    progress: NotificationProgress,
    content: NotificationContent,
    code: str,
    message: str,
) -> tuple[Any, ...]:
    """Return the facts of a notification that was given up."""
    after = ended(progress, at, status="FAILED", error_code=code, error=message)
    fact = NotificationFailed(
        **about(event, at, progress),
        channel=content.channel,
        attempts=progress.attempts,
        error_code=code,
        error=message,
        batch_id=content.batch_id,
    )
    return fact, Noted(after)
