"""``/health``, its probes ``/health/live`` and ``/health/ready``, and ``/metrics`` (contracts 3.13).

Live asks for a restart when it fails: a partition with work that does not move. Ready asks for no requests and no work
to be sent: state that is not recovered, a broker that does not answer. ``/health`` lists every component, those too
whose failure is no reason for either. The shape is that of MicroProfile Health.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from aiohttp import web
from prometheus_client import exposition
from pydantic import BaseModel, Field

from streams.metrics_worker import WorkerMetrics
from streams.reading import Reader
from streams.replica import SILENCE_S
from streams.watchdog import earlier_restarts
from streams.web_errors import NotFound, NotReady
from streams.web_progress import CHECK_INTERVAL_S
from streams.web_views import Call, View

if TYPE_CHECKING:
    from streams.app import SluiceApp

Status = Literal["UP", "DOWN"]


class Check(BaseModel):
    """One component."""

    name: str
    status: Status
    data: dict[str, Any] = Field({}, description="What was seen; the reason where the status is DOWN.")
    last_checked: datetime | None = Field(
        default_factory=partial(datetime.now, UTC), description="When it was looked at; null: not yet."
    )


class HealthCheck(Protocol):
    """A component of a worker that says how it is (001-61); add it to ``SluiceApp.health``."""

    component_name: str

    async def check_health(self) -> Check:
        """Return how the component is. It is asked again and again, so it must not wait for others."""


class Health(BaseModel):
    """Whether the worker is as it should be: UP when every check is."""

    status: Status
    checks: list[Check]
    check_interval_seconds: int = Field(CHECK_INTERVAL_S, description="How often to ask.")


def checked(name: str, up: bool, at: float | None, **data: Any) -> Check:
    """Return what a component is found to be.

    Args:
        name: of the component.
        up: whether it is as it should be.
        at: POSIX time at which it was looked at; None: not yet.
        data: what was seen.
    """
    seen = None if at is None else datetime.fromtimestamp(at, UTC)
    return Check(name=name, status="UP" if up else "DOWN", data=data, last_checked=seen)


def _answer(checks: list[Check]) -> web.Response:
    up = all(check.status == "UP" for check in checks)
    health = Health(status="UP" if up else "DOWN", checks=checks)
    headers = {} if up else NotReady("").headers()
    return web.json_response(text=health.model_dump_json(), status=200 if up else 503, headers=headers)


class HealthViews:
    """The health checks and metrics of one worker."""

    def __init__(self, app: SluiceApp, reader: Reader) -> None:
        self._app = app
        self._reader = reader
        self._watch = app.watch
        WorkerMetrics(app, self._is_ready)

    def views(self) -> list[View]:
        """Return the rows for the table of views."""
        return [
            View("/health", self._health, Health, status=(200, 503)),
            View("/health/live", self._live, Health, status=(200, 503), open=True),
            View("/health/ready", self._ready, Health, status=(200, 503), open=True),
            View("/metrics", self._metrics, content_type="text/plain", errors=(404,)),
        ]

    async def _health(self, call: Call) -> web.Response:
        """Return how every component of the worker is."""
        call.caller.may_operate()
        own = [self._loop(), self._progress(), *self._readiness(), self._replica()]
        return _answer([*own, *[await component.check_health() for component in self._app.health]])

    async def _live(self, call: Call) -> web.Response:
        """Return whether the worker makes progress."""
        return _answer([self._loop(), self._progress()])

    async def _ready(self, call: Call) -> web.Response:
        """Return whether the worker is ready."""
        return _answer(self._readiness())

    def _readiness(self) -> list[Check]:
        return [self._state(), self._broker(), self._registry()]

    def _is_ready(self) -> bool:
        return all(check.status == "UP" for check in self._readiness())

    def _loop(self) -> Check:
        # Whoever reads this was answered by the event loop.
        return checked("loop", True, time.time(), restarts_last_hour=len(earlier_restarts()))

    def _progress(self) -> Check:
        stalled = {
            f"{tp.topic}-{tp.partition}": {"lag": progress.lag, "still_s": round(progress.still_s, 1)}
            for tp, progress in sorted(self._watch.stalled().items())
        }
        seen = {"partitions": len(self._watch.progress), "stalled": stalled}
        return checked("progress", not stalled, self._watch.looked_at, **seen)

    def _state(self) -> Check:
        data: dict[str, Any] = {}
        up = self._watch.settled
        for table, pipeline in sorted(self._app.pipelines.items()):
            owners = self._reader.owners(table)
            assigned = [number for number, url in owners.items() if url == self._reader.url]
            recovered = [number for number in assigned if number in pipeline.partitions]
            data[table] = {"assigned": len(assigned), "recovered": len(recovered)}
            up = up and bool(owners) and len(recovered) == len(assigned)
        if not up:
            data["reason"] = "tables are being rebuilt from their changelogs, or the assignment is changing"
        return checked("state", up, time.time(), **data)

    def _broker(self) -> Check:
        wrong = self._watch.broker
        seen = {"reason": wrong or "not asked yet"} if wrong != "" else {}
        return checked("broker", wrong == "", self._watch.looked_at, **seen)

    def _registry(self) -> Check:
        # A worker does not start before it has learned every id it writes, and it keeps the schemas it has
        # read. So a registry that is away later takes nothing from it but schemas nobody has used yet.
        seen = {"reachable": self._watch.registry is not False, "ids": "known"}
        return checked("registry", True, self._watch.registry_looked_at, **seen)

    def _replica(self) -> Check:
        replica = self._app.replica
        up = not self._app.index.shared or (
            replica.fresh_at is not None and time.time() - replica.fresh_at < SILENCE_S
        )
        reason = {} if up else {"reason": "what workers share is not read any more; answers from it grow old"}
        return checked("replica", up, replica.fresh_at, missing=replica.lag, **reason)

    async def _metrics(self, call: Call) -> web.Response:
        """Return metrics for Prometheus."""
        call.caller.may_operate()
        if not self._app.settings.metrics:
            raise NotFound("this worker does not count; start it without SLUICE_METRICS=false")
        encode, content_type = exposition.choose_encoder(call.request.headers.get("Accept", ""))
        return web.Response(body=encode(self._app.metrics.registry), headers={"Content-Type": content_type})
