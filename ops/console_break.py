"""Breaking things in the demo, to see what happens: a poison pill, a schema that does not fit, a burst, a kill.

Only a worker that runs with SLUICE_DEMO has this, and such a worker is on loopback only (``streams/web_auth.py``).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from confluent_kafka import KafkaException, Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from pydantic import BaseModel, ConfigDict, Field

from ops.replay import PRODUCER
from streams.envelope import ce_headers
from streams.events import UsageEvent
from streams.registry import translate
from streams.schemas import contracts
from streams.topics import USAGE_METERED, partition_for
from streams.web_errors import Conflict, NotReady

if TYPE_CHECKING:
    from streams.app import SluiceApp

POISON = b"This is a poison pill: it is not Avro, and no schema will ever read it."
POISON_KEY = "poison-pill"
BURST_FACTOR, BURST_S, LEAST_RATE, MOST_RATE = 10, 8.0, 20.0, 400.0
"""A burst is ten times the rate of usage before it, as far as a laptop stands that."""
TICK_S = 0.05
TENANTS = 20
FLUSH_S = 10.0
LAST_WORDS_S = 0.3
"""A worker that is to be killed answers first."""


class BreakRequest(BaseModel):
    """What to break."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: Literal["poison", "schema", "burst", "kill"]


class Broken(BaseModel):
    """What was done, and what somebody else said to it."""

    told: str = Field(description="What was done and what to look at now.")
    answer: str = Field("", description="The registry's own answer, where it was asked.")
    subject: str = Field("", description="The subject that was tried, where there was one.")


class Breaker:
    """Breaks what a request names.

    Args:
        app: the worker.
        rate: tells how many usage events a second come in.
    """

    def __init__(self, app: SluiceApp, rate: Callable[[], float]) -> None:
        self._app = app
        self._rate = rate
        self._burst: asyncio.Task[None] | None = None

    async def do(self, request: BreakRequest) -> Broken:
        """Break something in the demo."""
        match request.what:
            case "poison":
                return await self._poison()
            case "schema":
                return await asyncio.to_thread(self._schema)
            case "burst":
                return self._start_burst()
            case "kill":
                asyncio.get_running_loop().call_later(LAST_WORDS_S, os.kill, os.getpid(), signal.SIGKILL)
                return Broken(
                    told="The worker dies now (kill -9). The demo starts it again; nothing counts twice."
                )

    def close(self) -> None:
        """End a burst that is under way."""
        if self._burst is not None:
            self._burst.cancel()

    @cached_property
    def _producer(self) -> Producer:
        return Producer(self._app.settings.librdkafka_config() | PRODUCER)

    async def _poison(self) -> Broken:
        place: list[str] = []

        def send() -> None:
            def delivered(error: Any, message: Any) -> None:
                if error is None:
                    place.append(f"{message.topic()}/{message.partition()}/{message.offset()}")

            self._producer.produce(USAGE_METERED.name, POISON, POISON_KEY, on_delivery=delivered)
            self._producer.flush(FLUSH_S)

        await asyncio.to_thread(send)
        if not place:
            raise NotReady(f"the broker did not take it within {FLUSH_S:.0f} s; try again when it answers")
        return Broken(told=f"Sent {len(POISON)} bytes that are no event, to {place[0]}. See dead letters.")

    def _schema(self) -> Broken:
        """Try to register a usage event whose quantity is an int, as somebody would who did not ask."""
        schema = json.loads(contracts()[UsageEvent.RECORD].text)
        for field in schema["fields"]:
            if field["name"] == "quantity":
                field["type"] = "int"
        subject = f"{USAGE_METERED.name}-{UsageEvent.RECORD}"
        tried = "a UsageEvent whose quantity is an int instead of a decimal"
        try:
            with SchemaRegistryClient(self._app.settings.registry_config()) as client:
                client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
        except Exception as error:
            if isinstance(error, SchemaRegistryError) and error.http_status_code in (409, 422):
                answer = f"{error.http_status_code} {error.error_message}"
                return Broken(told=f"The registry refused {tried}.", answer=answer, subject=subject)
            raise NotReady(str(translate(error, subject))) from error
        raise Conflict(f"the registry took {tried}: {subject} has no compatibility level; run `sluice setup`")

    def _start_burst(self) -> Broken:
        if self._burst is not None and not self._burst.done():
            raise Conflict("a burst is under way; look at lag and latency until it is over")
        rate = BURST_FACTOR * min(max(self._rate(), LEAST_RATE), MOST_RATE)
        self._burst = asyncio.create_task(self._send_burst(rate))
        return Broken(
            told=f"Sending {rate:,.0f} more usage events a second for {BURST_S:.0f} s, of tenants burst-…"
        )

    async def _send_burst(self, rate: float) -> None:
        loop = asyncio.get_running_loop()
        began, sent, total = loop.time(), 0, int(rate * BURST_S)
        headers = ce_headers(UsageEvent, "sluice-demo")
        while sent < total:
            due = min(total, int(rate * (loop.time() - began)))
            for number in range(sent, due):
                self._produce(headers, f"burst-{number % TENANTS:02d}", number)
            sent = due
            await asyncio.sleep(TICK_S)

    def _produce(self, headers: Any, tenant: str, number: int) -> None:
        event = UsageEvent(
            event_id=str(uuid4()),
            timestamp=datetime.now(UTC),
            tenant_id=tenant,
            user_id="demo",
            service_name="burst",
            event_type="model_inference",
            resource_type="tokens.input",
            quantity=Decimal(100 + number % 900),
            unit="tokens",
        )
        key, topic = tenant.encode(), USAGE_METERED.name
        try:
            self._producer.produce(
                topic,
                self._app.codec.encode(event, topic),
                key,
                partition_for(key, self._app.settings.partitions),
                headers=dict(headers(event.event_id, event.timestamp, key, tenant)),
            )
            self._producer.poll(0)
        except (BufferError, KafkaException):
            return  # more than the broker takes: a burst is only as large as it can be
