"""What a POST becomes, and what is answered: on a real worker's web port, with a client that does what a test says."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from yarl import URL

from agents.commands import COMMANDS
from streams import events as e
from streams.client import (
    Client,
    Closed,
    Invalid,
    NotSent,
    Reply,
    RequestTimeout,
    UnreadableReply,
)
from streams.client_metrics import BusMetrics
from streams.web_commands import seconds_of
from tests.unit.streams.web_world import PARTITIONS, Answer, World, a_world

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
ENTRY = {"product_id": "p1", "warehouse_id": "w1", "quantity": "12.5", "lot_id": "l1"}
RECORDED = e.StockPolicySet(timestamp=AT, product_id="p1", warehouse_id="w1", version=7)
JSON = {"Content-Type": "application/json"}


class Bus:
    """Stands in for the worker's client.

    Attributes:
        published, requested: the commands it was given; of a request with the time to wait.
        reply: what a request is answered with; an exception is raised.
    """

    def __init__(self) -> None:
        self.published: list[Any] = []
        self.requested: list[tuple[Any, float]] = []
        self.correlations: list[str] = []
        self.reply: Any = None
        self.closed = False
        self.counts = Counter(replied=3, timeout=2, published=4, failed=1)
        self.metrics = BusMetrics()
        self.late = 1

    async def publish(self, event: Any, *, correlation_id: str) -> None:
        self.correlations.append(correlation_id)
        if isinstance(self.reply, Exception):
            raise self.reply
        self.published.append(event)

    async def request(self, event: Any, timeout: float, *, correlation_id: str) -> Reply:
        self.correlations.append(correlation_id)
        self.requested.append((event, timeout))
        if isinstance(self.reply, Exception):
            raise self.reply
        fields: dict[str, Any] = {
            "status": "OK",
            "code": "",
            "message": "",
            "facts": (RECORDED,),
            "duplicate": False,
        }
        fields |= {"event_id": event.event_id, "correlation_id": correlation_id} | (self.reply or {})
        return Reply(**fields)

    async def close(self) -> None:
        self.closed = True


class Asker:
    """Sends commands to a worker."""

    def __init__(self, world: World, bus: Bus) -> None:
        self.world = world
        self.bus = bus

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a body as JSON; headers by their names with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        url = URL(f"{self.world.workers[0].url}{path}", encoded=True)
        session = self.world._session
        async with session.post(url, data=data, headers=JSON | named) as response:
            return Answer(response.status, cast(dict[str, str], response.headers), await response.read())


def bus_of(world: World) -> Bus:
    bus = Bus()
    for worker in world.workers:
        vars(worker.app)["client"] = cast(Client, bus)
    return bus


@pytest.fixture
async def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asker]:
    async with a_world(tmp_path, monkeypatch) as world:
        await world.assign(range(PARTITIONS))
        yield Asker(world, bus_of(world))


TOKENS: dict[str, Any] = {"web_token": "operator", "web_tenant_tokens": {"a-token": "acme"}}


@pytest.fixture
async def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asker]:
    async with a_world(tmp_path, monkeypatch, **TOKENS) as world:
        yield Asker(world, bus_of(world))


def details(answer: Answer) -> dict[str, str]:
    return {detail["field"]: detail["reason"] for detail in answer.json["error"]["details"]}


# --- what is sent -------------------------------------------------------------------------------------------------


async def test_a_command_is_accepted_with_its_ids_and_the_place_of_its_result(ask: Asker) -> None:
    answer = await ask.post("/stock/entries", ENTRY, X_Correlation_Id="r-1", Idempotency_Key="k-1")
    assert answer.status == 202
    assert answer.headers["Location"] == "/stock/p1/w1"
    assert answer.json == {"event_id": "k-1", "correlation_id": "r-1"}
    [event] = ask.bus.published
    assert isinstance(event, e.StockEntryRequested)
    assert (event.event_id, event.tenant_id, event.quantity) == ("k-1", "default", Decimal("12.5"))
    assert ask.bus.correlations == ["r-1"]


async def test_a_command_without_a_key_gets_an_id_of_its_own(ask: Asker) -> None:
    answers = [await ask.post("/stock/entries", ENTRY) for _ in range(2)]
    ids = [answer.json["event_id"] for answer in answers]
    assert ids == [event.event_id for event in ask.bus.published]
    assert ids[0] != ids[1]


async def test_what_the_path_says_is_part_of_the_command(ask: Asker) -> None:
    answer = await ask.post("/stock/allocations/p%2F1~w1~a/release", {"reason": "no longer"})
    [event] = ask.bus.published
    assert isinstance(event, e.StockAllocationReleaseRequested)
    assert (event.allocation_id, event.reason) == ("p/1~w1~a", "no longer")
    assert answer.headers["Location"] == "/stock/allocations/p%2F1~w1~a"


async def test_a_command_may_have_nothing_to_say(ask: Asker) -> None:
    assert (await ask.post("/notifications/n1/cancel", b"")).status == 202
    assert (await ask.post("/notifications/n1/cancel", {})).status == 202


async def test_ids_that_the_rules_make_are_in_the_location(ask: Asker) -> None:
    allocation = {"product_id": "p~1", "warehouse_id": "w1", "quantity": "1"}
    reserved = await ask.post("/stock/allocations", allocation, Idempotency_Key="k-1")
    assert reserved.headers["Location"] == "/stock/allocations/p%257E1~w1~k-1"
    message = {"channel": "EMAIL", "recipient": "a@b.example", "template": "t", "idempotency_key": "i-1"}
    assert (await ask.post("/notifications", message)).headers["Location"] == "/notifications/i-1"


async def test_ids_that_a_command_has_to_have_are_the_events_where_the_body_has_none(ask: Asker) -> None:
    path = "/customers/c1/loyalty/transactions"
    answer = await ask.post(path, {"points_change": 5}, Idempotency_Key="k-1")
    await ask.post(path, {"points_change": 5, "transaction_id": "t-1"})
    assert [event.transaction_id for event in ask.bus.published] == ["k-1", "t-1"]
    assert answer.headers["Location"] == "/customers/c1/loyalty/transactions/k-1"


async def test_a_hold_is_made_captured_and_released_below_its_customer(ask: Asker) -> None:
    path = "/customers/c%2F1/loyalty/holds"
    held = await ask.post(path, {"points": 5, "ttl_seconds": 60}, Idempotency_Key="h-1")
    captured = await ask.post(f"{path}/h-1/capture", {"points": 4}, Idempotency_Key="k-1", If_Match='"3"')
    released = await ask.post(f"{path}/h-1/release")
    assert [answer.status for answer in (held, captured, released)] == [202, 202, 202]
    assert held.headers["Location"] == released.headers["Location"] == f"{path}/h-1"
    assert captured.headers["Location"] == "/customers/c%2F1/loyalty/transactions/k-1"
    [hold, capture, release] = ask.bus.published
    assert (hold.customer_id, hold.hold_id, hold.points) == ("c/1", "h-1", 5)
    assert (capture.hold_id, capture.transaction_id, capture.points, capture.expected_version) == (
        "h-1",
        "k-1",
        4,
        3,
    )
    assert (release.customer_id, release.hold_id) == ("c/1", "h-1")


async def test_times_and_lists_and_parts_become_what_the_contract_says(ask: Asker) -> None:
    body = {
        "benefit_id": "b1",
        "kind": "PERCENT",
        "tiers": [{"min_quantity": "3", "value": "10"}],
        "product_ids": ["p1", "p2"],
        "effective_from": "2026-11-20T13:00:00+01:00",
    }
    await ask.post("/catalog/benefits", body)
    [event] = ask.bus.published
    assert event.effective_from == AT
    assert event.tiers == (e.CatalogBenefitTier(min_quantity=Decimal(3), value=Decimal(10)),)
    assert event.product_ids == ("p1", "p2")


async def test_if_match_is_the_version_that_the_command_expects(ask: Asker) -> None:
    await ask.post("/customers", {"customer_id": "c1"}, If_Match='"17"')
    await ask.post("/customers", {"customer_id": "c1"})
    assert [event.expected_version for event in ask.bus.published] == [17, None]


# --- what is wrong ------------------------------------------------------------------------------------------------


async def test_everything_that_is_wrong_is_told_at_once(ask: Asker) -> None:
    body = {
        "product_id": "",
        "quantity": 1.5,
        "expiration_date": "tomorrow",
        "received_at": "2026-11-20T12:00:00",
        "colour": "red",
        "event_id": "mine",
    }
    answer = await ask.post("/stock/entries?wait=1h&page=2", body, Idempotency_Key="a b", If_Match="*")
    assert (answer.status, answer.code) == (400, "VALIDATION_FAILED")
    assert set(details(answer)) == {
        "product_id",
        "warehouse_id",
        "quantity",
        "expiration_date",
        "received_at",
        "colour",
        "event_id",
        "wait",
        "page",
        "Idempotency-Key",
        "If-Match",
    }
    assert ask.bus.published == []


async def test_a_decimal_that_is_none_is_refused(ask: Asker) -> None:
    wrong: list[Any] = [
        1,
        1.5,
        True,
        None,
        "",
        "1e3",
        "1,5",
        " 1",
        "NaN",
        "Infinity",
        "1.0000001",
        "1" * 33,
        "٣",
    ]
    for quantity in wrong:
        answer = await ask.post("/stock/entries", ENTRY | {"quantity": quantity})
        assert set(details(answer)) == {"quantity"}, quantity


async def test_a_decimal_that_fits_arrives_exactly(ask: Asker) -> None:
    for quantity in ("1", "1.500000000", "-1", "0.000001", "0001", "1" * 32):
        assert (await ask.post("/stock/entries", ENTRY | {"quantity": quantity})).status == 202
        assert ask.bus.published.pop().quantity == Decimal(quantity)


async def test_a_body_that_is_no_object_is_refused(ask: Asker) -> None:
    for body in (b"", b"[]", b"{", b"null", b"12", b'{"product_id": "\\ud800"}', b"\xff"):
        assert (await ask.post("/stock/entries", body)).code == "VALIDATION_FAILED", body


async def test_what_a_page_of_another_site_could_send_without_asking_is_refused(ask: Asker) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await ask.post("/stock/entries", ENTRY, Content_Type=content_type)
        assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert ask.bus.published == []


async def test_an_enums_symbol_for_what_is_not_known_is_nobodys_to_send(ask: Asker) -> None:
    answer = await ask.post("/catalog/products", {"product_id": "p1", "status": "UNKNOWN"})
    assert set(details(answer)) == {"status"}


async def test_an_if_match_that_is_no_version_is_refused(ask: Asker) -> None:
    for match in ("3", "*", 'W/"3"', '"3", "4"', '"x"', '""', '"1234567890123456789"'):
        answer = await ask.post("/customers", {"customer_id": "c1"}, If_Match=match)
        assert set(details(answer)) == {"If-Match"}, match


async def test_a_command_without_a_version_takes_no_if_match(ask: Asker) -> None:
    quota = {"quota_id": "q", "meter": "m"}
    answer = await ask.post("/usage/acme/quotas", quota, If_Match='"3"')
    assert "knows no version" in details(answer)["If-Match"]


async def test_whoever_gives_a_deprecated_command_is_warned(
    ask: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Warning" not in (await ask.post("/stock/entries", ENTRY)).headers
    monkeypatch.setattr(e.StockEntryRequested, "DEPRECATED", ("1.4.0", "stock.entry.v2"), raising=False)
    for path in ("/stock/entries", "/stock/entries?wait=1s"):
        assert (await ask.post(path, ENTRY)).headers["Warning"] == (
            '299 - "stock.entry.requested is deprecated since 1.4.0; send stock.entry.v2 instead"'
        )


async def test_what_the_client_finds_wrong_is_told(ask: Asker) -> None:
    ask.bus.reply = Invalid([(0, "it takes 900000 bytes")])
    answer = await ask.post("/stock/entries", ENTRY)
    assert (answer.status, details(answer)) == (400, {"body": "it takes 900000 bytes"})


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5.0), ("500ms", 0.5), ("0.5s", 0.5), ("30s", 30.0)])
def test_a_time_to_wait_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["5", "s", "0s", "31s", "-1s", "1m", "5 s", "٣s", "1e1s", ""])
def test_a_time_that_nobody_should_wait_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at most 30 s"):
        seconds_of(text)


# --- results ------------------------------------------------------------------------------------------------------


async def test_who_waits_gets_the_facts_as_json(ask: Asker) -> None:
    checked = e.StockAvailabilityChecked(
        timestamp=AT,
        product_id="p1",
        warehouse_id="w1",
        quantity=Decimal("0.000000"),
        available=Decimal("12.500000"),
        on_hand=Decimal(100),
        reserved=Decimal(0),
        sufficient=True,
        as_of_version=3,
    )
    ask.bus.reply = {"facts": (checked, RECORDED)}
    answer = await ask.post("/stock/entries?wait=5s", ENTRY, Idempotency_Key="k-1", X_Correlation_Id="r-1")
    assert answer.status == 201
    assert answer.headers["Location"] == "/stock/p1/w1"
    assert answer.headers["ETag"] == '"7"'
    body = answer.json
    assert (body["event_id"], body["correlation_id"], body["duplicate"]) == ("k-1", "r-1", False)
    first, second = body["facts"]
    assert (first["type"], first["record"]) == (checked.TYPE, checked.RECORD)
    assert {name: first["data"][name] for name in ("quantity", "available", "on_hand", "timestamp")} == {
        "quantity": "0",
        "available": "12.5",
        "on_hand": "100",
        "timestamp": "2026-11-20T12:00:00Z",
    }
    assert second["type"] == RECORDED.TYPE
    assert ask.bus.requested[0][1] == 5.0


async def test_what_makes_nothing_is_200_and_a_repetition_says_that_it_is_one(ask: Asker) -> None:
    ask.bus.reply = {"duplicate": True}
    answer = await ask.post("/customers?wait=500ms", {"customer_id": "c1"})
    assert (answer.status, answer.json["duplicate"]) == (200, True)
    assert ask.bus.requested[0][1] == 0.5


async def test_a_question_waits_without_being_told(ask: Asker) -> None:
    body = {"items": [{"product_id": "p1", "quantity": "2"}]}
    assert (await ask.post("/catalog/pricing", body, Idempotency_Key="k-1")).status == 200
    [(event, wait)] = ask.bus.requested
    assert (event.request_id, wait) == ("k-1", 5.0)


async def test_a_refusal_is_an_error_with_its_reason(ask: Asker) -> None:
    for status, code, http in (
        ("REJECTED", "INSUFFICIENT_STOCK", 409),
        ("REJECTED", "VERSION_CONFLICT", 412),
        ("REJECTED", "NOT_FOUND", 404),
        ("REJECTED", "VALIDATION_FAILED", 400),
        ("FAILED", "DUPLICATE_CONFLICT", 409),
        ("FAILED", "TEMPORARY_FAILURE", 503),
        ("FAILED", "INVARIANT_VIOLATION", 500),
    ):
        ask.bus.reply = {"status": status, "code": code, "message": "3 are missing", "facts": ()}
        answer = await ask.post("/stock/entries?wait=5s", ENTRY)
        assert (answer.status, answer.code) == (http, code)
        assert answer.json["error"]["message"] == "3 are missing"
        assert answer.json["error"]["correlation_id"] == answer.headers["X-Correlation-Id"]


@pytest.mark.parametrize(
    "error",
    [
        RequestTimeout("StockEntryRequested", 5, "k-1", "r-1", "sluice"),
        UnreadableReply("of a newer worker"),
        Closed("the client was closed", sent=True),
    ],
)
async def test_where_the_result_does_not_come_the_command_is_accepted_all_the_same(
    ask: Asker, error: Exception
) -> None:
    ask.bus.reply = error
    answer = await ask.post("/stock/entries?wait=5s", ENTRY, Idempotency_Key="k-1")
    assert (answer.status, answer.json["event_id"]) == (202, "k-1")
    assert answer.headers["Location"] == "/stock/p1/w1"


@pytest.mark.parametrize("path", ["/stock/entries", "/stock/entries?wait=5s"])
@pytest.mark.parametrize("error", [NotSent("no broker at secret:9092"), Closed("the client is closed")])
async def test_a_command_that_was_not_sent_is_not_accepted(ask: Asker, path: str, error: Exception) -> None:
    ask.bus.reply = error
    answer = await ask.post(path, ENTRY)
    assert (answer.status, answer.code) == (503, "TEMPORARY_FAILURE")
    assert "Retry-After" in answer.headers
    assert b"secret" not in answer.body


async def test_a_defect_is_an_error_and_not_an_acceptance(ask: Asker) -> None:
    ask.bus.reply = RuntimeError("a defect")
    answer = await ask.post("/stock/entries?wait=5s", ENTRY)
    assert (answer.status, answer.code) == (500, "INTERNAL_ERROR")


# --- who may ------------------------------------------------------------------------------------------------------


async def test_without_a_token_nothing_is_commanded(guarded: Asker) -> None:
    assert (await guarded.post("/stock/entries", ENTRY)).status == 401
    assert guarded.bus.published == []


async def test_a_tenants_token_commands_its_own_tenant_only(guarded: Asker) -> None:
    token = {"Authorization": "Bearer a-token"}
    own = await guarded.post("/stock/entries", ENTRY, **token)
    named = await guarded.post("/stock/entries?tenant=acme", ENTRY, **token)
    other = await guarded.post("/stock/entries?tenant=beta", ENTRY, **token)
    assert (own.status, named.status, other.status) == (202, 202, 403)
    assert {event.tenant_id for event in guarded.bus.published} == {"acme"}
    assert own.headers["Location"] == "/stock/p1/w1?tenant=acme"


async def test_a_tenant_cannot_be_smuggled_in_through_the_body(guarded: Asker) -> None:
    answer = await guarded.post(
        "/stock/entries", ENTRY | {"tenant_id": "beta"}, Authorization="Bearer a-token"
    )
    assert set(details(answer)) == {"tenant_id"}


async def test_the_operator_commands_every_tenant(guarded: Asker) -> None:
    answer = await guarded.post("/stock/entries?tenant=b%2Fc", ENTRY, Authorization="Bearer operator")
    assert answer.headers["Location"] == "/stock/p1/w1?tenant=b%2Fc"
    assert guarded.bus.published[0].tenant_id == "b/c"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/usage/acme/quotas", {"quota_id": "q", "meter": "m"}),
        ("/usage/acme/prices", {"resource_type": "r", "unit": "u", "currency": "EUR", "rate": "0.01"}),
    ],
)
async def test_a_tenant_sets_neither_its_own_quota_nor_its_own_price(
    guarded: Asker, path: str, body: dict[str, Any]
) -> None:
    assert (await guarded.post(path, body, Authorization="Bearer a-token")).status == 403
    answer = await guarded.post(path, body, Authorization="Bearer operator")
    assert answer.status == 202
    assert answer.headers["Location"].startswith("/usage/acme/")
    assert guarded.bus.published[0].tenant_id == "acme"


async def test_a_request_under_another_name_of_this_machine_is_refused(ask: Asker) -> None:
    assert (await ask.post("/stock/entries", ENTRY, Host="evil.example")).status == 403
    assert ask.bus.published == []


# --- the table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.path)
def test_every_command_has_a_model_of_its_contract(row: Any) -> None:
    names = set(row.record.__struct_fields__)
    assert set(row.body.model_fields) <= names
    assert set(row.fields.values()) | set(row.named) <= names
    assert row.summary


def test_every_command_is_routed_and_no_timers_own() -> None:
    from streams.routes import INDEX

    routed = {route.event for route in INDEX.routes if route.answered}
    assert {row.record for row in COMMANDS} <= routed
    assert [row.path for row in COMMANDS if "due_at" in row.record.__struct_fields__] == []  # type: ignore[attr-defined]


async def test_the_index_lists_what_can_be_commanded(ask: Asker) -> None:
    listed = (await ask.world.get("/")).json["commands"]
    assert set(listed) == {row.path for row in COMMANDS} | {"/events"}


async def test_a_path_that_is_read_only_takes_no_command(ask: Asker) -> None:
    answer = await ask.post("/alerts", {})
    assert (answer.status, answer.code) == (405, "METHOD_NOT_ALLOWED")


async def test_metrics_count_what_became_of_requests(ask: Asker) -> None:
    text = (await ask.world.get("/metrics")).body.decode()
    assert 'sluice_client_requests_total{outcome="replied"} 3.0' in text
    assert 'sluice_records_sent_total{outcome="acknowledged",producer="client"} 4.0' in text
    assert 'sluice_records_sent_total{outcome="failed",producer="client"} 1.0' in text
    assert 'sluice_client_requests_total{outcome="timeout"} 2.0' in text
    assert "sluice_client_late_replies_total 1.0" in text


async def test_a_shutdown_ends_what_waits(ask: Asker) -> None:
    await ask.world.workers[0].stop()
    assert ask.bus.closed


async def test_a_workers_own_client_is_made_with_its_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path, monkeypatch) as world:
        app = world.workers[0].app
        assert "client" not in vars(app)
        assert isinstance(app.client, Client)
        assert app.client is app.client


# --- versions -----------------------------------------------------------------------------------------------------


async def test_a_view_tells_its_version_and_says_when_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path, monkeypatch, count=2) as world:
        await world.assign(range(2), range(2, PARTITIONS))

        def rename(name: str) -> None:
            event = e.CustomerProfileUpsertRequested(timestamp=AT, customer_id="c1", name=name)
            world.apply("customer", "default|c1", event, AT)

        rename("Ada")
        for worker in range(2):  # one of them asks the other
            first = await world.get("/customers/c1", worker)
            etag = first.headers["Etag"]
            assert (first.status, etag) == (200, f'"{first.json["version"]}"')
            again = await world.get("/customers/c1", worker, {"If-None-Match": f'"0", {etag}'})
            assert (again.status, again.body, again.headers["Etag"]) == (304, b"", etag)
        rename("Ada L.")
        for worker in range(2):
            changed = await world.get("/customers/c1", worker, {"If-None-Match": etag})
            assert (changed.status, changed.json["name"]) == (200, "Ada L.")


async def test_what_has_no_version_has_no_etag(ask: Asker) -> None:
    assert "Etag" not in (await ask.world.get("/alerts")).headers


def test_every_location_is_a_views_path() -> None:
    from agents.views import VIEWS

    views = {re.sub(r"{\w+}", "{}", view.path) for view in VIEWS}
    assert {re.sub(r"{\w+}", "{}", row.location) for row in COMMANDS if row.location} <= views
