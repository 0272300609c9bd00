"""What the views of the catalogue answer, on every worker alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streams.events import CatalogBenefitSnapshot as Benefit
from streams.events import CatalogBenefitTerms, CatalogBenefitTier, CatalogPrice, CatalogProductSnapshot
from streams.topics import CATALOG_STATE
from tables.catalog_names import of_benefit, of_product
from tests.unit.streams.web_world import World, a_world

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
SINCE = NOW - DAY


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with a_world(tmp_path, monkeypatch, 2, web_token="t", web_tenant_tokens={"a": "acme"}) as world:
        await world.assign((0, 1), (2, 3))
        yield world


def hold(world: World, *snapshots: Any) -> None:
    """Let every worker hold snapshots, as if they had come from the topic."""
    for worker in world.workers:
        replica = worker.app.replica
        replica.fresh_at = SINCE.timestamp()
        for found in snapshots:
            key = of_benefit(found) if isinstance(found, Benefit) else of_product(found)
            replica._holdings.put(CATALOG_STATE.name, key, found)


def product(product_id: str, tenant: str = "acme", **more: Any) -> CatalogProductSnapshot:
    return CatalogProductSnapshot(timestamp=NOW, tenant_id=tenant, product_id=product_id, version=1, **more)


def price(amount: str, start: datetime, end: datetime | None = None) -> CatalogPrice:
    return CatalogPrice(
        currency="EUR", amount=Decimal(amount), effective_from=start, effective_to=end, version=2
    )


async def get(world: World, path: str, caller: str = "a", worker: int = 0) -> Any:
    return await world.get(path, worker, headers={"Authorization": f"Bearer {caller}"})


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


async def test_a_product_is_shown_as_far_as_is_asked_for(world: World) -> None:
    prices = (price("3.50", SINCE, NOW + DAY), price("4", NOW + DAY))
    hold(world, product("a/b", name="Tea", attributes={"leaf": "green"}, prices=prices))
    answers = {
        info_type: (await get(world, f"/catalog/products/a%2Fb?info_type={info_type}")).json
        for info_type in ("BASIC", "PRICING", "STOCK", "FULL")
    }
    basic = answers["BASIC"]
    assert basic == {
        "product_id": "a/b",
        "name": "Tea",
        "status": "ACTIVE",
        "version": 1,
        "tenant": "acme",
        "info_type": "BASIC",
        "attributes": {"leaf": "green"},
        "prices": None,
        "stock_managed": None,
        "as_of": iso(SINCE),
    }
    assert answers["PRICING"]["prices"] == [
        {
            "price_list": "",
            "currency": "EUR",
            "amount": "3.5",
            "effective_from": iso(SINCE),
            "effective_to": iso(NOW + DAY),
            "version": 2,
        }
    ]
    assert answers["STOCK"]["stock_managed"] is True
    assert answers["STOCK"]["attributes"] is None
    assert [each["amount"] for each in answers["FULL"]["prices"]] == ["3.5", "4"]
    assert (await get(world, "/catalog/products/a%2Fb")).json == basic


async def test_products_are_listed_by_id_in_pages_by_any_worker(world: World) -> None:
    hold(world, *(product(f"p{number}") for number in (3, 1, 2)), product("p0", "other"))
    for worker in (0, 1):
        first = (await get(world, "/catalog/products?per_page=2", worker=worker)).json
        assert [item["product_id"] for item in first["items"]] == ["p1", "p2"]
        assert (first["total"], first["has_next"], first["tenant"]) == (3, True, "acme")
        second = (await get(world, "/catalog/products?per_page=2&page=2", worker=worker)).json
        assert [item["product_id"] for item in second["items"]] == ["p3"]
    assert (await get(world, "/catalog/products?page=3")).json["items"] == []


async def test_benefits_are_listed_with_their_terms(world: World) -> None:
    terms = CatalogBenefitTerms(
        kind="FIXED",
        currency="EUR",
        tiers=(CatalogBenefitTier(min_quantity=Decimal(2), value=Decimal("1.50")),),
        product_ids=("tea",),
        effective_from=SINCE,
        max_redemptions=5,
    )
    hold(
        world,
        Benefit(timestamp=NOW, tenant_id="acme", benefit_id="spring", terms=terms, exhausted=True, version=3),
        product("spring"),
    )
    answer = (await get(world, "/catalog/benefits")).json
    assert answer["total"] == 1
    item = answer["items"][0]
    assert (item["benefit_id"], item["kind"], item["exhausted"], item["version"]) == (
        "spring",
        "FIXED",
        True,
        3,
    )
    assert item["tiers"] == [{"min_quantity": "2", "value": "1.5"}]
    assert (item["percent"], item["max_redemptions"], item["effective_to"]) == (None, 5, None)


async def test_what_is_unknown_is_not_found(world: World) -> None:
    hold(world, product("tea", "other"))
    answer = await get(world, "/catalog/products/tea")
    assert (answer.status, answer.code) == (404, "NOT_FOUND")


async def test_the_tenant_is_that_of_the_query_or_the_callers_own(world: World) -> None:
    hold(world, product("tea"), product("tea", "default", name="everyone's"))
    assert (await get(world, "/catalog/products/tea", "t")).json["name"] == "everyone's"
    assert (await get(world, "/catalog/products/tea?tenant=acme", "t")).json["tenant"] == "acme"
    assert (await get(world, "/catalog/products/tea?tenant=acme")).json["tenant"] == "acme"
    for path in ("/catalog/products/tea", "/catalog/products", "/catalog/benefits"):
        assert (await get(world, f"{path}?tenant=default")).status == 403


@pytest.mark.parametrize("query", ["info_type=ALL", "tenant=", "page=1"])
async def test_a_parameter_that_cannot_be_used_is_named(world: World, query: str) -> None:
    hold(world, product("tea"))
    answer = await get(world, f"/catalog/products/tea?{query}")
    assert (answer.status, answer.code) == (400, "VALIDATION_FAILED")
    assert [detail["field"] for detail in answer.json["error"]["details"]] == [query.partition("=")[0]]
