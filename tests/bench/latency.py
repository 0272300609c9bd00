"""Latency of the peers' job at a fixed rate: from when an event is due to when another process reads its output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import probe, systems, workload
from tests.bench.cluster import Cluster
from tests.bench.peers.job import Task
from tests.bench.processes import Process
from tests.bench.systems import System
from tests.bench.totals import source_topic

TENANTS = 1_000
START_S = 90.0
LIMIT_MS = 100.0
STEP = 5_000


@dataclass(frozen=True, slots=True)
class Run:
    """One timetable at one rate.

    Attributes:
        rate: events per second offered.
        p50_ms, p95_ms, p99_ms, max_ms: from due to read.
        lag_growth_per_s: growth of the events that are due and not read, per second.
        lag_highest: most of them at a whole second.
        lost: events whose output never came.
        late_p99_ms: how late the producer itself was.
        cores: processor cores that the system used.
    """

    rate: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    lag_growth_per_s: float
    lag_highest: int
    lost: int
    late_p99_ms: float
    cores: float


class Latency:
    """Runs timetables against systems."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._event_id, self._total_id = systems.schema_ids(cluster)
        self._runs = 0

    @contextmanager
    def running(self, system: System, number: int) -> Iterator[tuple[Task, Process]]:
        """Start a system on an empty topic and let every tenant through once, so that what is measured is warm."""
        group = systems.new_group("latency", system, number)
        state = self._folder / group
        task = Task(self._cluster.bootstrap, f"{group}.in", f"{group}.out", group, self._total_id, state)
        try:
            with systems.start(system, task, self._cluster, self._folder / "logs") as process:
                first = workload.Events(self._event_id, TENANTS).one_each(group, int(time.time() * 1e6))
                workload.load(task.bootstrap, task.source, first)
                process.wait_for(
                    lambda: self._cluster.records(task.target) >= TENANTS,
                    START_S,
                    "output for every tenant",
                    0.1,
                )
                yield task, process
        finally:
            self._cluster.delete(self._cluster.names(group))

    def broker_alone(self, number: int, rate: int, seconds: int, warm_up_s: int) -> Run:
        """Measure the floor: the same events, read by the measuring process with no system in between."""
        topic = f"latency-broker-{number}"
        self._cluster.create([source_topic(topic)])
        try:
            return self._timetable(topic, topic, None, rate, seconds, warm_up_s)
        finally:
            self._cluster.delete([topic])

    def run(self, task: Task, process: Process, rate: int, seconds: int, warm_up_s: int) -> Run:
        """Offer ``rate`` events a second for ``seconds`` to a running system."""
        return self._timetable(task.source, task.target, process, rate, seconds, warm_up_s)

    def highest_rate(self, task: Task, process: Process, seconds: int, first: int, last: int) -> list[Run]:
        """Step the rate up until P95 reaches LIMIT_MS or outputs stay out; return all steps."""
        steps = []
        for rate in range(first, last + 1, STEP):
            steps.append(self.run(task, process, rate, seconds, min(2, seconds - 1)))
            if not keeps_up(steps[-1]):
                break
        return steps

    def _timetable(
        self, source: str, target: str, process: Process | None, rate: int, seconds: int, warm_up_s: int
    ) -> Run:
        self._runs += 1
        name = f"{target}-{self._runs}"
        results = {part: self._folder / f"{name}.{part}.json" for part in ("sent", "read")}
        common = ["--bootstrap", self._cluster.bootstrap]
        reading = [*common, "--topic", target, "--result", str(results["read"])]
        reading += ["--count", str(rate * seconds), "--warm-up", str(warm_up_s)]
        sending = [*common, "--topic", source, "--result", str(results["sent"]), "--prefix", name]
        sending += ["--schema-id", str(self._event_id), "--rate", str(rate), "--seconds", str(seconds)]
        sending += ["--tenants", str(TENANTS)]
        logs = self._folder / "logs"
        with Process(
            [sys.executable, "-m", "tests.bench.probe", *reading], logs / f"{name}.probe.log"
        ) as reader:
            reader.wait_for(lambda: probe.READY in reader.tail(), 30, "assignment")
            used = process.cpu_s() if process else 0.0
            command = [sys.executable, "-m", "tests.bench.open_loop", *sending]
            with Process(command, logs / f"{name}.open-loop.log") as sender:
                sender.finish(seconds * 3 + 60)
            used = process.cpu_s() - used if process else 0.0
            reader.finish(120)
        if process:
            process.check()
        sent, found = (json.loads(results[part].read_text()) for part in ("sent", "read"))
        lost = sent["sent"] - found.pop("received")
        return Run(
            rate=rate, lost=lost, late_p99_ms=sent["late_p99_ms"], cores=round(used / seconds, 2), **found
        )


def keeps_up(run: Run) -> bool:
    """Tell whether a run kept P95 under the limit and answered everything."""
    return run.p95_ms < LIMIT_MS and run.lost == 0
