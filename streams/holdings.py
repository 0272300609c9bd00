"""What a worker holds of compacted topics: the latest record of every key, found by its kind and key."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import Any

from streams.events import RECORDS
from streams.topics import Topic


class Holdings:
    """The latest record of every key of some topics, by kind."""

    def __init__(self, topics: Sequence[Topic]) -> None:
        """Make room for the records of ``topics``.

        Raises:
            ValueError: two topics carry the same record, and so neither could be looked up by its kind.
        """
        self._kinds: dict[str, frozenset[type]] = {
            topic.name: frozenset(RECORDS[record] for record in topic.records) for topic in topics
        }
        self._records: dict[type, dict[str, Any]] = {}
        self._sorted: dict[type, list[str]] = {}
        self._held: dict[tuple[str, str], type] = {}
        for topic in topics:
            for kind in self._kinds[topic.name]:
                if kind in self._records:
                    raise ValueError(
                        f"{kind.__name__} is on two shared topics; give one of them another record"
                    )
                self._records[kind] = {}

    def __len__(self) -> int:
        return len(self._held)

    def takes(self, topic: str, kind: type) -> bool:
        """Return whether records of a kind belong on a topic."""
        return kind in self._kinds[topic]

    def get(self, kind: type, key: str) -> Any:
        """Return the record of a kind under a key, or None."""
        records = self._records.get(kind)
        return None if records is None else records.get(key)

    def keys(self, kind: type, prefix: str) -> Iterator[str]:
        """Return the keys of a kind that begin with ``prefix``, as they are now, in order."""
        if kind not in self._records:
            return iter(())
        keys = self._sorted.get(kind)
        if keys is None:
            keys = self._sorted[kind] = sorted(self._records[kind])
        start = bisect_left(keys, prefix)
        end = bisect_right(keys, prefix, lo=start, key=lambda key: key[: len(prefix)])
        return iter(keys[start:end])

    def put(self, topic: str, key: str, record: Any) -> None:
        """Take in what a topic holds under a key from now on; None: nothing.

        Compaction looks at keys alone, so a record replaces one of another kind too.
        """
        kind = None if record is None else type(record)
        before = self._held.get((topic, key))
        if before is not None and before is not kind:
            del self._held[topic, key], self._records[before][key]
            if (keys := self._sorted.get(before)) is not None:
                del keys[bisect_left(keys, key)]
        if kind is not None:
            self._records[kind][key] = record
            if before is not kind:
                self._held[topic, key] = kind
                if (keys := self._sorted.get(kind)) is not None:
                    insort(keys, key)
