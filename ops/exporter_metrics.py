"""The metrics of ``sluice exporter``: a literal catalogue beside the workers' in ``streams.metric_names``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client.metrics_core import Metric

from ops.exporter_reading import Seen
from streams.metric_names import MetricRow
from streams.metrics_families import family, family_of

LOOK: Final = "each look at the brokers, every five seconds; the series ends while they do not answer"

METRICS: Final = (
    MetricRow(
        "sluice_group_lag_records",
        "gauge",
        "records",
        "Records that the workers' group has not committed; all there are where it never ran.",
        LOOK,
        ("topic", "partition"),
    ),
    MetricRow(
        "sluice_group_lag_seconds",
        "gauge",
        "seconds",
        "Age of the oldest record that the group has not committed; 0 where there is none.",
        LOOK,
        ("topic", "partition"),
    ),
    MetricRow("sluice_group_members", "gauge", "workers", "Workers in the consumer group.", LOOK),
    MetricRow(
        "sluice_dead_letters_open",
        "gauge",
        "records",
        "Dead letters that are neither replayed nor discarded, by the topic of their events.",
        LOOK,
        ("topic",),
    ),
    MetricRow(
        "sluice_exporter_look_seconds",
        "gauge",
        "seconds",
        "Duration of the last look at the brokers.",
        "each look, also one that failed",
    ),
)
ROWS: Final = {row.name: row for row in METRICS}


def families(seen: Seen | None, seconds: float, *, registry: bool) -> Iterator[Metric]:
    """Yield the metric families.

    Args:
        seen: what the last look found; None where the brokers did not answer.
        seconds: how long it took.
        registry: whether the schema registry answers.
    """
    yield family("sluice_broker_reachable", {(): int(seen is not None)})
    yield family("sluice_registry_reachable", {(): int(registry)})
    yield family_of(ROWS["sluice_exporter_look_seconds"], {(): seconds})
    if seen is not None:
        lag = {(topic, str(number)): behind for (topic, number), behind in sorted(seen.lag.items())}
        told: dict[str, Mapping[tuple[str, ...], float]] = {
            "sluice_group_lag_records": {place: each.records for place, each in lag.items()},
            "sluice_group_lag_seconds": {place: each.seconds for place, each in lag.items()},
            "sluice_group_members": {(): seen.members},
            "sluice_dead_letters_open": {(topic,): count for topic, count in seen.open_letters.items()},
        }
        yield from (family_of(ROWS[name], values) for name, values in told.items())
