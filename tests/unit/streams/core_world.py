"""A tiny aggregate, a broker in memory and everything that a partition needs to run on them.

``Tally`` adds amounts per tenant. The kind of an ``Added`` event says what its rule does, so that each way an event can
end is one event away. All else is the real code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import msgspec

from streams.changelog import Changelog
from streams.codec import Codec, encoder_for
from streams.events import RECORDS, FailureEvent, Parked, Position, RecentIds, Reply
from streams.failures import FatalFailure, RetryableFailure
from streams.keys import key_of
from streams.outbox import BatchTooLarge, Outbox, Outgoing, Target
from streams.partition import Partition
from streams.publisher import Publisher
from streams.registry import Registry
from streams.replies import REPLY_TO, Replies
from streams.routing import Index, Output, Route
from streams.schemas import Contract, contracts
from streams.settings import Settings
from streams.store import MemoryPartition, PartitionStore
from streams.topics import EVENTS_FAILED, Topic, partition_for, replies_of
from tables.state import Aggregate, Changes
from tests.contract.offline import NOBODY, write_cache

T = TypeVar("T")

APP_ID = "world"
PARTITIONS = 4
SOURCE = Topic("tally.added", "tenant_id", ("sluice.tally.Added", "sluice.tally.AddRequested"))
TARGET = Topic("tally.events", "tenant_id", ("sluice.tally.Summed", "sluice.tally.AddedRejected"))
CHANGELOG = "world-tally-changelog"
REPLIES = replies_of(APP_ID)
START_MS = 1_790_000_000_000
"""Append time of the first record."""


class Added(msgspec.Struct, frozen=True):
    """What arrives."""

    RECORD: ClassVar[str] = "sluice.tally.Added"
    TYPE: ClassVar[str] = "tally.added"
    KIND: ClassVar[str] = "event"

    timestamp: datetime
    tenant_id: str
    kind: str
    amount: int
    event_id: str = ""


class AddRequested(msgspec.Struct, frozen=True):
    """The same as a command, which may be known by its movement and may want a reply."""

    RECORD: ClassVar[str] = "sluice.tally.AddRequested"
    TYPE: ClassVar[str] = "tally.add.requested"
    KIND: ClassVar[str] = "event"

    timestamp: datetime
    tenant_id: str
    kind: str
    amount: int
    event_id: str = ""
    movement_id: str = ""


class Summed(msgspec.Struct, frozen=True):
    """What is published: the sum so far."""

    RECORD: ClassVar[str] = "sluice.tally.Summed"
    TYPE: ClassVar[str] = "tally.summed"
    KIND: ClassVar[str] = "event"

    timestamp: datetime
    tenant_id: str
    total: int
    event_id: str = ""


class AddedRejected(msgspec.Struct, frozen=True):
    """A refusal."""

    RECORD: ClassVar[str] = "sluice.tally.AddedRejected"
    TYPE: ClassVar[str] = "tally.added.rejected"
    KIND: ClassVar[str] = "event"

    timestamp: datetime
    tenant_id: str
    reason_code: str
    event_id: str = ""


class Sum(msgspec.Struct, frozen=True):
    """What is remembered."""

    RECORD: ClassVar[str] = "sluice.tally.Sum"
    TYPE: ClassVar[str] = ""
    KIND: ClassVar[str] = "state"

    total: int
    due: int = 0
    text: str = ""


class Noted(NamedTuple):
    """A fact that is folded and not published."""

    record: str
    value: Sum | None
    memo: str


STRUCTS: dict[str, type[Any]] = {
    struct.RECORD: struct for struct in (Added, AddRequested, Summed, AddedRejected, Sum)
}
_AVRO = {str: "string", int: "long", datetime: {"type": "long", "logicalType": "timestamp-micros"}}


def _contract(struct: type[Any]) -> Contract:
    hints = msgspec.structs.fields(struct)
    fields: list[dict[str, Any]] = []
    for each in hints:
        fields.append({"name": each.encode_name, "type": _AVRO[each.type]})
        if each.default is not msgspec.NODEFAULT:
            fields[-1]["default"] = each.default
    schema = {"type": "record", "name": struct.RECORD, "fields": fields}
    return Contract(struct.RECORD, struct.KIND, struct.TYPE, schema, Path("tally.avsc"))


KNOWN = {**contracts(), **{name: _contract(struct) for name, struct in STRUCTS.items()}}
IDS = {name: number for number, name in enumerate(sorted(KNOWN), start=1)}


class Tally:
    """The rules.

    Attributes:
        closed: the outside world: while it is set, events of kind ``lookup`` have to wait.
        hang_s: how long events of kind ``hang`` take.
    """

    def __init__(self) -> None:
        self.closed = False
        self.hang_s = 0.0
        self.aggregate = Aggregate(
            name="tally",
            decide=self.decide,
            fold=self.fold,
            records=(Sum,),
            memo=lambda fact: fact.memo or None if isinstance(fact, Noted) else "refused",
            dead_letter=lambda fact: fact.reason_code if fact.reason_code == "LATE_EVENT" else None,
            due=lambda name, record: datetime.fromtimestamp(record.due / 1000, UTC) if record.due else None,
            on_due=self.on_due,
        )

    def decide(self, state: Any, event: Added | AddRequested, at: datetime) -> tuple[Any, ...]:
        """Answer as the event's kind says."""
        self._misbehave(event.kind)
        old = state.get("") or Sum(total=0)
        total = old.total + event.amount
        noted = Noted("", Sum(total=total), f"memo-{event.amount}")
        said = Summed(timestamp=at, tenant_id=event.tenant_id, total=total)
        wrong = Summed(timestamp=at, tenant_id=event.tenant_id, total=cast(int, "x"))
        code = "LATE_EVENT" if event.kind == "late" else "NO"
        refused = AddedRejected(timestamp=at, tenant_id=event.tenant_id, reason_code=code)
        answers: dict[str, tuple[Any, ...]] = {
            "add": (noted, said),
            "one": (noted,),
            "nothing": (),
            "hang": (noted, said),
            "lookup": (noted, said),
            "named": (Noted(f"n|{event.amount}", Sum(total=event.amount), ""), noted, said),
            "forget": (Noted(f"n|{event.amount}", None, ""), Noted("", None, "")),
            "refuse": (refused,),
            "late": (refused,),
            "timer": (Noted("", Sum(total=old.total, due=event.amount), ""),),
            "last-fails": (Noted("n|1", Sum(total=1), "no"), noted, said, wrong),
            "state-overflows": (Noted("", Sum(total=2**70), ""), said),
            "state-is-large": (Noted("", Sum(total=total, text="x" * min(event.amount, 2**21)), ""), said),
        }
        return answers[event.kind]

    def _misbehave(self, kind: str) -> None:
        if kind == "hang":
            end = time.monotonic() + self.hang_s
            while time.monotonic() < end:
                pass
        if kind == "lookup" and self.closed:
            raise RetryableFailure("the lookup does not answer", retry_after_ms=250)
        if kind == "wrong-value":
            raise ValueError("no")
        if kind == "fatal":
            raise FatalFailure("the worker cannot go on")

    def fold(self, state: Any, fact: Any) -> Changes:
        return {fact.record: fact.value} if isinstance(fact, Noted) else {}

    def on_due(self, key: str, name: str, record: Sum) -> Added:
        if record.due % 2:
            raise ValueError("a defect of the timer's rule")
        when = datetime.fromtimestamp(record.due / 1000, UTC)
        return Added(event_id=f"due-{record.due}", timestamp=when, tenant_id=key, kind="one", amount=0)


