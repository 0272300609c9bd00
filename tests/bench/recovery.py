"""A table of a million keys: how fast it comes back from its changelog, how fast from disk, and what it weighs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.stack.processes import free_ports
from tests.bench import systems, workers, workload
from tests.bench.cluster import Cluster
from tests.bench.peers.job import Task
from tests.bench.processes import Process
from tests.bench.totals import source_topic, target_topic

APP = "bench-recovery"
EMPTY = "bench-empty"
BUILD_S = 600.0


@dataclass(frozen=True, slots=True)
class Recovered:
    """One recovery.

    Attributes:
        records: changelog records read.
        rate: records per second of recovery, as the worker's own metrics say.
        ready_s: from the start of the process to its ready line.
        rss_mb: resident memory when ready.
    """

    records: int
    rate: float
    ready_s: float
    rss_mb: float


class Recovery:
    """Builds the table once, then recovers it as often as asked."""

    def __init__(self, cluster: Cluster, folder: Path, keys: int) -> None:
        self._cluster = cluster
        self._folder = folder
        self._keys = keys
        self._event_id, self._total_id = systems.schema_ids(cluster)
        self._runs = 0
        # A static member keeps its assignment over a restart, and Faust's assignment names the worker's port.
        self._ports = dict(zip((APP, EMPTY), free_ports(2), strict=True))

    def build(self) -> None:
        """Fill the changelog by processing one event for each of ``keys`` tenants, and start the copy on disk."""
        events = workload.Events(self._event_id, self._keys)
        for app, source in ((APP, events.one_each("recovery", int(time.time() * 1e6))), (EMPTY, None)):
            task = self._task(app)
            self._cluster.create([source_topic(task.source), target_topic(task.target)])
            systems.prepare_sluice(task, self._cluster)
            if source is not None:
                workload.load(self._cluster.bootstrap, task.source, source)
        with self._worker(APP, "build", "memory") as (process, _):
            done = lambda: self._cluster.committed(APP, self._task(APP).source) >= self._keys  # noqa: E731
            process.wait_for(done, BUILD_S, "commit of the last event", 0.2)
        with self._worker(APP, "disk", "rocksdict") as (process, _):
            workers.wait_ready(process)

    def empty_rss_mb(self) -> float:
        """Return the resident memory of a ready worker whose table is empty."""
        with self._worker(EMPTY, "empty", "memory") as (process, _):
            workers.wait_ready(process)
            return process.rss_mb()

    def from_changelog(self) -> Recovered:
        """Recover everything from the changelog into memory, on an empty disk."""
        return self._recover("memory", "memory")

    def from_disk(self) -> Recovered:
        """Restart cleanly on the copy on disk."""
        return self._recover("disk", "rocksdict")

    def _recover(self, name: str, store: str) -> Recovered:
        with self._worker(APP, name, store) as (process, place):
            ready_s = workers.wait_ready(process)
            rss, found = process.rss_mb(), workers.metrics(place)
        records = int(found["sluice_recovered_records_total", ""])
        seconds = found["sluice_recovery_seconds", ""]
        return Recovered(records, records / max(seconds, 1e-9), ready_s, rss)

    @contextmanager
    def _worker(self, app: str, name: str, store: str) -> Iterator[tuple[Process, workers.Place]]:
        self._runs += 1
        folder = self._folder / app / name
        if store == "memory":
            shutil.rmtree(folder, ignore_errors=True)
        task, place = self._task(app), workers.Place(app, folder, self._ports[app])
        log = self._folder / "logs" / f"{app}-{name}-{self._runs}.log"
        command = workers.command(task.source, task.target)
        env = place.env(self._cluster, SLUICE_STORE=store)
        with Process(command, log, env, patient=True) as process:
            yield process, place

    def _task(self, app: str) -> Task:
        return Task(
            self._cluster.bootstrap, f"{app}.in", f"{app}.out", app, self._total_id, self._folder / app
        )
