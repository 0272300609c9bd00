"""What a worker counts for Prometheus: filled once per unit of work, named in ``streams.metric_names``.

Nothing is counted per event. The pipeline hands over each unit with what its partitions collected while they decided
it; what only a domain knows (``agents/*_metrics.py``) is counted from the same partitions by its observer. Values that
need no counting are looked up at each scrape (``streams.metrics_worker``), or from time to time where the answer takes
a walk through the state (``streams.metrics_census``).
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import Metric

from streams.metrics_families import OTHER, Bounded, Buckets, family
from streams.routing import is_refusal
from streams.transport import PartitionBatch

disable_created_metrics()  # type: ignore[no-untyped-call]

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,39}").fullmatch

Observer = Callable[[Any], None]
"""Counts what one partition decided in a unit of work; it is called before the partition commits."""


class Metrics:
    """The worker's counters.

    Attributes:
        registry: what ``/metrics`` shows.
        sources: further families, made at each scrape.
        observers: what counts for a domain, by the name of its table.
    """

    def __init__(self, app_id: str, version: str) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.sources: list[Callable[[], Iterable[Metric]]] = []
        self.observers: dict[str, Observer] = {}
        self._build = (app_id, version)
        self._reason = Bounded()
        self._events: Counter[tuple[str, ...]] = Counter()
        self._published: Counter[tuple[str, ...]] = Counter()
        self._facts: Counter[tuple[str, ...]] = Counter()
        self._failures: Counter[tuple[str, ...]] = Counter()
        self._refused: Counter[tuple[str, ...]] = Counter()
        self._retries: Counter[tuple[str, ...]] = Counter()
        self._dead_letters: Counter[tuple[str, ...]] = Counter()
        self._units: dict[tuple[str, ...], Buckets] = {}
        self._end_to_end: dict[tuple[str, ...], Buckets] = {}
        self.rebalances = 0
        self.recovery_seconds = 0.0
        self.recovered_records = 0
        self._rebalance_seconds = 0.0
        self._rebalancing_since: float | None = None

    # --- units of work ------------------------------------------------------------------------------------------

    def decided(self, agent: str, partitions: Iterable[Any]) -> None:
        """Count a unit whose outputs are acknowledged, before its partitions are committed."""
        observer = self.observers.get(agent)
        for partition in partitions:
            for (topic, outcome), times in partition.counts.items():
                self._events[agent, topic, outcome] += times
            for topic, code in partition.failed:
                self._failures[agent, topic, self.reason(code)] += 1
            for topic, code in partition.letters:
                self.dead_letter(topic, code)
            for outcome, times in partition.retried.items():
                self._retries[agent, outcome] += times
            self._count_facts(agent, partition.facts)
            self.published(agent, partition.outputs)
            if observer is not None:
                observer(partition)

    def _count_facts(self, agent: str, facts: Sequence[Any]) -> None:
        kinds: Counter[Any] = Counter(map(type, facts))
        for kind, times in kinds.items():
            self._facts[agent, kind.TYPE] += times
            if is_refusal(kind):
                for fact in facts:
                    if type(fact) is kind:
                        self._refused[agent, self.reason(fact.reason_code)] += 1

    def unit_done(self, agent: str, batches: Sequence[PartitionBatch], seconds: float) -> None:
        """Count a stored unit of work."""
        self._units.setdefault((agent,), Buckets()).observe(seconds)
        now_ms = time.time() * 1000
        for batch in batches:
            buckets = self._end_to_end.setdefault((batch.tp.topic,), Buckets())
            for timestamp, times in Counter([record.timestamp for record in batch.records]).items():
                buckets.observe(max(0.0, now_ms - timestamp) / 1000, times)

    def published(self, agent: str, outputs: Mapping[tuple[str, int], Sequence[Any]]) -> None:
        """Count acknowledged records, given by topic and partition."""
        for (topic, _), records in outputs.items():
            self._published[agent, topic] += len(records)

    def dead_letter(self, topic: str, code: str) -> None:
        """Count a dead letter of a topic."""
        self._dead_letters[topic, self.reason(code)] += 1

    def reason(self, code: str) -> str:
        """Return a code as the value of a label; what is no code of ours is ``other``."""
        return self._reason(code) if _CODE(code) else OTHER

    # --- rebalances ---------------------------------------------------------------------------------------------

    def rebalance_began(self) -> None:
        """Begin to count the time without work, unless it is counted already."""
        if self._rebalancing_since is None:
            self._rebalancing_since = time.monotonic()

    def rebalance_ended(self) -> None:
        """Add the time without work."""
        if self._rebalancing_since is not None:
            self._rebalance_seconds += time.monotonic() - self._rebalancing_since
            self._rebalancing_since = None

    # --- what is scraped ----------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families (called by the client library at each scrape)."""
        yield family("sluice_events_processed_total", self._events)
        yield family("sluice_events_published_total", self._published)
        yield family("sluice_facts_total", self._facts)
        yield family("sluice_event_failures_total", self._failures)
        yield family("sluice_events_refused_total", self._refused)
        yield family("sluice_retries_total", self._retries)
        yield family("sluice_dead_letters_total", self._dead_letters)
        yield family("sluice_unit_seconds", self._units)
        yield family("sluice_event_end_to_end_seconds", self._end_to_end)
        yield family("sluice_build_info", {self._build: 1})
        yield family("sluice_rebalances_total", {(): self.rebalances})
        yield family("sluice_rebalance_seconds_total", {(): self._rebalance_seconds})
        yield family("sluice_recovery_seconds", {(): self.recovery_seconds})
        yield family("sluice_recovered_records_total", {(): self.recovered_records})
        for source in self.sources:
            yield from source()


class Uncounted(Metrics):
    """The same for a worker that is not to count (``SLUICE_METRICS=false``). What needs no counting, such as lag, is
    still looked up for whoever asks, which is the console.
    """

    def decided(self, agent: str, partitions: Iterable[Any]) -> None:
        """Count nothing."""

    def unit_done(self, agent: str, batches: Sequence[PartitionBatch], seconds: float) -> None:
        """Count nothing."""

    def published(self, agent: str, outputs: Mapping[tuple[str, int], Sequence[Any]]) -> None:
        """Count nothing."""

    def dead_letter(self, topic: str, code: str) -> None:
        """Count nothing."""
