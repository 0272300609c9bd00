"""Spans, as a receiver gets them, of a pipeline and a client with everything real but the broker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from streams.client import Client
from streams.events import FailureEvent
from streams.log_records import Outcome
from streams.outbox import Outgoing
from streams.publisher import Publisher
from streams.replies import Replies
from streams.trace_context import continuing, given, sampled
from streams.tracing import continues, open_tracing
from streams.tracing_spans import Spans
from tests.otlp import Received, Receiver
from tests.unit.streams.client_world import Bus, a_bus, a_client
from tests.unit.streams.core_world import (
    ACME,
    APP_ID,
    LATER,
    NUMBER,
    PARTITIONS,
    REPLIES,
    SOURCE,
    TARGET,
    AddRequested,
    Raw,
    World,
    added,
    codec,
    headers_of,
    index_of,
    requested,
    settings,
)
from tests.unit.streams.test_trace_context import PARENT, SPAN, STATE, TRACE, UNSAMPLED

SERVER, PRODUCER, CONSUMER = 2, 4, 5
PATIENT_S = 30.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def spans(receiver: Receiver) -> Iterator[Spans]:
    spans = open_tracing(settings(tracing=receiver.url))
    assert spans is not None
    yield spans
    asyncio.run(spans.close())


class Stored(NamedTuple):
    """A record as aiokafka's consumer gives it, as far as a span is concerned."""

    topic: str
    partition: int
    offset: int
    headers: list[tuple[str, bytes]]


class Traced(World):
    """A partition of a worker that traces."""

    def __init__(self, spans: Spans | None) -> None:
        self.spans = spans
        super().__init__()

    def restart(self) -> Any:
        trace = continues(self.spans, APP_ID)
        self.publisher = Publisher(self.index, codec(), PARTITIONS, APP_ID, trace)
        partition = super().restart()
        partition._replies = Replies(codec(), APP_ID, PARTITIONS, trace)
        partition._traced = self.spans is not None
        return partition

    def unit(self, *records: Raw) -> dict[str, int]:
        self.process(*records)
        return self.end(*records)

    def end(self, *records: Raw) -> dict[str, int]:
        """Store the unit in hand and record its spans, as the pipeline does."""
        outcomes = self.partition.notes.outcomes
        found = self.store_unit()
        if self.spans is not None:
            where = [(SOURCE.name, NUMBER, record) for record in records]
            self.spans.unit("tally", where, outcomes, 0.5)
        return found


def traceparent(outgoing: Outgoing) -> str:
    """Return the trace that a record carries."""
    return (headers_of(outgoing)["traceparent"] or b"").decode()


def sent_off(spans: Spans, receiver: Receiver) -> list[Received]:
    """Return everything that was recorded."""
    asyncio.run(spans.close())
    return receiver.spans


def test_a_sampled_event_has_a_span_that_its_facts_and_its_reply_name(
    spans: Spans, receiver: Receiver
) -> None:
    world = Traced(spans)
    record = requested(7, headers=[PARENT, STATE, ("ce_id", b"e-1")], reply_to=f"{REPLIES.name}/0")
    world.unit(added(6), record, added(8))
    [process, unit] = sent_off(spans, receiver)
    assert (process.name, process.kind, process.trace, process.parent) == (
        f"process {SOURCE.name}",
        CONSUMER,
        TRACE,
        SPAN,
    )
    assert process.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": SOURCE.name,
        "messaging.destination.partition.id": str(NUMBER),
        "messaging.kafka.offset": 7,
        "messaging.consumer.group.name": APP_ID,
        "messaging.message.id": "e-1",
        "sluice.agent": "tally",
        "sluice.outcome": "done",
        "sluice.attempt": 1,
    }
    assert (unit.name, unit.attributes["sluice.sampled"], process.links) == ("unit tally", 1, (unit.id,))
    assert unit.trace != TRACE
    assert round(process.seconds, 1) == round(unit.seconds, 1) == 0.5
    [_, fact, _] = world.sent(TARGET.name)
    [reply] = world.sent(REPLIES.name)
    assert traceparent(fact) == traceparent(reply) == f"00-{TRACE}-{process.id}-01"
    assert headers_of(fact)["tracestate"] == b"vendor=1"
    assert process.service == APP_ID


def test_events_of_two_partitions_at_one_offset_are_told_apart(spans: Spans, receiver: Receiver) -> None:
    records = [(SOURCE.name, number, added(7, headers=[PARENT])) for number in (0, 1)]
    spans.unit("tally", records, [Outcome("dead_lettered", *records[1], 1, False)], 0.1)
    found = {
        span.attributes["messaging.destination.partition.id"]: span.failed
        for span in sent_off(spans, receiver)
        if span.kind == CONSUMER
    }
    assert found == {"0": False, "1": True}


