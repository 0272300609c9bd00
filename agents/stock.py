"""Stock agent: keeps lots, reservations and movements of products in warehouses.

in     stock.commands          the commands of streams/routes.py       key: tenant|product_id|warehouse_id
state  stock                   tables/stock.py
out    stock.events, alerts    Stock*, Alert; stock.commands: the entries of transfers, and how they ended
fail   <topic>.dlq, events.failed
"""

from __future__ import annotations

from typing import Any

from agents.stock_metrics import count_stock
from streams.app import SluiceApp


def build(app: SluiceApp) -> Any:
    """Add the agent to a worker's app."""
    count_stock(app)
    return app.add_agent("stock")
