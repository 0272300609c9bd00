"""Kafka Streams beside the others, where a JDK with ``javac`` is found.

Its jars come as the stack's do: resolved by jgo, checked against a lock. ``python -m tests.bench.kafka_streams`` writes
the lock again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from jgo.maven import MavenContext, PythonResolver

from ops.stack import artifacts
from streams.schemas import Contract, contracts, load
from tests.bench.peers.job import BENCH_AVRO, Task
from tests.bench.processes import ROOT

LOCK = Path(__file__).with_name("kafka_streams.lock")
SOURCE = Path(__file__).with_name("peers") / "Totals.java"
PART = "streams"
WANTED = ("org.apache.kafka:kafka-streams:4.1.2", "org.apache.avro:avro:1.12.1", "org.slf4j:slf4j-nop:1.7.36")
HEAP = ("-Xms256m", "-Xmx512m")
BUILD = ROOT / "build" / "bench" / "kafka-streams"


def available() -> bool:
    """Tell whether a JDK is here to compile the class with."""
    return shutil.which("javac") is not None and shutil.which("java") is not None


@cache
def _class_path() -> str:
    jars = artifacts.provide(PART, artifacts.cache_dir(), artifacts.read_lock(LOCK))
    classes = BUILD / "classes"
    classes.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(map(str, jars))
    compiler = shutil.which("javac") or "javac"
    subprocess.run([compiler, "-d", str(classes), "-cp", path, str(SOURCE)], check=True)
    return os.pathsep.join([str(classes), path])


def command(task: Task) -> list[str]:
    """Return the command line for a task; compiles the class the first time."""
    path = _class_path()
    schemas = {
        "event": _schema_file(contracts()["sluice.usage.UsageEvent"]),
        "total": _schema_file(load(BENCH_AVRO)["sluice.bench.TenantTotal"]),
    }
    return [
        *(shutil.which("java") or "java", *HEAP, "-cp", path, "Totals"),
        *("--bootstrap", task.bootstrap, "--source", task.source, "--target", task.target),
        *("--group", task.group, "--schema-id", str(task.schema_id), "--state-dir", str(task.state_dir)),
        *("--event-schema", str(schemas["event"]), "--total-schema", str(schemas["total"])),
    ]


def _schema_file(contract: Contract) -> Path:
    file = BUILD / f"{contract.name}.avsc"
    file.write_text(contract.text)
    return file


def main() -> None:
    """Resolve the jars again and write their lock."""
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(resolver=PythonResolver(), repo_cache=Path(folder))
        _, found = context.resolver.resolve([context.create_dependency(wanted) for wanted in WANTED])
        lines = []
        for part in [context.create_dependency(wanted).artifact for wanted in WANTED] + [
            d.artifact for d in found
        ]:
            file = part.resolve()
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            lines.append(
                f"{PART} {part.groupId}:{part.artifactId}:{part.version} {file.stat().st_size} sha256:{digest}\n"
            )
    LOCK.write_text("".join(sorted(set(lines))))


if __name__ == "__main__":
    main()
