"""Read models of notifications: what the HTTP views answer (contracts 3.4). Pure functions, JSON-able values.

They show whom a notification is for, and nothing of its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, get_args

from streams.events import NotificationContent, NotificationProgress, NotificationStatus
from tables.notification_facts import of
from tables.readable import QueryError, iso
from tables.state import State

STATUSES = tuple(status for status in get_args(NotificationStatus) if status != "UNKNOWN")


def notifications(states: Iterable[State], query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return notifications, those accepted last first.

    Args:
        states: of each notification.
        query: ``recipient``, ``status``, ``channel`` and ``batch``, each optional.

    Raises:
        QueryError: a parameter cannot be used.
    """
    if query.get("status") and query["status"] not in STATUSES:
        raise QueryError("status", f"{query['status']!r} is none; use one of {', '.join(STATUSES)}")
    found: list[tuple[datetime, dict[str, Any]]] = []
    for state in states:
        known = of(state)
        if known is not None and _matches(*known, query):
            found.append((known[1].accepted_at, _item(*known)))
    found.sort(key=lambda pair: pair[1]["notification_id"])
    found.sort(key=lambda pair: pair[0], reverse=True)
    return [item for _, item in found]


def notification(state: State) -> dict[str, Any] | None:
    """Return one notification, or None where there is none."""
    known = of(state)
    return None if known is None else _item(*known)


def _matches(progress: NotificationProgress, content: NotificationContent, query: Mapping[str, str]) -> bool:
    wanted = (
        ("recipient", content.recipient),
        ("status", progress.status),
        ("channel", content.channel),
        ("batch", content.batch_id),
    )
    return all(not query.get(field) or query[field] == value for field, value in wanted)


def _item(progress: NotificationProgress, content: NotificationContent) -> dict[str, Any]:
    waits = progress.status == "SCHEDULED" or progress.retrying
    return {
        "notification_id": progress.notification_id,
        "tenant_id": progress.tenant_id,
        "status": progress.status,
        "channel": content.channel,
        "recipient": content.recipient,
        "priority": content.priority,
        "batch_id": content.batch_id or None,
        "accepted_at": iso(content.accepted_at),
        "changed_at": iso(progress.changed_at),
        "send_at": iso(content.send_at),
        "expires_at": iso(content.expires_at),
        "attempts": progress.attempts,
        "max_attempts": content.max_attempts,
        "next_attempt_at": iso(progress.due_at) if waits else None,
        "delivered_at": iso(progress.delivered_at),
        "provider_id": progress.provider_id or None,
        "possibly_duplicate": progress.possibly_duplicate,
        "error_code": progress.error_code or None,
        "last_error": progress.error or None,
        "reason": progress.reason or None,
    }
