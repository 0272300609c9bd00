"""Customer agent: profiles, loyalty points and tiers.

in     customer.commands    the commands of streams/routes.py     key: tenant|customer_id
state  customer             tables/customer.py
out    customer.events      Customer*, Loyalty*
fail   <topic>.dlq, events.failed
"""

from __future__ import annotations

from typing import Any

from agents.customer_metrics import LoyaltyMetrics
from streams.app import SluiceApp


def build(app: SluiceApp) -> Any:
    """Add the agent to a worker's app."""
    LoyaltyMetrics(app)
    return app.add_agent("customer")
