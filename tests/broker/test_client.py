"""Requests over a real bus: every operation of the typed clients, transactions, commands over HTTP, and their traces.

One worker with the whole index, on the shared broker, under an application of its own.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from agents.clients import CatalogClient, CustomerClient, NotificationClient, StockClient
from ops.setup import setup
from ops.stack.local import LocalStack
from streams.client import Client, NotSent, Rejected
from streams.events import (
    CatalogBenefitUpsertRequested,
    CatalogPriceSetRequested,
    CatalogProductUpsertRequested,
    CustomerProfileUpsertRequested,
    StockEntryRequested,
    StockExitRequested,
    StockPolicySetRequested,
)
from streams.settings import Settings
from streams.topics import ALERTS
from streams.trace_context import sampled
from tests.faults.cluster import read
from tests.faults.processes import Worker, until
from tests.otlp import Received, Receiver

pytestmark = pytest.mark.broker

START_S = 60.0
TENANT = f"tenant-{uuid4().hex[:8]}"


@dataclass
class Answer:
    """What the worker answered."""

    status: int
    headers: Any
    json: Any


class Bus:
    """A worker, and how to reach it."""

    def __init__(self, stack: LocalStack, folder: Path, receiver: Receiver) -> None:
        self.receiver = receiver
        app_id = f"client-{uuid4().hex[:10]}"
        self.settings = Settings.read(
            bootstrap_servers=stack.bootstrap_servers,
            registry_url=stack.registry_url,
            app_id=app_id,
            data_dir=folder / "client",
        )
        asyncio.run(setup(self.settings))
        environment = {
            "SLUICE_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "SLUICE_REGISTRY_URL": stack.registry_url,
            "SLUICE_APP_ID": app_id,
            "SLUICE_SESSION_TIMEOUT_S": "4",
            "SLUICE_STALL_TIMEOUT_S": "5",  # so that it looks at its lag twice a second
            "SLUICE_TRACING": receiver.url,
            "SLUICE_TRACING_RATIO": "0",  # so that it begins no trace itself
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        self.worker = Worker("w1", "worker", folder, environment, module="ops.cli")

    def start(self) -> None:
        """Start the worker and wait until it is ready."""
        self.worker.start()
        until(lambda: self.get("/health/ready").status == 200, START_S, "the worker")

    def get(self, path: str, **headers: str) -> Answer:
        """Ask the worker; status 0 where nobody listens."""
        return self._ask(urllib.request.Request(self._url(path), headers=headers))  # noqa: S310

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        """Give the worker a command; headers by their names with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
        return self._ask(urllib.request.Request(self._url(path), data, named, method="POST"))  # noqa: S310

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.worker.port}{path}"

    def _ask(self, request: urllib.request.Request) -> Answer:
        try:
            with urllib.request.urlopen(request, timeout=40) as response:  # noqa: S310
                return Answer(response.status, response.headers, json.load(response))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, json.loads(error.read() or b"{}"))
        except OSError:
            return Answer(0, {}, {})


