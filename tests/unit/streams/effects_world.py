"""An effect service on a broker in memory: orders come from a list, commits and answers go to lists."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from streams import effects, effects_orders
from streams.effects import Effects, Kind
from streams.envelope import Headers
from streams.events import NotificationDeliveryOrdered, NotificationDeliveryReported
from streams.metrics import Metrics
from streams.outbox import Outgoing, Target
from streams.routes import INDEX
from streams.settings import Settings
from streams.topics import NOTIFICATION_COMMANDS, NOTIFICATION_DELIVERIES, key_of

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HERE = TopicPartition(NOTIFICATION_DELIVERIES.name, 0)


@dataclass
class Record:
    """One order on its topic."""

    offset: int
    value: Any
    key: bytes
    timestamp: int
    topic: str = HERE.topic
    partition: int = HERE.partition
    headers: Headers = ()


class Codec:
    """Values are what they hold; nothing is encoded."""

    def decode_batch(self, values: Sequence[Any]) -> list[Any]:
        return list(values)

    async def resolve(self, _: set[int]) -> None:
        """Nothing is unknown here."""

    def encoder(self, topic: str, struct: type) -> Callable[..., bytes]:
        return lambda record, event_id=None: b"\0\0\0\0\1" + repr(record).encode()


class Broker:
    """What the brokers know.

    Attributes:
        log: the orders, by offset.
        committed: position and claim of the group, of each commit.
        answers: what was published.
        answered: ids of the orders whose answers are on the topic of answers.
    """

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.committed: list[tuple[int, str]] = []
        self.answers: list[tuple[Target, Outgoing]] = []
        self.answered: set[str] = set()
        self.read_answers = 0
        self.refuse_commits = 0
        self.on_commit: Callable[[], Any] | None = None
        self.hold_answers: asyncio.Event | None = None

    def order(self, name: str, *, key: str = "", decided: datetime | None = None, **more: Any) -> None:
        """Append an order; ``decided`` long before it was appended is a rebuild's."""
        appended = START + timedelta(milliseconds=10 * len(self.log))
        event = NotificationDeliveryOrdered(
            event_id=name,
            timestamp=decided or appended,
            tenant_id="t",
            notification_id=key or name,
            attempt=1,
            idempotency_key=name,
            channel="LOG",
            recipient="",
            body=name,
            **more,
        )
        self.append(event, key or name)

    def append(self, value: Any, key: str) -> None:
        """Append anything."""
        appended = int(START.timestamp() * 1000) + 10 * len(self.log)
        self.log.append(Record(len(self.log), value, key_of("t", key).encode(), appended))

    @property
    def position(self) -> int:
        return self.committed[-1][0] if self.committed else 0

    async def send(self, records: dict[Target, Sequence[Outgoing]]) -> None:
        if self.hold_answers is not None:
            await self.hold_answers.wait()
        for target, outgoing in records.items():
            self.answers += [(target, each) for each in outgoing]

    def answered_names(self) -> list[str]:
        """Return the ids of the orders that were answered, in the order of the answers."""
        return [
            _header(each, "ce_causationid")
            for target, each in self.answers
            if target[0] == "notification.commands"
        ]


def _header(outgoing: Outgoing, name: str) -> str:
    [value] = [value for key, value in outgoing[2] if key == name]
    return str(value.decode())


class Consumer:
    """A member of the group, which has the only partition."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._next = broker.position
        self.listener: Any = None
        self.stopped = False

    async def start(self) -> None:
        """Join."""

    async def stop(self) -> None:
        self.stopped = True

    def subscribe(self, _: list[str], listener: Any) -> None:
        self.listener = listener

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        await asyncio.sleep(0)
        records = self._broker.log[self._next : self._next + max_records]
        self._next += len(records)
        if not records:
            await asyncio.sleep(0.005)
        return {HERE: records} if records else {}

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        if self._broker.on_commit is not None:
            await self._broker.on_commit()
        if self._broker.refuse_commits:
            self._broker.refuse_commits -= 1
            raise CommitFailedError
        self._broker.committed.append(offsets[HERE])


@dataclass
class App:
    """As much of a worker's app as an effect service uses."""

    outputs: Broker
    aborted: list[BaseException] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=lambda: Settings(app_id="world", partitions=1))
    codec: Codec = field(default_factory=Codec)
    index: Any = INDEX
    metrics: Metrics = field(default_factory=lambda: Metrics("world", ""))
    health: list[Any] = field(default_factory=list)
    tracing: None = None

    def abort(self, error: BaseException, **about: Any) -> None:
        self.aborted.append(error)
        self.about = about
        raise asyncio.CancelledError


class World:
    """One service on a broker, and what it performs.

    Attributes:
        performed: names of the orders performed, with whether they were doubtful.
        begun, most: how many are being performed now, and were at most.
        hold: performing waits while it is set to an event that is not.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.app = App(broker)
        self.performed: list[tuple[str, bool]] = []
        self.begun = 0
        self.most = 0
        self.hold: asyncio.Event | None = None
        self.consumers: list[Consumer] = []
        self.fail: dict[str, Exception] = {}
        kind = Kind(
            name="senders",
            orders=NOTIFICATION_DELIVERIES,
            order=NotificationDeliveryOrdered,
            answers=NOTIFICATION_COMMANDS,
            answer=NotificationDeliveryReported,
            fresh=timedelta(hours=1),
            urgency=lambda order: {"LOW": 0, "HIGH": 2}.get(order.priority, 1),
        )
        self.effects = Effects(self.app, kind, self.perform)  # type: ignore[arg-type]

    async def perform(self, order: Any, doubtful: bool) -> Sequence[Any]:
        self.performed.append((order.event_id, doubtful))
        self.begun += 1
        self.most = max(self.most, self.begun)
        try:
            if self.hold is not None:
                await self.hold.wait()
            await asyncio.sleep(0)
            if order.event_id in self.fail:
                raise self.fail[order.event_id]
        finally:
            self.begun -= 1
        report = NotificationDeliveryReported(
            timestamp=START, tenant_id="t", notification_id=order.notification_id, outcome="SENT", attempt=1
        )
        return (report,)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.performed]


@asynccontextmanager
async def running(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a service on a broker; it is stopped in the end."""
    world = World(broker)

    def consumer(**_: Any) -> Consumer:
        world.consumers.append(Consumer(broker))
        return world.consumers[-1]

    async def last_claim(*_: Any) -> int:
        claim = broker.committed[-1][1] if broker.committed else ""
        return int(claim.removeprefix("claimed=") or -1)

    async def answered(*_: Any) -> set[str]:
        broker.read_answers += 1
        return {*broker.answered, *broker.answered_names()}

    monkeypatch.setattr(effects_orders, "AIOKafkaConsumer", consumer)
    monkeypatch.setattr(effects_orders, "last_claim", last_claim)
    monkeypatch.setattr(effects_orders, "RETRY_S", 0.001)
    monkeypatch.setattr(effects_orders, "COMMIT_S", 0)
    monkeypatch.setattr(effects, "answered_orders", answered)
    await world.effects.start()
    try:
        yield world
    finally:
        await world.effects.stop()


async def until(condition: Callable[[], Any], seconds: float = 5) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)
