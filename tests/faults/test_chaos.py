"""A short seed of ``make faults``: every kind of fault, against a broker that may be killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.stack.local import LocalStack
from tests.faults.chaos import Plan, run
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
    assert result.zombies == plan.zombies
    assert result.broker_faults == plan.broker_pauses + plan.broker_kills
    assert result.poison == plan.poison


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
