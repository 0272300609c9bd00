"""Reading state from outside the pipeline: whose partition a key is in, and the state committed there.

A view sees what the changelog has acknowledged and nothing of the unit of work under way. A key's partition
is found as the producers find it (``streams.topics.partition_for``), because Faust's own router hashes
another form of the key and asks the wrong worker (design/faust-facts.md 5).
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from yarl import URL

from streams.codec import NeedsSchema, Undecodable
from streams.live import NothingShared, Shared
from streams.store import SEPARATOR, PartitionStore
from streams.topics import changelog_topic, partition_for
from tables.state import Record

if TYPE_CHECKING:
    from streams.app import SluiceApp
    from streams.partition import Partition
    from streams.replica import Replica

AT_ONCE = 50
SLICE_S = 0.002
"""Aggregates of a list, and time spent looking for them, before the pipeline gets its turn."""

INLINE_RECORDS = 1_000

ALL = ("",)
"""The prefix of every record's name."""

Answer = TypeVar("Answer")


class Recovering(Exception):
    """Nobody can read this state right now: it is being rebuilt, or the assignment is changing."""


class Elsewhere(Exception):
    """Another worker owns the state."""

    def __init__(self, url: URL) -> None:
        super().__init__("another worker owns the state")
        self.url = url


class StoredState:
    """One aggregate as it was committed when this was made (``tables.state.State``).

    It holds the stored bytes and decodes what is asked for, so it stays the same while the pipeline goes on.
    """

    def __init__(
        self,
        key: bytes,
        store: PartitionStore,
        decode: Callable[[bytes], Record],
        shared: Shared | None = None,
        prefixes: Sequence[str] = ALL,
    ) -> None:
        head = key + SEPARATOR
        self._records = {
            stored[len(head) :].decode(): value
            for prefix in prefixes
            for stored, value in store.scan(head + prefix.encode())
        }
        self._decode = decode
        self._shared = shared or NothingShared()
        self._decoded: dict[str, Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def get(self, name: str) -> Record | None:
        record = self._decoded.get(name)
        if record is None:
            value = self._records.get(name)
            if value is None:
                return None
            record = self._decoded[name] = self._decode(value)
        return record

    def names(self, prefix: str = "") -> Iterator[str]:
        names = self._sorted
        for index in range(bisect_left(names, prefix), len(names)):
            if not names[index].startswith(prefix):
                return
            yield names[index]

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._records)

    def recall(self, event_id: str) -> str | None:
        """Return None: what the pipeline remembers for its rules is not part of any view."""
        return None

    def shared(self, kind: type, key: str) -> Record | None:
        return self._shared.get(kind, key)

    def shared_keys(self, kind: type, prefix: str) -> Iterator[str]:
        return self._shared.keys(kind, prefix)


class Reader:
    """Finds and reads committed state on this worker."""

    def __init__(self, app: SluiceApp) -> None:
        self._app = app
        self._heavy = asyncio.Semaphore(1)  # every thread of Python's takes its share from the pipeline
        self._turn = asyncio.Semaphore(1)  # of many lists under way, one goes on at a time

    @property
    def partitions(self) -> int:
        """How many partitions each table has."""
        return self._app.settings.partitions

    @property
    def url(self) -> URL:
        """Where other workers reach this one."""
        return URL(str(self._app.conf.canonical_url)).origin()

    @property
    def shared(self) -> Replica:
        """What this worker holds of the shared topics, as every worker does."""
        return self._app.replica

    def owners(self, table: str) -> dict[int, URL]:
        """Return who owns each partition of a table, as of the latest assignment; empty before the first."""
        topic = changelog_topic(table, self._app.settings.app_id)
        return {
            partition: URL(url).origin()
            for url, topics in self._app.assignor.tables_metadata().items()
            for partition in topics.get(topic, ())
        }

    def partition(self, table: str, number: int) -> Partition:
        """Return a partition that this worker owns and has recovered.

        Raises:
            Elsewhere: another worker owns it.
            Recovering: this worker owns it but has not recovered it yet, or nobody is known to own it.
        """
        owner = self.owners(table).get(number)
        if owner is not None and owner != self.url:
            raise Elsewhere(owner)
        partition = self._app.pipelines[table].partitions.get(number)
        if owner is None or partition is None:
            raise Recovering
        return partition

    def owned(self, table: str) -> dict[int, Partition]:
        """Return all partitions of a table that this worker owns, by number.

        Raises:
            Recovering: one of them is not recovered yet, or there is no assignment yet.
        """
        owners = self.owners(table)
        if not owners:
            raise Recovering
        return {number: self.partition(table, number) for number, url in owners.items() if url == self.url}

    def state(self, table: str, key: str, prefixes: Sequence[str] = ALL) -> StoredState | None:
        """Return the committed state of an aggregate, or None where it has none.

        Args:
            table: its table.
            key: its key.
            prefixes: with which the names of the records begin that are wanted; an aggregate may have very many.

        Raises:
            Elsewhere, Recovering: as in ``partition``.
        """
        raw = key.encode(errors="surrogatepass")
        if not raw or SEPARATOR in raw:
            return None  # no aggregate has such a key, and a NUL would reach into another one's records
        state = self._stored(self.partition(table, partition_for(raw, self.partitions)), raw, prefixes)
        return state if len(state) else None

    async def chunks(
        self, table: str, start: str = "", prefixes: Sequence[str] = ALL
    ) -> AsyncIterator[list[tuple[str, StoredState]]]:
        """Yield every aggregate's key and state of a table, as far as this worker owns it, a few at a time.

        Each aggregate is as it was committed at one moment, and the pipeline goes on in between.

        Args:
            table: the table.
            start: with which the keys begin of the aggregates that are wanted.
            prefixes: as in ``state``; an aggregate that has no such record is left out.

        Raises:
            Recovering: as in ``owned``, also where the assignment changed meanwhile.
        """
        owned = self.owned(table)
        first = start.encode(errors="surrogatepass")
        for partition in owned.values():
            chunk: list[tuple[str, StoredState]] = []
            until = time.perf_counter() + SLICE_S
            for key in partition.changelog.store.aggregates(first):
                if key.startswith(first):
                    state = self._stored(partition, key, prefixes)
                    if len(state):
                        chunk.append((key.decode(), state))
                if len(chunk) >= AT_ONCE or time.perf_counter() >= until:
                    yield chunk
                    async with self._turn:
                        await asyncio.sleep(0)
                    self._still_owned(table, owned)
                    chunk, until = [], time.perf_counter() + SLICE_S
            yield chunk
        self._still_owned(table, owned)

    def _still_owned(self, table: str, owned: dict[int, Partition]) -> None:
        if self.owned(table) != owned:
            raise Recovering

    async def compute(self, records: int, view: Callable[[], Answer]) -> Answer:
        """Return what ``view`` returns, made beside the pipeline where it reads many records.

        Args:
            records: how many there are; decoding one takes microseconds, in which the event loop does
                nothing else.
            view: reads only ``StoredState``, which no other thread changes.
        """
        if records <= INLINE_RECORDS:
            return view()
        async with self._heavy:
            return await asyncio.to_thread(view)

    def _stored(self, partition: Partition, key: bytes, prefixes: Sequence[str]) -> StoredState:
        return StoredState(key, partition.changelog.store, self._decode, self._app.replica, prefixes)

    def _decode(self, value: bytes) -> Any:
        record = self._app.codec.decode(value)
        if isinstance(record, Undecodable | NeedsSchema):
            raise Recovering  # a newer worker owned the partition before; its schema is not known here
        return record
