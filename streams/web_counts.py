"""Counting the requests of the web port: by the pattern of their path, never by the path, which holds keys."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web
from prometheus_client.metrics_core import Metric

from streams.metrics import Metrics
from streams.metrics_families import OTHER, Buckets, family

METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})


class RequestCounts:
    """Counts for one worker's web port."""

    def __init__(self, metrics: Metrics) -> None:
        """Add them to the worker's metrics."""
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._seconds = Buckets()
        metrics.sources.append(self.families)

    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """Return the aiohttp middleware; nothing outside of it may answer."""

        @web.middleware
        async def count(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            began = time.perf_counter()
            response = await handler(request)
            resource = request.match_info.route.resource
            view = OTHER if resource is None else resource.canonical
            method = request.method if request.method in METHODS else OTHER
            self._requests[view, method, str(response.status)] += 1
            if isinstance(response, web.Response):  # a stream goes on for as long as somebody looks at it
                self._seconds.observe(time.perf_counter() - began)
            return response

        return count

    def families(self) -> Iterator[Metric]:
        """Yield what was counted."""
        yield family("sluice_web_requests_total", self._requests)
        yield family("sluice_web_request_seconds", {(): self._seconds})
