"""The events that every system gets: UsageEvents in Confluent frames, made cheaply and the same for the same seed."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zlib import crc32

from confluent_kafka import Producer
from fastavro import parse_schema, schemaless_writer

from streams.schemas import contracts

TAILS = 4096
MODELS = ("gpt-4", "claude-3-opus")
RATES = {"gpt-4": "0.00003", "claude-3-opus": "0.000015"}
METERS = ("tokens.input", "tokens.output")
USERS = 5
"""Of each tenant: with two models and two meters that makes 20 usage buckets per tenant and hour. A run of seconds
then meets each bucket some twenty times; with many more it would only make new ones, which no whole hour looks like.
"""
QUEUE_FULL_WAIT_S = 0.05


class Events:
    """Makes events of one seed.

    An event begins with event_id, timestamp and tenant_id (house rule of ``avro/``); all that follows is taken from
    a pool of encoded tails, so that an event costs a microsecond and the producer does not take the machine from
    the system that is measured.
    """

    def __init__(self, schema_id: int, tenants: int, seed: int = 1) -> None:
        """Prepare the tails.

        Args:
            schema_id: registry id of UsageEvent for the topic.
            tenants: number of tenants, drawn evenly.
            seed: of all random choices.
        """
        self._random = random.Random(seed)
        self._head = b"\0" + schema_id.to_bytes(4, "big")
        self._tails = [self._tail() for _ in range(TAILS)]
        self._tenants = [(tenant_name(number), string(tenant_name(number))) for number in range(tenants)]

    def make(self, prefix: str, micros: Iterator[int]) -> Iterator[tuple[str, bytes]]:
        """Yield (key, frame) for each timestamp; event ids are unique by ``prefix`` and number."""
        tails, tenants, head = self._tails, self._tenants, self._head
        pick, tail, start = self._random.random, len(self._tails), id_start(prefix)
        for number, at in enumerate(micros):
            key, tenant = tenants[int(pick() * len(tenants))]
            event_id = string(f"{start}{number:012x}")
            yield key, b"".join((head, event_id, long(at), tenant, tails[int(pick() * tail)]))

    def one_each(self, prefix: str, micros: int) -> Iterator[tuple[str, bytes]]:
        """Yield one event of every tenant."""
        stamp, start = long(micros), id_start(prefix)
        for number, (key, tenant) in enumerate(self._tenants):
            tail = self._tails[number % len(self._tails)]
            yield key, b"".join((self._head, string(f"{start}{number:012x}"), stamp, tenant, tail))

    def _tail(self) -> bytes:
        start, whole = io.BytesIO(), io.BytesIO()
        schema = contracts()["sluice.usage.UsageEvent"].schema
        record = self._record()
        first = {**schema, "name": "sluice.bench.Head", "fields": schema["fields"][:3]}
        schemaless_writer(start, parse_schema(first), {name: record[name] for name in HEAD_FIELDS})
        schemaless_writer(whole, parse_schema(schema), record)
        return whole.getvalue()[len(start.getvalue()) :]

    def _record(self) -> dict[str, Any]:
        chosen = self._random
        model, quantity = chosen.choice(MODELS), Decimal(chosen.randint(1, 4_000))
        rate = Decimal(RATES[model])
        return {
            "event_id": "",
            "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
            "tenant_id": "",
            "service_name": "llm-gateway",
            "user_id": f"user-{chosen.randrange(USERS)}",
            "event_type": "model_inference",
            "resource_type": chosen.choice(METERS),
            "quantity": quantity,
            "unit": "tokens",
            # Half of the events state their cost; the others are priced from the tenant's price table.
            "cost": {"amount": quantity * rate, "currency": "USD", "rate": rate}
            if chosen.random() < 0.5
            else None,
            "metadata": {"model_name": model},
            "envelope": None,
        }


HEAD_FIELDS = ("event_id", "timestamp", "tenant_id")


def id_start(prefix: str) -> str:
    """Return the part of event ids that a run's events share; whole ids look like UUIDs, as real ones do."""
    return f"{crc32(prefix.encode()):08x}-0000-4000-8000-"


def tenant_name(number: int) -> str:
    """Return the id of a tenant."""
    return f"tenant-{number:07d}"


def long(value: int) -> bytes:
    """Return an Avro long that is not negative."""
    value <<= 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text: str) -> bytes:
    """Return an Avro string."""
    raw = text.encode()
    return long(len(raw)) + raw


def load(bootstrap: str, topic: str, events: Iterator[tuple[str, bytes]]) -> int:
    """Write events to a topic as fast as the broker takes them; return how many.

    Raises:
        RuntimeError: the broker did not take all of them.
    """
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "batch.size": 524_288,
            "queue.buffering.max.messages": 500_000,
        }
    )
    written = 0
    for key, frame in events:
        written += 1
        while True:
            try:
                producer.produce(topic, frame, key)
                break
            except BufferError:
                producer.poll(QUEUE_FULL_WAIT_S)
    if producer.flush(60):
        raise RuntimeError(
            f"the broker did not take all {written} events of {topic} within a minute; see its log"
        )
    return written
