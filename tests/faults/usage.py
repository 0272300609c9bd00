"""The same chaos over the project's own index: sums and counts per tenant, one alert for each crossing of a quota."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

from confluent_kafka import Producer
from fastavro import parse_schema, schemaless_writer

from ops.setup import setup
from ops.stack.local import LocalStack
from streams.registry import Registry
from streams.schemas import contracts
from streams.settings import Settings
from streams.topics import ALERTS, USAGE_COMMANDS, USAGE_EVENTS, USAGE_METERED, dead_letter_topic
from tests.faults.chaos import SESSION_S, Chaos, Plan, Result, finish
from tests.faults.cluster import Reader, Stored, drained, environment_of, read, settings_of
from tests.faults.processes import Worker, until
from tests.faults.scenario import await_drained
from tests.faults.verify import Verdict

METER = "tokens.input"
USERS = 5
THRESHOLDS = (50, 80, 100)
EVENT = "sluice.usage.UsageEvent"
QUOTA = "sluice.usage.UsageQuotaSetRequested"
UPDATED = b"usage.aggregate.updated"
REACHED = b"usage.quota.threshold_reached"


class UsageLoad:
    """Meters usage of some tenants in a thread of its own; one event of a hundred is sent twice.

    Attributes:
        accepted: ids of the events that the broker acknowledged.
    """

    def __init__(self, settings: Settings, ids: dict[str, int], plan: Plan, tenants: int) -> None:
        self.accepted: set[str] = set()
        self.repeated = 0
        self.sent = 0
        self.tenants = [f"tenant-{number:03d}" for number in range(tenants)]
        # A mean of 500 tokens: the last threshold is crossed by every tenant in the middle of the run.
        self.limit = 500 * plan.events // tenants // 2
        self._random = Random(plan.seed)
        self._plan = plan
        self._topics = {EVENT: USAGE_METERED.name, QUOTA: USAGE_COMMANDS.name}
        self._ids = ids
        self._schemas = {name: parse_schema(contracts()[name].schema) for name in ids}
        self._producer = Producer(
            {
                **settings.librdkafka_config(),
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "message.timeout.ms": 600_000,
                "log_level": 2,
            }
        )
        self._now = datetime.now(UTC)
        self._refused: list[str] = []
        self._thread = threading.Thread(target=self._run, name="usage-load", daemon=True)

    def set_quotas(self) -> None:
        """Give every tenant a quota, and wait for the broker."""
        for tenant in self.tenants:
            command = {
                "event_id": f"quota-{tenant}",
                "timestamp": self._now,
                "tenant_id": tenant,
                "quota_id": "monthly",
                "meter": METER,
                "limit": Decimal(self.limit),
                "thresholds": list(THRESHOLDS),
            }
            self._send(QUOTA, tenant, self._frame(QUOTA, command), "")
        self._producer.flush()

    def start(self) -> None:
        """Begin to meter."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait until everything is acknowledged."""
        self._thread.join(seconds)
        if self._thread.is_alive() or self._refused:
            raise TimeoutError(f"the load was not accepted: {self._refused[:1]}")

    def _run(self) -> None:
        started, random = time.monotonic(), self._random
        again: list[tuple[str, bytes, str]] = []
        for number in range(self._plan.events):
            tenant = random.choice(self.tenants)
            event_id = str(UUID(int=random.getrandbits(128), version=4))
            event = {
                "event_id": event_id,
                "timestamp": self._now,
                "tenant_id": tenant,
                "user_id": f"user-{random.randrange(USERS)}",
                "event_type": "usage.metered.model_inference",
                "resource_type": METER,
                "quantity": Decimal(random.randrange(1, 1000)),
                "unit": "tokens",
            }
            frame = self._frame(EVENT, event)
            self._send(EVENT, tenant, frame, event_id)
            if random.random() < 0.01:
                again.append((tenant, frame, event_id))
            if number % 100 == 0:
                self._producer.poll(0)
                for tenant, frame, event_id in again:
                    self._send(EVENT, tenant, frame, event_id)
                self.repeated += len(again)
                again = []
                time.sleep(max(0.0, started + number / self._plan.rate - time.monotonic()))
            self.sent = number + 1
        self._producer.flush()

    def _frame(self, record: str, event: dict[str, Any]) -> bytes:
        stream = io.BytesIO()
        schemaless_writer(stream, self._schemas[record], event)
        return b"\x00" + self._ids[record].to_bytes(4, "big") + stream.getvalue()

    def _send(self, record: str, key: str, frame: bytes, event_id: str) -> None:
        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                self._refused.append(str(error))
            elif event_id:
                self.accepted.add(event_id)

        while True:
            try:
                self._producer.produce(
                    self._topics[record], key=key.encode(), value=frame, on_delivery=delivered
                )
                return
            except BufferError:
                self._producer.poll(0.1)


