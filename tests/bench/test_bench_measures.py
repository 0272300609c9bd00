"""What the benchmark computes: events that decode, latency that counts stalls, lag that grows when it grows."""

from __future__ import annotations

import pytest

from streams.events import UsageEvent
from tests.bench.peers.job import advance, answer, decoder, encoder
from tests.bench.probe import due_micros, evaluate, lag_series, slope
from tests.bench.report import spread
from tests.bench.workload import Events

SECOND = 1_000_000
START = 1_790_000_000 * SECOND


def test_made_events_are_usage_events_with_ids_of_their_own() -> None:
    made = list(Events(7, 10).make("run", iter(range(START, START + 500))))
    decode = decoder()
    events = [decode(frame) for _, frame in made]
    assert {frame[:5] for _, frame in made} == {b"\0\0\0\0\x07"}
    assert [key for key, _ in made] == [event["tenant_id"] for event in events]
    assert len({event["event_id"] for event in events}) == 500
    assert set(events[0]) == set(UsageEvent.__struct_fields__)
    assert {event["cost"] is None for event in events} == {True, False}


def test_the_same_seed_makes_the_same_events() -> None:
    first, second = (list(Events(7, 10, seed=3).make("run", iter([START] * 50))) for _ in range(2))
    assert first == second


def test_an_output_carries_when_its_event_was_due() -> None:
    [(_, frame)] = Events(7, 1).make("run", iter([START + 123_456]))
    event = decoder()(frame)
    total, count = advance(5_000_000, 2, event)
    output = encoder(9)(answer(event, total, count))
    assert due_micros(frame) == due_micros(output) == START + 123_456
    assert (total, count) == (5_000_000 + int(event["quantity"]) * 1_000_000, 3)


def test_a_stall_counts_for_every_event_that_was_due_meanwhile() -> None:
    due = [START + i * 1_000 for i in range(4_000)]
    # Two seconds of silence in the middle, then all that was due at once.
    arrived = [max(at + 2_000, START + 3 * SECOND) if at >= START + SECOND else at + 2_000 for at in due]
    found = evaluate(due, arrived, 0)
    assert found["p50_ms"] == pytest.approx(2, rel=0.5) or found["p50_ms"] > 100
    assert found["p95_ms"] > 1_700
    assert found["received"] == 4_000


def test_lag_is_what_was_due_and_had_not_arrived_at_each_second() -> None:
    due = [START + i * 100_000 for i in range(41)]
    arrived = [at + 250_000 for at in due]
    assert lag_series(due, arrived) == [3, 3, 3, 3]


def test_lag_of_a_reader_at_half_speed_grows_by_half_the_rate() -> None:
    due = [START + i * 10_000 for i in range(1_001)]
    arrived = [START + i * 20_000 for i in range(1_001)]
    assert slope(lag_series(due, arrived)) == pytest.approx(50, abs=1)


def test_a_steady_lag_has_no_slope() -> None:
    assert slope([7, 7, 7, 7]) == 0


def test_a_spread_is_minimum_median_and_maximum() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"min": 1.0, "median": 2.0, "max": 3.0}
