"""Publish goods in one transaction, reserve some of them and wait for the result: publish_and_ask.py ORDER

Run it twice with one ORDER: the second time nothing changes, and the answer is the first result.
"""

import asyncio
import sys
from datetime import UTC, datetime
from decimal import Decimal

from streams.client import Client, NotSent, RequestTimeout
from streams.events import StockAllocationRequested, StockEntryRequested
from streams.settings import Settings

PLACE = {"tenant_id": "my-shop", "product_id": "tea", "warehouse_id": "WH1"}


async def main(order: str) -> None:
    now = datetime.now(UTC)
    deliveries = [
        StockEntryRequested(
            timestamp=now, movement_id=f"{order}/in/{lot}", lot_id=lot, quantity=Decimal(10), **PLACE
        )
        for lot in ("A", "B")
    ]
    command = StockAllocationRequested(timestamp=now, request_id=order, quantity=Decimal(12), **PLACE)
    async with Client(Settings.read()) as client:
        try:
            for sent in await client.publish_batch(deliveries):  # readers see both or none
                print(f"delivered: {sent.topic}[{sent.partition}], offset {sent.offset}")
            reply = await client.request(command, timeout=10)
        except NotSent as error:
            sys.exit(f"not sent: {error}")
        except RequestTimeout as error:
            sys.exit(f"no answer yet: {error}")
    print(reply.status if reply.ok else f"{reply.status}: {reply.code}, {reply.message}")
    if reply.duplicate:
        print("known before; this is the first result:")
    for fact in reply.facts:
        print(f"{fact.TYPE}: {fact.allocation_id} has {fact.allocated} until {fact.expires_at:%H:%M:%S}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
