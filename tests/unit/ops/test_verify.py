"""Verification finds what is wrong, asks again where a worker is not ready, and refuses what it cannot read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ops.errors import OpsError
from ops.retail_truth import Account
from ops.verify import Difference, loyalty_differences, loyalty_path, stock_differences, stock_path
from ops.verify_views import Views, each

LOTS = {"P-A": 0, "P-B": 3, "P-R": 2}
POINTS = Account(10, 4).totals


def view(reserved: str = "0", on_hand: str = "5", **lots: str) -> dict[str, Any]:
    items = [{"lot_id": lot.replace("_", "-"), "on_hand": pieces} for lot, pieces in lots.items()]
    return {"lots": items, "on_hand": on_hand, "reserved": reserved}


def test_equal_lots_are_no_difference_and_an_empty_one_may_be_absent() -> None:
    assert stock_differences("P", LOTS, view(P_B="3.000000", P_R="2")) == []
    assert stock_differences("P", LOTS, view(P_A="0", P_B="3", P_R="2", reserved="0.000000")) == []


def test_a_lot_with_other_pieces_one_too_many_and_a_missing_one_are_differences() -> None:
    found = stock_differences("P", LOTS, view(P_A="1", P_B="3.5", P_X="7", on_hand="11.5"))
    assert sorted(found, key=lambda difference: difference.what) == [
        Difference("stock", "P", "P-A", 0, Decimal(1)),
        Difference("stock", "P", "P-B", 3, Decimal("3.5")),
        Difference("stock", "P", "P-R", 2, Decimal(0)),
        Difference("stock", "P", "P-X", 0, Decimal(7)),
        Difference("stock", "P", "all lots", 5, Decimal("11.5")),
    ]


def test_what_is_still_reserved_is_a_difference() -> None:
    found = stock_differences("P", LOTS, view(P_B="3", P_R="2", reserved="1"))
    assert found == [Difference("stock", "P", "reserved", 0, Decimal(1))]


def test_a_product_that_nobody_knows_differs_even_where_nothing_is_left_of_it() -> None:
    assert stock_differences("P", {"P-A": 0}, None) == [Difference("stock", "P", "P-A", 0, None)]


def test_every_number_of_a_customer_is_compared() -> None:
    shown: dict[str, Any] = {**POINTS, "tier": "BASIC"}
    assert loyalty_differences("7", POINTS, shown) == []
    for name, points in POINTS.items():
        found = loyalty_differences("7", POINTS, {**shown, name: points + 1})
        assert found == [Difference("loyalty", "7", name, points, Decimal(points + 1))]
    assert len(loyalty_differences("7", POINTS, None)) == len(POINTS)


def test_names_with_signs_of_their_own_stand_in_paths_as_one_part() -> None:
    assert stock_path("BANK CHARGES/1").startswith("/stock/BANK%20CHARGES%2F1/WH1")
    assert loyalty_path("a?b") == "/customers/a%3Fb/loyalty"


@asynccontextmanager
async def a_worker(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]], patience: float = 5.0
) -> AsyncIterator[Views]:
    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    async with TestServer(app) as server, Views(str(server.make_url("/")), "secret", patience) as views:
        yield views


async def test_a_worker_that_is_not_ready_is_asked_again() -> None:
    asked = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        assert request.headers["Authorization"] == "Bearer secret"
        if asked < 3:
            return web.json_response({}, status=503, headers={"Retry-After": "0"})
        return web.json_response({"asked": asked, "tenant": request.query["tenant"]})

    async with a_worker(handle) as views:
        assert await views.read("/x", tenant="shop") == {"asked": 3, "tenant": "shop"}


async def test_a_worker_that_never_gets_ready_is_refused_with_what_to_do() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response({}, status=503)

    async with a_worker(handle, patience=0.1) as views:
        with pytest.raises(OpsError, match="is not ready") as refusal:
            await views.read("/x")
    assert "--wait" in refusal.value.remedy


async def test_a_port_where_nobody_listens_is_refused_with_what_to_do() -> None:
    async with Views("http://127.0.0.1:9", None, 0.0) as views:
        with pytest.raises(OpsError, match="does not answer") as refusal:
            await views.read("/x")
    assert "sluice worker" in refusal.value.remedy


@pytest.mark.parametrize(
    ("status", "told"), [(401, "SLUICE_WEB_TOKEN"), (403, "SLUICE_WEB_TOKEN"), (500, "log")]
)
async def test_a_refusal_is_not_asked_again(status: int, told: str) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response({}, status=status)

    async with a_worker(handle) as views:
        with pytest.raises(OpsError, match=str(status)) as refusal:
            await views.read("/x")
    assert told in refusal.value.remedy


async def test_what_is_unknown_is_none() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response({}, status=404)

    async with a_worker(handle) as views:
        assert await views.read("/nothing") is None


async def test_all_are_asked_and_the_first_refusal_ends_it() -> None:
    seen: list[int] = []

    async def ask(number: int) -> None:
        seen.append(number)
        if number == 100:
            raise OpsError("No.", "Nothing.")

    await each(range(100), ask)
    assert sorted(seen) == list(range(100))
    with pytest.raises(ExceptionGroup):
        await each(range(101), ask)
