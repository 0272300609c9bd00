"""A whole worker's web port: nothing is read or done there without the token, and one document describes it all."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import SecretStr

from ops.pages import PAGES
from tests.unit.streams.web_world import World, a_world, routes

TOKENS: dict[str, Any] = {
    "web_token": SecretStr("operator-token"),
    "web_tenant_tokens": {"acme-token": "acme"},
}
OPERATOR = {"Authorization": "Bearer operator-token"}
OPEN = {"/health/live", "/health/ready", "/console", "/console/assets/{file}"}
"""Probes, and the console's empty page, which asks for the token itself."""


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with a_world(tmp_path, monkeypatch, builds=PAGES, demo=True, **TOKENS) as world:
        yield world


def schemas(node: Any) -> Iterator[Any]:
    """Yield every schema of an OpenAPI document that does not lie in another one."""
    if isinstance(node, dict):
        for name, part in node.items():
            if name == "schema":
                yield part
            elif name == "schemas":
                yield from part.values()
            else:
                yield from schemas(part)
    elif isinstance(node, list):
        for part in node:
            yield from schemas(part)


async def test_whatever_is_on_the_port_asks_for_the_token_but_probes_and_the_empty_page(world: World) -> None:
    found = routes(world)
    assert {
        ("GET", "/dlq"),
        ("GET", "/asyncapi.json"),
        ("POST", "/events"),
        ("POST", "/console/break"),
    } < found
    let_in = set()
    for method, path in found:
        answer = await world.get(re.sub("{.*?}", "x", path), method=method)
        if answer.status == 401:
            assert answer.code == "UNAUTHENTICATED"
        else:
            let_in.add(path)
    assert let_in == OPEN


async def test_the_document_describes_the_whole_port_in_schemas_that_are_schemas(world: World) -> None:
    document = (await world.get("/openapi.json", headers=OPERATOR)).json
    described = {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }
    assert described == routes(world)
    checked = list(schemas(document))
    assert len(checked) > len(described)
    for schema in checked:
        Draft202012Validator.check_schema(schema)
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["responses"]
            assert all(response["description"] for response in operation["responses"].values())
