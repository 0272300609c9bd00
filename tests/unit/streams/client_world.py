"""A broker in memory behind aiokafka's clients, and the tally of ``core_world`` as the worker that reads from it.

A client under test is the real one down to the calls of aiokafka; what it sends is decided by a real partition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from aiokafka import TopicPartition
from aiokafka.structs import RecordMetadata

from streams.client import Client
from tests.unit.streams.core_world import (
    NUMBER,
    PARTITIONS,
    REPLIES,
    SOURCE,
    START_MS,
    Raw,
    World,
    codec,
    index_of,
    settings,
)


class Bus:
    """What fake producers and consumers have in common.

    Attributes:
        records: by topic and partition.
        topics: those that exist.
        partitions: how many each topic has.
        fail: asked before anything is appended; what it raises is the broker's answer.
        working: whether the worker answers.
        transactions: how each one ended.
    """

    def __init__(self) -> None:
        self.world = World()
        self.records: dict[tuple[str, int], list[Raw]] = {}
        self.topics = {SOURCE.name, REPLIES.name}
        self.partitions = PARTITIONS
        self.fail: Callable[[str], None] = lambda topic: None
        self.working = True
        self.transactions: list[str] = []
        self.producers: list[Producer] = []
        self.consumers: list[Consumer] = []
        self._done = 0

    def append(self, topic: str, partition: int, record: Raw) -> int:
        """Append a record, and let the worker do its part."""
        log = self.records.setdefault((topic, partition), [])
        record.offset = len(log)
        log.append(record)
        if topic == SOURCE.name and self.working:
            self.work()
        return record.offset

    def work(self) -> None:
        """Let the worker process what it has not processed, and deliver its replies."""
        waiting = self.records.get((SOURCE.name, NUMBER), [])[self._done :]
        self._done += len(waiting)
        if not waiting:
            return
        before = {target: len(sent) for target, sent in self.world.log.records.items()}
        self.world.unit(*waiting)
        for number in range(PARTITIONS):
            target = (REPLIES.name, number)
            for key, value, headers, timestamp in self.world.log.records.get(target, [])[
                before.get(target, 0) :
            ]:
                self.reply(number, Raw(0, key, value, timestamp, headers))

    def reply(self, number: int, record: Raw) -> None:
        """Append to the topic of replies, and show it to who listens."""
        self.append(REPLIES.name, number, record)
        for consumer in self.consumers:
            consumer.arrived.set()

    @property
    def sent(self) -> list[Raw]:
        """What reached the source topic."""
        return [
            record
            for (topic, _), log in sorted(self.records.items())
            if topic == SOURCE.name
            for record in log
        ]


class _Anything:
    """Stands for parts of aiokafka that are closed, or asked whether they still run."""

    def __init__(self) -> None:
        self.sender_task: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failed: list[BaseException] = []

    async def close(self) -> None:
        self.sender_task.cancel()

    def fail_all(self, error: BaseException) -> None:
        self.failed.append(error)


class Producer:
    """``AIOKafkaProducer`` on a bus."""

    def __init__(self, bus: Bus, **options: Any) -> None:
        self.bus = bus
        self.options = options
        self.client = self._sender = self._message_accumulator = _Anything()
        self.open: list[tuple[str, int, Raw]] | None = None
        self.stopped = False
        self.stop_hangs = False
        bus.producers.append(self)

    async def start(self) -> None:
        self.bus.fail("connect")

    async def stop(self) -> None:
        if self.stop_hangs:
            await asyncio.Event().wait()
        self.stopped = True

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(self.bus.partitions))

    async def send(
        self, topic: str, value: bytes, *, key: bytes, partition: int, headers: Sequence[tuple[str, bytes]]
    ) -> asyncio.Future[RecordMetadata]:
        self.bus.fail(topic)
        record = Raw(0, key, value, START_MS, list(headers))
        if self.options.get("transactional_id"):
            assert self.open is not None, "a transaction has begun"
            self.open.append((topic, partition, record))
            offset = -1
        else:
            offset = self.bus.append(topic, partition, record)
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        place = TopicPartition(topic, partition)
        future.set_result(RecordMetadata(topic, partition, place, offset, START_MS, 1, 0))
        return future

    async def begin_transaction(self) -> None:
        assert self.open is None
        self.open = []

    async def commit_transaction(self) -> None:
        self.bus.fail("commit")
        assert self.open is not None
        for topic, partition, record in self.open:
            self.bus.append(topic, partition, record)
        self.open = None
        self.bus.transactions.append("committed")

    async def abort_transaction(self) -> None:
        self.open = None
        self.bus.transactions.append("aborted")


class Consumer:
    """``AIOKafkaConsumer`` on a bus, for one partition."""

    def __init__(self, bus: Bus, **options: Any) -> None:
        self.bus = bus
        self.arrived = asyncio.Event()
        self.stopped = False
        self._place = TopicPartition("", 0)
        self._position = 0
        bus.consumers.append(self)

    async def start(self) -> None:
        self.bus.fail("listen")

    async def stop(self) -> None:
        self.stopped = True

    async def topics(self) -> set[str]:
        return self.bus.topics

    def assign(self, places: Sequence[TopicPartition]) -> None:
        [self._place] = places

    async def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: len(self.bus.records.get((place.topic, place.partition), [])) for place in places}

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._position = offset

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Raw]]:
        await self.arrived.wait()
        self.bus.fail("read")
        self.arrived.clear()
        found = self.bus.records.get((self._place.topic, self._place.partition), [])[self._position :]
        self._position += len(found)
        return {self._place: found} if found else {}


@contextmanager
def a_bus() -> Iterator[Bus]:
    """Put a bus in the place of every broker."""
    bus = Bus()
    with (
        patch("streams.client_producers.AIOKafkaProducer", lambda **options: Producer(bus, **options)),
        patch("streams.client_replies.AIOKafkaConsumer", lambda **options: Consumer(bus, **options)),
    ):
        yield bus


def a_client(bus: Bus, **options: Any) -> Client:
    """Return a client of the tally."""
    return Client(settings(), index_of(bus.world.tally), codec=codec(), **options)
