"""The peers' job as Sluice does it: a bench-only aggregate, index and agent, run by the whole pipeline.

Its contracts are in ``tests/bench/avro``. A worker adds them to the project's by ``adopt``; the benchmark's own
process, which may be that of the whole test run, leaves the project's as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, ClassVar

import msgspec

from streams.app import SluiceApp
from streams.events import RECORDS, FailureEvent, UsageEvent
from streams.routing import Index, Output, Route
from streams.schemas import contracts, load
from streams.topics import EVENTS_FAILED, Topic, changelog_of, dead_letters_of
from tables.state import Aggregate, Changes
from tests.bench.peers.job import BENCH_AVRO, MILLIONTHS

TABLE = "totals"


class TenantTotal(msgspec.Struct, frozen=True, gc=False):
    """A tenant's running total after one event."""

    RECORD: ClassVar[str] = "sluice.bench.TenantTotal"
    TYPE: ClassVar[str] = "bench.tenant_total"
    KIND: ClassVar[str] = "event"

    timestamp: datetime
    tenant_id: str
    total: int
    count: int
    event_id: str = ""


class TotalState(msgspec.Struct, frozen=True, gc=False):
    """What is remembered of one tenant."""

    RECORD: ClassVar[str] = "sluice.bench.TotalState"
    TYPE: ClassVar[str] = ""
    KIND: ClassVar[str] = "state"

    total: int
    count: int


CONTRACTS = load(BENCH_AVRO)


def adopt() -> None:
    """Make the job's records known to this process, a worker's."""
    contracts().update(CONTRACTS)
    RECORDS.update({TenantTotal.RECORD: TenantTotal, TotalState.RECORD: TotalState})


NOTHING = TotalState(total=0, count=0)


def decide(state: Any, event: UsageEvent, at: datetime) -> tuple[TenantTotal, ...]:
    """Answer an event with the tenant's new total."""
    known = state.get("") or NOTHING
    total = known.total + int(event.quantity * MILLIONTHS)
    return (
        TenantTotal(timestamp=event.timestamp, tenant_id=event.tenant_id, total=total, count=known.count + 1),
    )


def fold(state: Any, fact: TenantTotal) -> Changes:
    """Remember the new total."""
    return {"": TotalState(total=fact.total, count=fact.count)}


TOTALS = Aggregate(name=TABLE, decide=decide, fold=fold, records=(TotalState,))


def source_topic(name: str) -> Topic:
    """Return a topic of usage events."""
    return Topic(name, "tenant_id", (UsageEvent.RECORD,))


def target_topic(name: str) -> Topic:
    """Return a topic of totals."""
    return Topic(name, "tenant_id", (TenantTotal.RECORD,))


def index(source: str, target: str) -> Index:
    """Return the one route of the job."""
    tenant = attrgetter("tenant_id")
    return Index(
        [Route(UsageEvent, source_topic(source), TOTALS, tenant, (TenantTotal,))],
        [Output(TenantTotal, target_topic(target), tenant), Output(FailureEvent, EVENTS_FAILED, tenant)],
    )


def topics(source: str, app_id: str) -> list[Topic]:
    """Return the topics that a worker of the job needs beside source and target."""
    changelog = changelog_of(TABLE, (TotalState.RECORD,), app_id)
    return [changelog, dead_letters_of(source_topic(source)), EVENTS_FAILED]


def agent(app: SluiceApp) -> Any:
    """Add the job's agent."""
    return app.add_agent(TABLE)


AGENTS: Sequence[Callable[[SluiceApp], Any]] = (agent,)
