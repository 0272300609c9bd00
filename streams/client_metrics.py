"""What a program on the bus counts of itself: what it published, and what its handlers did (001-57 to 001-60).

The client records what it publishes. A program that consumes records its handlers' work itself, with the same object.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from streams.metrics_families import Bounded


@dataclass(slots=True)
class _Times:
    count: int = 0
    failed: int = 0
    millis: float = 0.0
    longest: float = 0.0

    def add(self, millis: float, *, success: bool = True) -> None:
        self.count += 1
        self.failed += not success
        self.millis += millis
        self.longest = max(self.longest, millis)

    def summary(self) -> dict[str, float]:
        average = self.millis / self.count if self.count else 0.0
        return {"count": self.count, "average_ms": round(average, 3), "longest_ms": round(self.longest, 3)}


class BusMetrics:
    """Counts of one program. Types, handlers and errors beyond 60 different ones each count as ``other``."""

    def __init__(self, *, enabled: bool = True) -> None:
        """Begin at zero, and stay there where it is not ``enabled`` (``SLUICE_METRICS=false``)."""
        self._enabled = enabled
        self._published: dict[str, _Times] = {}
        self._processed: dict[tuple[str, str], _Times] = {}
        self._errors: Counter[tuple[str, str, str]] = Counter()
        self._type, self._handler, self._error = Bounded(), Bounded(), Bounded()

    def record_event_published(self, event_type: str, processing_time_ms: float) -> None:
        """Count an event that the broker has.

        Args:
            event_type: its type, such as ``stock.entry.requested``.
            processing_time_ms: milliseconds from the call to the acknowledgement.
        """
        if self._enabled:
            self._published.setdefault(self._type(event_type), _Times()).add(processing_time_ms)

    def record_event_processed(
        self, event_type: str, handler_name: str, processing_time_ms: float, success: bool
    ) -> None:
        """Count an event that a handler was given.

        Args:
            event_type: its type.
            handler_name: the handler.
            processing_time_ms: milliseconds that it took.
            success: whether it did what it should.
        """
        if self._enabled:
            of = self._type(event_type), self._handler(handler_name)
            self._processed.setdefault(of, _Times()).add(processing_time_ms, success=success)

    def record_handler_error(self, event_type: str, handler_name: str, error_type: str) -> None:
        """Count an error of a handler; ``error_type`` is the class of the exception or a code, never its text."""
        if self._enabled:
            self._errors[self._type(event_type), self._handler(handler_name), self._error(error_type)] += 1

    @property
    def published(self) -> dict[str, int]:
        """How many events were published, by type."""
        return {event_type: times.count for event_type, times in self._published.items()}

    def get_metrics_summary(self) -> dict[str, Any]:
        """Return all counts.

        Returns:
            ``events_published``, ``events_processed``, ``events_failed`` and ``handler_errors`` as numbers;
            ``published`` by event type, ``handlers`` by handler and event type, each with ``count``, ``average_ms``
            and ``longest_ms``, and of handlers ``failed`` and ``errors`` by error type.
        """
        handlers: dict[str, dict[str, dict[str, Any]]] = {}
        for (event_type, handler), times in self._processed.items():
            row = {**times.summary(), "failed": times.failed, "errors": {}}
            handlers.setdefault(handler, {})[event_type] = row
        for (event_type, handler, error), count in self._errors.items():
            empty: dict[str, Any] = {**_Times().summary(), "failed": 0, "errors": {}}
            handlers.setdefault(handler, {}).setdefault(event_type, empty)["errors"][error] = count
        return {
            "events_published": sum(times.count for times in self._published.values()),
            "events_processed": sum(times.count for times in self._processed.values()),
            "events_failed": sum(times.failed for times in self._processed.values()),
            "handler_errors": sum(self._errors.values()),
            "published": {event_type: times.summary() for event_type, times in self._published.items()},
            "handlers": handlers,
        }
