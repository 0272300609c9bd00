"""The worker's web port: views of the state, commands, health, metrics and their description, and nothing else.

Views only read, and a command becomes an event on the bus as any producer's does. Faust's own pages are off, because
they show any table to anybody; the port, the server and its life are Faust's (design/faust-facts.md 5).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from faust.web.base import BlueprintManager
from faust.web.drivers.aiohttp import Web
from pydantic import BaseModel, Field

from streams.reading import Elsewhere, Reader, Recovering
from streams.settings import Settings
from streams.web_actions import Action, answering
from streams.web_auth import CALLER, Caller, Doorkeeper, check_binding
from streams.web_commands import Command
from streams.web_counts import RequestCounts
from streams.web_errors import NotReady, answer_errors
from streams.web_events import PATH, SUMMARY
from streams.web_events_posts import Ingress
from streams.web_health import HealthViews
from streams.web_openapi import document
from streams.web_peers import Peers
from streams.web_posts import Commands
from streams.web_tracing import tracing_of
from streams.web_views import Call, View, etag_of, parse_query

if TYPE_CHECKING:
    from streams.app import SluiceApp

WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound


class Index(BaseModel):
    """What there is to read, and to change."""

    app: str
    version: str
    links: dict[str, str] = Field(description="Summary of each view by its path: GET.")
    commands: dict[str, str] = Field({}, description="Summary of each command by its path: POST.")


def faust_web_options(settings: Settings) -> dict[str, Any]:
    """Return Faust's settings for its web server.

    Raises:
        FatalFailure: the port would be open to the network without a token.
    """
    check_binding(settings)
    return {
        "web_enabled": True,
        "web_bind": settings.web_host,
        "web_host": settings.advertised_host,
        "web_port": settings.web_port,
        "canonical_url": advertised_url(settings),
        "web_tables_enabled": False,
        "web_router_enabled": False,
        "web_metrics_enabled": False,
        "web_graph_enabled": False,
        "web_stats_enabled": False,
    }


def advertised_url(settings: Settings) -> str:
    """Return how other workers reach this one: as it is set, or by its address, or by the machine's name."""
    if settings.advertised_url is not None:
        return settings.advertised_url.rstrip("/")
    host = socket.gethostname() if settings.web_host in WILDCARDS else settings.web_host
    return f"http://[{host}]:{settings.web_port}" if ":" in host else f"http://{host}:{settings.web_port}"


def program_version() -> str:
    """Return the version that is installed; of an uninstalled tree nobody knows it."""
    try:
        return metadata.version("sluice")
    except metadata.PackageNotFoundError:
        return "unknown"


def install(
    app: SluiceApp, views: Sequence[View] | None = None, commands: Sequence[Command] | None = None
) -> None:
    """Put views and commands on the worker's web port. Call it once, before the app starts.

    Args:
        app: the worker's app.
        views: views of the tables; the project's own by default. The app need not have all the tables.
        commands: the project's own by default. Those that the app's index has no route for are left out.
    """
    from agents.commands import COMMANDS, EVENTS
    from agents.views import VIEWS

    views = VIEWS if views is None else views
    routed = {route.event for route in app.index.routes}
    rows = [row for row in (COMMANDS if commands is None else commands) if row.record in routed]
    server = cast(Web, app.web)
    server.blueprints = BlueprintManager([])  # Faust's pages, its index included
    own = [view for view in views if view.table in app.pipelines]
    tenants = {row.record for row in rows if not row.operator} | {*EVENTS}
    serve(app, server.web_app, own, rows, tenants, program_version())


def serve(
    app: SluiceApp,
    server: web.Application,
    views: Sequence[View],
    commands: Sequence[Command],
    tenants: Collection[type],
    version: str,
) -> None:
    """Add middlewares and routes to an aiohttp application; ``tenants``: records that a tenant's token may send."""
    reader = Reader(app)
    peers = Peers(reader)
    actions = [action for pages in app.pages for action in pages.actions()]
    table = [*views, *(view for pages in app.pages for view in pages.views())]
    table += HealthViews(app, reader).views()
    table += _documents(table, commands, actions, app.settings, version)
    open_paths = {view.path for view in table if view.open}
    server.middlewares.extend(
        [
            RequestCounts(app.metrics).middleware(),
            answer_errors,
            Doorkeeper(app.settings).middleware(open_paths),
            tracing_of(app.tracing),
        ]
    )
    server.cleanup_ctx.extend([peers.session, app.watch.run])
    for view in table:
        server.router.add_get(_pattern(view.path), _handler(view, reader, peers))
    bus = Commands(app)
    server.on_shutdown.append(bus.close)
    for row in commands:
        server.router.add_post(_pattern(row.path), bus.handler(row))
    server.router.add_post(PATH, Ingress(app, tenants).handle)
    for action in actions:
        server.router.add_post(action.path, answering(action))
    server.on_shutdown.extend(pages.close for pages in app.pages)


def _pattern(path: str) -> str:
    return re.sub(r"{(\w+)}", r"{\1:[^/]+}", path)


def _documents(
    others: Sequence[View],
    commands: Sequence[Command],
    actions: Sequence[Action],
    settings: Settings,
    version: str,
) -> list[View]:
    """Return the views that describe the views: the index and the OpenAPI document."""

    async def index(call: Call) -> BaseModel:
        """Return what there is to read and to change."""
        return Index(
            app=settings.app_id,
            version=version,
            links={view.path: view.summary for view in table},
            commands={row.path: row.summary for row in commands}
            | {row.path: row.summary for row in actions}
            | {PATH: SUMMARY},
        )

    async def openapi(call: Call) -> web.Response:
        """Return this interface as an OpenAPI document."""
        return web.json_response(made())

    documents = [
        View("/", index, Index),
        View("/openapi.json", openapi),
    ]
    table = [*documents, *others]
    # Made when somebody asks: it takes a moment, and most workers are never asked.
    made = cache(lambda: document(table, commands, version, Doorkeeper(settings).guarded, actions))
    return documents


def _handler(
    view: View, reader: Reader, peers: Peers
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        call = Call(
            path=dict(request.match_info),
            query=parse_query(view.query, request),
            caller=request.get(CALLER, Caller()),
            reader=reader,
            peers=peers,
            request=request,
        )
        try:
            answer = await view.handle(call)
        except Elsewhere as elsewhere:
            return await peers.forward(request, elsewhere.url)
        except Recovering:
            raise NotReady(
                "the state is being rebuilt, or its partition is moving to another worker"
            ) from None
        if isinstance(answer, web.StreamResponse):
            return answer
        etag = etag_of(answer)
        if etag and etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers={"ETag": etag})
        text = answer.model_dump_json(by_alias=True, exclude_unset=True)
        return web.json_response(text=text, headers={"ETag": etag} if etag else {})

    return handle
