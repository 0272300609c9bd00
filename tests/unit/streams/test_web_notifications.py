"""The views of notifications on a group of workers (contracts 3.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from streams.topics import key_of
from tables import notification_views
from tables.notification_views import notifications
from tables.state import State
from tests.unit.streams.web_world import World, a_world
from tests.unit.tables.notifications import request
from tests.unit.tables.scenario import NOON, seconds

ALL = [f"order/{number}" for number in range(12)]


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    tokens = {"a": "acme", "o": "other"}
    async with a_world(tmp_path, monkeypatch, 2, web_token="t", web_tenant_tokens=tokens) as world:
        await world.assign((0, 1), (2, 3))
        for number, name in enumerate(ALL):
            send(world, "acme", name, number, recipient=f"user{number % 2}@example.org")
        send(world, "other", "secret", 0)
        send(world, "default", "everyone's", 0)
        yield world


def send(world: World, tenant: str, name: str, number: int, **more: Any) -> None:
    event = request(tenant_id=tenant, notification_id=name, timestamp=NOON, **more)
    world.apply("notification", key_of(tenant, name), event, NOON + seconds(number))


async def get(world: World, path: str, caller: str = "a", worker: int = 0) -> Any:
    return await world.get(path, worker, headers={"Authorization": f"Bearer {caller}"})


async def test_every_worker_answers_for_every_notification(world: World) -> None:
    for worker in (0, 1):
        for name in ALL:
            answer = await get(world, f"/notifications/{name.replace('/', '%2F')}", worker=worker)
            assert (answer.status, answer.json["notification_id"]) == (200, name)
            assert "Dear" not in answer.body.decode()
        assert (await get(world, "/notifications/nothing", worker=worker)).status == 404


async def test_the_list_is_that_of_all_workers_and_of_one_tenant(world: World) -> None:
    for worker in (0, 1):
        first = (await get(world, "/notifications?per_page=7", worker=worker)).json
        assert [item["notification_id"] for item in first["items"]] == ALL[::-1][:7]
        assert (first["total"], first["has_next"]) == (12, True)
        rest = (await get(world, "/notifications?per_page=7&page=2", worker=worker)).json
        assert [item["notification_id"] for item in rest["items"]] == ALL[::-1][7:]


async def test_a_list_is_read_a_few_at_a_time_and_only_the_tenants(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a request holds does not grow with what is stored."""
    read: list[int] = []

    def noted(states: Iterable[State], query: Mapping[str, str]) -> list[dict[str, Any]]:
        held = list(states)
        read.append(len(held))
        return notifications(held, query)

    monkeypatch.setattr("streams.reading.AT_ONCE", 2)
    monkeypatch.setattr(notification_views, "notifications", noted)
    found = (await get(world, "/notifications?per_page=3&page=2")).json
    assert [item["notification_id"] for item in found["items"]] == ALL[::-1][3:6]
    assert (found["total"], max(read), sum(read)) == (12, 2, 12)


async def test_the_list_can_be_narrowed(world: World) -> None:
    found = (await get(world, "/notifications?recipient=user1@example.org&status=SENDING")).json
    assert [item["notification_id"] for item in found["items"]] == ALL[1::2][::-1]
    assert (await get(world, "/notifications?status=SENT")).json["total"] == 0
    assert (await get(world, "/notifications?status=FLYING")).status == 400


async def test_a_tenant_sees_its_own_and_an_operator_whose_he_asks_for(world: World) -> None:
    assert (await get(world, "/notifications?tenant=other")).status == 403
    assert (await get(world, "/notifications/secret")).status == 404
    assert (await get(world, "/notifications/secret?tenant=other")).status == 403
    assert (await get(world, "/notifications/secret", "o")).json["tenant_id"] == "other"
    assert (await get(world, "/notifications/secret?tenant=other", "t", 1)).json["tenant_id"] == "other"
    everyone = (await get(world, "/notifications", "t")).json
    assert [item["tenant_id"] for item in everyone["items"]] == ["default"]
