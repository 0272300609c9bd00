"""What makes rare series exist: poison, a retry, a duplicate, late and misrouted events, quotas, low stock, points."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from streams.codec import Codec
from streams.envelope import ce_headers
from streams.events import StockPolicySetRequested, UsageEvent
from streams.registry import Registry
from streams.schemas import contracts
from streams.settings import Settings
from streams.topics import STOCK_COMMANDS, USAGE_METERED, partition_for

OLD = timedelta(days=40)
"""Too long ago to count (contracts 3.5)."""
LIMIT = 20


class Load:
    """Sends events of a tenant that nobody else has.

    Args:
        settings: of the cluster.
        url: of the worker's web port.
        token: the operator's.
        tenant: whose events they are.
    """

    def __init__(self, settings: Settings, url: str, token: str, tenant: str) -> None:
        self._settings, self._url, self._token = settings, url, token
        self.tenant = tenant
        self._producer = Producer(settings.librdkafka_config())
        self._ids = count()
        self._partition = partition_for(tenant.encode(), settings.partitions)
        self._codec = asyncio.run(_codec(settings))

    def usage(self, events: int, *, age: timedelta = timedelta(), repeated: bool = False) -> None:
        """Send usage events; ``repeated``: each one twice."""
        for _ in range(events):
            event = self._usage(self.tenant, age)
            for _ in range(1 + repeated):
                self._send(USAGE_METERED.name, self.tenant, event)
        self._flush()

    def poison(self) -> None:
        """Send bytes that are no event."""
        self._producer.produce(USAGE_METERED.name, b"poison", self.tenant, self._partition)
        self._flush()

    def misrouted(self) -> None:
        """Send an event to a partition that is not its key's."""
        wrong = (self._partition + 1) % self._settings.partitions
        self._send(USAGE_METERED.name, self.tenant, self._usage(self.tenant), wrong)
        self._flush()

    def in_transaction(self) -> None:
        """Send a usage event in a transaction, whose end is a record of its own that no worker commits."""
        options = {"transactional.id": f"{self.tenant}-test"}
        plain, self._producer = self._producer, Producer(self._settings.librdkafka_config() | options)
        self._producer.init_transactions(30)
        self._producer.begin_transaction()
        self.usage(1)
        self._producer.commit_transaction(30)
        self._producer = plain

    def of_newer_schema(self) -> None:
        """Send an event in a schema that the worker has not met; it asks the registry for it."""
        schema = json.loads(contracts()[UsageEvent.RECORD].text)
        schema["fields"].append({"name": "colour", "type": ["null", "string"], "default": None})
        with SchemaRegistryClient({"url": self._settings.registry_url}) as client:
            number = client.register_schema(f"{self.tenant}-newer", Schema(json.dumps(schema), "AVRO"))
        tenant = f"{self.tenant}-2"
        frame = self._codec.encode(self._usage(tenant), USAGE_METERED.name)
        newer = b"\0" + int(number).to_bytes(4, "big") + frame[5:] + b"\0"
        home = partition_for(tenant.encode(), self._settings.partitions)
        self._producer.produce(USAGE_METERED.name, newer, tenant, home)
        self._flush()

    def domains(self) -> None:
        """Give commands to all domains over HTTP, some of which are refused, and read what is not there."""
        policy = StockPolicySetRequested(
            timestamp=datetime.now(UTC),
            event_id=f"{self.tenant}-policy",
            tenant_id=self.tenant,
            product_id="tea",
            warehouse_id="WH1",
            reorder_point=Decimal(50),
        )
        self._send(STOCK_COMMANDS.name, f"{self.tenant}|tea|WH1", policy)
        self._flush()
        for path, body in self._commands():
            status = self.ask(path, body)
            assert status in (200, 201, 409), (path, status)
        assert self.ask("/nothing/here") == 404

    def _commands(self) -> Iterator[tuple[str, dict[str, Any]]]:
        quota = {"quota_id": "q", "meter": "tokens.input", "limit": str(LIMIT), "period": "DAY"}
        yield f"/usage/{self.tenant}/quotas?wait=5s", quota | {"thresholds": [80, 100]}
        mine = f"?tenant={self.tenant}&wait=5s"
        tea = {"product_id": "tea", "warehouse_id": "WH1"}
        yield f"/stock/entries{mine}", tea | {"movement_id": "in-1", "lot_id": "A", "quantity": "60"}
        yield f"/stock/exits{mine}", tea | {"movement_id": "out-1", "quantity": "30"}
        yield f"/stock/exits{mine}", tea | {"movement_id": "out-2", "quantity": "999"}
        yield f"/customers{mine}", {"customer_id": "ann", "name": "Ann"}
        points = f"/customers/ann/loyalty/transactions{mine}"
        yield points, {"transaction_id": "buy-1", "points_change": 120, "reason": "purchase"}
        yield points, {"transaction_id": "gift-1", "points_change": -50, "reason": "gift"}
        yield points, {"transaction_id": "gift-2", "points_change": -5_000, "reason": "gift"}
        note = {"channel": "LOG", "recipient": "ann", "template": "Hello"}
        yield f"/notifications{mine}", note | {"notification_id": "hello-1"}
        yield f"/catalog/products{mine}", {"product_id": "tea", "name": "Tea"}

    def ask(self, path: str, body: dict[str, Any] | None = None) -> int:
        """Return the status of a GET, or of a POST with a body; 0 where nobody listens."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def _usage(self, tenant: str, age: timedelta = timedelta()) -> UsageEvent:
        return UsageEvent(
            event_id=f"{self.tenant}-{next(self._ids)}",
            timestamp=datetime.now(UTC) - age,
            tenant_id=tenant,
            user_id="ada",
            event_type="model_inference",
            resource_type="tokens.input",
            quantity=Decimal(5),
            unit="tokens",
        )

    def _send(self, topic: str, key: str, event: Any, number: int | None = None) -> None:
        headers: Any = ce_headers(type(event), "test")(
            event.event_id, event.timestamp, key.encode(), event.tenant_id
        )
        at = partition_for(key.encode(), self._settings.partitions) if number is None else number
        self._producer.produce(topic, self._codec.encode(event, topic), key, at, headers=headers)

    def _flush(self) -> None:
        assert self._producer.flush(30) == 0


async def _codec(settings: Settings) -> Codec:
    registry = Registry(settings)
    codec = Codec(registry)
    await codec.prepare([(USAGE_METERED.name, UsageEvent), (STOCK_COMMANDS.name, StockPolicySetRequested)])
    await registry.close()
    return codec
