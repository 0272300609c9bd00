"""One partition of a table while it is being worked on: decoded records, recent event ids, timers, parked events.

Everything here mirrors what the partition's store holds, plus the changes of the unit of work that is under way. A unit
ends with ``commit`` (its changes were acknowledged and stored) or ``rollback`` (it will be done again).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Protocol

from streams.changelog import IDS_PREFIX
from streams.events import RecentIds
from streams.store import PLATFORM, SEPARATOR, PartitionStore, RawChange
from tables.state import Changes, Record

ID_BYTES = 16
ENTRY_BYTES = 20

MOST_ANSWER_BYTES = 16 * 1024 * 1024
"""Of replies that a partition holds in memory with its ids; beyond it a repetition hears only that it is one."""

Decode = Callable[[bytes], Record]
Encode = Callable[[Record], bytes]

_ABSENT: Any = object()


class Shared(Protocol):
    """What every worker holds of the compacted topics (``streams.replica.Replica``)."""

    def get(self, kind: type, key: str) -> Record | None:
        """Return the record of a kind under ``key``, or None."""

    def keys(self, kind: type, prefix: str) -> Iterator[str]:
        """Yield the keys of a kind that begin with ``prefix``."""


class NothingShared:
    """For an index without compacted topics."""

    def get(self, kind: type, key: str) -> Record | None:
        return None

    def keys(self, kind: type, prefix: str) -> Iterator[str]:
        return iter(())


class LiveState:
    """The state of one aggregate: what the rules read (``tables.state.State``)."""

    __slots__ = (
        "_cache",
        "_decode",
        "_recall",
        "_shared",
        "_store",
        "dirty",
        "key",
        "prefix",
        "stored",
        "text",
    )

    def __init__(
        self,
        key: bytes,
        store: PartitionStore,
        decode: Decode,
        recall: Callable[[bytes, str], str | None],
        cache: LiveStates | None = None,
        shared: Shared | None = None,
    ) -> None:
        self.key = key
        self.text = key.decode("utf-8", "replace")
        self.prefix = key + SEPARATOR
        self._store = store
        self._decode = decode
        self._recall = recall
        self._cache = cache
        self._shared = shared or NothingShared()
        self.stored: dict[str, Record | None] = {}
        self.dirty: dict[str, Record | None] = {}

    def get(self, name: str) -> Record | None:
        record = self.dirty.get(name, _ABSENT)
        if record is _ABSENT:
            record = self.stored.get(name, _ABSENT)
            if record is _ABSENT:
                raw = self._store.get(self.prefix + name.encode())
                record = self.stored[name] = self._decode(raw) if raw is not None else None
                if self._cache is not None:
                    self._cache.records += 1
        return record

    def names(self, prefix: str = "") -> Iterator[str]:
        # What was read or changed is newer than the store, which gets a unit's changes once they are acknowledged.
        start = len(self.prefix)
        newer = {**self.stored, **self.dirty}
        for key, _ in self._store.scan(self.prefix + prefix.encode()):
            name = key[start:].decode()
            if name not in newer:
                yield name
        for name, record in newer.items():
            if record is not None and name.startswith(prefix):
                yield name

    def recall(self, event_id: str) -> str | None:
        return self._recall(self.key, event_id)

    def shared(self, kind: type, key: str) -> Record | None:
        return self._shared.get(kind, key)

    def shared_keys(self, kind: type, prefix: str) -> Iterator[str]:
        return self._shared.keys(kind, prefix)

    def undo(self, changes: Changes) -> dict[str, Any]:
        """Return what ``restore`` needs to take ``changes`` back, before they are put into ``dirty``."""
        return {name: self.dirty.get(name, _ABSENT) for name in changes}

    def restore(self, undo: dict[str, Any]) -> None:
        """Take changes back, as ``undo`` recorded them."""
        for name, record in undo.items():
            if record is _ABSENT:
                self.dirty.pop(name, None)
            else:
                self.dirty[name] = record

    def commit(self) -> None:
        before = len(self.stored)
        self.stored.update(self.dirty)
        self.dirty.clear()
        if self._cache is not None:
            self._cache.records += len(self.stored) - before

    def rollback(self) -> None:
        self.dirty.clear()


class LiveStates:
    """The aggregates of a partition that were met lately, up to a number of cached records.

    Attributes:
        by_key: the aggregates, the one met first at the front.
        records: what they hold: one for each aggregate, and one for each name that was read or written.
    """

    def __init__(self, most_records: int) -> None:
        self.by_key: dict[bytes, LiveState] = {}
        self.records = 0
        self._most = most_records

    def add(self, state: LiveState) -> None:
        """Keep an aggregate that was made with this cache."""
        self.by_key[state.key] = state
        self.records += 1

    @property
    def crowded(self) -> bool:
        """Whether more records are held than should be."""
        return self.records > self._most

    def trim(self) -> None:
        """Forget the aggregates met first, beyond the limit. None may hold changes that are not in the store."""
        while self.records > self._most:
            state = self.by_key.pop(next(iter(self.by_key)))
            self.records -= len(state.stored) + 1


def event_digest(prefix: bytes, event_id: str) -> bytes:
    """Return 16 bytes that stand for an event id within its aggregate.

    Args:
        prefix: the aggregate's key and a NUL: two tenants may use the same id.
    """
    digest = _BLAKE.copy()  # a third faster than one made with its size as an argument
    digest.update(prefix + event_id.encode())
    return digest.digest()


_BLAKE = blake2b(digest_size=ID_BYTES)


class RecentEvents:
    """Ids of a partition's latest events, to recognise what a producer sends again (contracts 3.5, F02).

    Bounded by number and by age. Each unit of work stores its new ids in one record, so that remembering an event
    costs the same however many are remembered.

    What is kept for an event is bytes and a number, never a container: the garbage collector would walk over hundreds
    of thousands of them again and again.

    Attributes:
        known: checksum of the content, by the digest of the id.
    """

    def __init__(self, most: int, max_age: timedelta) -> None:
        self._most = most
        self._max_age = max_age
        self.known: dict[bytes, int] = {}
        self._memos: dict[bytes, str] = {}
        self._answers: dict[bytes, bytes] = {}
        self._answer_bytes = 0
        self._segments: deque[tuple[bytes, datetime, list[bytes]]] = deque()
        self._sequence = 0
        self._new: list[bytes] = []
        self._dropped: int = 0

    def load(self, key: bytes, segment: RecentIds) -> None:
        """Take in one stored record, in the order of keys."""
        ids = []
        memos = segment.memos or ("",) * (len(segment.ids) // ENTRY_BYTES)
        for index, memo in enumerate(memos):
            entry = segment.ids[index * ENTRY_BYTES : (index + 1) * ENTRY_BYTES]
            ids.append(entry[:ID_BYTES])
            self.known[entry[:ID_BYTES]] = int.from_bytes(entry[ID_BYTES:], "big")
            if memo:
                self._memos[entry[:ID_BYTES]] = memo
        for id_, answer in zip(ids, segment.answers, strict=False):
            if answer:
                self._keep_answer(id_, answer)
        self._forget_answers()
        self._segments.append((key, segment.at, ids))
        self._sequence = int.from_bytes(key[len(IDS_PREFIX) :], "big") + 1

    @property
    def latest(self) -> datetime | None:
        """Append time of the newest event that is remembered, or None."""
        return self._segments[-1][1] if self._segments else None

    def checksum(self, digest: bytes) -> int | None:
        """Return the checksum of the content under this id, or None where the id is not remembered."""
        return self.known.get(digest)

    def memo(self, key: bytes, event_id: str) -> str | None:
        """Return the memo kept with an event of an aggregate, or None."""
        return self._memos.get(event_digest(key + SEPARATOR, event_id))

    def answer(self, digest: bytes) -> bytes | None:
        """Return the reply kept with this id, or None."""
        return self._answers.get(digest)

    def add(self, digest: bytes, checksum: int, memo: str, answer: bytes | None = None) -> None:
        """Remember an event applied in this unit, and the reply to it where one was asked for."""
        self.known[digest] = checksum
        if memo:
            self._memos[digest] = memo
        self._new.append(digest)
        if answer is not None:
            self._keep_answer(digest, answer)

    def _keep_answer(self, digest: bytes, answer: bytes) -> None:
        self._drop_answer(digest)
        self._answers[digest] = answer
        self._answer_bytes += len(answer)

    def _drop_answer(self, digest: bytes) -> None:
        self._answer_bytes -= len(self._answers.pop(digest, b""))

    def _forget_answers(self) -> None:
        while self._answer_bytes > MOST_ANSWER_BYTES:
            self._drop_answer(next(iter(self._answers)))

    def raw_changes(self, at: datetime, encode: Encode) -> list[RawChange]:
        """Return the record with this unit's ids, and the removal of records that are too many or too old."""
        changes: list[RawChange] = []
        if self._new:
            known = self.known
            ids = b"".join([digest + known[digest].to_bytes(4, "big") for digest in self._new])
            segment = RecentIds(at=at, ids=ids, memos=self._new_memos(), answers=self._new_answers())
            changes.append((self._key(self._sequence), encode(segment)))
        total = len(self.known)
        self._dropped = 0
        for key, stored_at, ids_of_segment in self._segments:
            if total <= self._most and at - stored_at <= self._max_age:
                break
            total -= len(ids_of_segment)
            self._dropped += 1
            changes.append((key, None))
        return changes

    def _new_memos(self) -> tuple[str, ...]:
        if not self._memos:
            return ()
        memos = tuple(self._memos.get(digest, "") for digest in self._new)
        return memos if any(memos) else ()

    def _new_answers(self) -> tuple[bytes, ...]:
        if not self._answers:
            return ()
        answers = tuple(self._answers.get(digest, b"") for digest in self._new)
        return answers if any(answers) else ()

    def commit(self, at: datetime) -> None:
        for _ in range(self._dropped):
            self._forget(self._segments.popleft()[2])
        self._dropped = 0
        self._forget_answers()
        if self._new:
            self._segments.append((self._key(self._sequence), at, self._new))
            self._sequence += 1
            self._new = []

    def rollback(self) -> None:
        self._forget(self._new)
        self._new = []
        self._dropped = 0

    def _forget(self, digests: list[bytes]) -> None:
        known, memos, answers = self.known, self._memos, self._answers
        for digest in digests:
            known.pop(digest, None)
            if memos:
                memos.pop(digest, None)
            if answers:
                self._drop_answer(digest)

    @staticmethod
    def _key(sequence: int) -> bytes:
        return IDS_PREFIX + sequence.to_bytes(8, "big")


