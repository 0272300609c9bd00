"""What counters come to: rates, percentiles and sums over workers, with restarts and silence in between."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.console_numbers import Counts, Meter, counts_of, percentile

INFINITE = float("inf")
METRICS = """\
# TYPE sluice_events_processed counter
sluice_events_processed_total{agent="usage",outcome="done",topic="usage.metered"} 90.0
sluice_events_processed_total{agent="usage",outcome="dead_lettered",topic="usage.metered"} 2.0
# TYPE sluice_events_published counter
sluice_events_published_total{agent="usage",topic="alerts"} 3.0
sluice_events_published_total{agent="stock",topic="alerts"} 4.0
# TYPE sluice_dead_letters counter
sluice_dead_letters_total{reason="NOT_FRAMED",topic="usage.metered"} 2.0
sluice_dead_letters_total{reason="LATE_EVENT",topic="usage.metered"} 5.0
# TYPE sluice_event_end_to_end_seconds histogram
sluice_event_end_to_end_seconds_bucket{le="0.01",topic="usage.metered"} 50.0
sluice_event_end_to_end_seconds_bucket{le="+Inf",topic="usage.metered"} 92.0
sluice_event_end_to_end_seconds_bucket{le="0.01",topic="alerts"} 5.0
# TYPE sluice_consumer_lag_records gauge
sluice_consumer_lag_records{partition="1",topic="usage.metered"} 6.0
# TYPE sluice_table_keys gauge
sluice_table_keys{table="usage"} 11.0
# TYPE sluice_parked_keys gauge
sluice_parked_keys{table="usage"} 1.0
# TYPE sluice_worker_ready gauge
sluice_worker_ready 1.0
"""


def counts(taken: float, latency: dict[str, float] | None = None, **more: Any) -> Counts:
    return Counts(taken={"t": {"done": taken}}, latency=latency or {}, **more)


def test_counts_are_read_from_the_metrics_by_their_names() -> None:
    found = counts_of(text_string_to_metric_families(METRICS))
    assert found == Counts(
        ready=True,
        taken={"usage.metered": {"done": 90, "dead_lettered": 2}},
        published={"usage": {"alerts": 3}, "stock": {"alerts": 4}},
        dead={"usage.metered": 7},
        latency={"0.01": 55, "+Inf": 92},
        lag={"usage.metered": {1: 6}},
        keys={"usage": 11},
        parked={"usage": 1},
    )


@pytest.mark.parametrize(
    ("share", "wanted"),
    [(0.5, 10.0), (0.75, 15.0), (0.95, 19.0), (1.0, 20.0)],
    ids=["p50", "p75", "p95", "p100"],
)
def test_a_percentile_lies_inside_its_bucket(share: float, wanted: float) -> None:
    assert percentile({0.01: 50, 0.02: 100, INFINITE: 100}, share) == pytest.approx(wanted)


def test_a_percentile_beyond_the_last_bound_is_that_bound_and_of_nothing_there_is_none() -> None:
    assert percentile({0.01: 1, INFINITE: 10}, 0.95) == 10
    assert percentile({0.01: 0, INFINITE: 0}, 0.95) is None
    assert percentile({}, 0.95) is None


def test_rates_are_growth_per_second_summed_over_the_workers() -> None:
    meter = Meter()
    assert meter.look(10.0, {"a": counts(100), "b": counts(7)})["rate"] == 0
    found = meter.look(12.0, {"a": counts(160), "b": counts(17, lag={"t": {0: 5}})})
    assert found["rate"] == 35
    assert found["topics"]["t"] == {"in": 35, "out": 0, "lag": 5, "dead": 0}


def test_a_worker_that_started_again_counts_from_nothing_and_one_that_is_new_not_yet() -> None:
    meter = Meter()
    meter.look(10.0, {"a": counts(100)})
    assert meter.look(11.0, {"a": counts(30), "b": counts(1000)})["rate"] == 30


def test_latency_is_that_of_the_last_seconds() -> None:
    meter = Meter()
    meter.look(0.0, {"a": counts(0, {"0.01": 0, "1.0": 100, "+Inf": 100})})
    for second in range(1, 8):
        found = meter.look(
            float(second),
            {"a": counts(0, {"0.01": 10 * second, "1.0": 100 + 10 * second, "+Inf": 100 + 10 * second})},
        )
    assert found["latency"]["p99"] == pytest.approx(9.9)


def test_what_was_before_nobody_looked_is_no_part_of_now() -> None:
    meter = Meter()
    meter.look(0.0, {"a": counts(0)})
    assert meter.look(3600.0, {"a": counts(10**6)})["rate"] == 0


def test_dead_letters_are_told_by_topic_and_over_all_workers() -> None:
    meter = Meter()
    found = meter.look(0.0, {"a": counts(1, dead={"t": 2.0}), "b": counts(1, dead={"t": 3.0})})
    assert (found["dead"], found["topics"]["t"]["dead"]) == (5, 5)


def test_what_agents_publish_is_told_by_agent_and_by_topic() -> None:
    meter = Meter()
    meter.look(0.0, {"a": Counts(published={"usage": {"alerts": 0}, "stock": {"alerts": 0}})})
    found = meter.look(1.0, {"a": Counts(published={"usage": {"alerts": 3}, "stock": {"alerts": 4}})})
    assert found["published"] == {"usage": {"alerts": 3}, "stock": {"alerts": 4}}
    assert found["topics"]["alerts"]["out"] == 7
