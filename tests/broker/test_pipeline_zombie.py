"""Workers that were paused for longer than their session, and come back while another one has their partitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.stack.local import LocalStack
from ops.stack.processes import free_ports
from streams.app import EXIT_TAKEN
from tests.faults.processes import until
from tests.faults.scenario import Scenario, table_pages

pytestmark = pytest.mark.broker

SESSION = {"SLUICE_SESSION_TIMEOUT_S": "2"}


def test_a_zombie_whose_partitions_another_worker_has_changes_nothing(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    with Scenario(stack, unique, tmp_path, SLUICE_UNIT_RECORDS="200", **SESSION) as scenario:
        first, second = scenario.worker("w1"), scenario.worker("w2")
        load = scenario.load(events=12_000, rate=1_500, poison=30)
        first.supervise()
        second.supervise()
        until(lambda: first.ready() and second.ready(), 60, "both workers")
        load.start()
        until(lambda: load.sent > 2_000, 60, "load")
        first.pause()
        until(lambda: len(table_pages(second)) == 4, 60, "the second worker with all partitions")
        took_over = load.sent
        until(lambda: load.sent > took_over + 500, 60, "work of the second worker")
        first.resume()
        load.join(60)
        scenario.await_drained()
        first.stop()
        _, verdict = scenario.compare(load, second)
    assert verdict.problems == []
    # It either noticed that it had been removed, or was told so by the first write that did not fit.
    assert set(first.exits) <= {0, 71}


@pytest.mark.parametrize("idle", [False, True], ids=["under load", "idle"])
def test_a_zombie_whose_replacement_has_its_name_ends(
    idle: bool, stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    """Under load its next write would tell it as well; without any, only the group does."""
    address = {"SLUICE_ADVERTISED_URL": f"http://127.0.0.1:{free_ports(1)[0]}"}
    with Scenario(stack, unique, tmp_path, SLUICE_UNIT_RECORDS="200", **address) as scenario:
        paused, load = scenario.worker("w1"), scenario.load(events=6_000, rate=1_500)
        # The same member of the group under the same address, as an orchestrator starts it when a node is lost.
        replacement = scenario.worker("w1", SLUICE_DATA_DIR=str(tmp_path / "elsewhere"))
        paused.start()
        until(paused.ready, 60, "the worker")
        load.start()
        until(lambda: load.sent > 2_000, 60, "load")
        if idle:
            # Before the pause: what it had in hand then, it would write when it is resumed.
            load.join(60)
            scenario.await_drained()
        paused.pause()
        replacement.supervise()
        until(replacement.ready, 60, "the replacement")
        paused.resume()
        assert paused.wait(60) == EXIT_TAKEN
        load.join(60)
        scenario.await_drained()
        # A write of the zombie into the replacement's changelog makes both stop: neither can tell whose state is right.
        assert set(replacement.exits) <= (set() if idle else {EXIT_TAKEN})
        _, verdict = scenario.compare(load, replacement)
    assert verdict.problems == []
