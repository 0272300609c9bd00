"""Attempts: ordering them, what is reported of them, and what the timer asks for (contracts 3.4).

An order is a fact for the senders, who act on live orders only (``agents/senders.py``). A rule never sends anything,
so rebuilding the state repeats orders under their old ids and times, and nothing else.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from streams.events import (
    NotificationContent,
    NotificationDelivered,
    NotificationDeliveryOrdered,
    NotificationDeliveryReported,
    NotificationDueRequested,
    NotificationProgress,
    NotificationSent,
)
from tables.facts import changed
from tables.notification_content import body_of, subject_of
from tables.notification_facts import (
    NO_REPORT,
    NOT_FOUND,
    REPORT_WITHIN,
    VALIDATION_FAILED,
    Forgotten,
    Noted,
    about,
    ended,
    expired,
    failed,
    of,
    refused,
)
from tables.state import State

RETRY_AFTER = timedelta(seconds=30)
"""Delay after the first failed attempt; it doubles with each further one."""
MAX_RETRY_AFTER = timedelta(hours=1)
MAX_ASKED_MS = 86_400_000
"""However late a provider wants to be asked again."""


def order(
    event: Any, at: datetime, progress: NotificationProgress, content: NotificationContent
) -> tuple[NotificationDeliveryOrdered, Noted]:
    """Return the order of the next attempt, and the progress it makes."""
    attempt = progress.attempts + 1
    changed_at = progress.changed_at if progress.status == "SENDING" else at
    after = changed(
        progress,
        status="SENDING",
        changed_at=changed_at,
        due_at=at + REPORT_WITHIN,
        attempts=attempt,
        retrying=False,
    )
    ordered = NotificationDeliveryOrdered(
        **about(event, at, progress),
        attempt=attempt,
        idempotency_key=content.idempotency_key,
        channel=content.channel,
        recipient=content.recipient,
        subject=subject_of(content),
        body=body_of(content),
        locale=content.locale,
        priority=content.priority,
        expires_at=content.expires_at,
    )
    return ordered, Noted(after)


def due(state: State, event: NotificationDueRequested, at: datetime) -> tuple[Any, ...]:
    """Decide the timer's word: send, try again, give up or forget. A repeated or outdated one means nothing."""
    found = of(state)
    if found is None or found[0].due_at != event.due_at:
        return ()
    progress, content = found
    if progress.status == "SCHEDULED" or progress.retrying:
        if content.expires_at is not None and at >= content.expires_at:
            return expired(event, at, progress, content, "it expired before it could be sent")
        return order(event, at, progress, content)
    if progress.status == "SENDING":
        message = f"no sender has reported within {REPORT_WITHIN.days} days; does a worker run senders?"
        return failed(event, at, progress, content, NO_REPORT, message)
    return (Forgotten(),)


def report(state: State, event: NotificationDeliveryReported, at: datetime) -> tuple[Any, ...]:
    """Decide a sender's report on an attempt, or a provider's later word on the notification."""
    found = of(state)
    if found is None:
        # A sender also reports on the orders that a rebuild repeats, which may be of forgotten notifications.
        message = "there is no such notification, or it was forgotten"
        return () if event.attempt else (refused(event, at, event.notification_id, NOT_FOUND, message),)
    if event.outcome == "UNKNOWN" or event.attempt < 0:
        message = "outcome is SENT, DELIVERED, FAILED or EXPIRED, and attempt not negative"
        return (refused(event, at, event.notification_id, VALIDATION_FAILED, message),)
    return _of_attempt(event, at, *found) if event.attempt else _of_provider(event, at, *found)


def _of_attempt(
    event: NotificationDeliveryReported,
    at: datetime,
    progress: NotificationProgress,
    content: NotificationContent,
) -> tuple[Any, ...]:
    if progress.status != "SENDING" or event.attempt > progress.attempts:
        return ()
    if event.outcome in ("SENT", "DELIVERED"):
        # Also of an attempt that failed by an earlier report: two senders may have made it.
        return _arrived(event, at, progress, content)
    if event.attempt < progress.attempts or progress.retrying:
        return ()
    if progress.delivered_at is not None:
        return _arrived(event, at, progress, content)
    if event.outcome == "EXPIRED":
        return expired(event, at, progress, content, event.error)
    if event.retryable and progress.attempts < content.max_attempts:
        after = changed(
            progress,
            retrying=True,
            due_at=at + _delay(progress.attempts, event.retry_after_ms),
            error_code=event.error_code,
            error=event.error,
            possibly_duplicate=progress.possibly_duplicate or event.possibly_duplicate,
        )
        return (Noted(after),)
    return failed(event, at, progress, content, event.error_code, event.error)


def _delay(attempts: int, asked_ms: int | None) -> timedelta:
    doublings: int = 2 ** (attempts - 1)
    planned = min(RETRY_AFTER * doublings, MAX_RETRY_AFTER)
    if asked_ms is None or asked_ms < 0:
        return planned
    return max(planned, timedelta(milliseconds=min(asked_ms, MAX_ASKED_MS)))


def _arrived(
    event: NotificationDeliveryReported,
    at: datetime,
    progress: NotificationProgress,
    content: NotificationContent,
) -> tuple[Any, ...]:
    """Return the facts of a notification that has left us, and that may be known to have reached its recipient."""
    delivered = event.outcome == "DELIVERED" or progress.delivered_at is not None
    provider_id = event.provider_id or progress.provider_id
    doubtful = progress.possibly_duplicate or event.possibly_duplicate
    after = ended(
        progress,
        at,
        status="DELIVERED" if delivered else "SENT",
        provider_id=provider_id,
        delivered_at=progress.delivered_at or at if delivered else None,
        possibly_duplicate=doubtful,
    )
    common = {
        **about(event, at, progress),
        "channel": content.channel,
        "provider_id": provider_id,
        "possibly_duplicate": doubtful,
        "batch_id": content.batch_id,
    }
    facts: list[Any] = []
    if progress.status == "SENDING":
        facts.append(NotificationSent(**common, attempt=event.attempt or progress.attempts))
    if delivered:
        facts.append(NotificationDelivered(**common))
    return *facts, Noted(after)


def _of_provider(
    event: NotificationDeliveryReported,
    at: datetime,
    progress: NotificationProgress,
    content: NotificationContent,
) -> tuple[Any, ...]:
    if progress.status not in ("SENDING", "SENT"):
        return ()
    if event.outcome == "DELIVERED":
        if progress.status == "SENDING" and not progress.retrying:
            # The attempt's own report is still to come.
            provider_id = event.provider_id or progress.provider_id
            return (
                Noted(changed(progress, delivered_at=progress.delivered_at or at, provider_id=provider_id)),
            )
        return _arrived(event, at, progress, content)
    if event.outcome == "FAILED":
        return failed(event, at, progress, content, event.error_code, event.error)
    if event.outcome == "EXPIRED":
        return expired(event, at, progress, content, event.error)
    return ()