@pytest.fixture(scope="module")
def bus(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    with Receiver() as receiver:
        bus = Bus(stack, tmp_path_factory.mktemp("client"), receiver)
        try:
            bus.start()
            yield bus
        finally:
            bus.worker.stop()


@pytest.fixture
async def client(bus: Bus) -> AsyncIterator[Client]:
    async with Client(bus.settings) as client:
        yield client


def now() -> datetime:
    return datetime.now(UTC)


def entry(product: str, quantity: int, **fields: Any) -> StockEntryRequested:
    return StockEntryRequested(
        timestamp=now(),
        tenant_id=TENANT,
        product_id=product,
        warehouse_id="w1",
        quantity=Decimal(quantity),
        **fields,
    )


# --- typed clients ------------------------------------------------------------------------------------------------


async def test_stock_is_received_reserved_given_back_and_moved(client: Client) -> None:
    stock = StockClient(client, TENANT)
    assert not (await stock.validate_product("bolt"))["valid"]
    received = await client.request(entry("bolt", 10))
    assert received.ok
    allocation = await stock.allocate_stock("bolt", Decimal(4), "w1", order_id="o-1")
    assert allocation["allocated"] == Decimal(4)
    available = await stock.check_availability("bolt", Decimal(7), "w1")
    assert (available["available"], available["sufficient"]) == (Decimal(6), False)
    with pytest.raises(Rejected) as refused:
        await stock.allocate_stock("bolt", Decimal(7), "w1")
    assert refused.value.code == "INSUFFICIENT_STOCK"
    for _ in range(2):  # giving back twice is giving back once
        await stock.release_allocation(allocation["allocation_id"])
    movement = {
        "type": "EXIT",
        "product_id": "bolt",
        "warehouse_id": "w1",
        "quantity": 3,
        "movement_id": "m-1",
    }
    for _ in range(2):  # the same movement
        assert await stock.record_movement(movement) == "m-1"
    assert (await stock.check_availability("bolt", Decimal(7), "w1"))["available"] == Decimal(7)


async def test_a_customer_earns_and_spends_points_and_gets_benefits(client: Client) -> None:
    customers, catalog = CustomerClient(client, TENANT), CatalogClient(client, TENANT)
    assert (await customers.validate_customer("ada"))["reason"] == "NOT_FOUND"
    profile = CustomerProfileUpsertRequested(
        timestamp=now(), tenant_id=TENANT, customer_id="ada", name="Ada", preferences={"colour": "blue"}
    )
    assert (await client.request(profile)).ok
    assert (await customers.validate_customer("ada"))["valid"]
    shown = await customers.get_customer_profile("ada")
    assert (shown["name"], shown["preferences"]) == ("Ada", None)
    assert (await customers.get_customer_profile("ada", True))["preferences"] == {"colour": "blue"}
    for _ in range(2):  # the same transaction
        await customers.update_loyalty_points("ada", 100, "welcome", transaction_id="t-1")
    await customers.update_loyalty_points("ada", -30, "a voucher")
    assert (await customers.get_loyalty_info("ada"))["balance"] == 70
    with pytest.raises(Rejected) as refused:
        await customers.update_loyalty_points("ada", -71, "too much")
    assert refused.value.code == "INSUFFICIENT_POINTS"

    common: dict[str, Any] = {"timestamp": now(), "tenant_id": TENANT}
    for command in (
        CatalogProductUpsertRequested(product_id="nut", name="Nut", **common),
        CatalogPriceSetRequested(product_id="nut", currency="EUR", amount=Decimal("1.50"), **common),
        CatalogBenefitUpsertRequested(benefit_id="ten", kind="PERCENT", percent=Decimal(10), **common),
    ):
        assert (await client.request(command)).ok
    items = [{"product_id": "nut", "quantity": Decimal(4)}]

    async def everywhere() -> bool:  # what is set reaches every worker's copy of the catalogue a moment later
        try:
            return bool((await catalog.apply_benefits(items, "ada"))["applied"])
        except Rejected:
            return False

    while not await everywhere():
        await asyncio.sleep(0)
    assert (await catalog.calculate_pricing(items))["total"] == Decimal(6)
    assert (await catalog.calculate_pricing(items, "ada"))["total"] == Decimal("5.40")
    with pytest.raises(Rejected) as unknown:
        await catalog.apply_benefits(items, "nobody")
    assert unknown.value.code == "NOT_FOUND"
    assert (await catalog.get_product_info("nut"))["name"] == "Nut"
    assert (await StockClient(client, TENANT).validate_product("nut"))["valid"]
    assert await catalog.validate_products(["nut", "no-such"]) == {"nut": True, "no-such": False}


async def test_notifications_are_sent_counted_and_cancelled(client: Client) -> None:
    notifications = NotificationClient(client, TENANT)
    later = {"channel": "LOG", "recipient": "ada", "template": "Hello {name}", "params": {"name": "Ada"}}
    later |= {"send_at": now() + timedelta(hours=1)}  # type: ignore[dict-item]
    sent = await notifications.send_notification(later | {"idempotency_key": "welcome-1"})
    assert sent == "welcome-1"
    assert (await notifications.get_notification_status(sent))["status"] == "SCHEDULED"
    assert await notifications.cancel_notification(sent)
    assert not await notifications.cancel_notification(sent)
    assert not await notifications.cancel_notification("no-such")
    bad = later | {"template": "Hello {nobody}"}
    ids = await notifications.send_batch_notifications(
        [later, bad, later | {"notification_id": "n-3"}], batch_id="b"
    )
    assert (len(ids), ids[1], ids[2]) == (3, "", "n-3")

    async def scheduled() -> bool:  # a batch is taken apart first
        try:
            return bool((await notifications.get_notification_status(ids[0]))["status"] == "SCHEDULED")
        except Rejected:
            return False

    while not await scheduled():
        await asyncio.sleep(0)


# --- transactions -------------------------------------------------------------------------------------------------


async def test_of_a_batch_that_is_taken_back_nothing_counts_and_the_worker_goes_on_behind_it(
    bus: Bus, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock, submit = StockClient(client, TENANT), client._transactions._sender.submit
    taken: list[str] = []

    async def fails_on_the_third(message: Any) -> Any:
        if len(taken) == 2:
            raise MessageSizeTooLargeError("a failure in the middle of the transaction")
        future = await submit(message)
        await future  # the broker has it
        taken.append(message.event_id)
        return future

    with monkeypatch.context() as patched:
        patched.setattr(client._transactions._sender, "submit", fails_on_the_third)
        with pytest.raises(NotSent):
            await client.publish_batch([entry("screw", 100), entry("screw", 200), entry("screw", 400)])
    assert len(taken) == 2
    await client.publish_batch([entry("screw", 1), entry("screw", 2)])
    assert (await client.request(entry("screw", 4))).ok
    assert (await stock.check_availability("screw", Decimal(1), "w1"))["on_hand"] == Decimal(7)


# --- HTTP ---------------------------------------------------------------------------------------------------------


def test_who_waits_reads_what_was_written(bus: Bus) -> None:
    body = {"product_id": "washer", "warehouse_id": "w1", "quantity": "5"}
    path = f"/stock/entries?wait=20s&tenant={TENANT}"
    made = bus.post(path, body, Idempotency_Key="e-1", X_Correlation_Id="r-1")
    assert (made.status, made.json["correlation_id"], made.json["duplicate"]) == (201, "r-1", False)
    assert made.json["facts"][0]["data"]["on_hand"] == "5"
    view = bus.get(made.headers["Location"])
    assert (view.status, view.json["on_hand"]) == (200, "5")
    again = bus.post(path, body, Idempotency_Key="e-1")
    assert (again.status, again.json["duplicate"], again.json["facts"]) == (201, True, made.json["facts"])
    other = bus.post(path, body | {"quantity": "6"}, Idempotency_Key="e-1")
    assert (other.status, other.json["error"]["code"]) == (409, "DUPLICATE_CONFLICT")
    unchanged = bus.get(made.headers["Location"], **{"If-None-Match": view.headers["ETag"]})
    assert unchanged.status == 304


def test_a_command_for_a_version_that_is_gone_is_refused(bus: Bus) -> None:
    path = f"/customers?wait=20s&tenant={TENANT}"
    first = bus.post(path, {"customer_id": "eve", "name": "Eve"})
    assert first.status == 200
    etag = bus.get(first.headers["Location"]).headers["ETag"]
    assert etag == first.headers["ETag"]
    assert bus.post(path, {"customer_id": "eve", "name": "Eva"}, If_Match=etag).status == 200
    stale = bus.post(path, {"customer_id": "eve", "name": "Evi"}, If_Match=etag)
    assert (stale.status, stale.json["error"]["code"]) == (412, "VERSION_CONFLICT")
    missing = bus.post(
        f"/customers/nobody/loyalty/transactions?wait=20s&tenant={TENANT}",
        {"points_change": 5, "reason": "r"},
    )
    assert (missing.status, missing.json["error"]["code"]) == (404, "NOT_FOUND")


def test_who_does_not_wait_finds_the_result_at_the_location(bus: Bus) -> None:
    message = {"channel": "LOG", "recipient": "eve", "template": "Hello", "notification_id": "h-1"}
    accepted = bus.post(f"/notifications?tenant={TENANT}", message)
    assert accepted.status == 202
    until(lambda: bus.get(accepted.headers["Location"]).status == 200, START_S, "the notification")


# --- restart ------------------------------------------------------------------------------------------------------


async def test_first_results_outlive_the_worker_and_a_waiting_request_gets_its_reply_from_the_next_one(
    bus: Bus, client: Client
) -> None:
    first = await client.request(entry("rivet", 3, event_id="r-1"))
    assert bus.worker.stop() == 0
    waiting = asyncio.create_task(client.request(entry("rivet", 3, event_id="r-1"), START_S))
    await asyncio.to_thread(bus.start)
    again = await waiting
    assert again.duplicate
    assert again.facts == first.facts
    stock = StockClient(client, TENANT)
    assert (await stock.check_availability("rivet", Decimal(1), "w1"))["on_hand"] == Decimal(3)


def lag(bus: Bus, partition: int) -> float | None:
    """Return how many commands of stock in a partition the worker is behind, or None before it has looked."""
    with urllib.request.urlopen(bus._url("/metrics"), timeout=10) as response:  # noqa: S310
        lines = response.read().decode().splitlines()
    ours = ('topic="stock.commands"', f'partition="{partition}"')
    for line in lines:
        if line.startswith("sluice_consumer_lag_records{") and all(label in line for label in ours):
            return float(line.rpartition(" ")[2])
    return None


async def test_a_partition_that_ends_with_a_transactions_marker_is_no_work_to_do(
    bus: Bus, client: Client
) -> None:
    [last] = await client.publish_batch([entry("spring", 8)])
    view = f"/stock/spring/w1?tenant={TENANT}"
    for _ in range(2):
        assert bus.worker.stop() == 0
        await asyncio.to_thread(bus.start)
        await asyncio.to_thread(until, lambda: bus.get(view).json.get("on_hand") == "8", START_S, "the goods")
        await asyncio.to_thread(until, lambda: lag(bus, last.partition) == 0, START_S, "no lag")
    [marked] = await client.publish_batch([entry("spring", 1)])
    assert (marked.partition, marked.offset) == (last.partition, last.offset + 2), (
        "a marker lies between them"
    )


# --- traces ---------------------------------------------------------------------------------------------------------


def chain(spans: list[Received], last: str) -> list[Received]:
    """Return the span of a name and those that it comes from, the first one first; nothing where one is missing."""
    by_id = {span.id: span for span in spans}
    found = [span for span in spans if span.name == last][:1]
    while found and found[0].parent in by_id:
        found.insert(0, by_id[found[0].parent])
    return found


async def test_one_trace_leads_from_a_client_over_two_agents(bus: Bus, client: Client) -> None:
    policy = StockPolicySetRequested(
        timestamp=now(), tenant_id=TENANT, product_id="nut", warehouse_id="w1", reorder_point=Decimal(5)
    )
    assert (await client.request(policy)).ok
    assert (await client.request(entry("nut", 10))).ok
    taken = StockExitRequested(
        timestamp=now(), tenant_id=TENANT, product_id="nut", warehouse_id="w1", quantity=Decimal(6)
    )
    async with Client(bus.settings.model_copy(update={"tracing": bus.receiver.url})) as traced:
        assert (await traced.request(taken)).ok
    way = bus.receiver.until(
        lambda spans: found if len(found := chain(spans, "process alerts")) == 3 else None, "the whole way"
    )
    assert [span.name for span in way] == [
        "send StockExitRequested",
        "process stock.commands",
        "process alerts",
    ]
    assert [span.attributes.get("sluice.agent") for span in way] == [None, "stock", "alerts"]
    assert len({span.trace for span in way}) == 1
    parents = [sampled(record.headers) for record in read(bus.settings, ALERTS.name)]
    ours = [f"{each.span_id:016x}" for each in parents if each and f"{each.trace_id:032x}" == way[0].trace]
    assert ours == [way[1].id], "the alert names the span of the command that it follows from"


def test_a_trace_that_comes_over_http_goes_on(bus: Bus) -> None:
    trace, span = uuid4().hex, uuid4().hex[:16]
    body = {"movement_id": uuid4().hex, "product_id": "screw", "warehouse_id": "w1", "quantity": "3"}
    answer = bus.post("/stock/entries?wait=20s", body, traceparent=f"00-{trace}-{span}-01")
    assert answer.status == 201
    way = bus.receiver.until(
        lambda _: chain(bus.receiver.of(trace), "process stock.commands"), "the span of the command"
    )
    assert [each.name for each in way] == [
        "POST /stock/entries",
        "send StockEntryRequested",
        "process stock.commands",
    ]
    assert (way[0].parent, {each.trace for each in way}) == (span, {trace})
