"""The console's page, feed and actions on real web ports: who sees what, of all workers, and who may break things."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from faust.types import TP
from pydantic import SecretStr

from ops import console_pages
from ops.console_break import Breaker, Broken
from ops.console_schemas import type_text
from streams.events import (
    Alert,
    LoyaltyPointsUpdateRequested,
    StockEntryRequested,
    StockPolicySetRequested,
    UsageEvent,
    UsageQuotaSetRequested,
)
from streams.failures import FatalFailure
from streams.settings import Settings
from streams.topics import key_of
from streams.web_auth import check_binding
from streams.web_progress import Progress
from tests.unit.streams.web_world import World, a_world

OPERATOR, TENANT = "operator-token", "acme-token"
TOKENS: dict[str, Any] = {"web_token": SecretStr(OPERATOR), "web_tenant_tokens": {TENANT: "acme"}}
NOW = datetime.now(UTC)

Snapshot = dict[str, Any]


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(console_pages, "INTERVAL_S", 0.01)
    monkeypatch.setattr("ops.console_tables.AGAIN_S", 0.01)
    async with a_world(tmp_path, monkeypatch, 2, builds=[console_pages.build], **TOKENS) as world:
        await world.assign((0, 1), (2, 3))
        yield world


def fill(world: World, tenant: str) -> None:
    """Give a tenant a quota of which 60 % is used, stock below its reorder point, points and an alert."""
    at: dict[str, Any] = {"timestamp": NOW, "tenant_id": tenant}
    quota: dict[str, Any] = {"quota_id": "q", "meter": "m", "limit": Decimal(10), "period": "DAY"}
    used: dict[str, Any] = {
        "event_type": "api_call",
        "resource_type": "m",
        "quantity": Decimal(6),
        "unit": "calls",
    }
    world.apply("usage", tenant, UsageQuotaSetRequested(event_id="q", **quota, **at), NOW)
    world.apply("usage", tenant, UsageEvent(event_id="u", **used, **at), NOW)
    place: dict[str, Any] = {"product_id": "milk", "warehouse_id": "W"}
    stock = key_of(tenant, "milk", "W")
    world.apply("stock", stock, StockEntryRequested(event_id="e", quantity=Decimal(4), **place, **at), NOW)
    policy = StockPolicySetRequested(event_id="p", reorder_point=Decimal(5), **place, **at)
    world.apply("stock", stock, policy, NOW + timedelta(seconds=1))
    earned: dict[str, Any] = {
        "transaction_id": "t",
        "customer_id": "ada",
        "points_change": 1500,
        "auto_create": True,
        "reason": "r",
    }
    world.apply(
        "customer", key_of(tenant, "ada"), LoyaltyPointsUpdateRequested(event_id="l", **earned, **at), NOW
    )
    alert: dict[str, Any] = {
        "alert_id": "a",
        "alert_type": "low_stock",
        "subject": "milk/W",
        "status": "firing",
        "severity": "critical",
        "started_at": NOW,
    }
    event = Alert(event_id="a", event_type="alerts.low_stock", **alert, **at)
    world.apply("alerts", key_of(tenant, "low_stock", "milk/W"), event, NOW)


@asynccontextmanager
async def looking(
    world: World, token: str, worker: int = 0
) -> AsyncIterator[AsyncIterator[tuple[str, Snapshot]]]:
    """Open the feed; yield what comes: the name and the data of each event."""

    async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Snapshot]]:
        rest = b""
        async for chunk in response.content.iter_any():
            *whole, rest = (rest + chunk).split(b"\n\n")
            for event in whole:
                name, data = event.split(b"\n", 1)
                yield name.decode().removeprefix("event: "), json.loads(data.removeprefix(b"data: "))

    headers = {"Authorization": f"Bearer {token}"}
    async with (
        asyncio.timeout(20),
        aiohttp.ClientSession() as session,
        session.get(f"{world.workers[worker].url}/console/feed", headers=headers) as response,
    ):
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        yield events(response)


async def seen(
    world: World, token: str, wanted: Callable[[Snapshot], bool], worker: int = 0
) -> tuple[Snapshot, Snapshot]:
    """Return the greeting, and the first snapshot that is as wanted."""
    async with looking(world, token, worker) as events:
        _, hello = await anext(events)
        async for name, snapshot in events:
            assert name == "snapshot"
            if wanted(snapshot):
                return hello, snapshot
    raise AssertionError("the feed ended")


def sizes(domains: Snapshot) -> list[int]:
    """Return how many tenants, products, products that are low, customers and firing alerts there are."""
    counts = [domains[name] for name in ("tenants", "products", "low", "customers")]
    return [*counts, domains["alerts"]["statuses"].get("firing", 0)]


async def post(world: World, body: Any, token: str = OPERATOR, **headers: str) -> tuple[int, Any]:
    sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"} | headers
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{world.workers[0].url}/console/break", data=json.dumps(body), headers=sent
        ) as response,
    ):
        return response.status, await response.json()


async def test_the_page_and_its_files_need_no_token_and_take_scripts_and_styles_from_here_alone(
    world: World,
) -> None:
    page = await world.get("/console")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    for name, kind in (
        ("console.js", "text/javascript"),
        ("console.css", "text/css"),
        ("inter.woff2", "font/woff2"),
    ):
        answer = await world.get(f"/console/assets/{name}")
        assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, kind)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("nothing.js", "..%2Fcli.py", "inter.LICENSE.txt"):
        assert (await world.get(f"/console/assets/{path}")).status == 404


async def test_without_a_token_nothing_is_fed(world: World) -> None:
    assert (await world.get("/console/feed")).status == 401
    assert (await world.get("/console/schemas")).status == 401
    tenants = {"Authorization": f"Bearer {TENANT}"}
    assert (await world.get("/console/schemas", headers=tenants)).status == 403


async def test_an_operator_sees_the_tables_of_all_workers_on_any_of_them(world: World) -> None:
    tenants = [f"tenant-{number}" for number in range(6)]
    for tenant in tenants:
        fill(world, tenant)
    for worker in (0, 1):
        hello, snapshot = await seen(
            world, OPERATOR, lambda found: sizes(found["domains"]) == [6] * 5, worker
        )
        assert (hello["tenant"], hello["demo"], hello["app"]) == (None, False, "sluice")
        assert len(hello["topology"]["routes"]) == len(world.workers[0].app.index.routes)
        assert hello["counted"]
        domains = snapshot["domains"]
        assert {row["tenant"] for row in domains["quotas"]} == set(tenants)
        assert {row["percent"] for row in domains["quotas"]} == {60.0}
        assert {(row["available"], row["reorder_point"], row["low"]) for row in domains["stock"]} == {
            ("4", "5", True)
        }
        assert (domains["loyalty"]["tiers"]["SILVER"], domains["loyalty"]["balance"]) == (6, 9000)
        assert {row["status"] for row in domains["alerts"]["latest"]} == {"firing"}


async def test_every_partition_is_shown_with_its_owner(world: World) -> None:
    _, snapshot = await seen(
        world, OPERATOR, lambda found: all(worker["answers"] for worker in found["workers"])
    )
    urls = [worker["url"] for worker in snapshot["workers"]]
    assert urls == [worker.url for worker in world.workers]
    for partitions in snapshot["tables"].values():
        assert partitions == [{"owner": owner, "ready": True} for owner in (0, 0, 1, 1)]


async def test_the_lag_of_each_partition_is_its_owner_s(world: World) -> None:
    for number in range(4):
        watch = world.workers[number // 2].watch
        watch.progress[TP("usage.metered", number)] = Progress(end=10 + number, stored=10)
    _, snapshot = await seen(world, OPERATOR, lambda found: len(found["lags"].get("usage.metered", ())) == 4)
    assert snapshot["lags"]["usage.metered"] == {"0": 0, "1": 1, "2": 2, "3": 3}
    assert snapshot["pipeline"]["lag"] == 6


async def test_a_worker_that_does_not_count_says_so_and_shows_what_it_looks_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_pages, "INTERVAL_S", 0.01)
    async with a_world(tmp_path, monkeypatch, builds=[console_pages.build], metrics=False, **TOKENS) as world:
        await world.assign(range(4))
        world.workers[0].watch.progress[TP("usage.metered", 0)] = Progress(end=17, stored=10)
        hello, snapshot = await seen(world, OPERATOR, lambda found: "pipeline" in found)
        assert not hello["counted"]
        assert (snapshot["pipeline"]["lag"], snapshot["pipeline"]["outcomes"]) == (7, {})


async def test_a_worker_that_is_gone_is_shown_as_not_answering_and_the_others_go_on(world: World) -> None:
    await world.workers[1].stop()
    _, snapshot = await seen(world, OPERATOR, lambda found: "pipeline" in found)
    assert [worker["answers"] for worker in snapshot["workers"]] == [True, False]
    assert snapshot["tables"]["usage"][3] == {"owner": 1, "ready": False}


async def test_a_tenant_sees_its_own_tables_and_nothing_of_the_worker_or_of_others(world: World) -> None:
    fill(world, "acme")
    fill(world, "acme2")
    fill(world, "zulu")
    hello, snapshot = await seen(world, TENANT, lambda found: 0 not in sizes(found["domains"]))
    assert (hello["tenant"], "topology" in hello, "demo" in hello) == ("acme", False, False)
    assert set(snapshot) == {"domains", "point", "at"}
    domains = snapshot["domains"]
    assert sizes(domains) == [1] * 5
    rows = [*domains["quotas"], *domains["stock"], *domains["loyalty"]["best"], *domains["alerts"]["latest"]]
    assert len(rows) == 4
    assert {row["tenant"] for row in rows} == {"acme"}


async def test_listeners_are_bounded_and_a_worker_that_stops_sends_them_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_pages, "MOST_LISTENERS", 1)
    async with looking(world, OPERATOR) as events:
        await anext(events)
        answer = await world.get("/console/feed", headers={"Authorization": f"Bearer {OPERATOR}"})
        assert (answer.status, answer.code) == (503, "TEMPORARY_FAILURE")
        await world.workers[0].stop()
        assert [name async for name, _ in events if name != "snapshot"] == []


async def test_who_asks_for_the_head_of_the_feed_alone_does_not_stay(world: World) -> None:
    answer = await world.get("/console/feed", headers={"Authorization": f"Bearer {OPERATOR}"}, method="HEAD")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")


async def test_only_a_demo_can_be_broken(world: World) -> None:
    status, answer = await post(world, {"what": "kill"})
    assert (status, answer["error"]["code"]) == (404, "NOT_FOUND")


@pytest.fixture
async def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, list[str]]]:
    done: list[str] = []

    async def do(self: Any, request: Any) -> Broken:
        done.append(request.what)
        return Broken(told="done")

    monkeypatch.setattr(Breaker, "do", do)
    async with a_world(tmp_path, monkeypatch, 1, builds=[console_pages.build], demo=True, **TOKENS) as world:
        await world.assign(range(4))
        yield world, done


async def test_only_the_operator_breaks_things_and_only_from_the_worker_s_own_page(
    broken: tuple[World, list[str]],
) -> None:
    world, done = broken
    here = world.workers[0].url
    assert (await post(world, {"what": "kill"}, TENANT))[0] == 403
    assert (await post(world, {"what": "kill"}, "wrong"))[0] == 401
    assert (await post(world, {"what": "kill"}, **{"Content-Type": "text/plain"}))[0] == 415
    assert (await post(world, {"what": "kill"}, Origin="http://evil.example"))[0] == 403
    assert (await post(world, {"what": "kill"}, **{"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert (await post(world, {"what": "everything"}))[0] == 400
    assert done == []
    assert await post(world, {"what": "poison"}, Origin=here, **{"Sec-Fetch-Site": "same-origin"}) == (
        200,
        {"told": "done", "answer": "", "subject": ""},
    )
    assert done == ["poison"]


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "worker.example"])
def test_a_worker_that_can_be_broken_is_refused_on_any_other_address_than_loopback(host: str) -> None:
    settings = Settings(web_host=host, web_token=SecretStr("t"), demo=True)
    with pytest.raises(FatalFailure, match="SLUICE_DEMO"):
        check_binding(settings)
    check_binding(Settings(web_host="127.0.0.1", demo=True))


async def test_without_a_registry_the_subjects_are_shown_with_their_fields_and_why_versions_are_missing(
    world: World,
) -> None:
    answer = (await world.get("/console/schemas", headers={"Authorization": f"Bearer {OPERATOR}"})).json
    assert "schema registry does not answer" in answer["registry"]
    [metered] = [
        item for item in answer["items"] if item["subject"] == "usage.metered-sluice.usage.UsageEvent"
    ]
    assert (metered["topic"], metered["level"], metered["versions"]) == (
        "usage.metered",
        "FULL_TRANSITIVE",
        [],
    )
    types = {field["name"]: field["type"] for field in metered["fields"]}
    assert (types["quantity"], types["cost"], types["tenant_id"]) == ("decimal", "UsageCost?", "string")


async def test_the_page_asks_for_a_token_first_only_where_there_is_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert b"<body data-guarded>" in (await world.get("/console")).body
    async with a_world(tmp_path / "open", monkeypatch, builds=[console_pages.build]) as other:
        assert b"<body>" in (await other.get("/console")).body


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "decimal"),
        ({"type": "array", "items": {"type": "record", "name": "a.b.Line"}}, "array<Line>"),
        (["null", {"type": "map", "values": "string"}], "map<string>?"),
        ({"type": "enum", "name": "a.Kind"}, "Kind"),
        ({"type": "string"}, "string"),
    ],
)
def test_types_are_told_in_short(node: Any, wanted: str) -> None:
    assert type_text(node) == wanted