def test_an_order_of_an_effect_service_has_a_span_and_its_answer_names_it(
    spans: Spans, receiver: Receiver
) -> None:
    order = Stored("orders", 2, 5, [PARENT])
    with spans.order("senders", "sluice-senders", order):
        answer = continues(spans, "sluice-senders")(order.headers, order.topic, order.partition, order.offset)
    with spans.order("senders", "sluice-senders", Stored("orders", 2, 6, [UNSAMPLED])):
        pass
    [process] = sent_off(spans, receiver)
    assert (process.name, process.parent, process.attributes["messaging.consumer.group.name"]) == (
        "process orders",
        SPAN,
        "sluice-senders",
    )
    assert dict(answer)["traceparent"] == f"00-{TRACE}-{process.id}-01".encode()


def test_events_that_are_not_sampled_have_no_spans_and_pass_their_trace_on(
    spans: Spans, receiver: Receiver
) -> None:
    world = Traced(spans)
    world.unit(added(1), added(2, headers=[UNSAMPLED]), added(3, headers=[("traceparent", b"nonsense")]))
    assert sent_off(spans, receiver) == []
    [plain, unsampled, nonsense] = world.sent(TARGET.name)
    assert "traceparent" not in headers_of(plain)
    assert traceparent(unsampled) == UNSAMPLED[1].decode()
    assert "traceparent" not in headers_of(nonsense), "nobody could read it"


def test_a_replay_sends_the_same_bytes_and_the_same_span_again(spans: Spans, receiver: Receiver) -> None:
    worlds = [Traced(spans), Traced(spans)]
    for world in worlds:
        world.unit(added(1, headers=[PARENT]), requested(2, headers=[PARENT], kind="wrong-value"))
    assert worlds[0].log.records == worlds[1].log.records
    names = [(span.name, span.id) for span in sent_off(spans, receiver) if span.kind == CONSUMER]
    assert len(names) == 4
    assert names[:2] == names[2:]


def test_without_tracing_only_the_traceparent_of_what_follows_is_another(spans: Spans) -> None:
    traced, plain = Traced(spans), Traced(None)
    for world in (traced, plain):
        world.unit(requested(1, headers=[PARENT], event_id="e-1"))
    [ours], [theirs] = traced.sent(TARGET.name), plain.sent(TARGET.name)
    assert ours[:2] == theirs[:2]
    assert {**headers_of(ours), "traceparent": PARENT[1]} == headers_of(theirs)


def test_a_dead_letter_keeps_its_headers_and_its_report_carries_the_trace_on(
    spans: Spans, receiver: Receiver
) -> None:
    world = Traced(spans)
    world.unit(added(1, kind="wrong-value", headers=[PARENT]))
    [process, _] = sent_off(spans, receiver)
    assert (process.failed, process.attributes["sluice.outcome"]) == (True, "dead_lettered")
    [letter] = world.dead
    assert traceparent(letter) == PARENT[1].decode()
    [report] = [
        each for each in world.sent("events.failed") if isinstance(codec().decode(each[1]), FailureEvent)
    ]
    assert traceparent(report) == f"00-{TRACE}-{process.id}-01"


def test_every_attempt_has_a_span_and_what_follows_names_the_last(spans: Spans, receiver: Receiver) -> None:
    world = Traced(spans)
    world.tally.closed = True
    world.unit(added(1, kind="lookup", headers=[PARENT]))
    for closed in (True, False):
        world.tally.closed = closed
        for key in world.partition.parked.due(LATER):
            world.partition.process_waiting(key, 10)
        world.end()
    tries = [span for span in sent_off(spans, receiver) if span.kind == CONSUMER]
    assert [(span.attributes["sluice.outcome"], span.attributes["sluice.attempt"]) for span in tries] == [
        ("parked", 1),
        ("postponed", 2),
        ("done", 3),
    ]
    assert len({span.id for span in tries}) == 3
    assert {span.parent for span in tries} == {SPAN}
    [fact] = world.sent(TARGET.name)
    assert traceparent(fact) == f"00-{TRACE}-{tries[-1].id}-01"


def tracing_client(bus: Bus, **given: Any) -> Client:
    """Return a client of the tally with spans of its own."""
    return Client(settings(**given), index_of(bus.world.tally), codec=codec())


def command() -> AddRequested:
    return AddRequested(timestamp=LATER, tenant_id=ACME, kind="add", amount=1)


