"""The views of customers on a group of workers (contracts 3.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from streams.events import (
    CustomerProfileUpsertRequested,
    LoyaltyPointsCaptureRequested,
    LoyaltyPointsHoldRequested,
    LoyaltyPointsReverseRequested,
    LoyaltyPointsUpdateRequested,
)
from streams.topics import key_of
from tests.unit.streams.web_world import World, a_world

ANN = "ann/1|ü"
PATH = f"/customers/{quote(ANN, safe='')}"
AT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    tokens = {"a": "acme", "o": "other"}
    async with a_world(tmp_path, monkeypatch, 2, web_token="t", web_tenant_tokens=tokens) as world:
        await world.assign((0, 1), (2, 3))
        send(world, CustomerProfileUpsertRequested, name="Ann", preferences={"news": "yes"})
        points(world, "e1", 100, expires_at=AT + 30 * DAY)
        points(world, "e2", 50, expires_at=AT + 60 * DAY, reference="order 7")
        points(world, "r1", -120, reason="gift")
        send(
            world,
            LoyaltyPointsReverseRequested,
            transaction_id="v1",
            original_transaction_id="r1",
            points=20,
        )
        points(world, "over", 7, expires_at=AT + timedelta(minutes=5))
        yield world


def send(world: World, command: type, **fields: Any) -> None:
    event = command(timestamp=AT, tenant_id="acme", customer_id=ANN, **fields)
    world.apply("customer", key_of("acme", ANN), event, AT)


def points(world: World, transaction_id: str, change: int, **fields: Any) -> None:
    send(world, LoyaltyPointsUpdateRequested, transaction_id=transaction_id, points_change=change, **fields)


async def get(world: World, path: str, caller: str = "a", worker: int = 0) -> Any:
    return await world.get(path, worker, headers={"Authorization": f"Bearer {caller}"})


async def test_every_worker_shows_a_customer_with_preferences_where_they_are_asked_for(world: World) -> None:
    for worker in (0, 1):
        found = await get(world, PATH, worker=worker)
        assert (found.status, found.json["name"], found.json["preferences"]) == (200, "Ann", None)
        assert (found.json["customer_id"], found.json["status"]) == (ANN, "ACTIVE")
        full = (await get(world, f"{PATH}?include_preferences=true", worker=worker)).json
        assert full["preferences"] == {"news": "yes"}


async def test_points_are_those_of_now_even_where_a_timer_is_late(world: World) -> None:
    for worker in (0, 1):
        answer = await get(world, f"{PATH}/loyalty", worker=worker)
        found = answer.json
        assert (found["balance"], found["earned"], found["redeemed"], found["restored"]) == (50, 157, 120, 20)
        assert (found["pending"], found["held"], found["debt"], found["expired"]) == (0, 0, 0, 7)
        assert (found["next_expiration_points"], found["tier"], found["version"]) == (50, "BASIC", 6)
        assert found["reversed"] == 0
        assert datetime.fromisoformat(found["next_expiration_date"]) == AT + 60 * DAY


async def test_the_ledger_is_shown_from_its_end_in_pages(world: World) -> None:
    first = (await get(world, f"{PATH}/loyalty/ledger?per_page=2")).json
    assert [(line["number"], line["kind"], line["change"]) for line in first["items"]] == [
        (4, "EARNED", 7),
        (3, "RESTORED", 20),
    ]
    assert (first["total"], first["has_next"]) == (5, True)
    last = (await get(world, f"{PATH}/loyalty/ledger?per_page=2&page=3", worker=1)).json
    assert [line["transaction_id"] for line in last["items"]] == ["e1"]


async def test_a_transaction_is_shown_by_its_kind(world: World) -> None:
    path = f"{PATH}/loyalty/transactions"
    earn = (await get(world, f"{path}/e2")).json
    assert (earn["kind"], earn["points"], earn["remaining"], earn["status"]) == ("EARN", 50, 50, "ACTIVE")
    assert (earn["reference"], earn.get("lots"), earn.get("taken")) == ("order 7", None, None)
    redemption = (await get(world, f"{path}/r1", worker=1)).json
    assert (redemption["kind"], redemption["points"], redemption["reversed"]) == ("REDEMPTION", 120, 20)
    assert redemption["lots"] == [
        {"lot_id": "e1", "points": 100, "restored": 0},
        {"lot_id": "e2", "points": 20, "restored": 20},
    ]
    reversal = (await get(world, f"{path}/v1")).json
    assert (reversal["kind"], reversal["original_kind"], reversal["points"]) == ("REVERSAL", "REDEMPTION", 20)
    assert (reversal["original_transaction_id"], reversal.get("remaining")) == ("r1", None)


async def test_a_hold_is_shown_with_its_lots_until_it_ends(world: World) -> None:
    send(world, LoyaltyPointsHoldRequested, hold_id="h/1", points=40, reason="basket", reference="order 8")
    for worker in (0, 1):
        found = (await get(world, f"{PATH}/loyalty/holds/h%2F1", worker=worker)).json
        assert (found["hold_id"], found["status"], found["points"]) == ("h/1", "HELD", 40)
        assert (found["reason"], found["reference"]) == ("basket", "order 8")
        assert found["lots"] == [{"lot_id": "over", "points": 7}, {"lot_id": "e2", "points": 33}]
        assert datetime.fromisoformat(found["expires_at"]) == AT + timedelta(minutes=15)
        assert (await get(world, f"{PATH}/loyalty", worker=worker)).json["held"] == 40
    send(world, LoyaltyPointsCaptureRequested, hold_id="h/1", transaction_id="c1")
    ended = (await get(world, f"{PATH}/loyalty/holds/h%2F1")).json
    assert (ended["status"], ended["lots"]) == ("CAPTURED", [])
    redemption = (await get(world, f"{PATH}/loyalty/transactions/c1")).json
    assert (redemption["hold_id"], len(redemption["lots"])) == ("h/1", 2)


async def test_a_hold_of_many_lots_is_shown_whole(world: World) -> None:
    for number in range(60):
        points(world, f"p{number}", 1, expires_at=AT + timedelta(days=1, minutes=number))
    send(world, LoyaltyPointsHoldRequested, hold_id="many", points=60)
    found = (await get(world, f"{PATH}/loyalty/holds/many")).json
    assert [lot["points"] for lot in found["lots"]] == [7, *[1] * 53]


async def test_what_is_not_there_is_not_found(world: World) -> None:
    for path in ("/customers/bob", "/customers/bob/loyalty", "/customers/bob/loyalty/ledger"):
        assert (await get(world, path)).status == 404
    assert (await get(world, "/customers/bob/loyalty/transactions/e1")).status == 404
    for nothing in ("transactions", "holds"):
        assert (await get(world, f"{PATH}/loyalty/{nothing}/nothing")).status == 404
    send_early_reversal(world)
    for path in ("/customers/early", "/customers/early/loyalty", "/customers/early/loyalty/ledger"):
        assert (await get(world, path)).status == 404


def send_early_reversal(world: World) -> None:
    event = LoyaltyPointsReverseRequested(
        timestamp=AT,
        tenant_id="acme",
        customer_id="early",
        transaction_id="v1",
        original_transaction_id="e1",
    )
    world.apply("customer", key_of("acme", "early"), event, AT)


async def test_nobody_reads_another_tenants_customers(world: World) -> None:
    send(world, LoyaltyPointsHoldRequested, hold_id="h1", points=1)
    for path in ("", "/loyalty", "/loyalty/ledger", "/loyalty/transactions/e1", "/loyalty/holds/h1"):
        assert (await get(world, PATH + path, "o")).status == 404
        assert (await get(world, f"{PATH}{path}?tenant=acme", "o")).status == 403
        assert (await get(world, f"{PATH}{path}?tenant=acme", "t", 1)).status == 200
        assert (await get(world, PATH + path, "t")).status == 404
