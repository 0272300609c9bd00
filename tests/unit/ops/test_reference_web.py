"""The reference on the web port: who may read it, and a page on which every link leads somewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web as server
from pydantic import SecretStr

from ops import console_pages, exporter_metrics
from ops.reference import web
from ops.reference.asyncapi import document
from streams.metric_names import METRICS
from streams.routes import INDEX
from streams.schemas import contracts
from streams.topics import all_topics
from streams.web import program_version
from tests.unit.streams.web_world import World, a_world

PATHS = ("/asyncapi.json", "/reference")
OPERATOR, TENANT = "operator-token", "acme-token"
TOKENS: dict[str, Any] = {"web_token": SecretStr(OPERATOR), "web_tenant_tokens": {TENANT: "acme"}}
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """What a test wants to know of a page.

    Attributes:
        ids: the ids, as often as they occur.
        links: where links lead.
        loaded: what a browser would load for the page, or run.
        text: what a person reads.
        open: elements that were not closed.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.loaded: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [str(found["id"])] if "id" in found else []
        if tag == "a":
            self.links.add(str(found["href"]))
        elif tag in ("script", "link", "img", "iframe", "form") or "src" in found:
            self.loaded.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with a_world(tmp_path, monkeypatch, builds=(web.build, console_pages.build)) as world:
        yield world


async def test_the_document_is_that_of_the_workers_own_settings(world: World) -> None:
    answer = await world.get("/asyncapi.json")
    app = world.workers[0].app
    assert answer.json == document(app.settings, INDEX, program_version())
    assert answer.json["servers"]["kafka"]["host"] == app.settings.bootstrap_servers


async def test_both_are_listed_and_described_with_the_other_views(world: World) -> None:
    links = (await world.get("/")).json["links"]
    described = (await world.get("/openapi.json")).json["paths"]
    for path in PATHS:
        assert links[path]
        assert described[path]["get"]["summary"] == links[path]
    assert list(described["/reference"]["get"]["responses"]["200"]["content"]) == ["text/html"]


async def test_every_link_on_the_page_leads_to_a_heading_or_to_a_view(world: World) -> None:
    page = Page((await world.get("/reference")).body.decode())
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    app: server.Application = world.workers[0].app.web.web_app  # type: ignore[attr-defined]
    views = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
    assert {link for link in page.links if link.startswith("/")} >= {
        "/openapi.json",
        "/asyncapi.json",
        "/metrics",
    }
    for link in page.links:
        assert link in views or link.removeprefix("#") in page.ids


async def test_the_page_shows_every_topic_every_record_and_every_metric(world: World) -> None:
    page = Page((await world.get("/reference")).body.decode())
    for row in (*METRICS, *exporter_metrics.METRICS):
        assert row.name in page.text
        assert row.help.replace("`", "") in page.text
    assert "`" not in page.text.rpartition("Metrics")[2]
    for topic in all_topics():
        assert topic.name in page.text
    for name in contracts():
        assert name in page.text
        assert name.rpartition(".")[2] in page.ids


async def test_the_page_loads_nothing_and_runs_nothing(world: World) -> None:
    answer = await world.get("/reference")
    assert Page(answer.body.decode()).loaded == []
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", PATHS)
async def test_with_tokens_set_both_ask_for_one_like_the_other_documents(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path, monkeypatch, builds=(web.build,), **TOKENS) as world:
        for asked in (path, "/openapi.json"):
            assert (await world.get(asked)).status == 401
            for token in (OPERATOR, TENANT):
                answer = await world.get(asked, headers={"Authorization": f"Bearer {token}"})
                assert answer.status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_without_tokens_a_page_of_another_name_reads_neither(path: str, world: World) -> None:
    assert (await world.get(path, headers={"Host": "evil.example.com"})).status == 403
