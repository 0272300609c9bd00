"""The trace of a request over HTTP: what is sent because of it carries on the one that it names, or begins one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from streams.trace_context import continuing, given
from streams.web_errors import route_of

if TYPE_CHECKING:
    from streams.tracing_spans import Spans

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def tracing_of(tracing: Spans | None) -> Any:
    """Return the aiohttp middleware; without ``tracing`` a valid ``traceparent`` is passed on as it is."""

    @web.middleware
    async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method != "POST":
            return await handler(request)
        trace = given(request.headers)
        with tracing.serving("POST", route_of(request), trace) if tracing is not None else continuing(trace):
            return await handler(request)

    return traced
