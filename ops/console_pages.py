"""The console: a live page on the worker's web port, and what feeds it.

in     GET /console, /console/assets/{file}     the page, which holds no data and so needs no token
       GET /console/feed                        a snapshot every second, as server-sent events
       GET /console/schemas                     the versions of each subject, for the operator
       POST /console/break                      breaks something; only with SLUICE_DEMO (ops/console_break.py)
out    server-sent events ``hello`` and ``snapshot``, ops/console_models.py, or the error body of contracts 3.0

The operator's token shows everything, a tenant's only what is the tenant's. Any worker answers for the whole group: it
asks the others for their parts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from pydantic import BaseModel
from yarl import URL

from ops.console_break import Breaker, BreakRequest, Broken
from ops.console_feed import Feed
from ops.console_models import Part, Subjects
from ops.console_numbers import Meter, counts_of
from ops.console_schemas import SchemaList
from ops.console_tables import Tables, merged
from ops.console_topology import topology
from streams.topics import USAGE_METERED
from streams.web_actions import Action
from streams.web_auth import Doorkeeper
from streams.web_errors import CORRELATION, CORRELATION_KEY, HEADERS, HttpError, NotFound, NotReady
from streams.web_views import Call, View

if TYPE_CHECKING:
    from streams.app import SluiceApp

FOLDER = Path(__file__).with_name("web_console")
PAGE = "page.html"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Scripts and styles come from this worker and nowhere else, and nothing in the page's text is ever one."""
PAGE_HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}

INTERVAL_S = 1.0
MOST_LISTENERS = 32
SEND_S = 10.0
"""Whoever takes nothing for so long is sent away."""
PEER_S = 0.8
"""Another worker that needs longer for its part is shown as not answering."""


class Audience:
    """Everybody who may see the same: the operators, or those with one tenant's token."""

    def __init__(self, app: SluiceApp, version: str, call: Call) -> None:
        self._app = app
        self._version = version
        self._meter = Meter()
        self.call = call
        """The call of whoever came last; its token is what other workers are asked with."""
        self.tables = Tables(call.reader, app.pipelines, call.caller.tenant)
        self.usage_rate = 0.0
        self.feed = Feed(self._snapshot, INTERVAL_S)

    def part(self) -> Part:
        """Return this worker's part."""
        settings, domains = self._app.settings, self.tables.latest()
        if self.call.caller.tenant is not None:
            return Part(name="", version="", domains=domains)
        owned = {table: sorted(pipeline.partitions) for table, pipeline in self._app.pipelines.items()}
        return Part(
            name=settings.group_instance_id or settings.worker_name,
            version=self._version,
            domains=domains,
            counts=counts_of(self._app.metrics.registry.collect()),
            owned=owned,
        )

    async def _snapshot(self) -> dict[str, Any]:
        reader = self.call.reader
        owners = {table: reader.owners(table) for table in self._app.pipelines}
        others = sorted({url for of in owners.values() for url in of.values()} - {reader.url})
        answers = await asyncio.gather(*(self._ask(url) for url in others))
        parts: dict[URL, Part | None] = {reader.url: self.part(), **dict(zip(others, answers, strict=True))}
        there = {url: part for url, part in parts.items() if part is not None}
        domains = merged(part.domains for part in there.values())
        snapshot: dict[str, Any] = {"domains": domains.model_dump(mode="json"), "point": {}}
        if self.call.caller.tenant is None:
            counts = {str(url): part.counts for url, part in there.items() if part.counts is not None}
            found = self._meter.look(time.monotonic(), counts)
            self.usage_rate = found["topics"].get(USAGE_METERED.name, {}).get("in", 0.0)
            snapshot |= {"pipeline": found, **_ownership(owners, parts, reader.partitions)}
            snapshot["point"] = {"rate": found["rate"], "lag": found["lag"], **found["latency"]}
        snapshot["at"] = snapshot["point"]["at"] = int(time.time() * 1000)
        return snapshot

    async def _ask(self, url: URL) -> Part | None:
        try:
            async with asyncio.timeout(PEER_S):
                return await self.call.peers.part(self.call.request, url, Part)
        except (HttpError, TimeoutError):
            return None


def _ownership(
    owners: Mapping[str, Mapping[int, URL]], parts: Mapping[URL, Part | None], partitions: int
) -> dict[str, Any]:
    """Return the workers, and of each partition of each table its owner's number among them and its lag.

    An owner that has not recovered a partition is shown with ``ready`` false; nobody's has the number None.
    """
    order = list(parts)
    workers = [
        {
            "url": str(url),
            "name": part.name if part else "",
            "version": part.version if part else "",
            "answers": part is not None,
            "ready": bool(part and part.counts and part.counts.ready),
        }
        for url, part in parts.items()
    ]
    tables = {
        table: [
            {
                "owner": order.index(of[number]) if number in of else None,
                "ready": bool(
                    number in of and (part := parts[of[number]]) and number in part.owned.get(table, ())
                ),
            }
            for number in range(partitions)
        ]
        for table, of in owners.items()
    }
    lags: dict[str, dict[int, float]] = {}
    for part in parts.values():
        for topic, lag in part.counts.lag.items() if part and part.counts else ():
            lags.setdefault(topic, {}).update(lag)
    return {"workers": workers, "tables": tables, "lags": lags}


