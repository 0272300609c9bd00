"""The changelog of one table partition: how state is written, fenced and read back.

Every unit of work appends *one* record batch: first the ``Position`` (which source offsets the state now contains, and
the epoch of the owner who wrote it), then the event ids to remember, then the changed records. A broker appends a batch
whole or not at all, so positions and records never disagree, whenever a worker dies.

A worker that was paused and comes back (a zombie) may still append a batch, and so may one that is claiming a partition
while its owner still writes. Three rules make that harmless:

* A batch says at which offset it was meant to begin: where its writer's reading ended. Reading skips every batch that
  begins elsewhere, for its writer did not know the state that it replaces.
* A new owner first appends a ``Position`` with the next epoch (*claims* the partition). Reading skips every batch whose
  epoch is older than the newest one seen before it.
* The offset of each batch written must follow the one before. Where it does not, somebody else wrote: the worker stops
  at once and recovers (design/faust-facts.md 9.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from streams.codec import Codec
from streams.events import Position
from streams.failures import FatalFailure
from streams.outbox import Outbox, Outgoing
from streams.store import PLATFORM, PartitionStore, RawChange

POSITION_KEY = PLATFORM + b"position"
IDS_PREFIX = PLATFORM + b"ids" + PLATFORM
PARKED_PREFIX = PLATFORM + b"parked" + PLATFORM

STALE_PREFIX = PLATFORM + b"stale" + PLATFORM
"""Marks in a local store, never in a changelog: keys whose latest record in the changelog does not count."""

FLUSH_RECORDS = 50_000

Message = tuple[bytes, bytes | None, int]
"""key, value and offset of a changelog record"""


class ChangelogTaken(FatalFailure):
    """Another worker wrote to the changelog of a partition that this worker owned."""


class Replay:
    """Applies changelog records to a partition's store, leaving out what a fenced owner wrote.

    Call ``finish`` at the end of the changelog; until then the store may hold a part of a batch, and must not be read.

    Attributes:
        position: the newest one read.
        records: how many were read.
        end: offset after the changelog's last record, once its reader knows it.
    """

    def __init__(self, store: PartitionStore, codec: Codec) -> None:
        self._store = store
        self._codec = codec
        self._fenced = False
        self._pending: list[RawChange] = []
        self._pending_offset = store.next_offset
        self.position = read_position(store, codec)
        self.end = 0
        self.stale_keys = {key[len(STALE_PREFIX) :] for key, _ in store.scan(STALE_PREFIX)}
        self.records = 0

    @property
    def remaining(self) -> int:
        """How many records are still to be read, at most: compaction leaves fewer than there are offsets."""
        return max(0, self.end - self._pending_offset)

    def apply(self, messages: Iterable[Message]) -> None:
        """Take in records in offset order."""
        pending, stale = self._pending, self.stale_keys
        for key, value, offset in messages:
            if key == POSITION_KEY and value is not None:
                self._begin(value, offset)
            if self._fenced:
                stale.add(key)
            else:
                pending.append((key, value))
                if stale:
                    stale.discard(key)
            self.records += 1
            self._pending_offset = offset + 1
        if len(pending) > FLUSH_RECORDS and not self._fenced:
            # Not inside a fenced batch: a restart from there would take the rest of it for the owner's.
            self._flush()

    def _begin(self, value: bytes, offset: int) -> None:
        position = self._codec.decode(value)
        if not isinstance(position, Position):
            raise FatalFailure(
                f"a position record of the changelog cannot be decoded ({position}); "
                "check the schema registry, or rebuild the table with `sluice reset`"
            )
        self._fenced = position.epoch < self.position.epoch or position.base not in (-1, offset)
        if not self._fenced:
            self.position = position

    def _flush(self) -> None:
        # What has to be repaired is stored too: whoever dies before the repair does not read these offsets again.
        marked = {key for key, _ in self._store.scan(STALE_PREFIX)}
        stale = {STALE_PREFIX + key for key in self.stale_keys}
        self._pending += [(key, b"") for key in stale - marked]
        self._pending += [(key, None) for key in marked - stale]
        self._store.write(self._pending, self._pending_offset)
        self._pending.clear()

    def finish(self, end_offset: int) -> None:
        """Apply what is left; ``end_offset`` is the changelog's end, which compaction may have left behind a gap."""
        self._pending_offset = end_offset
        self._flush()

    def repairs(self) -> list[RawChange]:
        """Return the writes that make the good value of each key that a fenced owner overwrote the latest again."""
        return [(key, self._store.get(key)) for key in sorted(self.stale_keys - {POSITION_KEY})]