def test_a_client_begins_a_trace_and_its_records_carry_it(receiver: Receiver) -> None:
    async def main() -> Raw:
        with a_bus() as bus:
            async with tracing_client(bus, tracing=receiver.url) as client:
                assert (await client.request(command(), PATIENT_S)).ok
                return bus.sent[0]

    record = asyncio.run(main())
    [span] = receiver.until(list, "the client's span")
    assert (span.name, span.kind, span.parent) == ("send AddRequested", PRODUCER, "")
    parent = sampled(record.headers)
    assert parent is not None
    assert (f"{parent.trace_id:032x}", f"{parent.span_id:016x}") == (span.trace, span.id)


def test_everything_that_a_client_sends_belongs_to_the_trace_that_is_continued(receiver: Receiver) -> None:
    async def main() -> list[Raw]:
        with a_bus() as bus:
            async with tracing_client(bus, tracing=receiver.url) as client:
                await client.send(command())
                with continuing([PARENT, STATE]):
                    await client.publish(command())
                    await client.publish_batch([command(), command()])
                    await client.publish_each([command()])
                    await client.send(command())
            return list(bus.sent)

    records = asyncio.run(main())
    traces = [dict(record.headers)["traceparent"].decode().split("-")[1] for record in records]  # type: ignore[union-attr]
    assert sorted(trace == TRACE for trace in traces) == [False, True, True, True, True, True]
    spans = receiver.until(lambda spans: spans if len(spans) == 5 else None, "a span for each sending")
    assert sorted(span.parent == SPAN for span in spans) == [False, True, True, True, True]


def test_a_client_that_does_not_trace_passes_on_what_it_is_given() -> None:
    async def main() -> list[Raw]:
        with a_bus() as bus:
            async with a_client(bus) as client:
                with continuing([PARENT]):
                    await client.publish(command())
                    await client.send(command())
                await client.publish(command())
            return list(bus.sent)

    found = [dict(record.headers).get("traceparent") for record in asyncio.run(main())]
    assert (found.count(PARENT[1]), found.count(None)) == (2, 1)


def test_a_trace_that_is_not_recorded_leaves_no_header(receiver: Receiver) -> None:
    async def main() -> list[Raw]:
        with a_bus() as bus:
            async with tracing_client(bus, tracing=receiver.url, tracing_ratio=0.0) as client:
                await client.publish(command())
                with continuing([UNSAMPLED]):
                    await client.publish(command())
            return list(bus.sent)

    [none, followed] = [dict(record.headers).get("traceparent") for record in asyncio.run(main())]
    assert none is None
    assert (followed or b"").startswith(f"00-{TRACE}-".encode())
    assert (followed or b"").endswith(b"-00")
    assert receiver.spans == []


def test_a_request_over_http_continues_its_trace_and_names_its_route_only(
    spans: Spans, receiver: Receiver
) -> None:
    with pytest.raises(ValueError, match="secret"):
        with spans.serving("POST", "/stock/{id}", given({PARENT[0]: PARENT[1].decode()})):
            with spans.sending("StockExitRequested"):
                raise ValueError("secret")
    [send, serve] = sent_off(spans, receiver)
    assert (serve.name, serve.kind, serve.trace, serve.parent) == ("POST /stock/{id}", SERVER, TRACE, SPAN)
    assert (send.parent, send.trace) == (serve.id, TRACE)
    assert send.failed and serve.failed
    assert "secret" not in str(receiver.spans)


def test_a_receiver_that_is_away_holds_nothing_up() -> None:
    spans = open_tracing(settings(tracing="http://127.0.0.1:9"))
    world = Traced(spans)
    assert world.unit(added(1, headers=[PARENT])) == {"done": 1}
    assert spans is not None
    asyncio.run(asyncio.wait_for(spans.close(), 10))


def python(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **variables},
    )


WHOLE = """
import sys
from streams.app import create_app
from streams.client import Client
from streams.settings import Settings
app = create_app(Settings.read())
Client(Settings.read())
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def test_a_worker_and_a_client_that_do_not_trace_import_nothing_of_opentelemetry() -> None:
    ended = python(WHOLE)
    assert (ended.stdout.strip(), ended.returncode) == ("[]", 0), ended.stderr


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from ops.cli import app
app(["worker"])
"""


def test_a_worker_without_the_extra_says_what_to_install() -> None:
    ended = python(WITHOUT, SLUICE_TRACING="http://127.0.0.1:4318", COLUMNS="500")
    assert ended.returncode != 0
    assert "pip install 'sluice[otel]'" in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


def test_a_client_without_tracing_has_no_spans() -> None:
    assert open_tracing(settings()) is None
    assert Client(settings())._tracing is None
