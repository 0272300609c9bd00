"""The services of the bus as Python classes, under the names of their contracts (001-20 to 001-42).

async with Client(Settings.read()) as client:
    stock = StockClient(client, "my-tenant")
    allocation = await stock.allocate_stock("p1", Decimal(3), "w1")
    await stock.release_allocation(allocation["allocation_id"])
"""

from __future__ import annotations

from agents.client_catalog import CatalogClient
from agents.client_customer import CustomerClient
from agents.client_notification import NotificationClient
from agents.client_stock import StockClient

__all__ = ["CatalogClient", "CustomerClient", "NotificationClient", "StockClient"]
