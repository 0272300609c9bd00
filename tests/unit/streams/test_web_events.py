"""What POST /events takes, refuses and answers: a worker's real web port and client, on a broker in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from yarl import URL

from streams import events as e
from streams.topics import partition_for
from streams.web_events import BATCH, MAX_BODY_BYTES, MAX_EVENTS, ONE, PLAIN
from tests.unit.streams.client_world import Bus, a_bus
from tests.unit.streams.core_world import Raw
from tests.unit.streams.web_world import PARTITIONS, Answer, World, a_world

NOW = "2026-11-20T12:00:00Z"
USED: dict[str, Any] = {
    "event_type": "api_call",
    "resource_type": "calls",
    "quantity": "2.5",
    "unit": "calls",
}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "type": "usage.metered",
    "id": "e-1",
    "source": "/billing",
    "time": NOW,
    "data": USED,
}
TOKENS: dict[str, Any] = {"web_token": "operator", "web_tenant_tokens": {"a-token": "acme"}}
ACME = {"Authorization": "Bearer a-token"}


class Asker:
    """Sends events to a worker, and looks at what came of them."""

    def __init__(self, world: World, bus: Bus) -> None:
        self.world = world
        self.bus = bus
        self.bus.partitions = PARTITIONS

    async def post(self, body: Any, kind: str = ONE, path: str = "/events", **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": kind}
        url = URL(f"{self.world.workers[0].url}{path}", encoded=True)
        async with self.world._session.post(url, data=data, headers=named) as response:
            return Answer(response.status, cast(dict[str, str], response.headers), await response.read())

    @property
    def sent(self) -> list[tuple[str, int, Raw]]:
        """Topic, partition and record of everything that the broker has, by topic and partition."""
        logs = sorted(self.bus.records.items())
        return [(topic, number, record) for (topic, number), log in logs for record in log]

    def decoded(self) -> list[Any]:
        codec = self.world.workers[0].app.codec
        return [codec.decode(record.value) for _, _, record in self.sent]


@pytest.fixture
async def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asker]:
    with a_bus() as bus:
        async with a_world(tmp_path, monkeypatch) as world:
            yield Asker(world, bus)


@pytest.fixture
async def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asker]:
    with a_bus() as bus:
        async with a_world(tmp_path, monkeypatch, **TOKENS) as world:
            yield Asker(world, bus)


def details(answer: Answer | dict[str, Any]) -> dict[str, str]:
    error = answer.json["error"] if isinstance(answer, Answer) else answer["error"]
    return {detail["field"]: detail["reason"] for detail in error["details"]}


# --- what is sent -------------------------------------------------------------------------------------------------


async def test_an_event_is_on_its_routes_topic_under_its_key_framed_with_the_senders_headers(
    ask: Asker,
) -> None:
    told = EVENT | {"tenantid": "acme", "subject": "call 7", "traceparent": "00-1-2-01", "tracestate": "a=b"}
    answer = await ask.post(told | {"correlationid": "r-1", "causationid": "c-1"})
    home = partition_for(b"acme", PARTITIONS)
    assert answer.status == 202
    assert answer.json == {"id": "e-1", "topic": "usage.metered", "partition": home, "offset": 0}
    [(topic, number, record)] = ask.sent
    assert (topic, number, record.key) == ("usage.metered", home, b"acme")
    assert record.value is not None
    schema_id = int.from_bytes(record.value[1:5], "big")
    assert {name: (value or b"").decode() for name, value in record.headers} == {
        "ce_specversion": "1.0",
        "ce_id": "e-1",
        "ce_source": "/billing",
        "ce_type": "api_call",
        "ce_time": "2026-11-20T12:00:00+00:00",
        "ce_subject": "call 7",
        "ce_dataschema": f"urn:sluice:schema:{schema_id}",
        "ce_partitionkey": "acme",
        "ce_tenantid": "acme",
        "ce_correlationid": "r-1",
        "ce_causationid": "c-1",
        "content-type": "application/avro",
        "traceparent": "00-1-2-01",
        "tracestate": "a=b",
    }
    assert ask.decoded() == [
        e.UsageEvent(
            timestamp=datetime(2026, 11, 20, 12, tzinfo=UTC),
            event_type="api_call",
            quantity=Decimal("2.5"),
            event_id="e-1",
            tenant_id="acme",
            resource_type="calls",
            unit="calls",
            envelope=e.Envelope(correlation_id="r-1", causation_id="c-1", source="/billing"),
        )
    ]


async def test_in_plain_json_type_and_data_are_enough(ask: Asker) -> None:
    before = datetime.now(UTC)
    answers = [await ask.post({"type": "usage.metered", "data": USED}, PLAIN) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202]
    first, second = ask.decoded()
    assert [event.event_id for event in (first, second)] == [answer.json["id"] for answer in answers]
    assert first.event_id != second.event_id
    assert before <= first.timestamp <= datetime.now(UTC)
    assert (first.tenant_id, first.envelope) == ("default", None)


async def test_a_type_that_is_a_kind_of_a_known_one_is_the_events_type(ask: Asker) -> None:
    data = {name: value for name, value in USED.items() if name != "event_type"}
    await ask.post(EVENT | {"type": "usage.metered.api_call", "data": data})
    await ask.post(EVENT | {"type": "usage.metered.api_call"})  # data says the same without the beginning
    await ask.post(EVENT | {"type": "USAGE.Metered"})
    kinds = [event.event_type for event in ask.decoded()]
    assert kinds == ["usage.metered.api_call", "usage.metered.api_call", "api_call"]
    contradicts = await ask.post(EVENT | {"type": "usage.metered.upload"})
    assert set(details(contradicts)) == {"type"}


async def test_the_fields_of_the_contract_may_say_id_time_and_tenant_too(ask: Asker) -> None:
    data = USED | {"event_id": "e-7", "timestamp": NOW, "tenant_id": "beta"}
    assert (await ask.post({"type": "usage.metered", "data": data}, PLAIN)).status == 202
    assert (await ask.post({"type": "usage.metered", "id": "e-7", "data": data}, PLAIN)).status == 202
    assert [(event.event_id, event.tenant_id) for event in ask.decoded()] == [("e-7", "beta")] * 2
    other = {"id": "e-8", "time": "2026-11-20T12:00:01Z", "tenantid": "acme"}
    answer = await ask.post({"type": "usage.metered", "data": data} | other, PLAIN)
    assert set(details(answer)) == {"id", "time", "tenantid"}
    around = data | {"envelope": {"correlation_id": "r-1"}}
    answer = await ask.post({"type": "usage.metered", "data": around, "correlationid": "r-2"}, PLAIN)
    assert set(details(answer)) == {"correlationid"}


async def test_the_same_event_sent_again_is_the_same_bytes(ask: Asker) -> None:
    for number in range(2):
        assert (await ask.post(EVENT, X_Correlation_Id=f"r-{number}")).status == 202
    [(_, _, first), (_, _, second)] = ask.sent
    assert (first.key, first.value, first.headers) == (second.key, second.value, second.headers)


async def test_an_event_under_an_id_has_to_say_its_time_and_a_command_has_not(ask: Asker) -> None:
    untimed = {name: value for name, value in EVENT.items() if name != "time"}
    answer = await ask.post(untimed)
    assert (answer.status, set(details(answer))) == (400, {"time"})
    entry = {"product_id": "p1", "warehouse_id": "w1", "quantity": "1"}
    assert (await ask.post(untimed | {"type": "stock.entry.requested", "data": entry})).status == 202


async def test_a_commands_key_is_that_of_its_aggregate(ask: Asker) -> None:
    data = {"product_id": "p|1", "warehouse_id": "w 1", "quantity": "1"}
    await ask.post(EVENT | {"type": "stock.entry.requested", "data": data, "tenantid": "acme"})
    [(topic, number, record)] = ask.sent
    assert (topic, record.key) == ("stock.commands", b"acme|p%7C1|w%201")
    assert number == partition_for(b"acme|p%7C1|w%201", PARTITIONS)


async def test_a_commands_type_is_its_own_and_not_one_that_it_names(ask: Asker) -> None:
    data = {"tenant_id": "acme", "meter": "calls", "unit": "calls", "event_type": "api_call"}
    answer = await ask.post(EVENT | {"type": "usage.meter.define_requested", "data": data})
    assert answer.status == 202, answer.body
    [(_, _, record)] = ask.sent
    assert dict(record.headers)["ce_type"] == b"usage.meter.define_requested"


# --- what is wrong ------------------------------------------------------------------------------------------------


async def test_everything_that_is_wrong_is_told_at_once(ask: Asker) -> None:
    data = {"event_type": "", "quantity": 2.5, "colour": "red", "cost": {"amount": "1e3", "currency": "EUR"}}
    wrong = {"specversion": "0.3", "type": "usage.metered", "time": "noon", "colour": "red", "data": data}
    answer = await ask.post(wrong | {"datacontenttype": "text/xml"})
    assert (answer.status, answer.code) == (400, "VALIDATION_FAILED")
    assert set(details(answer)) == {
        "specversion",
        "id",
        "source",
        "time",
        "colour",
        "datacontenttype",
        "data.event_type",
        "data.quantity",
        "data.colour",
        "data.cost.amount",
        "data.cost.rate",
    }
    assert ask.bus.records == {}


@pytest.mark.parametrize(
    "kind", ["usage", "usage.metering.x", "usage.meter.define_requested.x", "no.such", ".", "usage.aggregate"]
)
async def test_a_type_that_has_no_route_is_refused(ask: Asker, kind: str) -> None:
    answer = await ask.post(EVENT | {"type": kind})
    assert (answer.status, set(details(answer))) == (400, {"type"})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": "\\ud800"}', b'{"a": NaN}', b"[" * 10_000])
async def test_a_body_that_is_no_json_is_refused(ask: Asker, body: bytes) -> None:
    assert set(details(await ask.post(body))) == {"body"}


@pytest.mark.parametrize("body", [None, 12, "text", {}, {"type": 1, "data": 2}, {"type": "usage.metered"}])
async def test_a_body_that_is_no_event_is_refused(ask: Asker, body: Any) -> None:
    for kind in (ONE, PLAIN):
        assert (await ask.post(body, kind)).code == "VALIDATION_FAILED"


async def test_what_the_pipeline_would_not_take_is_told_by_the_client(ask: Asker) -> None:
    answer = await ask.post(EVENT | {"data": USED | {"metadata": {"text": "x" * 600_000}}})
    assert answer.status == 400
    assert "SLUICE_MAX_EVENT_BYTES" in details(answer)["data"]
    nul = await ask.post(EVENT | {"tenantid": "a\0b"})
    assert "NUL" in details(nul)["data"]
    assert ask.bus.records == {}


async def test_other_media_types_and_binary_mode_are_refused(ask: Asker) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/avro", ""):
        assert (await ask.post(EVENT, kind)).status == 415
    binary = await ask.post(USED, PLAIN, ce_type="usage.metered", ce_id="e-1")
    assert (binary.status, binary.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert ONE in binary.json["error"]["message"]
    assert ask.bus.records == {}


async def test_one_event_and_a_batch_are_not_taken_for_each_other(ask: Asker) -> None:
    assert BATCH in details(await ask.post([EVENT], ONE))["body"]
    assert ONE in details(await ask.post(EVENT, BATCH))["body"]


async def test_a_parameter_that_does_nothing_is_refused(ask: Asker) -> None:
    assert set(details(await ask.post(EVENT, path="/events?tenant=acme"))) == {"tenant"}


async def test_a_body_that_is_too_large_is_refused(ask: Asker) -> None:
    fits = json.dumps(EVENT).encode().ljust(MAX_BODY_BYTES)
    assert (await ask.post(fits)).status == 202
    answer = await ask.post(fits + b" ")
    assert (answer.status, answer.code) == (413, "VALIDATION_FAILED")
    assert str(MAX_BODY_BYTES) in answer.json["error"]["message"]


# --- batches ------------------------------------------------------------------------------------------------------


async def test_of_a_batch_each_event_has_its_own_result_and_a_bad_one_stops_none(ask: Asker) -> None:
    ask.bus.fail = refuses_the_second("stock.commands")
    entry = {"product_id": "p1", "warehouse_id": "w1", "quantity": "1"}
    items = [
        EVENT,
        EVENT | {"id": "e-2", "data": {}},
        7,
        EVENT | {"id": "s-1", "type": "stock.entry.requested", "data": entry},
        EVENT | {"id": "s-2", "type": "stock.entry.requested", "data": entry},
        EVENT | {"id": "e-3", "data": USED | {"metadata": {"text": "x" * 600_000}}},
        EVENT | {"id": "e-4"},
    ]
    answer = await ask.post(items, BATCH, X_Correlation_Id="r-1")
    assert answer.status == 207
    assert (answer.json["taken"], answer.json["failed"]) == (3, 4)
    results = answer.json["results"]
    assert [(each["status"], each["id"]) for each in results] == [
        (202, "e-1"),
        (400, "e-2"),
        (400, None),
        (202, "s-1"),
        (503, "s-2"),
        (400, "e-3"),
        (202, "e-4"),
    ]
    assert answer.headers["Retry-After"] == "1"
    assert set(results[0]) == {"status", "id", "topic", "partition", "offset"}
    assert set(details(results[1])) == {"data.event_type", "data.quantity"}
    assert results[1]["error"]["correlation_id"] == "r-1"
    assert results[4]["error"]["code"] == "TEMPORARY_FAILURE"
    assert {event.event_id for event in ask.decoded()} == {"e-1", "s-1", "e-4"}


async def test_what_became_of_each_event_is_counted_and_a_request_that_is_refused_whole_is_not(
    guarded: Asker,
) -> None:
    operator = {"Authorization": "Bearer operator"}

    async def counted() -> list[str]:
        text = (await guarded.world.get("/metrics", headers=operator)).body.decode()
        return [line for line in text.splitlines() if line.startswith("sluice_posted_events_total{")]

    names = ("forbidden", "invalid", "taken", "unavailable")
    shown = 'sluice_posted_events_total{{outcome="{}"}} {}'
    assert sorted(await counted()) == [shown.format(name, 0.0) for name in names], "there from the start"
    guarded.bus.fail = refuses_the_second("usage.metered")
    beta = EVENT | {"tenantid": "beta"}
    await guarded.post([EVENT, 7, EVENT | {"id": "e-2"}, beta, {}, EVENT | {"id": "e-3"}], BATCH, **ACME)
    await guarded.post({}, **ACME)
    await guarded.post(EVENT, **ACME)
    await guarded.post([EVENT] * (MAX_EVENTS + 1), BATCH, **ACME)
    assert sorted(await counted()) == [
        shown.format(name, times) for name, times in zip(names, (1.0, 3.0, 3.0, 1.0), strict=True)
    ]


def refuses_the_second(topic: str) -> Any:
    asked: list[str] = []

    def fail(name: str) -> None:
        asked.append(name)
        if name == topic and asked.count(topic) == 2:
            raise MessageSizeTooLargeError("no")

    return fail


async def test_events_of_one_key_stay_in_their_order(ask: Asker) -> None:
    ids = [f"e-{number}" for number in range(60)]
    answer = await ask.post([EVENT | {"id": each} for each in ids], BATCH)
    assert [each["id"] for each in answer.json["results"]] == ids
    assert [event.event_id for event in ask.decoded()] == ids
    assert [each["offset"] for each in answer.json["results"]] == list(range(60))


async def test_an_array_of_plain_json_is_a_batch_and_an_empty_one_is_nothing(ask: Asker) -> None:
    plain = {"type": "usage.metered", "data": USED}
    assert (await ask.post([plain, plain], PLAIN)).json["taken"] == 2
    for kind in (PLAIN, BATCH):
        answer = await ask.post([], kind)
        assert (answer.status, answer.json) == (207, {"taken": 0, "failed": 0, "results": []})


async def test_a_batch_with_too_many_events_is_refused_whole(ask: Asker) -> None:
    plain = {"type": "usage.metered", "data": USED}
    assert (await ask.post([plain] * MAX_EVENTS, PLAIN)).json["taken"] == MAX_EVENTS
    answer = await ask.post([plain] * (MAX_EVENTS + 1), PLAIN)
    assert (answer.status, answer.code) == (413, "VALIDATION_FAILED")
    assert len(ask.sent) == MAX_EVENTS


# --- what will go -------------------------------------------------------------------------------------------------


async def test_whoever_posts_what_is_deprecated_is_warned_and_so_is_whoever_reads_it(
    ask: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e.UsageEvent, "DEPRECATED", ("1.4.0", "usage.meteredv2"), raising=False)
    warning = '299 - "usage.metered is deprecated since 1.4.0; send usage.meteredv2 instead"'
    entry = {"product_id": "p1", "warehouse_id": "w1", "quantity": "1"}
    other = EVENT | {"id": "s-1", "type": "stock.entry.requested", "data": entry}
    one, several = await ask.post(EVENT), await ask.post([EVENT, other, EVENT], BATCH)
    assert (one.headers["Warning"], several.headers["Warning"]) == (warning, warning)
    assert "Warning" not in (await ask.post(other)).headers
    said = [dict(record.headers).get("ce_successor") for _, _, record in ask.sent]
    assert said == [None, None, *[b"usage.meteredv2"] * 3]


# --- the broker is away -------------------------------------------------------------------------------------------


async def test_without_a_broker_the_answer_is_to_come_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path, monkeypatch) as world:  # nobody listens where its broker should be
        ask = Asker(world, Bus())
        for body, kind in ((EVENT, ONE), ([EVENT, EVENT], BATCH)):
            answer = await ask.post(body, kind)
            assert (answer.status, answer.code) == (503, "TEMPORARY_FAILURE")
            assert int(answer.headers["Retry-After"]) >= 1
            assert b"127.0.0.1" not in answer.body
        mixed = await ask.post([EVENT, {}], BATCH)
        assert [each["status"] for each in mixed.json["results"]] == [503, 400]
        assert "Retry-After" in mixed.headers


async def test_an_event_that_the_broker_does_not_take_is_not_called_taken_and_is_named_in_the_log(
    ask: Asker, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(name: str) -> None:
        if name == "usage.metered":
            raise KafkaConnectionError("no")

    ask.bus.fail = fail
    assert (await ask.post(EVENT)).status == 503
    assert ask.bus.records == {}
    [line] = [line for line in caplog.records if "not sent" in line.getMessage()]
    assert (line.event_id, line.event_type) == ("e-1", "api_call")  # type: ignore[attr-defined]


async def test_a_defect_is_an_error_and_no_acceptance(ask: Asker) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("a defect")

    ask.bus.fail = fail
    assert (await ask.post(EVENT)).status == 500


# --- who may ------------------------------------------------------------------------------------------------------


async def test_without_a_token_nothing_is_sent(guarded: Asker) -> None:
    assert (await guarded.post(EVENT)).status == 401
    assert (await guarded.post(EVENT, Authorization="Bearer wrong")).status == 401
    assert guarded.bus.records == {}


async def test_a_tenants_token_sends_for_its_own_tenant_only(guarded: Asker) -> None:
    assert (await guarded.post(EVENT, **ACME)).status == 202
    assert (await guarded.post(EVENT | {"tenantid": "acme"}, **ACME)).status == 202
    for other in (EVENT | {"tenantid": "beta"}, EVENT | {"data": USED | {"tenant_id": "beta"}}):
        answer = await guarded.post(other, **ACME)
        assert (answer.status, answer.code) == (403, "FORBIDDEN")
    assert {event.tenant_id for event in guarded.decoded()} == {"acme"}
    batch = await guarded.post([EVENT, EVENT | {"tenantid": "beta"}], BATCH, **ACME)
    assert [each["status"] for each in batch.json["results"]] == [202, 403]


async def test_what_is_the_operators_to_command_no_tenant_sends_as_an_event(guarded: Asker) -> None:
    price = {"resource_type": "calls", "currency": "EUR", "unit": "calls", "rate": "1", "effective_from": NOW}
    quota = {"quota_id": "q", "meter": "calls"}
    for kind, data in (("usage.price.set_requested", price), ("usage.quota.set_requested", quota)):
        told = EVENT | {"type": kind, "data": data, "tenantid": "acme"}
        answer = await guarded.post(told, **ACME)
        assert (answer.status, answer.code) == (403, "FORBIDDEN"), answer.body
        assert (await guarded.post(told, Authorization="Bearer operator")).status == 202
    entry = {"product_id": "p1", "warehouse_id": "w1", "quantity": "1"}
    own = await guarded.post(EVENT | {"type": "stock.entry.requested", "data": entry}, **ACME)
    assert own.status == 202


# --- the document -------------------------------------------------------------------------------------------------


async def test_the_document_describes_bodies_and_answers(guarded: Asker) -> None:
    document = (await guarded.world.get("/openapi.json", headers={"Authorization": "Bearer operator"})).json
    operation = document["paths"]["/events"]["post"]
    assert set(operation["requestBody"]["content"]) == {ONE, BATCH, PLAIN}
    assert set(operation["responses"]) == {"202", "207", "400", "401", "403", "413", "415", "500", "503"}
    assert operation["security"] == [{"bearer": []}]
    schemas = document["components"]["schemas"]
    assert set(schemas["CloudEvent"]["required"]) == {"type", "data", "specversion", "id", "source"}
    assert set(schemas["Event"]["required"]) == {"type", "data"}
    index = (await guarded.world.get("/", headers={"Authorization": "Bearer operator"})).json
    assert "/events" in index["commands"]