@dataclass
class UsageTruth:
    """What follows from the source topic.

    Attributes:
        tenants: count and sum by tenant.
        tenant_after: the tenant's sum after each event.
        user_after: count and sum of the event's user after each event.
    """

    tenants: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    tenant_after: dict[str, Decimal] = field(default_factory=dict)
    user_after: dict[str, tuple[int, Decimal]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> UsageTruth:
        """Count the source topic, each event id once."""
        truth, decode = cls(), Reader(EVENT)
        users: dict[tuple[str, str], tuple[int, Decimal]] = {}
        for record in read(settings, USAGE_METERED.name):
            event = decode(record.value or b"")
            event_id, tenant, user = event["event_id"], event["tenant_id"], event["user_id"]
            if event_id in truth.tenant_after:
                continue
            count, total = truth.tenants.get(tenant, (0, Decimal(0)))
            truth.tenants[tenant] = (count + 1, total + event["quantity"])
            truth.tenant_after[event_id] = truth.tenants[tenant][1]
            count, total = users.get((tenant, user), (0, Decimal(0)))
            users[tenant, user] = truth.user_after[event_id] = (count + 1, total + event["quantity"])
        return truth


def run_usage(
    plan: Plan, stack: LocalStack, folder: Path, say: Callable[[str], None], tenants: int = 20
) -> Result:
    """Run a plan with the project's own index against a stack of its own, and return what was found."""
    started = time.monotonic()
    result, verdict = Result(plan.seed, plan.store, index="usage"), Verdict()
    run = f"u{uuid4().hex[:8]}"
    settings = settings_of(stack, run, folder)
    load = UsageLoad(settings, asyncio.run(_prepare(settings)), plan, tenants)
    variables = {"SLUICE_STORE": plan.store, "SLUICE_SESSION_TIMEOUT_S": str(SESSION_S)}
    with ExitStack() as owned:
        workers = [_worker(name, run, folder, environment_of(stack, **variables)) for name in ("w1", "w2")]
        for worker in workers:
            owned.callback(worker.stop)
        try:
            workers[0].supervise()
            load.set_quotas()
            until(lambda: drained(settings, USAGE_COMMANDS.name), 90, "the quotas")
            load.start()
            Chaos(plan, stack, workers, result, say).run()
            say(f"faults done after {load.sent} events; waiting for the rest")
            load.join(600)
            for topic in (USAGE_METERED, USAGE_COMMANDS, ALERTS):
                await_drained(settings, topic.name, workers, 240)
            say("drained; comparing")
            truth = UsageTruth.of(settings)
            _compare(settings, load, truth, workers[0], verdict)
            # Once more from an empty memory or from the local disk.
            workers[0].kill()
            until(lambda: not workers[0].ready(), 30, "the end of the worker")
            until(workers[0].ready, 60, "the worker after its last kill")
            _check_views(truth, workers[0], verdict)
        except (TimeoutError, AssertionError) as failure:
            verdict.note(str(failure))
    finish(result, verdict, workers, load)
    result.seconds = round(time.monotonic() - started, 1)
    return result


def _worker(name: str, run: str, folder: Path, environment: dict[str, str]) -> Worker:
    return Worker(
        name, run, folder, environment, module="tests.faults.usage_worker", ready_path="/health/ready"
    )


async def _prepare(settings: Settings) -> dict[str, int]:
    await setup(settings)
    registry = Registry(settings)
    try:
        subjects = {EVENT: USAGE_METERED.name, QUOTA: USAGE_COMMANDS.name}
        return {
            name: await registry.id_of(f"{topic}-{name}", contracts()[name].text)
            for name, topic in subjects.items()
        }
    finally:
        await registry.close()


def _compare(
    settings: Settings, load: UsageLoad, truth: UsageTruth, worker: Worker, verdict: Verdict
) -> None:
    missing = load.accepted - truth.tenant_after.keys()
    if missing or len(load.accepted) != load.sent:
        verdict.note(f"{len(missing)} acknowledged events are not in the source topic")
    derived = _once(read(settings, USAGE_EVENTS.name), verdict)
    _check_updates([record for record in derived if record.header("ce_type") == UPDATED], truth, verdict)
    _check_crossings(
        [record for record in derived if record.header("ce_type") == REACHED], truth, load, verdict
    )
    _check_alerts(_once(read(settings, ALERTS.name), verdict), load, verdict)
    for topic in (USAGE_METERED, USAGE_COMMANDS, ALERTS):
        dead = len(list(read(settings, dead_letter_topic(topic.name))))
        if dead:
            verdict.note(f"{dead} dead letters of {topic.name}, where nothing was poison")
    _check_views(truth, worker, verdict)


def _once(records: Any, verdict: Verdict) -> list[Stored]:
    """Return derived events, each once, and compare the repetitions byte by byte."""
    first: dict[bytes | None, Stored] = {}
    for record in records:
        known = first.setdefault(record.header("ce_id"), record)
        if known is not record:
            verdict.repeated_outputs += 1
            if (known.key, known.value, known.headers) != (record.key, record.value, record.headers):
                verdict.note(f"{(record.header('ce_type') or b'').decode()} came again with other bytes")
    return list(first.values())


def _check_updates(updates: list[Stored], truth: UsageTruth, verdict: Verdict) -> None:
    """Every update has the running value of its bucket after the event that caused it."""
    decode = Reader("sluice.usage.UsageAggregateUpdated")
    if not updates:
        verdict.note("there are no updates of aggregates")
    for record in updates:
        update = decode(record.value or b"")
        cause = (record.header("ce_causationid") or b"").decode()
        wanted = truth.user_after.get(cause)
        if wanted is None or (update["count"], update["sum"]) != wanted:
            verdict.doubled += 1
            verdict.note(f"an update says {update['count']}, {update['sum']}, not {wanted}")


def _check_crossings(reached: list[Stored], truth: UsageTruth, load: UsageLoad, verdict: Verdict) -> None:
    """Every tenant crosses each threshold exactly once, at the right event."""
    decode = Reader("sluice.usage.UsageQuotaThresholdReached")
    crossed: dict[str, list[int]] = defaultdict(list)
    for record in reached:
        fact = decode(record.value or b"")
        crossed[fact["tenant_id"]] += fact["thresholds"]
        if fact["value"] != truth.tenant_after.get((record.header("ce_causationid") or b"").decode()):
            verdict.note(f"a crossing of {fact['tenant_id']} has the value {fact['value']}")
    for tenant in load.tenants:
        total = truth.tenants[tenant][1]
        wanted = [threshold for threshold in THRESHOLDS if total >= load.limit * threshold / Decimal(100)]
        verdict.lost += len([threshold for threshold in wanted if threshold not in crossed[tenant]])
        verdict.doubled += len(crossed[tenant]) - len(set(crossed[tenant]))
        if sorted(crossed[tenant]) != wanted:
            verdict.note(f"{tenant} crossed {sorted(crossed[tenant])}, not {wanted}")


def _check_alerts(alerts: list[Stored], load: UsageLoad, verdict: Verdict) -> None:
    """Every tenant has one alert for each threshold that it crossed."""
    decode = Reader("sluice.alerts.Alert")
    found: dict[str, list[Decimal]] = defaultdict(list)
    for record in alerts:
        alert = decode(record.value or b"")
        if alert["status"] == "firing":
            found[alert["tenant_id"]].append(alert["threshold"])
    for tenant in load.tenants:
        if len(found[tenant]) != len(set(found[tenant])) or not found[tenant]:
            verdict.note(f"{tenant} was alerted of {sorted(found[tenant])}")


def _check_views(truth: UsageTruth, worker: Worker, verdict: Verdict) -> None:
    """The views of a worker that owns everything show the true counts and sums."""
    for tenant, (count, total) in truth.tenants.items():
        page = worker.page(f"/usage/{tenant}?meter={METER}") or {"items": []}
        found = [(item["count"], Decimal(item["sum"])) for item in page["items"]]
        if found != [(count, total)]:
            verdict.lost += max(0, count - sum(entry[0] for entry in found))
            verdict.doubled += max(0, sum(entry[0] for entry in found) - count)
            verdict.note(f"the view of {tenant} shows {found}, not {count}, {total}")