def read_position(store: PartitionStore, codec: Codec) -> Position:
    """Return the position stored in a partition, or an empty one of epoch 0."""
    value = store.get(POSITION_KEY)
    position = codec.decode(value) if value is not None else None
    return position if isinstance(position, Position) else Position(epoch=0, owner="", sources={})


class Changelog:
    """Appends the state of one partition, as its only owner.

    Attributes:
        position: what the stored state contains; replaced with every append.
    """

    def __init__(
        self, topic: str, partition: int, store: PartitionStore, codec: Codec, outbox: Outbox, limit: int
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.store = store
        self.position = read_position(store, codec)
        self._codec = codec
        self._outbox = outbox
        self._limit = limit

    async def claim(self, owner: str, partitions: int, repairs: list[RawChange], timestamp: int) -> bool:
        """Become the owner: fence every earlier one, and put back what a fenced one overwrote.

        Args:
            owner: name of this worker, for people who read the changelog.
            partitions: number of partitions of the table.
            repairs: writes from ``Replay.repairs``.
            timestamp: milliseconds since the epoch.

        Returns:
            False where somebody wrote after our reading ended: read on and claim again.
        """
        expected = self.store.next_offset
        claimed = Position(
            epoch=self.position.epoch + 1,
            owner=owner,
            sources=self.position.sources,
            base=expected,
            partitions=partitions,
        )
        if self.position.partitions not in (0, partitions):
            raise FatalFailure(
                f"{self.topic} was written with {self.position.partitions} partitions and is now used with "
                f"{partitions}: "
                "keys would be looked for in other partitions than their state. Go back to the old number, or "
                "move to topics of other names"
            )
        changes: list[RawChange] = [(POSITION_KEY, self._codec.encode(claimed, self.topic)), *repairs]
        base = await self._send(changes, timestamp)
        if base != expected:
            return False
        repaired: list[RawChange] = [(STALE_PREFIX + key, None) for key, _ in repairs]
        self.store.write([*changes, *repaired], base + len(changes))
        self.position = claimed
        return True

    async def append(self, sources: Mapping[str, int], changes: list[RawChange], timestamp: int) -> None:
        """Append the state after a unit of work and, once acknowledged, put it into the store.

        Args:
            sources: last offset applied, by ``topic-partition``, of the sources that moved.
            changes: raw records to put (or delete, where None).
            timestamp: milliseconds since the epoch.

        Raises:
            BatchTooLarge: nothing was sent; do the work in smaller units.
            ChangelogTaken: another worker owns the partition now; nothing may be committed.
        """
        expected = self.store.next_offset
        moved = msgspec.structs.replace(
            self.position, sources={**self.position.sources, **sources}, base=expected
        )
        batch: list[RawChange] = [(POSITION_KEY, self._codec.encode(moved, self.topic)), *changes]
        base = await self._send(batch, timestamp)
        if base != expected:
            raise ChangelogTaken(
                f"{self.topic}[{self.partition}] was written by another worker (offset {base}, expected {expected}); "
                "this worker stops and recovers"
            )
        self.store.write(batch, base + len(batch))
        self.position = moved

    async def _send(self, changes: list[RawChange], timestamp: int) -> int:
        no_headers: list[Any] = []
        records: list[Outgoing] = [(key, value, no_headers, timestamp) for key, value in changes]
        return await self._outbox.send_atomically((self.topic, self.partition), records, self._limit)
