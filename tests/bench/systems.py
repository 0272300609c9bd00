"""The systems that do the peers' job, each as a command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from streams.events import UsageEvent
from streams.schemas import contracts
from streams.topics import Topic
from tests.bench import kafka_streams, peers_venv, totals, workers
from tests.bench.cluster import Cluster
from tests.bench.peers.job import Task
from tests.bench.processes import Process


@dataclass(frozen=True, slots=True)
class System:
    """One system.

    Attributes:
        name: as in the report.
        note: what its figures must be read with.
        command: ``task -> command line``.
        env: ``(task, cluster) -> variables``.
        patient: stops cleanly on SIGTERM.
        share: part of the events that it gets; the slow one need not run for minutes to show its rate.
    """

    name: str
    note: str
    command: Callable[[Task], list[str]]
    env: Callable[[Task, Cluster], Mapping[str, str]] = field(default=lambda task, cluster: {})
    patient: bool = False
    share: float = 1.0


def new_group(suite: str, system: System, number: int) -> str:
    """Return a consumer group of its own for a trial: a group that was used before would go on where it ended."""
    return f"{suite}-{system.name}-{number}-{uuid4().hex[:6]}".replace("_", "-")


def start(system: System, task: Task, cluster: Cluster, logs: Path) -> Process:
    """Start a system on a task; its topics exist afterwards."""
    cluster.create([totals.source_topic(task.source), totals.target_topic(task.target)])
    if system.name == "sluice":
        prepare_sluice(task, cluster)
    log = logs / f"{task.group}.log"
    return Process(system.command(task), log, system.env(task, cluster), patient=system.patient)


def prepare_sluice(task: Task, cluster: Cluster) -> None:
    """Create the topics and register the schemas of the job, as ``sluice setup`` does for the project's own."""
    own = totals.topics(task.source, task.group)
    cluster.create(own)
    register(cluster, [totals.source_topic(task.source), totals.target_topic(task.target), *own])


def register(cluster: Cluster, topics: Sequence[Topic]) -> None:
    """Register every record of every topic under its subject."""
    for topic in topics:
        for record in topic.records:
            cluster.register(f"{topic.name}-{record}", contract_text(record))


def contract_text(record: str) -> str:
    """Return the schema of a record of the project or of the job."""
    return (contracts() | totals.CONTRACTS)[record].text


def schema_ids(cluster: Cluster) -> tuple[int, int]:
    """Return the registry ids of UsageEvent and TenantTotal, the same for every topic."""
    found = [
        cluster.register(f"bench-{record}", contract_text(record))
        for record in (UsageEvent.RECORD, totals.TenantTotal.RECORD)
    ]
    return found[0], found[1]


def _options(task: Task) -> list[str]:
    return [
        *("--bootstrap", task.bootstrap),
        *("--source", task.source),
        *("--target", task.target),
        *("--group", task.group),
        *("--schema-id", str(task.schema_id)),
        *("--state-dir", str(task.state_dir)),
    ]


def _module(name: str, *, own_venv: bool = False) -> Callable[[Task], list[str]]:
    def command(task: Task) -> list[str]:
        python = str(peers_venv.python()) if own_venv else sys.executable
        return [python, "-m", f"tests.bench.peers.{name}", *_options(task)]

    return command


SLUICE = System(
    "sluice",
    "whole pipeline, one worker: decode, dedupe by offset and id, changelog, acks before commit",
    lambda task: workers.command(task.source, task.target),
    lambda task, cluster: workers.Place.new(task.group, task.state_dir).env(cluster),
    patient=True,
)
SYSTEMS = {
    system.name: system
    for system in (
        SLUICE,
        System("faust", "as its guide shows: one event at a time", _module("plain_faust"), share=0.1),
        System("quix", "its defaults: RocksDB and changelog", _module("on_quix", own_venv=True)),
        System(
            "bytewax", "its recovery store, every 10 s (default)", _module("on_bytewax_stored", own_venv=True)
        ),
        System(
            "bytewax_unstored", "its state is lost with the process", _module("on_bytewax", own_venv=True)
        ),
        System("bare", "librdkafka, fastavro and a dict: no changelog, no safety", _module("bare")),
        System(
            "kafka_streams", "JVM, Java; tuned: caching on, linger 5 ms, one thread", kafka_streams.command
        ),
    )
}
