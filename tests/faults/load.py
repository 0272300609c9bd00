"""The load of a run: events, repetitions, misrouted keys and poison, with a record of all that the broker accepted."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from confluent_kafka import Producer
from fastavro import parse_schema, schemaless_writer

from streams.events import UsageEvent
from streams.schemas import contracts
from streams.settings import Settings
from tests.faults.cluster import Header

KEY = "aggregate-"
"""How every key of a load begins."""
OVERSIZED_BYTES = 700_000
REPEATED = 0.01
NAMELESS = 0.05
CRC_KEYS = 0.10
BOTH_KEYS = 0.05

POISON_CODES: dict[str, frozenset[str]] = {
    "random": frozenset({"NOT_FRAMED"}),
    "truncated": frozenset({"UNDECODABLE", "NOT_FRAMED"}),
    "wrong_magic": frozenset({"NOT_FRAMED"}),
    "unknown_id": frozenset({"UNKNOWN_SCHEMA_ID"}),
    "null_value": frozenset({"NULL_VALUE"}),
    "null_key": frozenset({"MISSING_KEY"}),
    "empty_key": frozenset({"MISSING_KEY"}),
    "nul_in_key": frozenset({"VALIDATION_FAILED"}),
    "other_key": frozenset({"KEY_MISMATCH"}),
    "binary_key": frozenset({"KEY_MISMATCH"}),
    "oversized": frozenset({"OVERSIZED"}),
    "conflict": frozenset({"DUPLICATE_CONFLICT"}),
    "raise": frozenset({"VALIDATION_FAILED"}),
    "defect": frozenset({"INVARIANT_VIOLATION"}),
    "unstorable": frozenset({"VALIDATION_FAILED"}),
    "hang": frozenset({"TIMEOUT"}),
}
"""Kinds of poison, and the reason codes that its dead letter may have."""


KINDS = [kind for kind in POISON_CODES if kind != "hang"]
"""What a load sends; an event that hangs holds a worker back for too long to be sent in numbers."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One record handed to a producer: an event's sequence number, or the kind of a poison."""

    seq: int
    poison: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


