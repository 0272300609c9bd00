"""The web port: errors, correlation ids, and what is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from streams.topics import partition_for
from tests.unit.streams.web_world import PARTITIONS, Answer, World, a_world

ALL = range(PARTITIONS)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with a_world(tmp_path, monkeypatch) as world:
        await world.assign(ALL)
        yield world


def assert_error(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code), answer.body
    error = answer.json["error"]
    assert set(error) == {"code", "message", "details", "correlation_id"}
    assert error["correlation_id"] == answer.headers["X-Correlation-ID"]
    assert error["message"]


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/table/usage/acme/", "/router/", "/router/usage/", "/graph/", "/performance/", "/stats"],
)
async def test_an_unknown_path_and_fausts_own_pages_are_not_found(world: World, path: str) -> None:
    assert_error(await world.get(path), 404, "NOT_FOUND")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_a_method_that_changes_something_is_refused_with_the_allowed_ones(
    world: World, method: str
) -> None:
    answer = await world.get("/usage/acme", method=method)
    assert_error(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "GET,HEAD"


async def test_the_index_links_every_view_and_shows_no_state(world: World) -> None:
    answer = await world.get("/")
    assert answer.json["app"] == "sluice"
    assert {"/usage/{tenant}", "/alerts", "/health/ready", "/metrics", "/openapi.json"} <= set(
        answer.json["links"]
    )


async def test_a_correlation_id_is_echoed(world: World) -> None:
    answer = await world.get("/usage/nobody", headers={"X-Correlation-Id": "order-17"})
    assert_error(answer, 404, "NOT_FOUND")
    assert answer.headers["X-Correlation-ID"] == "order-17"


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "tab\tbed"])
async def test_a_correlation_id_that_is_missing_or_unsafe_is_replaced(world: World, given: str) -> None:
    answer = await world.get("/", headers={"X-Correlation-Id": given})
    assert UUID(answer.headers["X-Correlation-ID"])


async def test_everything_wrong_with_the_parameters_is_said_at_once(world: World) -> None:
    answer = await world.get(
        "/alerts?page=0&per_page=201&status=angry&colour=red&severity=info&severity=info"
    )
    assert_error(answer, 400, "VALIDATION_FAILED")
    fields = {detail["field"] for detail in answer.json["error"]["details"]}
    assert fields == {"page", "per_page", "status", "colour", "severity"}


@pytest.mark.parametrize(
    "query", ["page=x", "per_page=0", "page=-1", "page=99999999999999999999", "per_page=1e2"]
)
async def test_a_page_that_cannot_be_is_refused(world: World, query: str) -> None:
    assert_error(await world.get(f"/alerts?{query}"), 400, "VALIDATION_FAILED")


async def test_a_view_that_fails_tells_the_caller_nothing_and_logs_no_key(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = world.workers[0].app.pipelines["usage"]
    # A partition without a store: a defect of ours.
    pipeline.partitions[partition_for(b"secret-tenant", PARTITIONS)] = object()  # type: ignore[assignment]
    answer = await world.get("/usage/secret-tenant", headers={"X-Correlation-Id": "c-1"})
    assert_error(answer, 500, "INTERNAL_ERROR")
    assert "secret" not in answer.body.decode()
    assert "a view failed: /usage/{tenant}, correlation id c-1: AttributeError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_head_request_gets_the_headers_of_the_answer(world: World) -> None:
    answer = await world.get("/alerts", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Cache-Control"] == "no-store"