@cache
def codec() -> Codec:
    """Return a codec that knows the contracts of this module; its registry is down."""
    folder = Path(mkdtemp(prefix="core-world-"))
    topics: dict[str, tuple[Any, ...]] = {
        SOURCE.name: (Added, AddRequested),
        TARGET.name: (Summed, AddedRejected),
        CHANGELOG: (Sum, Position, RecentIds, Parked),
        EVENTS_FAILED.name: (FailureEvent,),
        REPLIES.name: (Reply,),
    }
    write_cache(folder, {IDS[name]: contract.text for name, contract in KNOWN.items()}, {})
    registry = Registry(Settings.read(data_dir=folder, registry_url=NOBODY))
    made = Codec(registry, known=KNOWN, structs={**RECORDS, **STRUCTS})
    for topic, structs in topics.items():
        for struct in structs:
            made._encoders[topic, struct] = encoder_for(KNOWN[struct.RECORD], IDS[struct.RECORD])
    return made


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        return cast(T, stop.value)
    raise AssertionError("the coroutine waits for something")


class Log:
    """A broker in memory: records by topic and partition, appended batch by batch."""

    def __init__(self) -> None:
        self.records: dict[Target, list[Outgoing]] = {}
        self.sends: list[Mapping[Target, Sequence[Outgoing]]] = []
        self.batches: list[tuple[Target, int, int]] = []
        self.limit = 2**31

    async def send(self, records: Mapping[Target, Sequence[Outgoing]]) -> None:
        self.sends.append({target: list(outgoing) for target, outgoing in records.items()})
        for target, outgoing in records.items():
            self.records.setdefault(target, []).extend(outgoing)

    async def send_atomically(self, target: Target, records: Sequence[Outgoing], limit: int) -> int:
        size = sum(len(key or b"") + len(value or b"") for key, value, _, _ in records)
        if size > min(limit, self.limit):
            raise BatchTooLarge("too large")
        log = self.records.setdefault(target, [])
        log.extend(records)
        self.batches.append((target, len(log) - len(records), len(records)))
        return len(log) - len(records)

    def messages(self, target: Target, start: int = 0) -> list[tuple[bytes, bytes | None, int]]:
        """Return a changelog partition as recovery reads it."""
        return [
            (cast(bytes, key), value, offset)
            for offset, (key, value, _, _) in enumerate(self.records.get(target, []))
            if offset >= start
        ]

    @property
    def outbox(self) -> Outbox:
        """The log by the type of what it stands in for."""
        return cast(Outbox, self)


