"""A domain's own pipeline at full load: a worker finds commands that were written before the clock starts.

What is written is the job's own matter: ``usage_job``, ``stock_job`` and ``loyalty_job``.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastavro import parse_schema, schemaless_writer

from ops.setup import setup
from streams import topics
from streams.schemas import contracts
from streams.settings import Settings
from tests.bench import workers, workload
from tests.bench.cluster import Cluster
from tests.bench.processes import Process

POLL_S = 0.02
TRIAL_S = 300.0
OUTCOMES = "sluice_events_processed_total"

Frames = Iterator[tuple[str, bytes]]
"""Keys and Confluent frames."""
Ids = dict[type, int]
"""Registry ids of record types."""


@dataclass(frozen=True, slots=True)
class PipelineTrial:
    """One run.

    Attributes:
        rate: events per second between the first and the last commit seen while there was more to do.
        cpu_ms: user and system time of the worker per 1,000 events.
        rss_mb: resident memory at the end.
        published: records on the domain's output topics at the end.
        outcomes: events by how they ended.
    """

    rate: float
    cpu_ms: float
    rss_mb: float
    published: int
    outcomes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Load:
    """What is written to one topic.

    Attributes:
        topic: where to.
        records: every record type that ``frames`` writes.
        frames: given the ids of these, yields what to write.
    """

    topic: str
    records: tuple[type, ...]
    frames: Callable[[Ids], Frames]


@dataclass(frozen=True, slots=True)
class Job:
    """What a trial does.

    Attributes:
        name: of the job, in app ids and logs.
        prepare: what a worker processes before the clock starts; none where the tables begin empty.
        measured: what is timed.
        outputs: topics whose records are counted at the end.
        env: settings of the worker.
    """

    name: str
    prepare: Load | None
    measured: Load
    outputs: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


class PipelineBench:
    """Runs the project's own index on a job, each trial with topics, a group and a state of its own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder

    def trial(self, job: Job, number: int) -> PipelineTrial:
        """Prepare, write what is measured, and time a worker that finds it waiting."""
        name = f"{job.name}-{number}"
        place = workers.Place.new(name, self._folder / name)
        settings = Settings(
            bootstrap_servers=self._cluster.bootstrap,
            registry_url=self._cluster.registry_url,
            app_id=place.app_id,
            data_dir=place.folder,
        )
        asyncio.run(setup(settings))
        try:
            before = self._prepare(job, place)
            written = self._write(job.measured)
            return self._measure(job, place, before, written)
        finally:
            self._cluster.delete([topic.name for topic in topics.all_topics(place.app_id)])

    def _prepare(self, job: Job, place: workers.Place) -> int:
        """Return how many of the measured topic's events are processed."""
        if job.prepare is None:
            return 0
        topic, written = job.prepare.topic, self._write(job.prepare)
        with self._worker(job, place, "prepare") as process:
            done = lambda: self._cluster.committed(place.app_id, topic) >= written  # noqa: E731
            process.wait_for(done, TRIAL_S, "commit of what is prepared", 0.1)
        return written if topic == job.measured.topic else 0

    def _write(self, load: Load) -> int:
        ids = {record: self._id(load.topic, record) for record in load.records}
        return workload.load(self._cluster.bootstrap, load.topic, load.frames(ids))

    def _id(self, topic: str, record: Any) -> int:
        return self._cluster.register(f"{topic}-{record.RECORD}", contracts()[record.RECORD].text)

    def _worker(self, job: Job, place: workers.Place, phase: str) -> Process:
        log = self._folder / "logs" / f"{place.app_id}-{phase}.log"
        env = place.env(self._cluster, **dict(job.env))
        return Process(workers.command(), log, env, patient=True)

    def _measure(self, job: Job, place: workers.Place, before: int, count: int) -> PipelineTrial:
        """Take the rate from commits: each says exactly how far the stored state had come at that moment.

        The last one is left out, because it comes by the clock some time after the last event was done.
        """
        topic = job.measured.topic
        with self._worker(job, place, "measure") as process:
            seen: list[tuple[float, int, float]] = []

            def all_committed() -> bool:
                committed = self._cluster.committed(place.app_id, topic) - before
                if committed > (seen[-1][1] if seen else 0):
                    seen.append((time.monotonic(), committed, process.cpu_s()))
                return committed >= count

            process.wait_for(all_committed, TRIAL_S, f"commit of event {count}", POLL_S)
            outcomes = outcomes_of(workers.metrics(place), topic)
            rss = process.rss_mb()
            started = (process.started, 0, 0.0)
        # A run of seconds has too few commits to leave any out.
        (began, first, cpu), (ended, last, used) = (
            (seen[0], seen[-2]) if len(seen) > 3 else (started, seen[-1])
        )
        events = max(1, last - first)
        published = sum(self._cluster.records(name) for name in job.outputs)
        return PipelineTrial(events / (ended - began), (used - cpu) / events * 1e6, rss, published, outcomes)


def outcomes_of(found: dict[tuple[str, str], float], topic: str) -> dict[str, int]:
    """Return the events of a topic by outcome, from a worker's metrics."""
    outcomes: dict[str, int] = {}
    for (name, labels), value in found.items():
        pairs = dict(pair.split("=", 1) for pair in labels.replace('"', "").split(",") if pair)
        if name == OUTCOMES and pairs.get("topic") == topic:
            outcomes[pairs["outcome"]] = outcomes.get(pairs["outcome"], 0) + int(value)
    return outcomes


def writer(record: Any, schema_id: int) -> Callable[[dict[str, Any]], bytes]:
    """Return the function from a record's fields to its frame; fields that are not given have their defaults."""
    schema = parse_schema(contracts()[record.RECORD].schema)
    head = b"\0" + schema_id.to_bytes(4, "big")

    def write(value: dict[str, Any]) -> bytes:
        body = io.BytesIO()
        body.write(head)
        schemaless_writer(body, schema, value)
        return body.getvalue()

    return write