class ConsolePages:
    """The page, its feed and what it asks for."""

    def __init__(self, app: SluiceApp, folder: Path = FOLDER) -> None:
        from streams.web import program_version

        self._app = app
        self._version = program_version()
        self._files = {path.name: path for path in sorted(folder.iterdir()) if path.suffix in TYPES}
        self._audiences: dict[str | None, Audience] = {}
        self._schemas = SchemaList(app.settings)
        self._breaker = Breaker(app, self._usage_rate)
        self._closed = False

    def views(self) -> Sequence[View]:
        """Return the page and what it reads."""
        return [
            View("/console", self.page, content_type="text/html", open=True),
            View("/console/assets/{file}", self.asset, content_type="*/*", open=True, errors=(404,)),
            View("/console/feed", self.stream, content_type="text/event-stream", errors=(503,)),
            View("/console/schemas", self.schemas, Subjects),
        ]

    def actions(self) -> Sequence[Action]:
        """Return what breaks things, where this is the demo."""
        if not self._app.settings.demo:
            return []
        return [Action("/console/break", self.broken, BreakRequest, Broken, (409, 503))]

    async def close(self, server: web.Application) -> None:
        """Send everybody away."""
        self._closed = True
        self._breaker.close()
        for audience in self._audiences.values():
            audience.feed.close()
            audience.tables.close()

    async def page(self, call: Call) -> web.Response:
        """Return the console, a page for people."""
        body = self._files[PAGE].read_bytes()
        if Doorkeeper(self._app.settings).guarded:
            body = body.replace(b"<body>", b"<body data-guarded>")  # so that it asks for a token first
        return _answer(body, TYPES[".html"])

    async def asset(self, call: Call) -> web.Response:
        """Return a file of the console's page."""
        path = self._files.get(call.path["file"])
        if path is None:
            raise NotFound("the console has no such file; reload the page")
        return _answer(path.read_bytes(), TYPES[path.suffix])

    async def schemas(self, call: Call) -> BaseModel:
        """Return the versions of each subject."""
        call.caller.may_operate()
        return await self._schemas.read()

    async def broken(self, request: BreakRequest) -> Broken:
        """Break something in the demo."""
        done = await self._breaker.do(request)
        self._schemas.forget()
        return done

    async def stream(self, call: Call) -> BaseModel | web.StreamResponse:
        """Return what there is to see, again every second."""
        audience = self._audience(call)
        if call.peers.is_forwarded(call.request):
            return audience.part()
        if self._closed or sum(len(each.feed) for each in self._audiences.values()) >= MOST_LISTENERS:
            raise NotReady(
                f"{MOST_LISTENERS} pages look already, or the worker is stopping; close one of them"
            )
        if call.request.method == "HEAD":
            return web.Response(
                content_type="text/event-stream"
            )  # nothing could be sent, nor its leaving be seen
        response = web.StreamResponse(
            headers={
                **HEADERS,
                CORRELATION: call.request[CORRELATION_KEY],
                "Content-Type": "text/event-stream; charset=utf-8",
            }
        )
        async with audience.feed.listen() as listener:
            try:
                await response.prepare(call.request)
                await _send(response, "hello", orjson.dumps(self._hello(audience)))
                async for snapshot in listener:
                    await _send(response, "snapshot", snapshot)
            except (ConnectionError, TimeoutError):
                pass  # it has left, or takes nothing
        return response

    def _audience(self, call: Call) -> Audience:
        tenant = call.caller.tenant
        audience = self._audiences.get(tenant)
        if audience is None:
            audience = self._audiences[tenant] = Audience(self._app, self._version, call)
        audience.call = call
        return audience

    def _hello(self, audience: Audience) -> dict[str, Any]:
        """Return what does not change while the page is open, and the curves so far."""
        settings, tenant = self._app.settings, audience.call.caller.tenant
        hello: dict[str, Any] = {
            "app": settings.app_id,
            "version": self._version,
            "tenant": tenant,
            "history": [*audience.feed.history],
        }
        if tenant is None:
            drawn = topology(self._app.index, settings.app_id, settings.partitions)
            hello |= {"demo": settings.demo, "topology": drawn.model_dump(mode="json")}
            hello["counted"] = settings.metrics
        return hello

    def _usage_rate(self) -> float:
        operators = self._audiences.get(None)
        return operators.usage_rate if operators is not None else 0.0


def _answer(body: bytes, kind: str) -> web.Response:
    charset = "utf-8" if kind.startswith("text/") else None
    return web.Response(body=body, content_type=kind, charset=charset, headers=PAGE_HEADERS)


async def _send(response: web.StreamResponse, event: str, data: bytes) -> None:
    async with asyncio.timeout(SEND_S):
        await response.write(b"event: %b\ndata: %b\n\n" % (event.encode(), data))


def build(app: SluiceApp) -> None:
    """Put the console on a worker's web port."""
    app.pages.append(ConsolePages(app))
