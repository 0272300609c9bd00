"""``sluice exporter``: tells Prometheus what must be known when no worker runs (contracts 3.13, 002-47, 002-59).

in     what the brokers say of the workers' group and of the dead letter topics; whether the registry answers
out    GET /metrics, /health/live, /health/ready on a port of its own

It looks every few seconds, and a scrape only reads what was seen. What is not known any more is not shown: a series
that ends is an outage that an alert sees, and an old number is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.metrics_core import Metric

from ops.errors import OpsError
from ops.exporter_metrics import families
from ops.exporter_reading import Brokers, Seen
from ops.stack.processes import require_free
from streams.failures import FatalFailure
from streams.logs import configure
from streams.registry import Registry
from streams.settings import Settings
from streams.web_auth import CALLER, Doorkeeper, check_binding
from streams.web_errors import answer_errors
from streams.web_health import Check, Health

log = logging.getLogger(__name__)

LOOK_S = 5.0
UNKNOWN = "not asked yet"


class Exporter:
    """Looks at brokers and registry, and keeps what was seen.

    Args:
        settings: of the cluster and the workers' group.
    """

    def __init__(self, settings: Settings) -> None:
        self._brokers = Brokers(settings)
        self._registry = Registry(settings)
        self._seen: Seen | None = None
        self._wrong = UNKNOWN
        self._registry_answers = False
        self._seconds = 0.0
        self.registry = CollectorRegistry()
        self.registry.register(self)

    async def run(self, _: web.Application) -> AsyncIterator[None]:
        """Look while the web server runs (an aiohttp ``cleanup_ctx``)."""
        tasks = [
            asyncio.create_task(self._forever_brokers()),
            asyncio.create_task(self._forever_registry()),
        ]
        yield
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._registry.close()

    async def _forever_brokers(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self._seen = await asyncio.to_thread(self._brokers.look)
                self._wrong = ""
            except OpsError as error:
                if self._wrong in ("", UNKNOWN):
                    log.warning("the brokers cannot be asked: %s %s", error.cause, error.remedy)
                self._seen, self._wrong = None, error.cause
            except Exception as error:
                log.exception("a look at the brokers failed")
                self._seen, self._wrong = None, f"a defect of the exporter ({type(error).__name__})"
            self._seconds = time.monotonic() - began
            await asyncio.sleep(LOOK_S)

    async def _forever_registry(self) -> None:
        while True:
            self._registry_answers = await self._registry.ready()
            await asyncio.sleep(LOOK_S)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families (called by the client library at each scrape)."""
        yield from families(self._seen, self._seconds, registry=self._registry_answers)

    def app(self, settings: Settings) -> web.Application:
        """Return the web application, with the workers' own rules about tokens."""
        app = web.Application(middlewares=[answer_errors, Doorkeeper(settings).middleware()])
        app.cleanup_ctx.append(self.run)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        return app

    async def _metrics(self, request: web.Request) -> web.Response:
        request[CALLER].may_operate()
        encode, content_type = exposition.choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self.registry), headers={"Content-Type": content_type})

    async def _live(self, request: web.Request) -> web.Response:
        return web.json_response(text=Health(status="UP", checks=[]).model_dump_json())

    async def _ready(self, request: web.Request) -> web.Response:
        up = not self._wrong
        broker = Check(
            name="broker", status="UP" if up else "DOWN", data={} if up else {"reason": self._wrong}
        )
        health = Health(status=broker.status, checks=[broker])
        return web.json_response(text=health.model_dump_json(), status=200 if up else 503)


def run_exporter(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        OpsError: the port is taken, or would be open to the network without a token.
    """
    configure(settings)
    try:
        check_binding(settings)
    except FatalFailure as error:
        raise OpsError(f"The exporter cannot start: {error}.", "Then start it again.") from error
    require_free(settings.exporter_port, "the exporter", "SLUICE_EXPORTER_PORT")
    web.run_app(
        _made(settings), host=settings.web_host, port=settings.exporter_port, print=None, access_log=None
    )


async def _made(settings: Settings) -> web.Application:
    return Exporter(settings).app(settings)  # in the loop that its registry client will use
