"""Usage agent: meters what tenants consume.

in     usage.metered, usage.commands   UsageEvent and the commands of streams/routes.py     key: tenant_id
state  usage                           tables/usage.py
out    usage.events, alerts            UsageAggregate*, UsageQuota*, Alert
fail   <topic>.dlq, events.failed
"""

from __future__ import annotations

from typing import Any

from agents.usage_metrics import UsageMetrics
from streams.app import SluiceApp


def build(app: SluiceApp) -> Any:
    """Add the agent to a worker's app."""
    UsageMetrics(app)
    return app.add_agent("usage")
