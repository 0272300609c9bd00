"""Alerts agent: keeps what is firing, by fingerprint.

in     alerts            Alert     key: tenant|alert_type|subject
state  alerts            tables/alerts.py
out    notification.commands   NotificationSendRequested when an alert begins or ends; the state is read over HTTP
fail   alerts.dlq, events.failed
"""

from __future__ import annotations

from typing import Any

from agents.alerts_metrics import count_alerts
from streams.app import SluiceApp


def build(app: SluiceApp) -> Any:
    """Add the agent to a worker's app."""
    count_alerts(app)
    return app.add_agent("alerts")
