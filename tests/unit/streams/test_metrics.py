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
from tests.unit.streams.core_world import BETA, LATER, NUMBER, SOURCE, TARGET, Raw, World, added, requested


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


def test_what_the_rules_say_is_counted_by_type_and_refusals_by_reason() -> None:
    metrics, world = Metrics("app", "1"), World()
    done(metrics, world, added(0), requested(1), added(2, kind="refuse"), added(3, kind="late"))
    found = scraped(metrics)
    assert found["sluice_facts_total"] == {
        ("tally", "tally.summed"): 2.0,
        ("tally", "tally.added.rejected"): 2.0,
    }
    assert found["sluice_events_refused_total"] == {("tally", "NO"): 1.0, ("tally", "LATE_EVENT"): 1.0}
    assert found["sluice_dead_letters_total"] == {("LATE_EVENT", SOURCE.name): 1.0}
    assert "sluice_event_failures_total" not in found


def test_a_failure_counts_with_each_attempt_and_a_dead_letter_once() -> None:
    metrics, world = Metrics("app", "1"), World()
    world.tally.closed = True
    done(metrics, world, added(0, kind="lookup"), added(1, kind="crash", tenant=BETA))
    for _ in range(2):
        for key in world.partition.parked.due(LATER):
            world.partition.process_waiting(key, 10)
        metrics.decided("tally", [world.partition])
        world.store_unit()
    found = scraped(metrics)
    assert found["sluice_event_failures_total"] == {
        ("tally", "TEMPORARY_FAILURE", SOURCE.name): 3.0,
        ("tally", "INVARIANT_VIOLATION", SOURCE.name): 1.0,
    }
    assert found["sluice_retries_total"] == {("tally", "postponed"): 1.0, ("tally", "dead_lettered"): 1.0}
    assert found["sluice_dead_letters_total"] == {
        ("INVARIANT_VIOLATION", SOURCE.name): 1.0,
        ("TEMPORARY_FAILURE", SOURCE.name): 1.0,
    }


def test_a_unit_that_is_taken_back_is_not_counted() -> None:
    metrics, world = Metrics("app", "1"), World()
    world.process(added(0), added(1, kind="crash"), added(2, kind="refuse"))
    world.partition.rollback()
    metrics.decided("tally", [world.partition])
    assert not {name for name in scraped(metrics) if name.startswith(("sluice_event", "sluice_facts"))}


def test_an_event_of_which_a_later_fact_fails_leaves_none_in_the_counts() -> None:
    metrics, world = Metrics("app", "1"), World()
    done(metrics, world, added(0, kind="last-fails"))
    found = scraped(metrics)
    assert "sluice_facts_total" not in found
    assert found["sluice_events_processed_total"] == {("tally", "dead_lettered", SOURCE.name): 1.0}


def test_what_is_no_code_of_ours_is_no_reason() -> None:
    metrics = Metrics("app", "1")
    for code in ("TIMEOUT", "of customer 4711", "", "lower_case", "X" * 41):
        metrics.dead_letter("orders", code)
    assert scraped(metrics)["sluice_dead_letters_total"] == {
        ("TIMEOUT", "orders"): 1.0,
        ("other", "orders"): 4.0,
    }


def test_the_time_without_work_runs_from_the_first_sign_of_a_rebalance_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics, clock = Metrics("app", "1"), iter([10.0, 14.5, 20.0, 21.0])
    monkeypatch.setattr("streams.metrics.time.monotonic", lambda: next(clock))
    metrics.rebalance_began()
    metrics.rebalance_began()
    metrics.rebalance_ended()
    metrics.rebalance_ended()
    assert scraped(metrics)["sluice_rebalance_seconds_total"] == {(): 4.5}


def test_the_process_itself_is_measured_too() -> None:
    found = scraped(Metrics("app", "1"))
    assert found["process_resident_memory_bytes"][()] > 1_000_000
    assert "python_info" in found


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
