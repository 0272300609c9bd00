"""Notifications: the aggregate of one notification, or of one batch on its way in (contracts 3.4).

The rules are in the modules beside this one: ``notification_send`` (taking in), ``notification_delivery`` (attempts,
reports, timer), ``notification_queries`` (cancel, status), ``notification_optout`` and ``notification_requests``
(alerts, realtime messages).
What they share: ``notification_facts`` and ``notification_content``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from streams.events import (
    NotificationBatchSendRequested,
    NotificationCancelRequested,
    NotificationContent,
    NotificationDeliveryReported,
    NotificationDueRequested,
    NotificationOptOutSetRequested,
    NotificationProgress,
    NotificationSendRequested,
    NotificationStatusRequested,
    RealtimeMessage,
)
from tables.notification_delivery import due as decide_due
from tables.notification_delivery import report
from tables.notification_facts import CONTENT, PROGRESS, Forgotten, Noted
from tables.notification_optout import set_opt_out
from tables.notification_queries import cancel, status
from tables.notification_requests import push
from tables.notification_send import send, send_batch
from tables.state import Aggregate, Changes, Record, State

NOTHING: Changes = {}
FORGET: Changes = {CONTENT: None, PROGRESS: None}

RULES: dict[type, Callable[[Any, Any, datetime], tuple[Any, ...]]] = {
    NotificationSendRequested: send,
    NotificationBatchSendRequested: send_batch,
    NotificationDeliveryReported: report,
    NotificationDueRequested: decide_due,
    NotificationCancelRequested: cancel,
    NotificationStatusRequested: status,
    NotificationOptOutSetRequested: set_opt_out,
    RealtimeMessage: push,
}
"""The rule of each event and command."""


def decide(state: State, event: Any, at: datetime) -> tuple[Any, ...]:
    """Answer a command or a report with facts; ``at`` is its append time.

    Raises:
        LookupError: the event is none of this aggregate's.
    """
    rule = RULES.get(type(event))
    if rule is None:
        raise LookupError(
            f"{type(event).__name__} is no event of notifications; correct its row in the routes"
        )
    return rule(state, event, at)


def fold(state: State, fact: Any) -> Changes:
    """Return the records a fact replaces. Published facts replace none."""
    if type(fact) is Noted:
        progress: Changes = {PROGRESS: fact.progress}
        return progress if fact.content is None else {**progress, CONTENT: fact.content}
    return FORGET if type(fact) is Forgotten else NOTHING


def due(name: str, record: Record) -> datetime | None:
    """Return when a notification is to be sent, tried again, given up or forgotten."""
    time: datetime | None = record.due_at if name == PROGRESS else None
    return time


def on_due(key: str, name: str, record: NotificationProgress) -> NotificationDueRequested:
    """Return the command of a notification that is due. Its id is the same however often the timer asks.

    Raises:
        LookupError: the record has no due time.
    """
    if record.due_at is None:
        raise LookupError(f"record {name!r} is not due")
    return NotificationDueRequested(
        event_id=f"due|{key}|{record.due_at.isoformat()}",
        timestamp=record.due_at,
        tenant_id=record.tenant_id,
        notification_id=record.notification_id,
        due_at=record.due_at,
    )


NOTIFICATION = Aggregate(
    name="notification",
    decide=decide,
    fold=fold,
    records=(NotificationContent, NotificationProgress),
    due=due,
    on_due=on_due,
)
