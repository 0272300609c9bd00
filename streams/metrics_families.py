"""Making what Prometheus reads from the rows of ``streams.metric_names``: a metric without a row cannot be made."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import Any, TypeVar

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from streams.metric_names import ROWS, MetricRow

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, dense around the 100 ms that contracts 003-33 allows."""

Labels = TypeVar("Labels", bound=tuple[str, ...])

OTHER = "other"
MOST_VALUES = 60


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


class Bounded:
    """Values of a label: the first ``most`` that come are kept, and all later ones are ``other``."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return ``value``, or ``other`` where there are too many different ones already."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


def family(name: str, values: Mapping[Labels, Any]) -> Metric:
    """Return a metric family of the workers' catalogue.

    Args:
        name: of a row of it.
        values: by the values of the row's labels, in its order, a number; of a histogram ``Buckets``.

    Raises:
        KeyError: no row has this name.
        ValueError: the row has other labels.
    """
    return family_of(ROWS[name], values)


def family_of(row: MetricRow, values: Mapping[Labels, Any]) -> Metric:
    """Return the metric family of a row of any catalogue; ``values`` as for ``family``.

    Raises:
        ValueError: the row has other labels.
    """
    if any(len(labels) != len(row.labels) for labels in values):
        raise ValueError(f"{row.name} has the labels {row.labels}; give a value for each")
    if row.kind == "histogram":
        histogram = HistogramMetricFamily(row.name, row.help, labels=row.labels)
        for labels, buckets in values.items():
            histogram.add_metric(labels, buckets.cumulative(), sum_value=buckets.total)
        return histogram
    kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
    made = kind(row.name, row.help, labels=row.labels)
    for labels, value in values.items():
        made.add_metric(labels, value)
    return made
