"""Sending to Kafka so that the acknowledgement of every record is known.

``await topic.send()`` in Faust waits for a queue, and its flush does not report failures (design/faust-facts.md 1.2).
The outbox builds record batches itself, hands them to an idempotent producer and returns when the broker has
acknowledged each of them, or raises.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError
from aiokafka.producer.message_accumulator import BatchBuilder

from streams.failures import FatalFailure
from streams.settings import Settings

log = logging.getLogger(__name__)

BATCH_BYTES = 900_000
"""Size at which a batch of outputs is closed: below the 1 MiB that a Kafka topic accepts by default."""

Outgoing = tuple[bytes | None, bytes | None, list[Any], int]
"""key, value, headers (pairs of name and bytes), timestamp in ms since the epoch"""

Target = tuple[str, int]
"""topic, partition"""


class Outbox:
    """An idempotent producer with acknowledged batches. Start and stop it with the worker.

    Attributes:
        counts: records ``acknowledged``, and ``failed``: all of a sending of which one was refused.
    """

    def __init__(self, settings: Settings, role: str) -> None:
        """Prepare a producer; ``role`` becomes part of its client id (``outputs``, ``changelog``)."""
        self._settings = settings
        self._role = role
        self._producer: AIOKafkaProducer | None = None
        self.counts: Counter[str] = Counter()

    async def start(self) -> None:
        """Connect. Raises FatalFailure where no broker answers."""
        settings = self._settings
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap_servers,
            client_id=f"{settings.app_id}-{self._role}",
            enable_idempotence=True,
            acks="all",
            max_request_size=settings.changelog_max_bytes,
            request_timeout_ms=30_000,
            retry_backoff_ms=50,
            **settings.aiokafka_security(),
        )
        try:
            await self._producer.start()
        except KafkaError as exc:
            await self.stop()
            raise FatalFailure(
                f"no broker answers at {settings.bootstrap_servers} ({type(exc).__name__}); "
                "start one (`sluice up`) or set SLUICE_BOOTSTRAP_SERVERS"
            ) from exc

    async def stop(self) -> None:
        """Send what is buffered and disconnect."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def send(self, records: Mapping[Target, Sequence[Outgoing]]) -> None:
        """Send records in order per target and return when the broker has acknowledged all of them.

        Raises:
            FatalFailure: a topic does not exist, or the broker refused a batch for good.
        """
        futures: list[asyncio.Future[Any]] = []
        with self._counting(sum(map(len, records.values()))):
            for target, outgoing in records.items():
                for batch in _batches(outgoing):
                    futures.append(await self._submit(batch, target))
            await self._acknowledged(futures)

    async def send_atomically(self, target: Target, records: Sequence[Outgoing], limit: int) -> int:
        """Send records as *one* record batch, which a broker appends whole or not at all.

        Returns:
            The offset of the first record.

        Raises:
            BatchTooLarge: the records do not fit into ``limit`` bytes; nothing was sent.
            FatalFailure: the broker refused the batch for good.
        """
        batch = Batch(limit)
        if batch.fill(records) < len(records):
            raise BatchTooLarge(f"{len(records)} records do not fit into one batch of {limit} bytes")
        with self._counting(len(records)):
            [metadata] = await self._acknowledged([await self._submit(batch, target)])
        return int(metadata.offset)

    @contextmanager
    def _counting(self, records: int) -> Iterator[None]:
        try:
            yield
        except FatalFailure:
            self.counts["failed"] += records
            raise
        self.counts["acknowledged"] += records

    async def _submit(self, batch: BatchBuilder, target: Target) -> asyncio.Future[Any]:
        if self._producer is None:
            raise FatalFailure(f"the {self._role} producer is not connected")
        topic, partition = target
        while True:
            try:
                sent: asyncio.Future[Any] = await self._producer.send_batch(batch, topic, partition=partition)
                return sent
            except KafkaTimeoutError:
                # An earlier batch of the partition still waits for the broker. Nothing of this one was sent.
                fields = {"topic": topic, "partition": partition}
                log.warning(
                    "the broker does not accept batches for %s[%d]; waiting", topic, partition, extra=fields
                )
            except UnknownTopicOrPartitionError as exc:
                raise FatalFailure(f"topic {topic} does not exist; run `sluice setup`") from exc

    async def _acknowledged(self, futures: list[asyncio.Future[Any]]) -> list[Any]:
        results = await asyncio.gather(*futures, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise FatalFailure(
                    f"the broker refused a batch of the {self._role} producer: {result!r}"
                ) from result
        return results


class BatchTooLarge(Exception):
    """The records of one unit of work do not fit into one atomic batch; the unit has to be cut."""


GZIP = 1
"""Kafka's number of the codec"""


class Batch(BatchBuilder):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's batch, filled with many records at a time: its own ``append`` is two more calls (0.2 us) for each."""

    def __init__(self, limit: int, compression: int = 0) -> None:
        super().__init__(limit, compression)

    def fill(self, records: Sequence[Outgoing], start: int = 0) -> int:
        """Append the records from number ``start`` on that fit; return the number of the first that does not.

        The first record of a batch fits whatever the limit is.
        """
        append, number = self._builder.append, start
        for number in range(start, len(records)):
            key, value, headers, timestamp = records[number]
            if append(number - start, timestamp, key, value, headers) is None:
                break
        else:
            number = len(records)
        self._relative_offset = number - start
        self.close()
        return number


def _batches(records: Sequence[Outgoing]) -> Iterator[Batch]:
    """Yield batches one by one: while the broker takes one, the next is filled."""
    done = 0
    while done < len(records):
        size = _size(*records[done])
        # A record that came compressed may be larger than its topic takes; its dead letter has to fit all the same.
        batch = Batch(size, GZIP) if size > BATCH_BYTES else Batch(BATCH_BYTES)
        done = batch.fill(records, done)
        yield batch


def _size(key: bytes | None, value: bytes | None, headers: list[Any], _: int) -> int:
    overhead = 256  # batch header, record lengths
    return (
        overhead
        + len(key or b"")
        + len(value or b"")
        + sum(32 + len(n) * 4 + len(v or b"") for n, v in headers)
    )
