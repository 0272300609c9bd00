"""Log lines about records: which one, in fields of its own, and never its key or value.

What happens to nearly every event is not logged. What happens to the others is noted while a unit of work is decided,
and written once its state is stored: a unit that is taken back and done again says everything once. A flood of poison
is written as far as a worker can afford, and then counted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

from streams.envelope import trace_headers
from streams.failures import Failure
from streams.publisher import correlation_of, header

log = logging.getLogger(__name__)

MOST_PER_UNIT: Final = 100
PER_SECOND: Final = 50
"""A line costs some 0.1 ms of the event loop."""

MOST_TEXT: Final = 200
"""Ids come from producers. Longer ones are cut, and what does not print is escaped: a line stays a line."""


def about(topic: str, partition: int, record: Any, event: Any = None) -> dict[str, Any]:
    """Return the fields that name a record, for ``extra`` of a log line.

    Args:
        topic, partition, record: it and where it is.
        event: what was decoded of it, or None.
    """
    headers = record.headers or ()
    trace = dict(trace_headers(headers)).get("traceparent", b"").decode("ascii", "replace").split("-")
    known = {"event_id": shown(header(headers, "ce_id") or "")} | named(event, correlation_of(event, headers))
    if len(trace) == 4:
        known["trace_id"] = shown(trace[1])
    return {"topic": topic, "partition": partition, "offset": record.offset} | {
        name: text for name, text in known.items() if text
    }


def named(event: Any, correlation_id: str | None = None) -> dict[str, str]:
    """Return the fields that name an event which is not on the bus, for ``extra`` of a log line.

    Args:
        event: any record, or what was given in place of one.
        correlation_id: what it has in common with others, where that is known.
    """
    texts = {
        "event_id": getattr(event, "event_id", ""),
        "event_type": getattr(event, "event_type", "") or getattr(type(event), "TYPE", ""),
        "correlation_id": correlation_id,
    }
    return {name: shown(text) for name, text in texts.items() if text}


def shown(text: str) -> str:
    """Return a text of a producer's as it may stand in a log."""
    cut = text[:MOST_TEXT]
    return cut if cut.isprintable() else cut.encode("unicode_escape").decode()


class Note(NamedTuple):
    """What happened to one record of a unit.

    Attributes:
        outcome: dead_lettered, parked, postponed, released or rerouted.
        topic, partition, record, event: as for ``about``.
        attempt: how many attempts were made; 0: none, it waits for another event of its key.
        failure: why; None where nothing failed.
        due: when it is tried again.
    """

    outcome: str
    topic: str
    partition: int
    record: Any
    event: Any
    attempt: int
    failure: Failure | None = None
    due: datetime | None = None


_LINES: Final[dict[str, tuple[int, str]]] = {
    "dead_lettered": (logging.ERROR, "an event became a dead letter"),
    "parked": (logging.WARNING, "an event waits, and its key with it"),
    "postponed": (logging.WARNING, "an event failed again and waits on"),
    "released": (logging.INFO, "an event that waited is through"),
    "rerouted": (logging.INFO, "an event was forwarded to the key and partition it belongs to"),
}


class Outcome(NamedTuple):
    """How a record of a unit ended, for its span.

    Attributes:
        name: of the outcome.
        topic, partition, record: as for ``about``.
        attempt: how many attempts were made.
        waited: whether it was read with an earlier unit.
    """

    name: str
    topic: str
    partition: int
    record: Any
    attempt: int
    waited: bool


class Notes:
    """The notes of one unit of work.

    Attributes:
        kept: the first of them.
        left_out: how many more there were.
        outcomes: of records that had waited, and of all that did not end as done, where the worker traces.
    """

    __slots__ = ("kept", "left_out", "outcomes")

    def __init__(self) -> None:
        self.kept: list[Note] = []
        self.left_out = 0
        self.outcomes: list[Outcome] = []

    def add(self, *note: Any) -> None:
        """Note what ``Note`` takes."""
        if len(self.kept) < MOST_PER_UNIT:
            self.kept.append(Note(*note))
        else:
            self.left_out += 1


class RecordLog:
    """Writes the notes of one agent's units."""

    def __init__(self, agent: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare to write for ``agent``; ``clock`` tells seconds."""
        self._agent = agent
        self._clock = clock
        self._allowed = float(PER_SECOND)
        self._at = clock()
        self._left_out = 0

    def write(self, units: Iterable[Notes]) -> None:
        """Write the notes of units that are stored; those that are too many are counted in one line."""
        for notes in units:
            for note in notes.kept:
                if self._may_write():
                    self._write(note)
                else:
                    self._left_out += 1
            self._left_out += notes.left_out

    def _may_write(self) -> bool:
        now = self._clock()
        self._allowed = min(PER_SECOND, self._allowed + (now - self._at) * PER_SECOND)
        self._at = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        if self._left_out:
            log.warning(
                "%d further events of %s failed or waited; metrics count them, and `sluice dlq list` shows the dead",
                self._left_out,
                self._agent,
                extra={"agent": self._agent},
            )
            self._left_out = 0
        return True

    def _write(self, note: Note) -> None:
        level, text = _LINES[note.outcome]
        extra = about(note.topic, note.partition, note.record, note.event)
        extra |= {"agent": self._agent, "outcome": note.outcome, "attempt": note.attempt}
        if note.failure is not None:
            text = f"{text}: %s"
            extra["code"] = note.failure.code
        if note.due is not None:
            extra["due"] = note.due.isoformat()
        log.log(level, text, *([note.failure.message] if note.failure is not None else []), extra=extra)
