"""The dry run: what today's rules would make of dead letters, on a copy of today's state (peer-features F10).

The changelogs of the partitions concerned are read into memory as a worker reads them, and the events go through the
pipeline's own steps 2 to 6. Steps 7 to 9 are left out: no producer is ever connected, so nothing can be sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self

from faust.types import TP

from ops.dlq_foreseen import NOT_REACHED, WORKER_STOPS, Foreseen, answer
from ops.dlq_letters import Letter, Stored, key_text
from ops.dlq_producer import Resent, Rewrite, home_of, original
from ops.dlq_reading import end_offsets
from ops.dlq_show import decode_with
from ops.errors import NotThere, OpsError
from ops.offsets import CHECK
from streams.brokers import BrokerError
from streams.changelog import Changelog, Message, Replay
from streams.codec import Codec
from streams.events import Parked, Position, RecentIds
from streams.failures import FatalFailure
from streams.live import DUE_PREFIX
from streams.outbox import Outbox
from streams.partition import Partition, Unstorable
from streams.publisher import Publisher
from streams.recovery import ChangelogReader, read_changelogs
from streams.registry import Registry, RegistryError
from streams.replica import Replica
from streams.replies import Replies
from streams.routes import INDEX
from streams.routing import Index
from streams.settings import Settings
from streams.store import MemoryPartition, RawChange
from streams.topics import changelog_topic
from tables.state import Aggregate


class Arriving(NamedTuple):
    """An event as the pipeline gets it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int


class Tape(Replay):
    """Keeps a changelog's records until the schemas they were written with are known, however old those are."""

    def __init__(self, store: MemoryPartition, codec: Codec) -> None:
        super().__init__(store, codec)
        self._kept: list[Message] = []

    def apply(self, messages: Iterable[Message]) -> None:
        """Keep records."""
        self._kept += messages

    async def play(self, codec: Codec, end: int) -> None:
        """Apply what was kept; ``end`` is the changelog's end."""
        values = [value for key, value, _ in self._kept if not key.startswith(DUE_PREFIX)]
        schemas = {value[:5]: value for value in values if value}
        await decode_with(codec, list(schemas.values()))
        super().apply(self._kept)
        self._kept = []
        self.finish(end)


