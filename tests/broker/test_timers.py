"""What is due fires by itself, in order, once, and whatever becomes of the worker meanwhile (decisions, F27)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ops.setup import setup
from ops.stack.local import LocalStack
from streams.client import Client
from streams.codec import Codec
from streams.events import (
    LoyaltyPointsActivated,
    LoyaltyPointsExpired,
    LoyaltyPointsUpdateRequested,
    NotificationSendRequested,
    NotificationSent,
    StockAllocationExpired,
    StockAllocationRequested,
    StockEntryRequested,
    StockExitRejected,
    StockExitRequested,
    StockLotExpired,
)
from streams.registry import Registry
from streams.settings import Settings
from streams.topics import CUSTOMER_EVENTS, NOTIFICATION_EVENTS, STOCK_EVENTS
from tests.faults.cluster import environment_of, read, settings_of
from tests.faults.processes import Worker, until

pytestmark = pytest.mark.broker

PLACE: dict[str, Any] = {"product_id": "milk", "warehouse_id": "WH1"}
ALLOCATION = "milk~WH1~1"
DUE = [
    StockAllocationExpired,
    StockLotExpired,
    LoyaltyPointsActivated,
    LoyaltyPointsExpired,
    NotificationSent,
]


@dataclass
class Shop:
    """A worker of the project's own index, and a tenant that nobody else has."""

    settings: Settings
    worker: Worker
    tenant: str

    def facts(self) -> list[Any]:
        """Return what was published for the tenant, each once, in the order of each topic."""
        return asyncio.run(self._facts())

    async def _facts(self) -> list[Any]:
        registry = Registry(self.settings)
        codec, found = Codec(registry), {}
        for topic in (STOCK_EVENTS, CUSTOMER_EVENTS, NOTIFICATION_EVENTS):
            values = [stored.value for stored in read(self.settings, topic.name)]
            await codec.resolve({int.from_bytes(value[1:5], "big") for value in values if value})
            for fact in codec.decode_batch(values):
                if getattr(fact, "tenant_id", "") == self.tenant:
                    found[fact.event_id] = fact
        await registry.close()
        return list(found.values())

    def fired(self) -> Counter[type]:
        """Return how many facts of each kind there are that only a timer makes."""
        return Counter(type(fact) for fact in self.facts() if type(fact) in DUE)


@pytest.fixture
def shop(stack: LocalStack, unique: str, tmp_path: Path) -> Iterator[Shop]:
    settings = settings_of(stack, unique, tmp_path)
    asyncio.run(setup(settings))
    variables = environment_of(stack, SLUICE_APP_ID=unique)
    worker = Worker("w1", "worker", tmp_path, variables, module="ops.cli", ready_path="/health/ready")
    worker.start()
    yield Shop(settings, worker, unique)
    worker.stop()


def ready(shop: Shop) -> bool:
    page = shop.worker.page("/health/ready")
    return page is not None and page["status"] == "UP"


async def plan(shop: Shop, due: datetime) -> list[Any]:
    """Make a reservation, a lot, points and a notification that are all due at about the same time."""
    now = datetime.now(UTC)
    tenant: dict[str, Any] = {"timestamp": now, "tenant_id": shop.tenant}
    customer: dict[str, Any] = tenant | {"customer_id": "ada", "reason": "welcome", "auto_create": True}
    commands = [
        StockEntryRequested(
            movement_id="m1", lot_id="A", quantity=Decimal(10), expiration_date=due, **PLACE, **tenant
        ),
        StockAllocationRequested(
            request_id="r1",
            allocation_id=ALLOCATION,
            quantity=Decimal(3),
            ttl_seconds=8,
            **PLACE,
            **tenant,
        ),
        LoyaltyPointsUpdateRequested(
            transaction_id="t1", points_change=50, activates_at=due - timedelta(seconds=1), **customer
        ),
        LoyaltyPointsUpdateRequested(transaction_id="t2", points_change=20, expires_at=due, **customer),
        NotificationSendRequested(
            idempotency_key="n1", channel="LOG", recipient="ada", template="hello", send_at=due, **tenant
        ),
    ]
    async with Client(shop.settings) as client:
        return [await client.request(command) for command in commands]


async def take(shop: Shop) -> Any:
    """Ask for what was reserved; return the answer."""
    command = StockExitRequested(
        timestamp=datetime.now(UTC),
        tenant_id=shop.tenant,
        movement_id="m2",
        allocation_id=ALLOCATION,
        quantity=Decimal(3),
        **PLACE,
    )
    async with Client(shop.settings) as client:
        return await client.request(command)


def test_what_falls_due_while_no_worker_lives_fires_once_at_the_next_start(shop: Shop) -> None:
    until(lambda: ready(shop), 60, "the worker")
    due = datetime.now(UTC) + timedelta(seconds=12)
    replies = asyncio.run(plan(shop, due))
    assert [reply.status for reply in replies] == ["OK"] * 5, replies
    shop.worker.kill()
    shop.worker.wait(30)
    assert shop.fired() == {}
    until(lambda: datetime.now(UTC) > due, 30, "all is due")
    shop.worker.start()
    once = dict.fromkeys(DUE, 1)
    until(lambda: shop.fired() == once, 60, "all that was due has fired")
    # A second death, right after the timers: nothing fires again, and a real command finds what they have done.
    shop.worker.kill()
    shop.worker.wait(30)
    shop.worker.start()
    until(lambda: ready(shop), 60, "the worker after its second death")
    reply = asyncio.run(take(shop))
    [refused] = reply.facts
    assert (reply.status, type(refused), refused.reason_code) == (
        "REJECTED",
        StockExitRejected,
        "ALLOCATION_EXPIRED",
    )
    assert shop.fired() == once
    times = {StockAllocationExpired: replies[1].facts[0].expires_at, StockLotExpired: due}
    fired = [type(fact) for fact in shop.facts() if type(fact) in times]
    assert fired == sorted(times, key=lambda kind: times[kind]), "in the order of their times"