@dataclass
class Recorder:
    """What was sent, and what the broker acknowledged where."""

    events: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Aggregate and quantity by sequence number."""
    placed: dict[tuple[int, int], Sent] = field(default_factory=dict)
    """By partition and offset."""
    shared: set[str] = field(default_factory=set)
    """Aggregates whose events two producers send, in no order between them."""
    refused: list[str] = field(default_factory=list)

    def callback(self, sent: Sent) -> Callable[[Any, Any], None]:
        """Return a delivery callback that notes where ``sent`` went."""

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                self.refused.append(str(error))
            else:
                self.placed[message.partition(), message.offset()] = sent

        return delivered


class EventWriter:
    """Frames events with fastavro, sharing nothing with the codec under test."""

    def __init__(self, schema_id: int) -> None:
        self._schema = parse_schema(contracts()[UsageEvent.RECORD].schema)
        self._head = b"\x00" + schema_id.to_bytes(4, "big")

    def __call__(
        self, key: str, seq: int, quantity: int, event_id: str, *, padding: int = 0, trouble: str = ""
    ) -> bytes:
        """Return the frame of an event; see ``tests.faults.totals.decide`` for ``trouble``."""
        stream = io.BytesIO()
        event = {
            "event_id": event_id,
            "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
            "tenant_id": key,
            "event_type": "usage.metered.api_call",
            "quantity": Decimal(quantity),
            "service_name": "x" * padding,
            "resource_type": trouble,
            "metadata": {"seq": str(seq)},
        }
        schemaless_writer(stream, self._schema, event)
        return self._head + stream.getvalue()


class Sender:
    """Sends single events and poisons, each acknowledged before the next, and records them as a load does."""

    def __init__(self, settings: Settings, topic: str, **config: Any) -> None:
        self.recorder = Recorder()
        self._topic = topic
        self.producer = Producer(
            {**settings.librdkafka_config(), "partitioner": "murmur2_random", "log_level": 2, **config}
        )

    def send(
        self,
        write: EventWriter,
        key: str,
        seq: int,
        *,
        event_id: str = "",
        poison: str = "",
        trouble: str = "",
    ) -> None:
        """Send event number ``seq`` of an aggregate; its quantity is its number."""
        value = write(key, seq, seq, event_id, trouble=trouble)
        if not poison:
            self.recorder.events[seq] = (key, seq)
        sent = Sent(seq, poison, key.encode(), value, ())
        self.producer.produce(
            self._topic, key=sent.key, value=value, on_delivery=self.recorder.callback(sent)
        )

    def flush(self) -> None:
        """Wait until everything is acknowledged."""
        assert self.producer.flush(60) == 0
        assert not self.recorder.refused


class Load:
    """Produces in a thread of its own until all events are acknowledged.

    Args:
        settings: where to.
        topic: the source topic.
        schema_id: id of the event's schema.
        seed: of everything random.
        events: number of distinct good events.
        rate: events per second.
        aggregates: number of keys.
        poison: number of poison records.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        schema_id: int,
        *,
        seed: int,
        events: int,
        rate: float,
        aggregates: int = 500,
        poison: int = 200,
    ) -> None:
        self.recorder = Recorder()
        self.repeated = 0
        self._topic = topic
        self._random = Random(seed)
        self._write = EventWriter(schema_id)
        self._events = events
        self._rate = rate
        self._keys = [f"{KEY}{number:05d}" for number in range(aggregates)]
        self._poison = {self._random.randrange(events): "" for _ in range(poison)}
        for number, index in enumerate(sorted(self._poison)):
            self._poison[index] = KINDS[number % len(KINDS)]
        common = {
            **settings.librdkafka_config(),
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.timeout.ms": 600_000,
            "log_level": 2,
        }
        self._java = Producer({**common, "partitioner": "murmur2_random"})
        self._crc32 = Producer(common)
        self._again: list[tuple[int, Producer, Sent]] = []
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._failure: BaseException | None = None
        self.sent = 0
        self.done = threading.Event()

    def start(self) -> None:
        """Begin to produce."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait until everything is acknowledged. Raises what the thread raised, or TimeoutError."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise TimeoutError(f"the load was not accepted within {seconds:.0f} s")
        if self._failure is not None:
            raise self._failure
        if self.recorder.refused:
            raise AssertionError(f"the broker refused {len(self.recorder.refused)} records of the load")

    def _run(self) -> None:
        try:
            started = time.monotonic()
            for seq in range(self._events):
                self._event(seq)
                self.sent = seq + 1
                if seq % 100 == 0:
                    self._java.poll(0)
                    self._crc32.poll(0)
                    time.sleep(max(0.0, started + seq / self._rate - time.monotonic()))
            for _, producer, sent in self._again:
                self._send(producer, sent)
            self._java.flush()
            self._crc32.flush()
        except BaseException as failure:
            self._failure = failure
        finally:
            self.done.set()

    def _event(self, seq: int) -> None:
        random = self._random
        # One key of twenty is hot, as tenants are.
        number = random.randrange(5) if random.random() < 0.05 else random.randrange(len(self._keys))
        key = self._keys[number]
        quantity = random.randrange(1, 1000)
        event_id = "" if random.random() < NAMELESS else str(UUID(int=random.getrandbits(128), version=4))
        value = self._write(key, seq, quantity, event_id)
        headers = (
            ("traceparent", f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-01".encode()),
        )
        sent = Sent(seq, "", key.encode(), value, headers if random.random() < 0.2 else ())
        self.recorder.events[seq] = (key, quantity)
        producer = self._producer(number)
        self._send(producer, sent)
        if event_id and random.random() < REPEATED:
            self._again.append((seq + random.choice((0, 3, 50, 1000, 5000)), producer, sent))
            self.repeated += 1
        if seq in self._poison:
            self._send_poison(self._poison[seq], seq, key, quantity, event_id)
        if seq % 50 == 0:
            due = [entry for entry in self._again if entry[0] <= seq]
            self._again = [entry for entry in self._again if entry[0] > seq]
            for _, repeated_by, again in due:
                self._send(repeated_by, again)

    def _producer(self, number: int) -> Producer:
        share = number / len(self._keys)
        if share >= 1 - CRC_KEYS:
            return self._crc32
        if share >= 1 - CRC_KEYS - BOTH_KEYS:
            self.recorder.shared.add(self._keys[number])
            return self._random.choice((self._java, self._crc32))
        return self._java

    def _send(self, producer: Producer, sent: Sent) -> None:
        while True:
            try:
                producer.produce(
                    self._topic,
                    key=sent.key,
                    value=sent.value,
                    headers=list(sent.headers),
                    on_delivery=self.recorder.callback(sent),
                )
                return
            except BufferError:
                producer.poll(0.1)

    def _send_poison(self, kind: str, seq: int, of: str, quantity: int, event_id: str) -> None:
        random = self._random
        text = self._keys[random.randrange(len(self._keys))]
        if kind == "conflict":
            java_only = int(of[-5:]) / len(self._keys) < 1 - CRC_KEYS - BOTH_KEYS
            if not java_only or not event_id:
                kind = "wrong_magic"
        key, value = self._poisonous(kind, text, self._write(text, seq, 1, ""))
        if kind == "conflict":
            key, value = of.encode(), self._write(of, seq, quantity + 1, event_id)
        elif kind == "other_key":
            value = self._write("somebody else", seq, 1, "")
        elif kind in ("raise", "defect", "unstorable"):
            value = self._write(text, seq, 1, "", trouble=kind)
        elif kind == "oversized":
            value = self._write(text, seq, 1, "", padding=OVERSIZED_BYTES)
        headers: tuple[Header, ...] = (("x-raw", random.randbytes(6)), ("x-none", None), ("x-raw", b"twice"))
        self._send(self._java, Sent(seq, kind, key, value, headers))

    def _poisonous(self, kind: str, text: str, good: bytes) -> tuple[bytes | None, bytes | None]:
        """Return key and value of a poison that is made of a good event."""
        random, key = self._random, text.encode()
        head = random.randrange(10**6, 2 * 10**6).to_bytes(4, "big")
        made: dict[str, tuple[bytes | None, bytes | None]] = {
            "random": (key, bytes([random.randrange(1, 256)]) + random.randbytes(random.randrange(200))),
            "truncated": (key, good[: random.randrange(1, len(good) - 2)]),
            "wrong_magic": (key, b"\x01" + good[1:]),
            "unknown_id": (key, b"\x00" + head + good[5:]),
            "null_value": (key, None),
            "null_key": (None, good),
            "empty_key": (b"", good),
            "nul_in_key": (key + b"\x00x", good),
            "binary_key": (b"\xff\xfe" + random.randbytes(8).replace(b"\x00", b"\x01"), good),
        }
        return made.get(kind, (key, good))
