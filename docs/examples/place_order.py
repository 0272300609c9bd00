"""An order paid with points, over four services; the goods are given back where the points do not suffice.

place_order.py ORDER QUANTITY
"""

import asyncio
import sys
from datetime import UTC, datetime
from decimal import Decimal

from agents.clients import CatalogClient, CustomerClient, NotificationClient, StockClient
from streams.client import Client, Rejected
from streams.events import (
    CatalogPriceSetRequested,
    CatalogProductUpsertRequested,
    CustomerProfileUpsertRequested,
    LoyaltyPointsUpdateRequested,
    StockEntryRequested,
)
from streams.settings import Settings

TENANT, PRODUCT, WAREHOUSE, CUSTOMER = "my-shop", "tea", "WH1", "ann"
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


async def define(client: Client) -> None:
    """Publish what the order needs, in one transaction. Published again, it changes no number."""
    about = {"timestamp": datetime.now(UTC), "tenant_id": TENANT}
    price = {"currency": "EUR", "amount": Decimal("3.50"), "effective_from": SINCE}
    goods = {"warehouse_id": WAREHOUSE, "movement_id": "first-delivery", "quantity": Decimal(100)}
    welcome = {"transaction_id": "welcome", "points_change": 100, "reason": "welcome"}
    await client.publish_batch(
        [
            CatalogProductUpsertRequested(product_id=PRODUCT, name="Tea", **about),
            CatalogPriceSetRequested(product_id=PRODUCT, **price, **about),
            StockEntryRequested(product_id=PRODUCT, **goods, **about),
            CustomerProfileUpsertRequested(customer_id=CUSTOMER, name="Ann", **about),
            LoyaltyPointsUpdateRequested(customer_id=CUSTOMER, **welcome, **about),
        ]
    )


async def priced(catalog: CatalogClient, quantity: Decimal) -> Decimal:
    """Return what the goods cost. What was defined a moment ago may not have reached every worker yet."""
    items = [{"product_id": PRODUCT, "quantity": quantity}]
    for _ in range(50):
        try:
            return (await catalog.calculate_pricing(items, customer_id=CUSTOMER))["total"]
        except Rejected as refusal:
            if refusal.code != "NOT_FOUND":
                raise
        await asyncio.sleep(0.1)
    raise TimeoutError("the catalogue does not know the product, or nobody the customer")


async def place(client: Client, order: str, quantity: Decimal) -> None:
    stock = StockClient(client, TENANT)
    total = await priced(CatalogClient(client, TENANT), quantity)
    allocation = await stock.allocate_stock(PRODUCT, quantity, WAREHOUSE, request_id=order)
    try:
        await CustomerClient(client, TENANT).update_loyalty_points(
            CUSTOMER, -round(total), f"order {order}", transaction_id=order
        )
    except Rejected:
        await stock.release_allocation(allocation["allocation_id"])  # again, it would change nothing
        raise
    goods = {"product_id": PRODUCT, "warehouse_id": WAREHOUSE, "quantity": quantity}
    leaving = {"movement_id": f"{order}/out", "allocation_id": allocation["allocation_id"]}
    await stock.record_movement({"type": "EXIT", **goods, **leaving})
    notification_id = await NotificationClient(client, TENANT).send_notification(
        {
            "idempotency_key": f"order-{order}",
            "channel": "LOG",
            "recipient": CUSTOMER,
            "template": "Order {order} cost {total} points",
            "params": {"order": order, "total": str(round(total))},
        }
    )
    print(f"order {order}: {quantity} of {PRODUCT} for {round(total)} points, notification {notification_id}")


async def main(order: str, quantity: Decimal) -> None:
    async with Client(Settings.read()) as client:
        await define(client)
        try:
            await place(client, order, quantity)
        except Rejected as refusal:
            sys.exit(f"refused: {refusal}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Decimal(sys.argv[2])))
