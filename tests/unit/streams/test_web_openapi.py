"""The OpenAPI document says what the routes do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.answers import AlertItem, QuotaItem, UsageItem
from streams.web_health import Health
from tests.unit.streams.web_world import PARTITIONS, World, a_world, routes


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with a_world(tmp_path, monkeypatch) as world:
        await world.assign(range(PARTITIONS))
        yield world


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


async def test_every_route_is_in_the_document_and_nothing_else(world: World) -> None:
    document = (await world.get("/openapi.json")).json
    assert document["openapi"] == "3.1.0"
    described = {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }
    assert described == routes(world)


async def test_every_reference_in_the_document_leads_somewhere(world: World) -> None:
    document = (await world.get("/openapi.json")).json
    found = set(references(document))
    assert found
    for reference in found:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


async def test_operations_have_unique_ids_and_all_their_path_parameters(world: World) -> None:
    document = (await world.get("/openapi.json")).json
    operations = [
        (path, operation) for path, methods in document["paths"].items() for operation in methods.values()
    ]
    assert len({operation["operationId"] for _, operation in operations}) == len(operations)
    for path, operation in operations:
        parameters = {(parameter["in"], parameter["name"]) for parameter in operation["parameters"]}
        assert {name for place, name in parameters if place == "path"} == {
            part[1:-1] for part in path.split("/") if part.startswith("{")
        }
        assert operation["summary"]


async def test_the_parameters_are_those_that_the_view_accepts(world: World) -> None:
    document = (await world.get("/openapi.json")).json
    parameters = document["paths"]["/usage/{tenant}"]["get"]["parameters"]
    by_name = {
        parameter["name"]: parameter["schema"] for parameter in parameters if parameter["in"] == "query"
    }
    assert set(by_name) == {"meter", "from", "to", "window", "group_by", "page", "per_page"}
    assert by_name["per_page"]["maximum"] == 200
    assert by_name["page"]["default"] == 1


async def test_answers_and_errors_are_described_by_the_models_that_make_them(world: World) -> None:
    document = (await world.get("/openapi.json")).json
    schemas = document["components"]["schemas"]
    for model in (UsageItem, QuotaItem, AlertItem, Health):
        properties = model.model_json_schema(by_alias=True, mode="serialization")["properties"]
        assert set(schemas[model.__name__]["properties"]) == set(properties)
    usage = document["paths"]["/usage/{tenant}"]["get"]["responses"]
    assert set(usage) == {"200", "400", "403", "404", "500", "503"}
    assert usage["503"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/ErrorAnswer"
    }
    assert "Retry-After" in usage["503"]["headers"]


async def test_where_a_token_is_asked_for_the_document_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path, monkeypatch, web_token="t") as world:
        document = (await world.get("/openapi.json", headers={"Authorization": "Bearer t"})).json
        paths = document["paths"]
        unsecured = {
            path
            for path, methods in paths.items()
            for operation in methods.values()
            if "security" not in operation
        }
        assert unsecured == {"/health/live", "/health/ready"}
        for operation in (paths["/usage/{tenant}"]["get"], paths["/stock/entries"]["post"]):
            assert "401" in operation["responses"]


async def test_a_command_is_described_by_its_contract_and_its_headers(world: World) -> None:
    document = (await world.get("/openapi.json")).json
    operation = document["paths"]["/stock/entries"]["post"]
    parameters = {(each["in"], each["name"]) for each in operation["parameters"]}
    assert parameters == {
        ("query", "wait"),
        ("query", "tenant"),
        ("header", "Idempotency-Key"),
        ("header", "If-Match"),
    }
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    body = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert set(body["required"]) == {"product_id", "warehouse_id", "quantity"}
    assert body["additionalProperties"] is False
    assert body["properties"]["quantity"]["type"] == "string"
    assert not {"event_id", "timestamp", "tenant_id", "envelope", "expected_version"} & set(
        body["properties"]
    )
    assert {"201", "202", "400", "403", "404", "409", "412", "415", "500", "503"} == set(
        operation["responses"]
    )
    quotas = document["paths"]["/usage/{tenant}/quotas"]
    assert set(quotas) == {"get", "post"}
    assert ("header", "If-Match") not in {(each["in"], each["name"]) for each in quotas["post"]["parameters"]}
    assert ("query", "tenant") not in {(each["in"], each["name"]) for each in quotas["post"]["parameters"]}
