"""The agents that a worker runs, one for each aggregate of ``streams/routes.py``."""

from __future__ import annotations

from typing import Final

from agents import alerts, catalog, customer, notification, senders, stock, usage

AGENTS: Final = (
    usage.build,
    alerts.build,
    notification.build,
    senders.build,
    catalog.build,
    customer.build,
    stock.build,
)
