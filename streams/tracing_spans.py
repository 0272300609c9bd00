"""Spans of events, sent with OpenTelemetry. Only records whose parent is sampled cost anything.

A worker processes units of many events. Each sampled event has a span of its own, a child of the span that it comes
from. It lasts as long as the event's unit, because outputs and state are acknowledged for all of the unit together. A
link leads to the span of the unit.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace.span import TraceState

from streams.log_records import Outcome, shown
from streams.publisher import header
from streams.settings import Settings
from streams.trace_context import (
    CURRENT,
    Parent,
    Trace,
    continuing,
    headers_of,
    parent_of,
    sampled,
    span_id,
)

log = logging.getLogger(__name__)

PATH: Final = "/v1/traces"
FLUSH_S: Final = 2.0
"""A receiver that does not answer must not hold up a shutdown."""

RETRIED: Final = frozenset({"parked", "postponed"})
WRONG: Final = frozenset({"dead_lettered", *RETRIED})


class Ids(RandomIdGenerator):
    """Random ids, but for a span whose id is ``wanted``."""

    def __init__(self) -> None:
        self.wanted: int | None = None

    def generate_span_id(self) -> int:
        wanted, self.wanted = self.wanted, None
        return super().generate_span_id() if wanted is None else wanted


class Begun(Sampler):
    """Decides what is recorded of that which begins here: every unit, and of traces the share that settings name."""

    def __init__(self, ratio: float) -> None:
        self._traces = TraceIdRatioBased(ratio)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        *details: Any,
        **more: Any,
    ) -> SamplingResult:
        units = kind is SpanKind.INTERNAL  # of which there is none without a sampled event
        sampler = ALWAYS_ON if units else self._traces
        return sampler.should_sample(parent_context, trace_id, name, kind, *details, **more)

    def get_description(self) -> str:
        return f"Begun{{{self._traces.get_description()}}}"


class Spans:
    """Records the spans of one worker or client and sends them from a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        """Connect nothing yet; ``settings.tracing`` is the address of an OTLP/HTTP receiver."""
        self._app_id = settings.app_id
        self._ids = Ids()
        resource = {"service.name": settings.app_id, "service.instance.id": settings.worker_name}
        self._provider = TracerProvider(
            resource=Resource.create(resource),
            sampler=ParentBased(Begun(settings.tracing_ratio)),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=f"{str(settings.tracing).rstrip('/')}{PATH}")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("sluice")

    async def close(self) -> None:
        """Send what is buffered, where that does not take long."""
        done = threading.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            done.set()

        # A thread of an executor would be waited for at the end of the process, however long that takes.
        threading.Thread(target=shut_down, name="traces", daemon=True).start()
        deadline = time.monotonic() + FLUSH_S
        while not done.is_set() and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    # --- processing ---------------------------------------------------------------------------------------------

    def unit(
        self, agent: str, records: Iterable[tuple[str, int, Any]], outcomes: Sequence[Outcome], seconds: float
    ) -> None:
        """Record a unit of work that has just been stored, if one of its events is sampled.

        Args:
            agent: whose unit it is.
            records: topic, partition and record of all that was read.
            outcomes: of those whose outcome was anything but done, and of those that had waited.
            seconds: how long it took.
        """
        known = {(each.topic, each.partition, each.record.offset): each for each in outcomes}
        again = [(each.topic, each.partition, each.record) for each in outcomes if each.waited]
        events = [
            (parent, where)
            for where in (*records, *again)
            if (parent := sampled(where[2].headers)) is not None
        ]
        if not events:
            return
        try:
            self._unit(agent, events, known, seconds)
        except Exception as error:
            # Whatever is wrong with a span, its event is processed and stored.
            log.warning("spans of %s were not recorded (%s)", agent, type(error).__name__)

    def _unit(
        self,
        agent: str,
        events: Sequence[tuple[Parent, tuple[str, int, Any]]],
        known: Mapping[tuple[str, int, int], Outcome],
        seconds: float,
    ) -> None:
        ended = time.time_ns()
        began = ended - int(seconds * 1e9)
        attributes: dict[str, str | int] = {"sluice.agent": agent, "sluice.sampled": len(events)}
        unit = self._tracer.start_span(f"unit {agent}", Context(), attributes=attributes, start_time=began)
        for parent, (topic, partition, record) in events:
            outcome = known.get((topic, partition, record.offset))
            span = self._event(agent, parent, topic, partition, record, outcome, began, unit)
            span.end(ended)
        unit.end(ended)

    def _event(
        self,
        agent: str,
        parent: Parent,
        topic: str,
        partition: int,
        record: Any,
        outcome: Outcome | None,
        began: int,
        unit: Span,
    ) -> Span:
        name, attempt = ("done", 1) if outcome is None else (outcome.name, outcome.attempt)
        again = attempt if name in RETRIED else 0
        self._ids.wanted = span_id(parent, self._app_id, topic, partition, record.offset, again)
        span = self._tracer.start_span(
            f"process {topic}",
            in_context(parent),
            SpanKind.CONSUMER,
            _attributes(topic, partition, record, agent, self._app_id),
            [Link(unit.get_span_context())],
            began,
        )
        span.set_attributes({"sluice.outcome": name, "sluice.attempt": attempt})
        if name in WRONG:
            span.set_status(Status(StatusCode.ERROR, name))
        return span

    @contextmanager
    def order(self, service: str, reader: str, record: Any) -> Iterator[None]:
        """Record that an effect service carries out an order inside the block, if its record is sampled.

        Args:
            service: its name.
            reader: its consumer group.
            record: the order's, of aiokafka's consumer.
        """
        parent = sampled(record.headers)
        if parent is None:
            yield
            return
        self._ids.wanted = span_id(parent, reader, record.topic, record.partition, record.offset)
        attributes = _attributes(record.topic, record.partition, record, service, reader)
        with self._current(f"process {record.topic}", SpanKind.CONSUMER, parent, attributes):
            yield

    # --- sending ------------------------------------------------------------------------------------------------

    @contextmanager
    def serving(self, method: str, route: str, trace: Trace) -> Iterator[None]:
        """Record a request over HTTP that is answered inside the block; what is sent there belongs to it.

        Args:
            method, route: the request's, with parameters in braces.
            trace: the one that it names; without it, it may begin one.
        """
        attributes: dict[str, str | int] = {"http.request.method": method, "http.route": route}
        with self._current(f"{method} {route}", SpanKind.SERVER, parent_of(trace), attributes):
            yield

    @contextmanager
    def sending(self, event: str) -> Iterator[None]:
        """Record that a client sends something inside the block; its records carry the trace on.

        It belongs to the trace that is being continued (``streams.trace_context``), or else to the span of the program
        that is under way, or else it may begin a trace.

        Args:
            event: the type of what is sent.
        """
        trace = CURRENT.get()
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "send",
            "messaging.operation.name": "send",
            "sluice.event": event,
        }
        with self._current(f"send {event}", SpanKind.PRODUCER, parent_of(trace), attributes) as span:
            at = span.get_span_context()
            state = at.trace_state.to_header().encode() or None
            # A trace that began here and is not recorded concerns nobody else.
            known = trace or at.trace_flags.sampled
            with continuing(headers_of(at.trace_id, at.span_id, state, int(at.trace_flags)) if known else []):
                yield

    @contextmanager
    def _current(
        self, name: str, kind: SpanKind, parent: Parent | None, attributes: dict[str, str | int]
    ) -> Iterator[Span]:
        context = None if parent is None else in_context(parent)
        with self._tracer.start_as_current_span(
            name, context, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                # A request that is refused over HTTP is no error of ours. The text may say what an event holds.
                if getattr(error, "status", 500) >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


def in_context(parent: Parent) -> Context:
    """Return the context in which a span is the parent's child."""
    state = TraceState.from_header([parent.state.decode("ascii", "replace")]) if parent.state else None
    at = SpanContext(parent.trace_id, parent.span_id, True, TraceFlags(parent.flags), state)
    return set_span_in_context(NonRecordingSpan(at), Context())


def _attributes(topic: str, partition: int, record: Any, agent: str, group: str) -> dict[str, str | int]:
    """Return what a span says of its record, by OpenTelemetry's conventions for messaging; never key or value."""
    event_id = header(record.headers, "ce_id")
    return {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.kafka.offset": record.offset,
        "messaging.consumer.group.name": group,
        "sluice.agent": agent,
        **({"messaging.message.id": shown(event_id)} if event_id else {}),
    }
