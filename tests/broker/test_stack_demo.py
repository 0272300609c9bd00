"""The demo as a user runs it: from nothing, interrupted, run again, and right to the last token."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from ops.demo_data import totals
from ops.demo_shop import BEST
from ops.retail import RETAIL
from ops.retail_trace import RetailTrace
from ops.retail_truth import truth
from ops.stack.local import LocalStack, Ports
from ops.stack.processes import free_ports, mark
from ops.traces import LLM_TRACE, read_llm_trace
from tests.faults.processes import until

pytestmark = pytest.mark.broker


class Run:
    """The demo's command in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        ports = Ports.free()
        self.stack = LocalStack(folder / ".sluice", ports)
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")
        } | {
            "SLUICE_WEB_PORT": str(free_ports(1)[0]),
            "SLUICE_STACK_KAFKA_PORT": str(ports.kafka),
            "SLUICE_STACK_CONTROLLER_PORT": str(ports.controller),
            "SLUICE_STACK_REGISTRY_PORT": str(ports.registry),
            "SLUICE_STACK_MANAGEMENT_PORT": str(ports.management),
        }
        if "SLUICE_CACHE_DIR" in os.environ:
            self._environment["SLUICE_CACHE_DIR"] = os.environ["SLUICE_CACHE_DIR"]
        self._folder = folder

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "demo", "--json", *options],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill_the_worker(self) -> None:
        """Kill it from its console, and return when the demo has started the next one and that is ready."""
        views = f"http://127.0.0.1:{self._environment['SLUICE_WEB_PORT']}"
        killed = self.stack.pid("worker")
        request = urllib.request.Request(  # noqa: S310
            f"{views}/console/break", b'{"what": "kill"}', {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            assert "starts it again" in json.load(answer)["told"]
        until(lambda: self.stack.pid("worker") not in (killed, None), 30, "another worker")
        until(lambda: answers(f"{views}/health/ready"), 60, "the other worker")

    def left_behind(self) -> list[int]:
        """Return the processes of this demo that still run."""
        wanted = mark(self.stack.data_dir)
        found = []
        for process in psutil.process_iter(["pid", "cmdline"]):
            if any(argument.endswith(wanted) for argument in process.info["cmdline"] or ()):
                found.append(process.info["pid"])
        return found


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


def rows_told(line: str) -> int:
    return int(line.split()[1].split("/", maxsplit=1)[0]) if line.startswith("rows ") else 0


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    told, complaints = process.communicate(timeout=200)
    assert process.returncode == 0, complaints
    (found,) = json.loads(told)
    return dict(found)


def assert_shop_is_right(shown: dict[str, Any], before: int) -> None:
    """What is left of the best goods and the points of the best customers are those of the rows that were sent."""
    week = RetailTrace(RETAIL)
    assert max(before, week.lots) < shown["rows_sent"] <= shown["rows"] == len(week)
    wanted = truth(week.rows, week.file_rows(shown["rows_sent"]))
    assert len(shown["on_hand"]) == BEST
    assert {product: Decimal(pieces) for product, pieces in shown["on_hand"].items()} == {
        product: sum(wanted.lots[product].values()) for product in shown["on_hand"]
    }
    assert shown["points"]
    assert shown["points"] == {
        customer: wanted.accounts[customer].totals["balance"] for customer in shown["points"]
    }


@pytest.mark.timeout(420)
def test_a_demo_whose_worker_was_killed_and_that_was_interrupted_meters_the_whole_trace_exactly_once(
    tmp_path: Path,
) -> None:
    run, rows = Run(tmp_path), read_llm_trace(LLM_TRACE)

    first = run.start("--rate", "500")
    assert first.stderr is not None
    for line in first.stderr:
        if rows_told(line) > 0:
            break
    assert {row["part"]: row["state"] for row in run.stack.status()} == {
        "kafka": "ready",
        "registry": "ready",
        "worker": "running",
    }
    run.kill_the_worker()
    first.send_signal(signal.SIGINT)
    part = result(first)
    assert 0 < part["rows_sent"] < part["rows"] == len(rows)
    assert run.left_behind() == []

    second = result(run.start("--rate", "3000", "--exit"))
    assert (second["trace"], second["rows_sent"], second["lag"]) == (LLM_TRACE.name, len(rows), 0)
    assert {meter: int(total) for meter, total in second["usage"].items()} == totals(rows, 0, len(rows))
    assert second["alerts_firing"] > 0
    assert_shop_is_right(second["shop"], part["shop"]["rows_sent"])
    assert run.left_behind() == []


def test_a_taken_view_port_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    import socket

    run = Run(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(run._environment["SLUICE_WEB_PORT"])))
        taken.listen()
        process = run.start("--for", "1")
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "SLUICE_WEB_PORT" in complaints
    assert run.left_behind() == []
