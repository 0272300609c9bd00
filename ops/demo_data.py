"""What the demo is made of beside the traces: prices, a daily quota per tenant, reorder points, and true totals."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from confluent_kafka import Producer

from ops.errors import OpsError
from ops.replay import PRODUCER
from ops.retail import WAREHOUSE
from ops.retail_steps import Entry
from ops.retail_trace import RetailTrace
from ops.traces import TENANTS, Request
from streams.codec import Codec
from streams.envelope import ce_headers
from streams.events import StockPolicySetRequested, UsagePriceSetRequested, UsageQuotaSetRequested
from streams.registry import Registry, RegistryError
from streams.routes import INDEX
from streams.settings import Settings

SOURCE = "sluice-demo"
QUOTA_ID = "tokens-per-day"
METER = "tokens.input"
PRICES = {"tokens.input": Decimal("0.00003"), "tokens.output": Decimal("0.00006")}
"""US dollars per token of gpt-4 when the trace was taken."""
REORDERED, REORDER_PERCENT = 12, 40
FLUSH_SECONDS = 30.0


def quota_of(number: int) -> Decimal:
    """Return a tenant's daily limit of input tokens: some will stay below it, some cross 80 % and some 100 %.

    A tenant uses about 360,000 in the whole trace.
    """
    return Decimal(280_000 + 5_000 * number)


def definitions(at: datetime) -> Iterator[Any]:
    """Yield the commands that set prices and quotas of all tenants. Same time, same commands."""
    for number in range(TENANTS):
        tenant = f"tenant-{number:02d}"
        for resource, rate in PRICES.items():
            yield UsagePriceSetRequested(
                event_id=_id(tenant, resource),
                timestamp=at,
                tenant_id=tenant,
                resource_type=resource,
                unit="tokens",
                currency="USD",
                rate=rate,
                effective_from=datetime(2023, 1, 1, tzinfo=UTC),
            )
        yield UsageQuotaSetRequested(
            event_id=_id(tenant, QUOTA_ID),
            timestamp=at,
            tenant_id=tenant,
            quota_id=QUOTA_ID,
            meter=METER,
            limit=quota_of(number),
            period="DAY",
            thresholds=(80, 100),
        )


def policies(at: datetime, shop: RetailTrace) -> Iterator[StockPolicySetRequested]:
    """Yield the commands that set a reorder point for the goods that sell best: a share of all that comes in."""
    goods: Counter[str] = Counter()
    for step in shop.steps():
        if isinstance(step, Entry):
            goods[step.product] += step.quantity
    for product, pieces in goods.most_common(REORDERED):
        yield StockPolicySetRequested(
            event_id=_id(shop.tenant, f"{product}/reorder"),
            timestamp=at,
            tenant_id=shop.tenant,
            product_id=product,
            warehouse_id=WAREHOUSE,
            uom="pcs",
            reorder_point=Decimal(pieces * REORDER_PERCENT // 100),
        )


def define(settings: Settings, at: datetime, shop: RetailTrace) -> int:
    """Send the definitions; return how many. Raises OpsError when registry or broker do not take them."""
    commands = [*definitions(at), *policies(at, shop)]
    routes = {route.event: route for route in INDEX.routes}
    codec = asyncio.run(_codec(settings, {(routes[type(each)].topic.name, type(each)) for each in commands}))
    producer = Producer(settings.librdkafka_config() | PRODUCER)
    failures: list[str] = []
    for command in commands:
        route = routes[type(command)]
        key, topic = route.key(command).encode(), route.topic.name
        headers = ce_headers(type(command), SOURCE)(command.event_id, at, key, command.tenant_id)
        producer.produce(
            topic,
            codec.encode(command, topic),
            key,
            headers=dict(headers),
            on_delivery=lambda error, _: failures.append(error.str()) if error else None,
        )
    unsent = producer.flush(FLUSH_SECONDS)
    if unsent or failures:
        raise OpsError(
            f"The broker did not take {unsent + len(failures)} commands: {(failures or ['no answer'])[0]}.",
            "Check it with `sluice doctor` and run the demo again.",
        )
    return len(commands)


def totals(rows: Sequence[Request], first: int, end: int) -> dict[str, int]:
    """Return the tokens in rows ``first`` to ``end`` by meter, straight from the file."""
    part = rows[first:end]
    return {"tokens.input": sum(r.context for r in part), "tokens.output": sum(r.generated for r in part)}


async def _codec(settings: Settings, records: set[tuple[str, type]]) -> Codec:
    registry = Registry(settings)
    try:
        codec = Codec(registry)
        await codec.prepare(sorted(records, key=str))
    except RegistryError as error:
        raise OpsError(f"{error}.", "Run `sluice setup`.") from error
    finally:
        await registry.close()
    return codec


def _id(tenant: str, what: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"sluice-demo/{tenant}/{what}"))
