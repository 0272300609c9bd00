"""A worker that dies between any two steps of the pipeline leaves nothing lost and nothing counted twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ops.stack.local import LocalStack
from streams.failpoints import POINTS
from tests.faults.processes import until
from tests.faults.scenario import Scenario

pytestmark = pytest.mark.broker

UNIT = 100
AT_START = ("recovered", "claimed")
"""Points that are passed once in every recovery, so there has to be something to recover."""


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_dies_here_loses_nothing_and_doubles_nothing(
    point: str, stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    store = "rocksdict" if point in AT_START else "memory"
    variables = {"SLUICE_UNIT_RECORDS": str(UNIT), "SLUICE_COMMIT_INTERVAL_S": "0.2", "SLUICE_STORE": store}
    with Scenario(stack, unique, tmp_path, **variables) as scenario:
        worker, load = scenario.worker("w1"), scenario.load(events=2_000, poison=45)
        if point in AT_START:
            worker.start()
            until(worker.ready, 60, "the worker")
            load.start()
            load.join(60)
            worker.kill()
            worker.wait(30)
        else:
            load.start()
            load.join(60)
        worker.start(SLUICE_FAIL_POINT=f"{point}:{1 if point in AT_START else 7}")
        assert worker.wait(60) == -signal.SIGKILL
        worker.start()
        scenario.await_drained()
        truth, verdict = scenario.compare(load, worker)
    assert verdict.problems == []
    assert truth.dead
    if point == "emitted":
        assert verdict.repeated_outputs > 0, "what was sent and not stored is sent again"
    # A unit's state is stored while the next one is decided and sent: at most these two are sent again.
    assert verdict.repeated_outputs <= 2 * UNIT
