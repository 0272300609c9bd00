"""The shop's week on real workers: two of them, each killed in the middle, rows sent twice, and no number is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops.cli import app
from ops.replay import Replay
from ops.retail import RETAIL
from ops.retail_trace import RetailTrace
from ops.setup import setup
from ops.stack.local import LocalStack
from streams.settings import Settings
from tests.faults.processes import Worker, until

pytestmark = pytest.mark.broker

PARTITIONS = 4
ROWS = 4_000
RATE = 2_500
TOKEN = "operator-token"
READY_S = 60.0


class Shop:
    """A shop of its own with two workers, and the commands that a person gives there."""

    def __init__(self, stack: LocalStack, name: str, folder: Path) -> None:
        self.tenant = name
        self.settings = Settings.read(
            bootstrap_servers=stack.bootstrap_servers,
            registry_url=stack.registry_url,
            app_id=name,
            partitions=PARTITIONS,
            data_dir=folder / "tools",
        )
        self._variables = {
            "SLUICE_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "SLUICE_REGISTRY_URL": stack.registry_url,
            "SLUICE_PARTITIONS": str(PARTITIONS),
            "SLUICE_WEB_TOKEN": TOKEN,
            "SLUICE_SESSION_TIMEOUT_S": "4",
            "SLUICE_APP_ID": name,
        }
        self.workers = [
            Worker(slot, "worker", folder, self._variables, module="ops.cli", ready_path="/health/ready")
            for slot in ("w1", "w2")
        ]

    def verify(self, rows: int, worker: Worker) -> tuple[int, dict[str, Any], str]:
        """Return the exit status of `sluice verify`, what it found, and what it says to people."""
        options = {
            "--rows": rows,
            "--tenant": self.tenant,
            "--url": f"http://127.0.0.1:{worker.port}",
            "--data-dir": self.settings.data_dir,
        }
        command = ["verify", "online-retail", str(RETAIL), "--json"]
        command += [str(part) for option in options.items() for part in option]
        result = CliRunner().invoke(app, command, env=self._variables)
        assert result.exit_code in (0, 1), result.output
        (summary,) = json.loads(result.stdout)
        return result.exit_code, summary, " ".join(result.stderr.split())


@pytest.fixture
def shop(stack: LocalStack, unique: str, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(stack, unique, tmp_path)
    asyncio.run(setup(shop.settings))
    try:
        for worker in shop.workers:
            worker.supervise()
        yield shop
    finally:
        for worker in shop.workers:
            worker.stop()


@pytest.mark.timeout(180)
def test_no_number_differs_from_the_file_though_both_workers_were_killed_and_rows_came_twice(
    shop: Shop,
) -> None:
    first, second = shop.workers
    trace = RetailTrace(RETAIL, shop.tenant)
    end = trace.end_of(ROWS)
    kills = [(trace.lots // 2, first), (trace.lots + ROWS // 2, second)]
    until(lambda: all(worker.ready() for worker in shop.workers), READY_S, "both workers ready")

    def kill(row: int) -> None:
        if kills and row >= kills[0][0]:
            assert kills.pop(0)[1].kill()

    sent = Replay(shop.settings, trace).run(rate=RATE, end_row=end, progress=kill)
    assert sent == trace.events_before(end)
    again = Replay(shop.settings, trace).run(first_row=end - 500, end_row=end)
    assert again == trace.events_before(end) - trace.events_before(end - 500)

    status, summary, _ = shop.verify(ROWS, second)
    assert (status, summary["differences"]) == (0, [])
    assert summary["products"] > 2_000
    assert summary["customers"] > 100
    assert [worker.exits for worker in shop.workers] == [[-9], [-9]]

    status, summary, told = shop.verify(ROWS - 500, first)
    assert status == 1
    assert f"--rows {ROWS}" in told
    assert {found["kind"] for found in summary["differences"]} == {"stock", "loyalty"}
