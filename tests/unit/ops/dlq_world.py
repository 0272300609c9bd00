"""Dead letters as the platform writes them, markers as the tool does, on a topic in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from ops.dlq_fold import Letters
from ops.dlq_letters import Headers, Letter, Place, Stored
from ops.dlq_producer import marker_headers
from streams.failures import Failure, dead_letter_headers
from streams.topics import dead_letter_topic

TOPIC = "usage.metered"
DEAD = dead_letter_topic(TOPIC)
START_MS = 1_790_000_000_000


def dead_headers(
    original: Headers, partition: int, offset: int, reason: str = "VALIDATION_FAILED"
) -> list[tuple[str, bytes | None]]:
    """Return the headers of a letter of the event at an offset."""
    return dead_letter_headers(
        original,
        Failure("poison", reason, "no good", stacktrace="rules.py:1 decide"),
        topic=TOPIC,
        partition=partition,
        offset=offset,
        attempts=2,
        timestamp_ms=START_MS,
        consumer_group="sluice",
        agent="usage",
    )


@dataclass
class Dead:
    """A dead letter topic."""

    records: list[Stored] = field(default_factory=list)

    def die(
        self,
        offset: int,
        key: bytes | None = b"acme",
        value: bytes | None = b"v",
        *,
        partition: int = 1,
        reason: str = "VALIDATION_FAILED",
        headers: Headers = (),
        at_ms: int | None = None,
    ) -> Stored:
        """Append the letter of the event at ``offset``; return it."""
        return self.append(partition, key, value, dead_headers(headers, partition, offset, reason), at_ms)

    def mark(self, stored: Stored, how: str = "replayed") -> Stored:
        """Append the marker of a letter."""
        headers = marker_headers(stored, "5e1ec7", how, edited=False)
        return self.append(stored.place.partition, stored.key, None, headers)

    def append(
        self,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        at_ms: int | None = None,
    ) -> Stored:
        """Append a record; its time is that of the topic's ``n``-th second unless it is given."""
        offset = sum(record.place.partition == partition for record in self.records)
        at = START_MS + 1000 * len(self.records) if at_ms is None else at_ms
        stored = Stored(Place(DEAD, partition, offset), at, key, value, headers)
        self.records.append(stored)
        return stored

    def letters(self) -> Letters:
        """Return all letters."""
        letters = Letters(TOPIC)
        for stored in self.records:
            letters.take(stored)
        return letters


def places(letters: list[Letter]) -> list[tuple[int, int]]:
    """Return partition and offset of letters."""
    return [(letter.place.partition, letter.place.offset) for letter in letters]
