"""What the demo shows: read from the worker's own views and metrics, as any user could.

Rates and latency are the console's: the same numbers by the same rules.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from ops.console_numbers import Counts, Meter, counts_of
from ops.demo_shop import Shop
from ops.traces import TENANTS
from streams.settings import Settings, reveal

LOOK_SECONDS = 1.0
TENANTS_AT_A_TIME = 5
"""Tenants whose views are read in one go: all of them at once would be a load of their own on a small machine."""
ALERTS_SHOWN = 6


class Watch:
    """Looks at one worker from threads of its own. Attributes are replaced whole, so they can be read any time.

    Attributes:
        counts: what the worker counts.
        pipeline: rates, latency and lag, as ``Meter.look`` returns them.
        quotas: rows of ``/usage/{tenant}/quotas``, with the tenant, fullest first.
        alerts: rows of ``/alerts``, latest first.
        firing: how many alerts are firing.
        usage: units metered, by meter, over all tenants.
        shop: the best of the shop.
    """

    def __init__(self, settings: Settings, shop: Shop) -> None:
        self.url = f"http://{settings.web_host}:{settings.web_port}"
        self.counts = Counts()
        self.pipeline = Meter().look(0.0, {})
        self.quotas: list[dict[str, Any]] = []
        self.alerts: list[dict[str, Any]] = []
        self.firing = 0
        self.usage: dict[str, Decimal] = {}
        self.shop = shop
        self._quotas_of: dict[str, list[dict[str, Any]]] = {}
        self._usage_of: dict[str, dict[str, Decimal]] = {}
        self._meter = Meter()
        self._token = reveal(settings.web_token)
        self._http = threading.local()
        self._stop = threading.Event()
        self._threads = [
            # A view may wait for another worker; the counters must not wait for it.
            threading.Thread(target=self._run, args=(LOOK_SECONDS, self.look), name="watch", daemon=True),
            threading.Thread(target=self._run, args=(LOOK_SECONDS, self._turn), name="views", daemon=True),
        ]
        self._next = 0

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(5)

    def ready(self) -> bool:
        """Tell whether the worker is ready to answer."""
        try:
            return self._get("/health/ready", timeout=2).ok
        except requests.RequestException:
            return False

    def look(self) -> None:
        """Read the counters. Raises requests.RequestException where the worker does not answer."""
        try:
            metrics = self._get("/metrics").text
        except requests.RequestException:
            self.counts = self.counts.model_copy(update={"ready": False})
            raise
        self.take(metrics, time.monotonic())

    def take(self, metrics: str, at: float) -> None:
        """Take in what ``/metrics`` told at ``at``, in monotonic seconds."""
        self.counts = counts_of(text_string_to_metric_families(metrics))
        self.pipeline = self._meter.look(at, {self.url: self.counts})

    def read_views(self) -> None:
        """Read quotas, usage and alerts of everybody."""
        self._read(range(TENANTS))

    def _turn(self) -> None:
        first, self._next = self._next, (self._next + TENANTS_AT_A_TIME) % TENANTS
        self._read(range(first, min(first + TENANTS_AT_A_TIME, TENANTS)))

    def _read(self, numbers: range) -> None:
        for number in numbers:
            tenant = f"tenant-{number:02d}"
            rows = self._items(f"/usage/{tenant}/quotas")
            self._quotas_of[tenant] = [{**row, "tenant": tenant} for row in rows]
            totals = self._items(f"/usage/{tenant}")
            self._usage_of[tenant] = {item["meter"]: Decimal(item["sum"]) for item in totals}
        quotas = [item for items in self._quotas_of.values() for item in items]
        self.quotas = sorted(quotas, key=lambda item: -float(item["percent"] or 0))
        usage: dict[str, Decimal] = {}
        for meters in self._usage_of.values():
            for meter, total in meters.items():
                usage[meter] = usage.get(meter, Decimal(0)) + total
        self.usage = usage
        self.alerts = self._items(f"/alerts?per_page={ALERTS_SHOWN}")
        firing = self._get("/alerts?status=firing&per_page=1")
        self.firing = firing.json()["total"] if firing.ok else self.firing
        self.shop.read(self._answer)

    def _get(self, path: str, timeout: float = 5) -> requests.Response:
        if not hasattr(self._http, "session"):  # sessions are not to be shared between threads
            self._http.session = requests.Session()
            if self._token:
                self._http.session.headers["Authorization"] = f"Bearer {self._token}"
        answer: requests.Response = self._http.session.get(self.url + path, timeout=timeout)
        return answer

    def _answer(self, path: str) -> dict[str, Any] | None:
        answer = self._get(path)
        found: dict[str, Any] | None = answer.json() if answer.ok else None
        return found

    def _items(self, path: str) -> list[dict[str, Any]]:
        answer = self._answer(path)
        found: list[dict[str, Any]] = answer["items"] if answer else []
        return found

    def _run(self, pause: float, act: Callable[[], None]) -> None:
        while not self._stop.wait(pause):
            # Where the worker restarts or recovers, the next look tells.
            with contextlib.suppress(requests.RequestException, ValueError, KeyError):
                act()
