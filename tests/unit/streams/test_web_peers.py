"""Keys and lists that other workers own, over real ports (contracts N46)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from ops.stack.processes import free_ports
from streams.events import Alert, UsageEvent
from streams.topics import key_of, partition_for
from tests.unit.streams.web_world import PARTITIONS, World, a_world

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HALVES = ((0, 1), (2, 3))


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with a_world(tmp_path, monkeypatch, count=2) as world:
        await world.assign(*HALVES)
        yield world


def encoded(key: str) -> str:
    return quote(key, safe="").replace(".", "%2E")


def meter(world: World, tenant: str, quantity: int = 7) -> None:
    event = UsageEvent(
        timestamp=NOON,
        event_type="api_call",
        quantity=Decimal(quantity),
        tenant_id=tenant,
        resource_type="calls",
        unit="calls",
    )
    world.apply("usage", tenant, event, NOON)


def fire(world: World, tenant: str, subject: str, minutes: int = 0) -> str:
    at = NOON + timedelta(minutes=minutes)
    alert = Alert(
        timestamp=at,
        tenant_id=tenant,
        event_type="alerts.quota_exceeded",
        alert_type="quota_exceeded",
        subject=subject,
        started_at=at,
        status="firing",
        severity="warning",
    )
    fingerprint = key_of(tenant, "quota_exceeded", subject)
    world.apply("alerts", fingerprint, alert, at)
    return fingerprint


KEYS = [
    "plain",
    "with/slash",
    "with|bar",
    "per%cent",
    "per%2Fcent",
    "a b+c",
    "q?x=1#y",
    "Łódź-東京-🙂",
    "{braces}",
    "..",
    "k" * 1024,
    "東" * 341,
]


async def test_every_worker_answers_for_any_key(world: World) -> None:
    for number, tenant in enumerate(KEYS):
        meter(world, tenant, number)
    for number, tenant in enumerate(KEYS):
        for worker in (0, 1):
            answer = await world.get(f"/usage/{encoded(tenant)}", worker=worker)
            assert answer.status == 200, answer.body
            assert answer.json["tenant"] == tenant
            assert [item["sum"] for item in answer.json["items"]] == [str(number)]


async def test_an_alert_is_found_by_its_encoded_fingerprint(world: World) -> None:
    for subject in KEYS:
        fingerprint = fire(world, "acme", subject)
        for worker in (0, 1):
            answer = await world.get(f"/alerts/{encoded(fingerprint)}", worker=worker)
            assert answer.status == 200, answer.body
            assert answer.json["subject"] == subject
            assert answer.json["fingerprint"] == fingerprint


async def test_a_request_goes_to_the_owner_with_query_token_and_correlation_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path, monkeypatch, count=2, web_token="s3cret") as world:
        await world.assign(*HALVES)
        meter(world, "acme")
        owner = 0 if partition_for(b"acme", PARTITIONS) in HALVES[0] else 1
        path = "/usage/acme?window=hour&from=2026-11-20T00%3A00%3A00Z"
        asked = {"Authorization": "Bearer s3cret", "X-Correlation-Id": "c-9"}
        answer = await world.get(path, 1 - owner, asked)
        assert answer.status == 200
        assert answer.headers["X-Correlation-ID"] == "c-9"
        assert world.workers[owner].seen == [path]
        refused = await world.get(path, worker=1 - owner)
        assert (refused.status, refused.code) == (401, "UNAUTHENTICATED")
        assert world.workers[owner].seen == [path], "a caller without a token reaches nobody else"


async def test_the_owners_error_is_copied(world: World) -> None:
    for worker in (0, 1):
        answer = await world.get("/usage/nobody", worker=worker)
        assert (answer.status, answer.code) == (404, "NOT_FOUND")
        assert answer.headers["Content-Type"].startswith("application/json")


async def test_two_workers_that_each_think_the_other_owns_a_key_do_not_ask_for_ever(world: World) -> None:
    meter(world, "acme")
    first, second = world.workers
    for worker, other in ((first, second), (second, first)):
        worker.told({other.url: {"sluice-usage-changelog": list(range(PARTITIONS))}})
    answer = await world.get("/usage/acme")
    assert (answer.status, answer.code) == (503, "TEMPORARY_FAILURE")
    assert int(answer.headers["Retry-After"]) >= 1
    assert len(first.seen) == len(second.seen) == 1


async def test_before_the_first_assignment_every_key_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path, monkeypatch) as world:
        for path in ("/usage/acme", "/alerts", "/alerts/a%7Cb%7Cc"):
            answer = await world.get(path)
            assert (answer.status, answer.code) == (503, "TEMPORARY_FAILURE")
            assert int(answer.headers["Retry-After"]) >= 1


async def test_a_partition_in_recovery_is_unavailable_on_every_worker(world: World) -> None:
    await world.assign(*HALVES, recovered=False)
    for worker in (0, 1):
        for path in ("/usage/acme", "/alerts"):
            answer = await world.get(path, worker=worker)
            assert (answer.status, answer.code) == (503, "TEMPORARY_FAILURE")
            assert int(answer.headers["Retry-After"]) >= 1


async def test_state_that_moved_away_is_not_served_from_the_old_owner(world: World) -> None:
    meter(world, "acme")
    [owner] = [n for n, half in enumerate(HALVES) if partition_for(b"acme", PARTITIONS) in half]
    moved: list[tuple[int, ...]] = [(), ()]
    moved[1 - owner] = tuple(range(PARTITIONS))
    distribution = {
        worker.url: {"sluice-usage-changelog": list(share)}
        for worker, share in zip(world.workers, moved, strict=True)
    }
    # The old owner learns of the new assignment before it lets go of its store.
    for worker in world.workers:
        worker.told(distribution)
    answer = await world.get("/usage/acme", worker=owner)
    assert answer.status == 503, "the new owner has not recovered it yet"


async def test_an_owner_that_does_not_answer_makes_its_keys_and_all_lists_unavailable(world: World) -> None:
    meter(world, "acme")
    [owner] = [n for n, half in enumerate(HALVES) if partition_for(b"acme", PARTITIONS) in half]
    await world.workers[owner].stop()
    for path in ("/usage/acme", "/alerts"):
        answer = await world.get(path, worker=1 - owner)
        assert (answer.status, answer.code) == (503, "TEMPORARY_FAILURE")
        assert int(answer.headers["Retry-After"]) >= 1


async def test_a_redirect_of_something_else_on_the_owners_port_is_not_followed(world: World) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("http://127.0.0.1:9/elsewhere")

    server = web.Application()
    server.router.add_get("/{any:.*}", redirect)
    runner = web.AppRunner(server)
    await runner.setup()
    [port] = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    everything = {f"http://127.0.0.1:{port}": {"sluice-usage-changelog": list(range(PARTITIONS))}}
    world.workers[0].told(everything)
    answer = await world.get("/usage/acme")
    await runner.cleanup()
    assert answer.status == 302
    assert "Location" not in answer.headers


async def test_a_nul_in_a_key_reaches_no_other_aggregates_records(world: World) -> None:
    meter(world, "a")
    for key in ("a%00b", "a%00", "%00ids", "a%00t"):
        for worker in (0, 1):
            assert (await world.get(f"/usage/{key}", worker=worker)).status == 404


async def test_the_list_of_alerts_is_merged_from_all_workers_in_one_order(world: World) -> None:
    fired = [fire(world, "acme", f"quota-{number}", minutes=number) for number in range(25)]
    assert {partition_for(key.encode(), PARTITIONS) for key in fired} == set(range(PARTITIONS))
    for worker in (0, 1):
        pages = [
            (await world.get(f"/alerts?per_page=10&page={page}", worker=worker)).json for page in (1, 2, 3, 4)
        ]
        listed = [item["fingerprint"] for page in pages for item in page["items"]]
        assert listed == fired[::-1]
        assert [(page["total"], page["page"], page["has_next"]) for page in pages] == [
            (25, 1, True),
            (25, 2, True),
            (25, 3, False),
            (25, 4, False),
        ]


async def test_a_list_without_one_partition_is_no_answer(world: World) -> None:
    fire(world, "acme", "quota")
    await world.assign((0, 1), (3,))
    for worker in (0, 1):
        answer = await world.get("/alerts", worker=worker)
        assert (answer.status, answer.code) == (503, "TEMPORARY_FAILURE")


async def test_alerts_are_filtered_on_every_worker(world: World) -> None:
    for number in range(12):
        fire(world, "acme" if number % 3 else "other", f"quota-{number}")
    answer = await world.get("/alerts?tenant=other&status=firing&severity=warning&alert_type=quota_exceeded")
    assert [item["tenant_id"] for item in answer.json["items"]] == ["other"] * 4
    assert (await world.get("/alerts?status=resolved")).json["total"] == 0
