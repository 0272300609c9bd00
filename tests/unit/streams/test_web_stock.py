"""The views of stock on a group of workers (contracts 3.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from streams.events import (
    StockAllocationRequested,
    StockEntryRequested,
    StockExitRequested,
    StockPolicySetRequested,
)
from streams.topics import key_of
from tests.unit.streams.web_world import World, a_world
from tests.unit.tables.scenario import NOON

WAREHOUSES = [f"WH {number}" for number in range(12)]
NUMBERS = count()


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    tokens = {"a": "acme", "o": "other"}
    async with a_world(tmp_path, monkeypatch, 2, web_token="t", web_tenant_tokens=tokens) as world:
        await world.assign((0, 1), (2, 3))
        yield world


def send(world: World, kind: type, warehouse: str = "WH 0", tenant: str = "acme", **fields: Any) -> None:
    at = fields.pop("at", NOON)
    product = fields.pop("product_id", "milk")
    given = {"product_id": product, "warehouse_id": warehouse, **fields}
    event = kind(event_id=f"e{next(NUMBERS)}", timestamp=at, tenant_id=tenant, **given)
    world.apply("stock", key_of(tenant, product, warehouse), event, at)


def enter(world: World, quantity: int, lot_id: str = "A", warehouse: str = "WH 0", **more: Any) -> None:
    send(world, StockEntryRequested, warehouse, quantity=Decimal(quantity), lot_id=lot_id, **more)


async def get(world: World, path: str, caller: str = "a", worker: int = 0) -> Any:
    return await world.get(path, worker, headers={"Authorization": f"Bearer {caller}"})


async def test_every_worker_answers_for_every_warehouse(world: World) -> None:
    for number, warehouse in enumerate(WAREHOUSES):
        enter(world, number + 1, warehouse=warehouse)
    for worker in (0, 1):
        for number, warehouse in enumerate(WAREHOUSES):
            answer = await get(world, f"/stock/milk/{quote(warehouse)}", worker=worker)
            assert (answer.status, answer.json["on_hand"]) == (200, str(number + 1))
            assert answer.json["lots"][0]["lot_id"] == "A"
        page = (await get(world, "/stock/milk?per_page=5&page=2", worker=worker)).json
        assert [item["warehouse_id"] for item in page["items"]] == sorted(WAREHOUSES)[5:10]
        assert (page["total"], page["has_next"]) == (12, True)
        assert (await get(world, "/stock/milk/nowhere", worker=worker)).status == 404


async def test_lots_are_paged_and_narrowed(world: World) -> None:
    for day in range(5):
        enter(world, 1, f"L{day}", expiration_date=NOON + timedelta(days=day + 1))
    enter(world, 1, "gone", expiration_date=NOON)
    found = (await get(world, "/stock/milk/WH%200/lots?per_page=2&page=2")).json
    assert [lot["lot_id"] for lot in found["items"]] == ["L1", "L2"]
    assert (found["total"], found["version"]) == (6, 6)
    expired = (await get(world, "/stock/milk/WH%200/lots?status=EXPIRED")).json
    assert [lot["lot_id"] for lot in expired["items"]] == ["gone"]
    assert (await get(world, "/stock/milk/WH%200/lots?status=LOST")).status == 400


async def test_availability_is_asked_with_a_quantity_and_a_time(world: World) -> None:
    enter(world, 5, expiration_date=NOON + timedelta(days=2000))
    path = "/stock/milk/WH%200/availability"
    assert (await get(world, path)).json["sufficient"] is None
    enough = (await get(world, f"{path}?quantity=5")).json
    assert (enough["quantity"], enough["sufficient"], enough["as_of_version"]) == ("5", True, 1)
    later = (await get(world, f"{path}?quantity=0.5&at=2040-01-01T00:00:00%2B01:00")).json
    assert (later["sufficient"], later["available"], later["at"]) == (False, "0", "2039-12-31T23:00:00Z")
    for wrong in ("quantity=-1", "quantity=x", "quantity=0.0000001", "at=tomorrow", "at=2040-01-01"):
        assert (await get(world, f"{path}?{wrong}")).status == 400


async def test_movements_are_paged(world: World) -> None:
    for number in range(30):
        enter(world, 1, movement_id=f"m{number}")
    found = (await get(world, "/stock/milk/WH%200/movements?per_page=10&page=3")).json
    assert [movement["movement_id"] for movement in found["items"]] == [
        f"m{number}" for number in range(9, -1, -1)
    ]
    assert (found["total"], found["has_next"]) == (30, False)


async def test_an_allocation_is_found_by_its_id_alone(world: World) -> None:
    enter(world, 5)
    send(world, StockAllocationRequested, quantity=Decimal(3), request_id="o/1")
    for worker in (0, 1):
        path = f"/stock/allocations/{quote('milk~WH 0~o/1', safe='')}"
        answer = await get(world, path, worker=worker)
        assert (answer.status, answer.json["status"], answer.json["allocated"]) == (200, "ACTIVE", "3")
    for unknown in ("milk~WH%200~o", "milk~WH%200~o%2F2", "nothing", "a~b~c"):
        assert (await get(world, f"/stock/allocations/{unknown}")).status == 404


async def test_low_stock_of_all_workers_is_listed_longest_first(world: World) -> None:
    for number, warehouse in enumerate(WAREHOUSES):
        send(world, StockPolicySetRequested, warehouse, reorder_point=Decimal(3))
        enter(world, 5, warehouse=warehouse)
        if number % 3:
            at = NOON + timedelta(hours=12 - number)
            send(world, StockExitRequested, warehouse, quantity=Decimal(3), at=at)
    expected = [warehouse for number, warehouse in enumerate(WAREHOUSES) if number % 3][::-1]
    for worker in (0, 1):
        found = (await get(world, "/stock/low?per_page=200", worker=worker)).json
        assert [item["warehouse_id"] for item in found["items"]] == expected
        assert all(item["low"] for item in found["items"])
        same = (await get(world, "/stock?low=true&per_page=200", worker=worker)).json
        assert sorted(item["warehouse_id"] for item in same["items"]) == sorted(expected)
    high = (await get(world, "/stock?low=false&warehouse=WH%203")).json
    assert [(item["warehouse_id"], item["low"]) for item in high["items"]] == [("WH 3", False)]
    assert (await get(world, "/stock?low=perhaps")).status == 400


async def test_any_product_can_be_asked_for_whatever_its_name(world: World) -> None:
    """``low`` and ``allocations`` are words of other paths."""
    for quantity, product in enumerate(("low", "allocations", "milk", "milk2"), start=1):
        enter(world, quantity, product_id=product, warehouse="WH 1")
    for worker in (0, 1):
        for product, on_hand in (("low", "1"), ("allocations", "2"), ("milk", "3")):
            found = (await get(world, f"/stock?product={product}", worker=worker)).json
            assert [(item["product_id"], item["on_hand"]) for item in found["items"]] == [(product, on_hand)]
            assert (await get(world, f"/stock/{product}/WH%201/lots", worker=worker)).json["total"] == 1
        whole = (await get(world, "/stock?per_page=3", worker=worker)).json
        assert [item["product_id"] for item in whole["items"]] == ["allocations", "low", "milk"]
        assert (whole["total"], whole["has_next"]) == (4, True)
    assert (await get(world, "/stock/low")).json["total"] == 0


async def test_a_tenant_sees_its_own_and_an_operator_whose_he_asks_for(world: World) -> None:
    enter(world, 5)
    enter(world, 7, tenant="default")
    for path in ("/stock", "/stock/milk/WH%200", "/stock/milk", "/stock/low", "/stock/milk/WH%200/lots"):
        assert (await get(world, f"{path}?tenant=acme", "o")).status == 403
    assert (await get(world, "/stock/milk/WH%200", "o")).status == 404
    assert (await get(world, "/stock/milk", "o")).json["total"] == 0
    assert (await get(world, "/stock/milk/WH%200", "t")).json["on_hand"] == "7"
    assert (await get(world, "/stock/milk/WH%200?tenant=acme", "t")).json["on_hand"] == "5"


async def test_a_product_whose_name_begins_like_another_is_not_shown_with_it(world: World) -> None:
    enter(world, 5)
    enter(world, 6, product_id="milk|WH 0")
    enter(world, 7, product_id="milk2")
    found = (await get(world, "/stock/milk")).json
    assert [item["on_hand"] for item in found["items"]] == ["5"]
    odd = (await get(world, "/stock/milk%7CWH%200")).json
    assert [(item["product_id"], item["on_hand"]) for item in odd["items"]] == [("milk|WH 0", "6")]
