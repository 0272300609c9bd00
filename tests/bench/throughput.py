"""The peers' job at full load: events in, decode, running total per tenant, one output for each event."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.bench import systems, workload
from tests.bench.cluster import Cluster
from tests.bench.peers.job import Task
from tests.bench.processes import Process
from tests.bench.systems import System
from tests.bench.totals import source_topic

POLL_S = 0.05
START_S = 60.0
TRIAL_S = 300.0
TENANTS = 1_000


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of one system.

    Attributes:
        rate: outputs per second, from the first output seen to the last.
        cpu_ms: user and system time of the process per 1,000 outputs, in the same time.
        rss_mb: highest resident memory seen.
        outputs: records in the output topic at the end; more than the inputs are repetitions.
    """

    rate: float
    cpu_ms: float
    rss_mb: float
    outputs: int


def micros_since(start: float, step_us: int, count: int) -> Iterator[int]:
    """Return timestamps in microseconds, ``step_us`` apart."""
    first = int(start * 1_000_000)
    return iter(range(first, first + step_us * count, step_us))


class Throughput:
    """Runs trials over topics that are filled once."""

    def __init__(self, cluster: Cluster, folder: Path, count: int) -> None:
        """Fill nothing yet.

        Args:
            cluster: the broker and registry of the run.
            folder: for state and logs of the systems.
            count: events of a trial.
        """
        self._cluster = cluster
        self._folder = folder
        self._count = count
        self._event_id, self._total_id = systems.schema_ids(cluster)
        self._token = uuid4().hex[:6]
        self._filled: set[str] = set()

    def trial(self, system: System, number: int) -> Trial:
        """Run one system once, from a new process with an empty state to the last output."""
        count = int(self._count * system.share)
        source = self._source(count)
        group = systems.new_group("bench", system, number)
        target = f"{group}.out"
        state = self._folder / group
        task = Task(self._cluster.bootstrap, source, target, group, self._total_id, state)
        try:
            with systems.start(system, task, self._cluster, self._folder / "logs") as process:
                return self._watch(process, target, count)
        finally:
            self._cluster.delete(self._cluster.names(group))

    def _source(self, count: int) -> str:
        name = f"bench.usage.{count}.{self._token}"
        if name not in self._filled:
            self._cluster.create([source_topic(name)])
            events = workload.Events(self._event_id, TENANTS)
            start = time.time() - count / 1_000
            workload.load(
                self._cluster.bootstrap, name, events.make("load", micros_since(start, 1_000, count))
            )
            self._filled.add(name)
        return name

    def _watch(self, process: Process, target: str, count: int) -> Trial:
        """Time the growth of the output topic. Outputs before the first look are not counted: start-up is not work."""
        process.wait_for(lambda: self._cluster.records(target) > 0, START_S, "first output", POLL_S)
        first, began, cpu = self._cluster.records(target), time.monotonic(), process.cpu_s()
        highest = 0.0

        def done() -> bool:
            nonlocal highest
            highest = max(highest, process.rss_mb())
            return self._cluster.records(target) >= count

        process.wait_for(done, TRIAL_S, f"output number {count}", POLL_S)
        seconds, used = time.monotonic() - began, process.cpu_s() - cpu
        counted = max(1, count - first)
        time.sleep(0.5)  # what comes after the last output is a repetition
        outputs = self._cluster.records(target)
        return Trial(counted / seconds, used / counted * 1e6, highest, outputs)
