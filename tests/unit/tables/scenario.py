"""Given, when, then for pure rules: send events to an aggregate's state, look at what was published.

Everything a rule publishes or stores is also written and read back with its Avro schema, so that a value the
contracts cannot hold fails here and not in a worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any, TypeVar

import fastavro
import msgspec

from streams.events import (
    Alert,
    UsageCost,
    UsageEvent,
    UsageEventVoidRequested,
    UsageMeterDefineRequested,
    UsagePeriodCloseRequested,
    UsagePriceSetRequested,
    UsageQuotaSetRequested,
    UsageTenantSetRequested,
)
from streams.schemas import contracts
from tables.state import Aggregate
from tables.usage import USAGE

Fact = TypeVar("Fact")

TENANT = "tenant-01"
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PARSED = {name: fastavro.parse_schema(contract.schema) for name, contract in contracts().items()}


def time(text: str) -> datetime:
    """Return an aware time, UTC where the text names no offset."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def plain(value: Any) -> Any:
    """Return a struct as fastavro wants it."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def check_encodes(record: Any) -> None:
    """Fail where a record is not what its contract can hold."""
    schema = PARSED[type(record).RECORD]
    written = BytesIO()
    fastavro.schemaless_writer(written, schema, plain(record), strict=True)
    written.seek(0)
    assert fastavro.schemaless_reader(written, schema, None) == plain(record)


class Scenario:
    """One aggregate's state over time, as the pipeline keeps it. It is a ``State`` too.

    Attributes:
        at: append time of the next event that names none; moves with those that do.
        records: the state's records.
        published: everything published so far.
        catalogue: shared records by kind and key.
    """

    def __init__(self, aggregate: Aggregate = USAGE, key: str = TENANT, at: datetime = NOON) -> None:
        self.aggregate = aggregate
        self.key = key
        self.at = at
        self.records: dict[str, Any] = {}
        self.memos: dict[str, str] = {}
        self.published: list[Any] = []
        self.catalogue: dict[tuple[type, str], Any] = {}
        self.sent = 0

    def get(self, name: str) -> Any:
        return self.records.get(name)

    def names(self, prefix: str = "") -> Iterator[str]:
        return (name for name in self.records if name.startswith(prefix))

    def recall(self, event_id: str) -> str | None:
        return self.memos.get(event_id)

    def shared(self, kind: type, key: str) -> Any:
        return self.catalogue.get((kind, key))

    def shared_keys(self, kind: type, prefix: str) -> Iterator[str]:
        return (key for known, key in self.catalogue if known is kind and key.startswith(prefix))

    def send(self, event: Any, at: datetime | None = None) -> list[Any]:
        """Decide an event and fold its facts; return what it published."""
        self.at = self.at if at is None else at
        facts = self.aggregate.decide(self, event, self.at)
        out = []
        for fact in facts:
            changes = self.aggregate.fold(self, fact)
            for name, record in changes.items():
                if record is None:
                    self.records.pop(name, None)
                else:
                    assert type(record) in self.aggregate.records
                    check_encodes(record)
                    self.records[name] = record
            memo = self.aggregate.memo(fact)
            if memo is not None:
                self.memos[event.event_id] = memo
            if isinstance(fact, msgspec.Struct):
                check_encodes(fact)
                out.append(fact)
        self.published += out
        return out

    def of(self, kind: type[Fact], facts: list[Any] | None = None) -> list[Fact]:
        """Return the published facts of a kind, of all or of some."""
        return [fact for fact in (self.published if facts is None else facts) if isinstance(fact, kind)]

    def one(self, kind: type[Fact], facts: list[Any] | None = None) -> Fact:
        """Return the only published fact of a kind."""
        found = self.of(kind, facts)
        assert len(found) == 1, found
        return found[0]

    def run_timers(self, now: datetime) -> list[Any]:
        """Send every command that is due at ``now``, until none is; return what they published."""
        out: list[Any] = []
        asked: set[str] = set()
        while True:
            due = [(when, name) for name, when in self._timers() if when <= now]
            if not due:
                return out
            when, name = min(due)
            command = self.aggregate.on_due(self.key, name, self.records[name])
            assert command.event_id not in asked, (
                "a timer asked again with the same id: it would be a duplicate"
            )
            asked.add(command.event_id)
            check_encodes(command)
            out += self.send(command, max(self.at, when))

    def _timers(self) -> Iterator[tuple[str, datetime]]:
        for name, record in self.records.items():
            when = self.aggregate.due(name, record)
            if when is not None:
                yield name, when

    # What happens to a tenant's usage, in few words.

    def _id(self, event_id: str | None) -> str:
        self.sent += 1
        return f"e{self.sent}" if event_id is None else event_id

    def _common(self, timestamp: datetime) -> dict[str, Any]:
        return {"event_id": self._id(None), "timestamp": timestamp, "tenant_id": TENANT}

    def used(self, quantity: str | int, when: datetime | None = None, **more: Any) -> list[Any]:
        """Send a usage event of the time ``when`` (default: its append time)."""
        return self.send(self.usage(quantity, when, **more), more.get("at"))

    def usage(self, quantity: str | int, when: datetime | None = None, **more: Any) -> UsageEvent:
        """Return a usage event; ``model`` and the fields of ``UsageEvent`` may be given."""
        model = more.pop("model", "gpt-4")
        at = more.pop("at", None)
        fields = {
            "event_id": self._id(more.pop("event_id", None)),
            "timestamp": when or at or self.at,
            "tenant_id": TENANT,
            "service_name": "llm-gateway",
            "user_id": "user-001",
            "event_type": "model_inference",
            "resource_type": "tokens.input",
            "quantity": Decimal(quantity),
            "unit": "tokens",
            "metadata": {"model_name": model} if model else {},
        }
        return UsageEvent(**{**fields, **more})

    def quota(self, limit: str | int | None, at: datetime | None = None, **more: Any) -> list[Any]:
        """Set a quota on the tenant's input tokens; its fields may be given."""
        fields = {
            "event_id": self._id(None),
            "timestamp": at or self.at,
            "tenant_id": TENANT,
            "quota_id": "q1",
            "meter": "tokens.input",
            "limit": None if limit is None else Decimal(limit),
        }
        return self.send(UsageQuotaSetRequested(**{**fields, **more}), at)

    def meter(self, meter: str, unit: str, **more: Any) -> list[Any]:
        """Define a meter."""
        common = self._common(self.at)
        return self.send(UsageMeterDefineRequested(**common, meter=meter, unit=unit, **more))

    def price(self, rate: str, since: datetime | None = None, **more: Any) -> list[Any]:
        """Set the price of an input token."""
        fields = {
            "event_id": self._id(None),
            "timestamp": self.at,
            "tenant_id": TENANT,
            "resource_type": "tokens.input",
            "unit": "tokens",
            "currency": "USD",
            "rate": Decimal(rate),
            "effective_from": since,
        }
        return self.send(UsagePriceSetRequested(**{**fields, **more}))

    def zone(self, time_zone: str, **more: Any) -> list[Any]:
        """Set the tenant's time zone."""
        common = self._common(self.at)
        return self.send(UsageTenantSetRequested(**common, time_zone=time_zone, **more))

    def void(
        self, event_id: str, original: UsageEvent | None = None, at: datetime | None = None
    ) -> list[Any]:
        """Void a usage event."""
        common = self._common(at or self.at)
        command = UsageEventVoidRequested(
            **common, voided_event_id=event_id, reason="wrong customer", original=original
        )
        return self.send(command, at)

    def close(self, start: datetime, at: datetime, **more: Any) -> list[Any]:
        """Send the command that closes an hour or a period."""
        common = self._common(at)
        return self.send(UsagePeriodCloseRequested(**common, period="HOUR", start=start, **more), at)

    def firing(self) -> list[Alert]:
        """Return the alerts published that say firing."""
        return [alert for alert in self.of(Alert) if alert.status == "firing"]

    def resolved(self) -> list[Alert]:
        """Return the alerts published that say resolved."""
        return [alert for alert in self.of(Alert) if alert.status == "resolved"]


def cost(amount: str, rate: str, currency: str = "USD") -> UsageCost:
    """Return a stated cost."""
    return UsageCost(amount=Decimal(amount), currency=currency, rate=Decimal(rate))


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)
