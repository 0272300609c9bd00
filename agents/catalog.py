"""Catalogue agent: keeps products, prices and benefits, and answers what is asked of them.

in     catalog.commands   the commands and requests of streams/routes.py   key: tenant|product_id,
                                                                           tenant|benefit|benefit_id, tenant|request_id
state  catalog            tables/catalog.py
out    catalog.events     Catalog*
       catalog.state      CatalogProductSnapshot, CatalogBenefitSnapshot: what every worker holds (streams/replica.py)
fail   <topic>.dlq, events.failed
"""

from __future__ import annotations

from typing import Any

from streams.app import SluiceApp


def build(app: SluiceApp) -> Any:
    """Add the agent to a worker's app."""
    return app.add_agent("catalog")