@dataclass
class Raw:
    """A record as the transport delivers it."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = START_MS
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


def home_of(tenant: str) -> int:
    """Return the partition of a tenant."""
    return partition_for(tenant.encode(), PARTITIONS)


def tenants_of(number: int, how_many: int) -> list[str]:
    """Return tenants whose home is one partition."""
    found = (f"t{i}" for i in range(1000))
    return [tenant for tenant in found if home_of(tenant) == number][:how_many]


NUMBER = 1
ACME, BETA, CRAY = tenants_of(NUMBER, 3)
ELSEWHERE = tenants_of(2, 1)[0]


def frame(tenant: str, kind: str = "add", amount: int = 1, event_id: str = "") -> bytes:
    """Return the value of an ``Added`` event."""
    when = datetime.fromtimestamp(START_MS / 1000 - 60, UTC)
    event = Added(event_id=event_id, timestamp=when, tenant_id=tenant, kind=kind, amount=amount)
    return codec().encode(event, SOURCE.name)


def added(
    offset: int, tenant: str = ACME, kind: str = "add", amount: int = 1, event_id: str = "", **options: Any
) -> Raw:
    """Return a record with an ``Added`` event under the key of its tenant."""
    timestamp = options.pop("timestamp", START_MS + offset)
    return Raw(offset, tenant.encode(), frame(tenant, kind, amount, event_id), timestamp, **options)


def requested(offset: int, tenant: str = ACME, kind: str = "add", amount: int = 1, **options: Any) -> Raw:
    """Return a record with an ``AddRequested`` command.

    Args:
        offset, tenant, kind, amount: as of ``added``.
        options: ``event_id``, ``movement_id``, ``sent_s`` (when it was made), ``reply_to``, ``headers``.
    """
    reply_to = options.pop("reply_to", None)
    headers = [*options.pop("headers", ()), *([(REPLY_TO, reply_to.encode())] if reply_to else [])]
    when = datetime.fromtimestamp(START_MS / 1000 - options.pop("sent_s", 60), UTC)
    command = AddRequested(timestamp=when, tenant_id=tenant, kind=kind, amount=amount, **options)
    return Raw(offset, tenant.encode(), codec().encode(command, SOURCE.name), START_MS + offset, headers)


@cache
def settings(**overrides: Any) -> Settings:
    """Return settings of a worker that nobody answers."""
    given: dict[str, Any] = {
        "registry_url": NOBODY,
        "app_id": APP_ID,
        "partitions": PARTITIONS,
        "linger_s": 0,
    }
    return Settings.read(**{**given, **overrides})


def tenant_alone(event: Any) -> str:
    """Return the key of an event where a tenant has one sum."""
    return str(event.tenant_id)


def tenant_and_kind(event: Any) -> str:
    """Return the key of an event where a tenant has a sum of each kind."""
    return key_of(event.tenant_id, event.kind)


def index_of(tally: Tally, key: Callable[[Any], str] = tenant_alone) -> Index:
    """Return the routes and outputs of the tally, whose events have ``key``."""
    tenant = tenant_alone
    movement = lambda event: event.movement_id and f"movement/{event.movement_id}"  # noqa: E731
    return Index(
        [
            Route(Added, SOURCE, tally.aggregate, key, (Summed, AddedRejected)),
            Route(AddRequested, SOURCE, tally.aggregate, key, (Summed, AddedRejected), movement),
        ],
        [
            Output(Summed, TARGET, tenant),
            Output(AddedRejected, TARGET, tenant),
            Output(FailureEvent, EVENTS_FAILED, tenant),
        ],
    )


class World:
    """One partition on a log; ``restart`` makes it anew from what is stored."""

    def __init__(
        self,
        store: PartitionStore | None = None,
        number: int = NUMBER,
        tally: Tally | None = None,
        log: Log | None = None,
        key: Callable[[Any], str] = tenant_alone,
        **given: Any,
    ) -> None:
        self.tally = tally or Tally()
        self.settings = settings(**given)
        self.index = index_of(self.tally, key)
        self.publisher = Publisher(self.index, codec(), PARTITIONS, APP_ID)
        self.number = number
        self.store = MemoryPartition() if store is None else store
        self.log = log or Log()
        self.partition = self.restart()

    @property
    def changelog(self) -> Target:
        """Where the state goes."""
        return CHANGELOG, self.number

    def restart(self) -> Partition:
        """Return the partition as a new process makes it."""
        changelog = Changelog(
            CHANGELOG, self.number, self.store, codec(), self.log.outbox, self.settings.changelog_max_bytes
        )
        self.partition = Partition(
            aggregate=self.tally.aggregate,
            number=self.number,
            index=self.index,
            changelog=changelog,
            codec=codec(),
            publisher=self.publisher,
            settings=self.settings,
            replies=Replies(codec(), APP_ID, PARTITIONS),
        )
        return self.partition

    def process(self, *records: Raw) -> dict[str, int]:
        """Process records without storing anything; return the outcomes."""
        decoded = codec().decode_batch([record.value for record in records])
        self.partition.process(SOURCE.name, records, decoded)
        return self.outcomes

    def unit(self, *records: Raw) -> dict[str, int]:
        """Process records as one unit of work and store it; return the outcomes."""
        self.process(*records)
        return self.store_unit()

    def store_unit(self) -> dict[str, int]:
        """Send and store what the partition holds; return the outcomes."""
        partition, outcomes, replies = self.partition, self.outcomes, self.partition.replies
        changes = partition.raw_changes()
        if partition.outputs:
            at_once(self.log.send(partition.outputs))
        at_once(partition.changelog.append(partition.sources, changes, START_MS))
        partition.commit()
        if replies:
            at_once(self.log.send(replies))
        return outcomes

    @property
    def outcomes(self) -> dict[str, int]:
        """Outcomes of the unit in hand."""
        return {outcome: times for (_, outcome), times in self.partition.counts.items() if times}

    def sum_of(self, tenant: str = ACME) -> int | None:
        """Return the stored sum of a tenant."""
        value = self.store.get(tenant.encode() + b"\0")
        return codec().decode(value).total if value is not None else None

    def sent(self, topic: str) -> list[Outgoing]:
        """Return everything sent to a topic."""
        return [
            each for (name, _), sent in sorted(self.log.records.items()) if name == topic for each in sent
        ]

    def replies(self, partition: int = 0) -> list[Any]:
        """Return the replies sent to one partition, decoded."""
        return [
            codec().decode(value) for _, value, _, _ in self.log.records.get((REPLIES.name, partition), [])
        ]

    @property
    def dead(self) -> list[Outgoing]:
        """Dead letters."""
        return self.sent(f"{SOURCE.name}.dlq")

    @property
    def state(self) -> dict[bytes, bytes]:
        """All that is stored but the position and the marks of recovery."""
        return contents(self.store)


def contents(store: PartitionStore) -> dict[bytes, bytes]:
    """Return the aggregates' records of a store."""
    return {key: value for head in store.aggregates() for key, value in store.scan(head + b"\0")}


def codes(letters: Iterable[Outgoing]) -> list[str]:
    """Return the reason codes of dead letters."""
    return [
        value.decode()
        for _, _, headers, _ in letters
        for name, value in headers
        if name == "sluice.dlq.reason"
    ]


def headers_of(outgoing: Outgoing) -> dict[str, bytes | None]:
    """Return the headers of what was sent."""
    return dict(outgoing[2])


LATER = datetime.now(UTC) + timedelta(days=1)
"""When everything that waits is due."""


def retry(world: World, most: int = 1000) -> dict[str, int]:
    """Try everything that waits, and store it; return the outcomes."""
    for key in world.partition.parked.due(LATER):
        world.partition.process_waiting(key, most)
    return world.store_unit()
