"""Sends a trace as events, at a rate or at a multiple of its own speed, and remembers how far it came.

What a trace is made of is its own matter: ``ops.traces`` has the LLM service's, ``ops.retail_trace`` the shop's.

Event ids come from file and row, so what is sent twice counts once, provided that it is the same event,
its time included. The journal therefore keeps which rows were sent with which times. Rows that were never
sent get times such that the last row of the trace falls on now.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError, Message, Producer

from ops.errors import OpsError
from ops.journal import Journal, JournalFile
from ops.setup import partitions
from streams.codec import Codec, Encoder
from streams.envelope import CeHeaders, ce_headers
from streams.registry import Registry, RegistryError
from streams.settings import Settings

SOURCE = "sluice-replay"
CHUNK_SECONDS = 0.5
CHUNK_ROWS = 500
LEAST_WAIT_S = 0.001
FLUSH_SECONDS = 30.0
PRODUCER = {
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": "murmur2_random",  # Java's; librdkafka's own would send keys to other partitions
    "linger.ms": 2,
    "log_level": 0,
}


class Outgoing(NamedTuple):
    """One event on its way: its topic, its key, itself, and its ``ce_type`` where that is not its record's."""

    topic: str
    key: str
    event: Any
    event_type: str = ""


class Trace(Protocol):
    """Rows that are sent one after the other."""

    @property
    def name(self) -> str:
        """What ids are made from and the journal is kept under."""

    @property
    def records(self) -> Sequence[tuple[str, type]]:
        """Every (topic, record type) that may be sent."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def events(self, row: int, last_at: datetime) -> Iterable[Outgoing]:
        """Return the events of a row where the trace's last row happens at ``last_at``."""

    def events_before(self, row: int) -> int:
        """Return how many events the rows before ``row`` have."""

    def seconds(self, row: int) -> float:
        """Return when a row happens, in seconds of the trace's own clock."""


def due_seconds(trace: Trace, first: int, rate: float | None, speed: float | None) -> Callable[[int], float]:
    """Return the function from a row to the seconds after the start at which it is due.

    Args:
        trace: whose rows.
        first: the row that is due at once.
        rate: events per second.
        speed: multiple of the trace's own speed. With neither, every row is due at once.
    """
    if rate is not None:
        sent = trace.events_before(first)
        return lambda row: (trace.events_before(row) - sent) / rate
    if speed is not None:
        began = trace.seconds(first)
        return lambda row: (trace.seconds(row) - began) / speed
    return lambda row: 0.0


def sleep(seconds: float) -> bool:
    """Sleep, and go on."""
    time.sleep(seconds)
    return False


class Replay:
    """One trace on its way to one cluster.

    Args:
        settings: of the cluster and registry.
        trace: what to send.
        wait: sleeps so many seconds; true means stop.
    """

    def __init__(self, settings: Settings, trace: Trace, wait: Callable[[float], bool] = sleep) -> None:
        self.trace = trace
        self.acknowledged = 0
        self._settings = settings
        self._wait = wait
        self._journals = JournalFile(settings.data_dir / "replays.json")
        self._entry = f"{trace.name} to {settings.bootstrap_servers}"
        self._failures: list[str] = []
        self._makers: dict[tuple[str, type], tuple[Encoder, CeHeaders]] = {}

    @property
    def journal(self) -> Journal:
        """How far it came before."""
        return self._journals.read(self._entry)

    def run(
        self,
        *,
        rate: float | None = None,
        speed: float | None = None,
        first_row: int = 0,
        end_row: int | None = None,
        progress: Callable[[int], None] = lambda row: None,
    ) -> int:
        """Send the trace from ``first_row`` on; return the number of events that the broker acknowledged.

        Args:
            rate: events per second. With neither rate nor speed: as fast as it goes.
            speed: multiple of the trace's own speed.
            first_row: where to begin.
            end_row: where to end, before this row; without it at the trace's end.
            progress: told the next row after each chunk.

        Raises:
            OpsError: the registry or the broker does not take it.
        """
        there = partitions(self._settings)
        for topic, _ in self.trace.records:
            if topic not in there:
                raise OpsError(f"There is no topic {topic}.", "Run `sluice setup`.")
        producer = Producer(self._settings.librdkafka_config() | PRODUCER)
        asyncio.run(self._prepare())
        journal = self.journal
        due = due_seconds(self.trace, first_row, rate, speed)
        began = time.monotonic()
        rows = len(self.trace) if end_row is None else end_row

        def early(row: int) -> float:
            return due(row) - (time.monotonic() - began)

        for first, end, last_at in journal.times(first_row, rows, datetime.now(UTC)):
            for row, chunk_end in chunks(first, min(end, rows), due):
                journal.begin(row, chunk_end, last_at)
                self._journals.write(self._entry, journal)
                sent = self._send_rows(producer, range(row, chunk_end), last_at, early, row > first_row)
                journal.done = max(journal.done, sent)
                self._journals.write(self._entry, journal)
                progress(sent)
                if sent < chunk_end:
                    return self.acknowledged
        return self.acknowledged

    def _send_rows(
        self, producer: Producer, rows: range, last_at: datetime, early: Callable[[int], float], asks: bool
    ) -> int:
        """Send rows when they are due; return the row after the last one sent, which the broker has acknowledged.

        Where it is behind its rate, it asks once whether to stop, and not at all without ``asks``.
        """
        end = rows.stop
        for row in rows:
            wait = early(row)
            if (wait > LEAST_WAIT_S or (asks and row == rows.start)) and self._wait(max(wait, 0.0)):
                end = row
                break
            for outgoing in self.trace.events(row, last_at):
                self._send(producer, outgoing)
        self._flush(producer)
        return end

    async def _prepare(self) -> None:
        registry = Registry(self._settings)
        try:
            codec = Codec(registry)
            await codec.prepare(self.trace.records)
        except RegistryError as error:
            raise OpsError(f"{error}.", "Start the stack with `sluice up` and run `sluice setup`.") from error
        finally:
            await registry.close()
        self._makers = {
            (topic, record): (codec.encoder(topic, record), ce_headers(record, SOURCE))
            for topic, record in self.trace.records
        }

    def _send(self, producer: Producer, outgoing: Outgoing) -> None:
        topic, text, event, event_type = outgoing
        encode, headers = self._makers[topic, type(event)]
        key = text.encode()
        marks: list[tuple[str, str | bytes | None]] = [
            *headers(event.event_id, event.timestamp, key, event.tenant_id, event_type=event_type)
        ]
        value = encode(event)
        while True:
            try:
                producer.produce(topic, value, key, headers=marks, on_delivery=self._delivered)
                break
            except BufferError:  # the local queue is full: let deliveries make room
                producer.poll(0.05)
        producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self._failures.append(error.str())

    def _flush(self, producer: Producer) -> None:
        unsent = producer.flush(FLUSH_SECONDS)
        if unsent or self._failures:
            reason = self._failures[0] if self._failures else f"no answer within {FLUSH_SECONDS:.0f} s"
            raise OpsError(
                f"The broker did not take {unsent + len(self._failures)} events: {reason}.",
                "Check it with `sluice doctor`, then run it again: what is sent twice counts once.",
            )


def chunks(first: int, end: int, due: Callable[[int], float]) -> Iterator[tuple[int, int]]:
    """Cut rows into chunks of at most CHUNK_SECONDS and CHUNK_ROWS; yield the (first, end) of each."""
    while first < end:
        last = first + 1
        while last < min(end, first + CHUNK_ROWS) and due(last) <= due(first) + CHUNK_SECONDS:
            last += 1
        yield first, last
        first = last