class Rehearsal:
    """Today's rules and a copy of the state of one topic's aggregate. Use it in an ``async with`` block.

    Args:
        settings: of the cluster; the rules run with what they say of dedupe and retries.
        topic: the topic of the events.
        index: routes and outputs; the project's own by default.

    Raises:
        OpsError: in the block and when it begins, where brokers or registry do not answer, or nobody reads the topic.
    """

    def __init__(self, settings: Settings, topic: str, index: Index = INDEX) -> None:
        self._settings = settings
        self._topic = topic
        self._index = index
        self._aggregate = aggregate_of(index, topic)
        self._registry = Registry(settings)
        self._codec = Codec(self._registry)
        self._replica = Replica(index.shared, self._codec, settings)
        self._partitions: dict[int, Partition] = {}
        self._ends: dict[int, int] = {}
        self._sent: Counter[int] = Counter()
        self._stopped: set[int] = set()

    async def __aenter__(self) -> Self:
        try:
            await self._codec.prepare(self._pairs())
            await self._replica.start()
        except (RegistryError, FatalFailure, BrokerError) as error:
            await self._registry.close()
            raise OpsError(f"The dry run cannot begin: {error}.", CHECK) from error
        self._publisher = Publisher(
            self._index, self._codec, self._settings.partitions, self._settings.app_id
        )
        self._ends = end_offsets(self._settings, self._topic)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._replica.stop()
        await self._registry.close()

    def _pairs(self) -> list[tuple[str, type]]:
        changelog = changelog_topic(self._aggregate.name, self._settings.app_id)
        return [
            *((output.topic.name, event) for event, output in self._index.outputs.items()),
            *((route.topic.name, route.event) for route in self._index.routes),
            *((changelog, record) for record in (*self._aggregate.records, Position, RecentIds, Parked)),
        ]

    @property
    def behind(self) -> int:
        """At most so many records of the topic are not in the state yet, of the partitions that were used."""
        found = 0
        for number, partition in self._partitions.items():
            applied = partition.changelog.position.sources.get(f"{self._topic}-{number}", -1)
            found += max(0, self._ends[number] - applied - 1)
        return found

    async def foresee(self, letter: Letter, stored: Stored, resent: Resent) -> Foreseen:
        """Return what would come of an event, after all that were asked for before it."""
        number = home_of(resent.key, stored, self._settings.partitions)
        given: dict[str, Any] = {
            "letter": str(letter.place),
            "origin": letter.origin,
            "key": key_text(resent.key),
            "partition": number,
        }
        if number in self._stopped:
            return Foreseen(**given, outcome=NOT_REACHED)
        partition = await self._partition(number)
        [event] = await decode_with(self._codec, [resent.value])
        record = Arriving(
            self._ends[number] + self._sent[number],
            resent.key,
            resent.value,
            resent.headers,
            int(time.time() * 1000),
        )
        self._sent[number] += 1
        try:
            changes = self._process(partition, record, event)
        except FatalFailure as error:
            self._stopped.add(number)
            return Foreseen(**given, outcome=WORKER_STOPS, message=str(error))
        found = Foreseen(**given, **answer(partition, changes, self._codec, self._topic, record.offset))
        store = partition.changelog.store
        store.write(changes, store.next_offset)
        partition.commit()
        return found

    def _process(self, partition: Partition, record: Arriving, event: Any) -> list[RawChange]:
        """Do steps 2 to 6 as the pipeline does them; return what step 8 would store."""
        partition.process(self._topic, [record], [event])
        try:
            return partition.raw_changes()
        except Unstorable:
            partition.rollback()
            partition.careful = True
            partition.process(self._topic, [record], [event])
            return partition.raw_changes()
        finally:
            partition.careful = False

    async def _partition(self, number: int) -> Partition:
        """Return a partition as a worker recovers it now, with a changelog that cannot send."""
        known = self._partitions.get(number)
        if known is not None:
            return known
        settings, codec = self._settings, self._codec
        tp = TP(changelog_topic(self._aggregate.name, settings.app_id), number)
        store = MemoryPartition()
        tape = Tape(store, codec)
        try:
            ends = await read_changelogs(ChangelogReader(settings), {tp: (tape, 0)})
            await tape.play(codec, ends[tp])
            changelog = Changelog(
                tp.topic, number, store, codec, Outbox(settings, "rehearsal"), settings.changelog_max_bytes
            )
            partition = Partition(
                aggregate=self._aggregate,
                number=number,
                index=self._index,
                changelog=changelog,
                codec=codec,
                publisher=self._publisher,
                settings=settings,
                replies=Replies(codec, settings.app_id, settings.partitions),
                shared=self._replica,
            )
        except Exception as error:
            raise OpsError(f"The state in {tp.topic}[{number}] cannot be read: {error}.", CHECK) from error
        self._partitions[number] = partition
        return partition


def aggregate_of(index: Index, topic: str) -> Aggregate:
    """Return the aggregate whose rules answer a topic's events. Raises OpsError."""
    for route in index.routes:
        if route.topic.name == topic:
            return route.aggregate
    raise NotThere(
        f"No rules of ours read {topic}.", "There is nothing to try; replay its letters as they are."
    )


def rehearse(
    settings: Settings,
    topic: str,
    letters: Iterable[tuple[Letter, Stored]],
    *,
    rewrite: Rewrite = original,
    index: Index = INDEX,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[list[Foreseen], int]:
    """Return what would come of replaying some letters in this order, and how far the state may be behind.

    Raises:
        OpsError: brokers or registry do not answer, or nobody reads the topic.
    """

    async def run() -> tuple[list[Foreseen], int]:
        async with Rehearsal(settings, topic, index) as rehearsal:
            found = []
            for letter, stored in letters:
                found.append(await rehearsal.foresee(letter, stored, rewrite(stored)))
                progress(len(found))
            return found, rehearsal.behind

    return asyncio.run(run())
