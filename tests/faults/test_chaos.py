"""A short seed of ``make faults``: every kind of fault, against a broker that may be killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.stack.local import LocalStack
from tests.faults.chaos import Plan, Result, run, summary
from tests.faults.usage import run_usage

pytestmark = pytest.mark.faults

SEED = 20_26


@pytest.mark.timeout(420)
def test_nothing_is_lost_or_doubled_while_workers_and_broker_are_killed_and_paused(
    breakable: LocalStack, tmp_path: Path
) -> None:
    plan = Plan(
        seed=SEED,
        store="rocksdict",
        events=15_000,
        kills=4,
        terms=1,
        zombies=1,
        broker_pauses=2,
        broker_kills=1,
        rate=1_000,
        poison=60,
    )
    result = run(plan, breakable, tmp_path, print)
    assert result.problems == []
    assert (result.lost, result.doubled) == (0, 0)
    assert result.events == plan.events
    assert result.kills >= plan.kills
    assert result.terms == plan.terms
    assert result.zombies == plan.zombies
    assert result.rebalances > 0
    assert result.broker_faults == plan.broker_pauses + plan.broker_kills
    assert result.poison == plan.poison


def test_the_report_adds_up_the_runs_and_shows_the_one_that_went_wrong() -> None:
    wrong = Result(7, "rocksdict", events=10, lost=1, kills=3, broker_faults=2)
    found = summary([Result(6, "memory", events=20, kills=4, zombies=1), wrong, Result(8, "memory")])
    numbers = {"events": 30, "lost": 1, "doubled": 0, "kills": 7, "zombies": 1, "broker_faults": 2}
    assert found.items() >= {**numbers, "rebalances": 0, "seed": 7, "store": "rocksdict"}.items()
    assert [run["seed"] for run in found["runs"]] == [6, 7, 8]


@pytest.mark.timeout(420)
def test_usage_is_metered_exactly_and_each_crossing_alerts_once_while_workers_are_killed(
    breakable: LocalStack, tmp_path: Path
) -> None:
    plan = Plan(
        seed=SEED,
        events=6_000,
        kills=3,
        terms=0,
        zombies=0,
        broker_pauses=1,
        broker_kills=0,
        rate=1_000,
    )
    result = run_usage(plan, breakable, tmp_path, print)
    assert result.problems == []
    assert (result.lost, result.doubled) == (0, 0)
    assert result.events == plan.events