DUE_PREFIX = PLATFORM + b"due" + PLATFORM


@lru_cache(maxsize=1024)
def _millis(time: datetime) -> int:
    # Many records are due at once: at the end of an hour, a day or a month.
    return int(time.timestamp() * 1000)


class Timers:
    """When which record of which aggregate wants a command (decisions, F27).

    Due times are stored beside the state, so that a restart finds them without decoding every record.

    Attributes:
        due: due times in milliseconds since the epoch, by stored key. Only what stands here or has a due time has to be
            ``set``.
    """

    def __init__(self) -> None:
        self.due: dict[bytes, int] = {}
        self._heap: list[tuple[int, bytes]] = []
        self._new: dict[bytes, int | None] = {}

    def load(self, key: bytes, value: bytes) -> None:
        """Take in one stored due time."""
        record = key[len(DUE_PREFIX) :]
        self.due[record] = int.from_bytes(value, "big")
        heapq.heappush(self._heap, (self.due[record], record))

    def set(self, record: bytes, due: datetime | None) -> None:
        """Note that a record (its stored key) is due at ``due``, or no longer."""
        millis = _millis(due) if due is not None else None
        if self.due.get(record) != millis:
            self._new[record] = millis

    def raw_changes(self) -> list[RawChange]:
        return [
            (DUE_PREFIX + record, millis.to_bytes(8, "big") if millis is not None else None)
            for record, millis in self._new.items()
        ]

    def commit(self) -> None:
        for record, millis in self._new.items():
            if millis is None:
                self.due.pop(record, None)
            else:
                self.due[record] = millis
                heapq.heappush(self._heap, (millis, record))
        self._new.clear()

    def rollback(self) -> None:
        self._new.clear()

    def pop_due(self, now_ms: int, most: int) -> list[tuple[bytes, int]]:
        """Return at most ``most`` records that are due and their due times, each once; see ``again``."""
        due: dict[bytes, int] = {}
        while self._heap and self._heap[0][0] <= now_ms and len(due) < most:
            _, record = heapq.heappop(self._heap)
            millis = self.due.get(record)
            if millis is not None and millis <= now_ms:
                due[record] = millis
        return list(due.items())

    def again(self, record: bytes, at_ms: int) -> None:
        """Return a due record once more at ``at_ms``, should its command get lost."""
        heapq.heappush(self._heap, (at_ms, record))
