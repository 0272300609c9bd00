"""A worker that stands still starts itself again, on the real broker: nothing is lost and nothing counted twice."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.stack.local import LocalStack
from streams.watchdog import EXIT_STALLED, MOST_RESTARTS, RESTARTS
from tests.faults.load import Sender
from tests.faults.processes import Worker, until
from tests.faults.scenario import Scenario

pytestmark = pytest.mark.broker


def restarts(worker: Worker) -> list[dict[str, Any]]:
    """Return the lines that say why the worker started again."""
    return [line for line in worker.log_lines() if "starts again" in line["event"]]


def stalled(worker: Worker) -> dict[str, Any]:
    """Return the partitions for which the worker is not live."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/health/live", timeout=5):
            return {}
    except urllib.error.HTTPError as error:
        checks = {check["name"]: check for check in json.load(error)["checks"]}
        found: dict[str, Any] = checks["progress"]["data"]["stalled"]
        return found


def counted(worker: Worker) -> int:
    """Return how many events the worker's table has counted."""
    page = worker.page() or {"partitions": {}}
    return sum(int(row[0]) for table in page["partitions"].values() for row in table.values())


def restarts_counted(worker: Worker) -> float:
    """Return what the worker tells Prometheus of its restarts."""
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=5) as answer:
        families = {each.name: each for each in text_string_to_metric_families(answer.read().decode())}
    [sample] = families["sluice_restarts"].samples
    return float(sample.value)


def test_a_worker_that_stands_still_is_not_live_and_starts_itself_again_but_not_for_ever(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    stall = tmp_path / "stall"
    variables = {
        "SLUICE_LOG_JSON": "true",
        "SLUICE_STALL_TIMEOUT_S": "1",
        "SLUICE_HANDLER_TIMEOUT_S": "600",
        "FAULTS_STALL": str(stall),
        RESTARTS: f"{time.monotonic():.0f}",  # there was one; two more are let through
    }
    with Scenario(stack, unique, tmp_path, **variables) as scenario:
        worker, sender = scenario.worker("w1"), Sender(scenario.settings, scenario.source)
        write = scenario.writer()
        worker.start()
        pid = worker.pid
        sender.send(write, "one", 1)
        sender.flush()
        until(lambda: counted(worker) == 1, 60, "the first event")

        # Outputs that are never acknowledged, while the event loop goes on.
        stall.touch()
        sender.send(write, "one", 2)
        sender.flush()
        [name] = until(lambda: stalled(worker), 30, "a worker that is not live")
        stall.unlink()
        until(lambda: counted(worker) == 2, 60, "the event at which it stood, after its restart")
        assert restarts_counted(worker) == 1
        [stood] = restarts(worker)
        assert worker.pid == pid
        assert (stood["topic"], f"{stood['topic']}-{stood['partition']}") == (scenario.source, name)
        assert "worker.py:" in stood["stood_at"], "where it waited"

        # A rule that never returns holds up the event loop, again and again.
        sender.send(write, "one", 3, poison="hang", trouble="hang")
        for number in range(20):
            sender.send(write, f"other-{number}", 100 + number)
        sender.flush()
        assert worker.wait(60) == EXIT_STALLED
        assert len(restarts(worker)) == MOST_RESTARTS
        assert f"totals[{stood['partition']}], offset 2" in restarts(worker)[-1]["event"]
        assert "totals.py:" in restarts(worker)[-1]["stood_at"]

        worker.start(SLUICE_HANDLER_TIMEOUT_S="0.3", SLUICE_RETRY="no_retry")
        scenario.await_drained()
        _, verdict = scenario.compare(sender, worker)
    assert verdict.problems == []
