"""What a worker tells Prometheus: one object, names in base units, labels of bounded sets only (never a tenant)."""

from __future__ import annotations

import bisect
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from streams.transport import PartitionBatch

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, dense around the 100 ms that contracts 003-33 allows."""

disable_created_metrics()  # type: ignore[no-untyped-call]


class Buckets:
    """A histogram that takes many equal observations at once; the client library's takes one at a time."""

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count ``times`` observations of ``seconds``."""
        self.counts[bisect.bisect_left(LATENCY_BUCKETS, seconds)] += times
        self.total += seconds * times

    def cumulative(self) -> list[tuple[str, float]]:
        """Return the buckets as Prometheus wants them: upper bound and count up to it."""
        bounds = [*map(str, LATENCY_BUCKETS), "+Inf"]
        running = 0
        result = []
        for bound, count in zip(bounds, self.counts, strict=True):
            running += count
            result.append((bound, float(running)))
        return result


class Metrics:
    """The worker's counters, filled once per unit of work."""

    def __init__(self, app_id: str, version: str) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._info = {"app": app_id, "version": version}
        self._events: Counter[tuple[str, str, str]] = Counter()
        self._units: dict[str, Buckets] = {}
        self._end_to_end: dict[str, Buckets] = {}
        self._published: Counter[str] = Counter()
        self.gauges: list[Any] = []
        self.rebalances = 0
        self.recovery_seconds = 0.0
        self.recovered_records = 0

    def unit_done(self, agent: str, batches: Sequence[PartitionBatch], seconds: float) -> None:
        """Count a stored unit of work."""
        self._units.setdefault(agent, Buckets()).observe(seconds)
        now_ms = time.time() * 1000
        for batch in batches:
            buckets = self._end_to_end.setdefault(batch.tp.topic, Buckets())
            for timestamp, times in Counter([record.timestamp for record in batch.records]).items():
                buckets.observe(max(0.0, now_ms - timestamp) / 1000, times)

    def decided(self, agent: str, partitions: Iterable[Any]) -> None:
        """Count the outcomes and outputs of a unit, before its partitions are committed."""
        for partition in partitions:
            for (topic, outcome), times in partition.counts.items():
                self._events[agent, topic, outcome] += times
            for (topic, _), records in partition.outputs.items():
                self._published[topic] += len(records)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families (called by the client library at each scrape)."""
        events = CounterMetricFamily(
            "sluice_events_processed",
            "Events taken in, by how they ended.",
            labels=["agent", "topic", "outcome"],
        )
        for labels, times in self._events.items():
            events.add_metric(labels, times)
        yield events
        published = CounterMetricFamily("sluice_events_published", "Records published.", labels=["topic"])
        for topic, times in self._published.items():
            published.add_metric([topic], times)
        yield published
        yield _histogram(
            "sluice_unit_seconds", "Time to decide, send and store a unit of work.", "agent", self._units
        )
        yield _histogram(
            "sluice_event_end_to_end_seconds",
            "From the broker's append time of an event to its state being stored.",
            "topic",
            self._end_to_end,
        )
        yield InfoMetricFamily("sluice_build", "The running version.", value=self._info)
        yield CounterMetricFamily("sluice_rebalances", "Assignments received.", value=self.rebalances)
        yield GaugeMetricFamily(
            "sluice_recovery_seconds", "Duration of the last recovery.", value=self.recovery_seconds
        )
        yield CounterMetricFamily(
            "sluice_recovered_records", "Changelog records read by recoveries.", value=self.recovered_records
        )
        for gauge in self.gauges:
            yield from gauge()


def _histogram(name: str, text: str, label: str, series: dict[str, Buckets]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=[label])
    for value, buckets in series.items():
        family.add_metric([value], buckets.cumulative(), sum_value=buckets.total)
    return family
