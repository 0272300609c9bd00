"""Recipients who want no notifications (contracts 3.4: "recipient opt-out read at send time").

What a recipient wants is published on a compacted topic that every worker holds. No rule looks at it: the senders do,
when they are about to send.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.events import (
    NotificationChannel,
    NotificationOptOut,
    NotificationOptOutSetRequested,
)
from streams.keys import key_of
from tables.facts import caused_by
from tables.notification_content import CONTROL, MAX_RECIPIENT
from tables.notification_facts import VALIDATION_FAILED, refused
from tables.state import State


def address_key(tenant: str, recipient: str) -> str:
    """Return the key of what a recipient wants. Nobody means another mailbox by the case of its letters."""
    return key_of(tenant, recipient.strip().casefold())


def set_opt_out(state: State, event: NotificationOptOutSetRequested, at: datetime) -> tuple[Any, ...]:
    """Decide what a recipient wants from now on: the last word counts."""
    recipient = event.recipient
    if not recipient.strip() or len(recipient) > MAX_RECIPIENT or CONTROL(recipient):
        message = f"recipient has 1 to {MAX_RECIPIENT} characters and no control characters"
        return (refused(event, at, "", VALIDATION_FAILED, message),)
    if "UNKNOWN" in event.channels:
        message = "channels holds one that is not known; use EMAIL, SMS, PUSH, WEBHOOK, IN_APP or LOG"
        return (refused(event, at, "", VALIDATION_FAILED, message),)
    wanted = NotificationOptOut(
        timestamp=at,
        tenant_id=event.tenant_id,
        recipient=recipient,
        channels=event.channels,
        opted_out=event.opted_out,
        envelope=caused_by(event),
    )
    return (wanted,)


def wants_none(wanted: NotificationOptOut | None, channel: NotificationChannel) -> bool:
    """Return whether a recipient, by its last word, wants nothing on a channel."""
    return wanted is not None and wanted.opted_out and (not wanted.channels or channel in wanted.channels)
