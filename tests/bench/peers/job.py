"""What every peer does with an event, and how it is told where to do it.

The peers run in a venv of their own, so nothing here may import more than the standard library, fastavro and
``streams.schemas``.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from streams.schemas import load

BENCH_AVRO = Path(__file__).resolve().parent.parent / "avro"
MILLIONTHS = 1_000_000


@dataclass(frozen=True, slots=True)
class Task:
    """Where a peer reads and writes.

    Attributes:
        bootstrap: broker, ``host:port``.
        source: topic of the events.
        target: topic of the totals, one for each event.
        group: consumer group, new for each trial.
        schema_id: registry id of the totals' schema.
        state_dir: folder that the peer may use.
    """

    bootstrap: str
    source: str
    target: str
    group: str
    schema_id: int
    state_dir: Path


def read_task() -> Task:
    """Return the task that the command line describes."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "source", "target", "group", "state-dir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--schema-id", type=int, required=True)
    found = parser.parse_args()
    return Task(
        found.bootstrap, found.source, found.target, found.group, found.schema_id, Path(found.state_dir)
    )


def decoder() -> Callable[[bytes], dict[str, Any]]:
    """Return ``frame -> UsageEvent as a dict``, with fastavro's compiled reader, as all Python peers have it."""
    schema = parse_schema(load()["sluice.usage.UsageEvent"].schema)

    def decode(frame: bytes) -> dict[str, Any]:
        body = io.BytesIO(frame)
        body.seek(5)
        return cast(dict[str, Any], schemaless_reader(body, schema, None))

    return decode


def encoder(schema_id: int) -> Callable[[dict[str, Any]], bytes]:
    """Return ``TenantTotal as a dict -> frame``."""
    schema = parse_schema(load(BENCH_AVRO)["sluice.bench.TenantTotal"].schema)
    head = b"\0" + schema_id.to_bytes(4, "big")

    def encode(total: dict[str, Any]) -> bytes:
        body = io.BytesIO()
        body.write(head)
        schemaless_writer(body, schema, total)
        return body.getvalue()

    return encode


def advance(total: int, count: int, event: dict[str, Any]) -> tuple[int, int]:
    """Return a tenant's total (in millionths) and count after one event."""
    return total + int(event["quantity"] * MILLIONTHS), count + 1


def answer(event: dict[str, Any], total: int, count: int) -> dict[str, Any]:
    """Return the output for one event."""
    return {
        "event_id": "",
        "timestamp": event["timestamp"],
        "tenant_id": event["tenant_id"],
        "total": total,
        "count": count,
    }
