"""What Prometheus reads: text that its own parser accepts, and labels that do not grow with the users."""

from __future__ import annotations

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streams.metrics import Metrics
from streams.metrics_families import LATENCY_BUCKETS, Buckets
from streams.transport import PartitionBatch
from tests.unit.streams.core_world import ACME, BETA, NUMBER, SOURCE, TARGET, Raw, World, added, tenants_of


def scraped(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the samples by name and by the values of their labels, in the order of the labels' names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = (
                sample.value
            )
    return found


def done(metrics: Metrics, world: World, *records: Raw) -> None:
    world.process(*records)
    batch = PartitionBatch(TP(SOURCE.name, NUMBER), records, 1)
    metrics.decided("tally", [world.partition])
    metrics.unit_done("tally", [batch], 0.004)
    world.store_unit()


def test_a_new_worker_can_be_scraped() -> None:
    found = scraped(Metrics("app", "1.2"))
    assert found["sluice_build_info"] == {("app", "1.2"): 1.0}
    assert found["sluice_rebalances_total"] == {(): 0.0}


def test_events_are_counted_by_how_they_ended() -> None:
    metrics, world = Metrics("app", "1"), World()
    done(metrics, world, added(0), added(1, BETA), added(2, kind="crash"), added(3, kind="refuse"))
    found = scraped(metrics)
    assert found["sluice_events_processed_total"] == {
        ("tally", "done", SOURCE.name): 2.0,
        ("tally", "dead_lettered", SOURCE.name): 1.0,
        ("tally", "rejected", SOURCE.name): 1.0,
    }
    assert found["sluice_events_published_total"][("tally", TARGET.name)] == 3.0
    assert found["sluice_unit_seconds_count"] == {("tally",): 1.0}
    assert found["sluice_event_end_to_end_seconds_count"] == {(SOURCE.name,): 4.0}


def test_more_users_make_no_more_series() -> None:
    metrics, world = Metrics("app", "1"), World()
    done(metrics, world, added(0, event_id="e0"))
    before = generate_latest(metrics.registry).decode()
    for number, tenant in enumerate(tenants_of(NUMBER, 50)):
        done(metrics, world, added(number + 1, tenant, event_id=f"e{number + 1}"))
    after = generate_latest(metrics.registry).decode()
    assert len(after.splitlines()) == len(before.splitlines())
    assert ACME not in after.replace("tally", "")


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5)), min_size=1))
def test_a_histogram_counts_every_observation_in_its_bucket(observed: list[tuple[float, int]]) -> None:
    buckets = Buckets()
    for seconds, times in observed:
        buckets.observe(seconds, times)
    cumulative = buckets.cumulative()
    assert [bound for bound, _ in cumulative] == [*map(str, LATENCY_BUCKETS), "+Inf"]
    for bound, count in cumulative:
        assert count == sum(times for seconds, times in observed if seconds <= float(bound))
    assert buckets.total == pytest.approx(sum(seconds * times for seconds, times in observed))
