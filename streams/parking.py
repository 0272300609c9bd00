"""Keys that must wait: an event whose processing failed for now, and the events of its key that came after it.

Other keys of the partition go on. What waits is stored with the partition's state, so the source's offset moves on and
nothing is read twice; order within the key is kept (peer-features F07, F08).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from streams.changelog import PARKED_PREFIX
from streams.events import Header, Parked
from streams.failures import Failure, RetryPolicy
from streams.store import SEPARATOR, RawChange

Encode = Callable[[Any], bytes]

FOLLOWS = "SEQUENCE_PARKED"
"""Code of an event that only waits behind another one of its key (contracts 3.0)."""

PATIENCE_S = 2.0
"""Between attempts while an outage lasts."""


class Waiting:
    """A parked event as the pipeline sees it: the same attributes as a record from the broker."""

    __slots__ = ("headers", "key", "offset", "parked", "partition", "sequence", "timestamp", "topic", "value")

    def __init__(self, sequence: int, parked: Parked) -> None:
        self.sequence = sequence
        self.parked = parked
        self.topic = parked.topic
        self.partition = parked.partition
        self.offset = parked.offset
        self.timestamp = parked.timestamp
        self.key = parked.key
        self.value = parked.value
        self.headers = [(header.name, header.value) for header in parked.headers]

    @property
    def first_failure(self) -> datetime | None:
        """When the event failed for the first time; None where it only waits behind another one."""
        return self.parked.first_failure if self.parked.code != FOLLOWS else None


def attempts_of(record: Any) -> int:
    """Return how many attempts at a record there were, with the one that has just been made."""
    return record.parked.attempt + 1 if isinstance(record, Waiting) else 1


class ParkedKeys:
    """The waiting events of one partition, in order per key."""

    def __init__(self) -> None:
        self._keys: dict[bytes, deque[Waiting]] = {}
        self._sequence = 0
        self._changes: dict[bytes, Parked | None] = {}
        self._undo: dict[bytes, deque[Waiting] | None] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def load(self, stored_key: bytes, parked: Parked) -> None:
        """Take in one stored event, in the order of stored keys."""
        key, sequence = stored_key[len(PARKED_PREFIX) : -9], int.from_bytes(stored_key[-8:], "big")
        self._keys.setdefault(key, deque()).append(Waiting(sequence, parked))
        self._sequence = max(self._sequence, sequence + 1)

    def count(self, key: bytes) -> int:
        """Return how many events wait under ``key``."""
        return len(self._keys.get(key, ()))

    def append(self, key: bytes, parked: Parked) -> None:
        """Let an event wait behind those of its key."""
        self._remember(key)
        self._keys.setdefault(key, deque()).append(Waiting(self._sequence, parked))
        self._changes[self._stored_key(key, self._sequence)] = parked
        self._sequence += 1

    def head(self, key: bytes) -> Waiting:
        """Return the event that the others of its key wait for."""
        return self._keys[key][0]

    def postpone(self, key: bytes, parked: Parked) -> None:
        """Replace the first event of a key after another failed attempt."""
        self._remember(key)
        sequence = self._keys[key][0].sequence
        self._keys[key][0] = Waiting(sequence, parked)
        self._changes[self._stored_key(key, sequence)] = parked

    def release(self, key: bytes) -> None:
        """Take the first event of a key out: it was processed or dead-lettered."""
        self._remember(key)
        waiting = self._keys[key].popleft()
        self._changes[self._stored_key(key, waiting.sequence)] = None
        if not self._keys[key]:
            del self._keys[key]

    def due(self, now: datetime) -> list[bytes]:
        """Return the keys whose first event may be tried again."""
        return [key for key, events in self._keys.items() if events[0].parked.due <= now]

    def raw_changes(self, encode: Encode) -> list[RawChange]:
        return [
            (key, encode(parked) if parked is not None else None) for key, parked in self._changes.items()
        ]

    def commit(self) -> None:
        self._changes.clear()
        self._undo.clear()

    def rollback(self) -> None:
        for key, events in self._undo.items():
            if events is None:
                self._keys.pop(key, None)
            else:
                self._keys[key] = events
        self.commit()

    def _remember(self, key: bytes) -> None:
        if key not in self._undo:
            events = self._keys.get(key)
            self._undo[key] = deque(events) if events is not None else None

    @staticmethod
    def _stored_key(key: bytes, sequence: int) -> bytes:
        return PARKED_PREFIX + key + SEPARATOR + sequence.to_bytes(8, "big")


class Retries:
    """Says how long an event waits, and when it has waited often enough.

    The clock is read here, which changes no output: what waits is stored, and its outputs do not show for how long.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy

    def first(self, topic: str, partition: int, record: Any, failure: Failure) -> Parked | None:
        """Return the stored form of a record whose first attempt failed, or None where there is no second one."""
        return self._parked(topic, partition, record, failure, 0, None)

    def again(self, waiting: Waiting, failure: Failure) -> Parked | None:
        """Return the stored form of a waiting event that failed once more, or None after its last attempt."""
        parked = waiting.parked
        return self._parked(
            parked.topic, parked.partition, waiting, failure, parked.attempt, waiting.first_failure
        )

    def behind(self, topic: str, partition: int, record: Any, head: Waiting) -> Parked:
        """Return the stored form of a record that waits behind ``head``; it was not tried itself."""
        return _stored(
            record,
            topic,
            partition,
            attempt=0,
            due=head.parked.due,
            first_failure=datetime.now(UTC),
            code=FOLLOWS,
            message="waits for its key",
        )

    def _parked(
        self,
        topic: str,
        partition: int,
        record: Any,
        failure: Failure,
        attempts: int,
        first_failure: datetime | None,
    ) -> Parked | None:
        if failure.patient:
            delay = PATIENCE_S  # and no attempt: an outage must not use up those that the event has
        else:
            attempts += 1
            if self._policy.exhausted(attempts):
                return None
            delay = self._policy.delay(attempts, seed=f"{topic}/{partition}/{record.offset}")
        asked = (failure.retry_after_ms or 0) / 1000
        now = datetime.now(UTC)
        return _stored(
            record,
            topic,
            partition,
            attempt=attempts,
            due=now + timedelta(seconds=max(asked, delay)),
            first_failure=first_failure or now,
            code=failure.code,
            message=failure.message,
        )


def _stored(record: Any, topic: str, partition: int, **state: Any) -> Parked:
    return Parked(
        topic=topic,
        partition=partition,
        offset=record.offset,
        timestamp=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(Header(name=name, value=value) for name, value in record.headers),
        **state,
    )
