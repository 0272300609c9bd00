"""Taking notifications in: one by one, and batches that are taken apart (contracts 3.4).

A notification is one however often it is asked for: its id is the caller's, or the idempotency key.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from streams.events import (
    NotificationAccepted,
    NotificationBatchAccepted,
    NotificationBatchItem,
    NotificationBatchSendRequested,
    NotificationContent,
    NotificationItemError,
    NotificationProgress,
    NotificationScheduled,
    NotificationSendRequested,
)
from tables.facts import caused_by
from tables.notification_content import MAX_AHEAD, bad_id, content_of, problem
from tables.notification_delivery import order
from tables.notification_facts import (
    DUPLICATE_CONFLICT,
    LATE_EVENT,
    VALIDATION_FAILED,
    Noted,
    about,
    expired,
    of,
    refused,
)
from tables.state import State

MAX_AGE = timedelta(days=7)
"""Older requests are refused. It is shorter than a notification is remembered, so whatever sends old requests again,
such as the rebuild of another table, finds them known or refused."""

MAX_ITEMS = 5_000


def notification_id(event: NotificationSendRequested) -> str:
    """Return the id of the notification that a request is for."""
    return event.notification_id or event.idempotency_key or event.event_id


def item_id(batch: str, index: int, item: NotificationBatchItem) -> str:
    """Return the id of a batch's item: what it says itself, or the batch's id and its place."""
    return item.notification_id or item.idempotency_key or f"{batch}-{index}"


def send(state: State, event: NotificationSendRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a request to send: accepted and ordered, scheduled, expired already, known, or refused."""
    found = of(state)
    if found is not None:
        return _known(*found, event, at)
    which = notification_id(event)
    refusal = _refusal(event, at)
    if refusal is not None:
        return (refused(event, at, which, *refusal),)
    content = NotificationContent(
        idempotency_key=event.idempotency_key or which,
        accepted_at=at,
        batch_id=event.batch_id,
        **content_of(event),
    )
    progress = NotificationProgress(
        tenant_id=event.tenant_id, notification_id=which, status="PENDING", changed_at=at
    )
    return _begin(event, at, progress, content)


def _refusal(event: NotificationSendRequested, at: datetime) -> tuple[str, str] | None:
    if at - event.timestamp > MAX_AGE:
        return (
            LATE_EVENT,
            "the request is older than 7 days; if it is still wanted, send it with a current time",
        )
    if event.send_at is not None and event.send_at - at > MAX_AHEAD:
        return VALIDATION_FAILED, f"send_at is more than {MAX_AHEAD.days} days ahead; schedule it later"
    unfit = bad_id("notification_id or idempotency_key", notification_id(event)) or problem(event)
    return (VALIDATION_FAILED, unfit) if unfit else None


def _known(
    progress: NotificationProgress,
    content: NotificationContent,
    event: NotificationSendRequested,
    at: datetime,
) -> tuple[Any, ...]:
    """Answer a request for a notification that is there already: the same one, or another one under its id."""
    if content_of(content) != content_of(event):
        message = "another notification has this id; use one id, or idempotency key, for each notification"
        return (refused(event, at, progress.notification_id, DUPLICATE_CONFLICT, message),)
    return (_accepted(event, at, progress, content, repeated=True),)


def _accepted(
    event: Any,
    at: datetime,
    progress: NotificationProgress,
    content: NotificationContent,
    *,
    repeated: bool = False,
) -> NotificationAccepted:
    return NotificationAccepted(
        **about(event, at, progress),
        channel=content.channel,
        batch_id=content.batch_id,
        status=progress.status,
        repeated=repeated,
    )


def _begin(
    event: NotificationSendRequested,
    at: datetime,
    progress: NotificationProgress,
    content: NotificationContent,
) -> tuple[Any, ...]:
    if content.expires_at is not None and at >= content.expires_at:
        fact, noted = expired(event, at, progress, content, "it expired before it was taken in")
        return fact, Noted(noted.progress, content)
    if content.send_at is not None and content.send_at > at:
        after = NotificationProgress(
            tenant_id=progress.tenant_id,
            notification_id=progress.notification_id,
            status="SCHEDULED",
            changed_at=at,
            due_at=content.send_at,
        )
        scheduled = NotificationScheduled(
            **about(event, at, progress),
            channel=content.channel,
            send_at=content.send_at,
            batch_id=content.batch_id,
        )
        return scheduled, Noted(after, content)
    ordered, noted = order(event, at, progress, content)
    return _accepted(event, at, noted.progress, content), ordered, Noted(noted.progress, content)


def send_batch(state: State, event: NotificationBatchSendRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a batch: one request for each good item, in order, and one fact with all ids and errors."""
    unfit = bad_id("batch_id", event.batch_id)
    if not unfit and not 1 <= len(event.items) <= MAX_ITEMS:
        unfit = f"a batch has 1 to {MAX_ITEMS} items; divide it"
    if unfit:
        return (refused(event, at, event.batch_id, VALIDATION_FAILED, unfit),)
    if at - event.timestamp > MAX_AGE:
        message = "the batch is older than 7 days; if it is still wanted, send it with a current time"
        return (refused(event, at, event.batch_id, LATE_EVENT, message),)
    requests: dict[str, NotificationSendRequested] = {}
    ids: list[str] = []
    errors: list[NotificationItemError] = []
    for index, item in enumerate(event.items):
        request = _request(event, at, index, item)
        which = request.notification_id
        refusal = _refusal(request, at) or _twice(requests.get(which), request)
        if refusal is not None:
            errors.append(
                NotificationItemError(
                    index=index, notification_id=which, reason_code=refusal[0], message=refusal[1]
                )
            )
            continue
        requests.setdefault(which, request)
        ids.append(which)
    accepted = NotificationBatchAccepted(
        timestamp=at,
        tenant_id=event.tenant_id,
        batch_id=event.batch_id,
        ids=tuple(ids),
        errors=tuple(errors),
        envelope=caused_by(event),
    )
    return accepted, *requests.values()


def _request(
    batch: NotificationBatchSendRequested, at: datetime, index: int, item: NotificationBatchItem
) -> NotificationSendRequested:
    return NotificationSendRequested(
        timestamp=at,
        tenant_id=batch.tenant_id,
        notification_id=item_id(batch.batch_id, index, item),
        idempotency_key=item.idempotency_key,
        batch_id=batch.batch_id,
        envelope=caused_by(batch),
        **content_of(item),
    )


def _twice(
    earlier: NotificationSendRequested | None, request: NotificationSendRequested
) -> tuple[str, str] | None:
    if earlier is None or content_of(earlier) == content_of(request):
        return None
    return DUPLICATE_CONFLICT, "an earlier item of the batch has this id and another content"
