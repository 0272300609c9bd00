"""Notification agent: takes notifications in, orders their attempts, and keeps what became of them.

in     notification.commands      the commands and reports of streams/routes.py   key: tenant|notification_id
       realtime.push              RealtimeMessage                                 key: channel
state  notification               tables/notification.py
out    notification.events        Notification*
       notification.deliveries    NotificationDeliveryOrdered, for agents/senders.py
       notification.state         NotificationOptOut, for every worker
fail   <topic>.dlq, events.failed
"""

from __future__ import annotations

from typing import Any

from streams.app import SluiceApp


def build(app: SluiceApp) -> Any:
    """Add the agent to a worker's app."""
    return app.add_agent("notification")
