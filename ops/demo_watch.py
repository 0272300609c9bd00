"""What the demo shows: read from the worker's own views and metrics, as any user could."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from ops.console_numbers import percentile
from ops.demo_shop import Shop
from ops.traces import TENANTS
from streams.settings import Settings, reveal

LOOK_SECONDS = 0.5
VIEWS_SECONDS = 1.0
TENANTS_AT_A_TIME = 5
"""Tenants whose views are read in one go: all of them at once would be a load of their own on a small machine."""
WINDOW_SECONDS = 10.0
ALERTS_SHOWN = 6


@dataclass(slots=True)
class Sample:
    """The worker's counters at one moment.

    Attributes:
        at: monotonic seconds.
        outcomes: events by how they ended.
        topics: events by topic.
        published: records published.
        lag: source records that are not in the state yet.
        latency: cumulative counts of the end-to-end histogram by upper bound in seconds.
        ready: whether the worker says that it is ready.
    """

    at: float
    outcomes: dict[str, float] = field(default_factory=dict)
    topics: dict[str, float] = field(default_factory=dict)
    published: float = 0.0
    lag: float = 0.0
    latency: dict[float, float] = field(default_factory=dict)
    ready: bool = False

    @property
    def events(self) -> float:
        """Events taken in, however they ended."""
        return sum(self.outcomes.values())


def parse(text: str, at: float) -> Sample:
    """Return the sample that a Prometheus text holds."""
    sample = Sample(at)
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            if name == "sluice_events_processed_total":
                sample.outcomes[labels["outcome"]] = sample.outcomes.get(labels["outcome"], 0.0) + value
                sample.topics[labels["topic"]] = sample.topics.get(labels["topic"], 0.0) + value
            elif name == "sluice_events_published_total":
                sample.published += value
            elif name == "sluice_consumer_lag_records":
                sample.lag += value
            elif name == "sluice_event_end_to_end_seconds_bucket" and labels["topic"] == "usage.metered":
                sample.latency[float(labels["le"])] = value
            elif name == "sluice_worker_ready":
                sample.ready = value == 1.0
    return sample


def rate(samples: deque[Sample]) -> float:
    """Return the events per second between the first and the last sample."""
    if len(samples) < 2 or samples[-1].at <= samples[0].at:
        return 0.0
    return max(0.0, samples[-1].events - samples[0].events) / (samples[-1].at - samples[0].at)


def p95_ms(samples: deque[Sample]) -> float | None:
    """Return the 95th percentile of the latencies between the first and the last sample, or None without any."""
    if len(samples) < 2:
        return None
    new = {bound: count - samples[0].latency.get(bound, 0.0) for bound, count in samples[-1].latency.items()}
    return percentile(new, 0.95)


class Watch:
    """Looks at one worker from threads of its own. Attributes are replaced whole, so they can be read any time.

    Attributes:
        samples: the counters of the last seconds, oldest first.
        quotas: rows of ``/usage/{tenant}/quotas``, with the tenant, fullest first.
        alerts: rows of ``/alerts``, latest first.
        firing: how many alerts are firing.
        usage: units metered, by meter, over all tenants.
        shop: the best of the shop.
    """

    def __init__(self, settings: Settings, shop: Shop) -> None:
        self.url = f"http://{settings.web_host}:{settings.web_port}"
        self.samples: deque[Sample] = deque()
        self.quotas: list[dict[str, Any]] = []
        self.alerts: list[dict[str, Any]] = []
        self.firing = 0
        self.usage: dict[str, Decimal] = {}
        self.shop = shop
        self._quotas_of: dict[str, list[dict[str, Any]]] = {}
        self._usage_of: dict[str, dict[str, Decimal]] = {}
        self._token = reveal(settings.web_token)
        self._http = threading.local()
        self._stop = threading.Event()
        self._threads = [
            # A view may wait for another worker; the counters must not wait for it.
            threading.Thread(target=self._run, args=(LOOK_SECONDS, self.look), name="watch", daemon=True),
            threading.Thread(target=self._run, args=(VIEWS_SECONDS, self._turn), name="views", daemon=True),
        ]
        self._next = 0

    @property
    def latest(self) -> Sample:
        """The last sample; an empty one before the first."""
        return self.samples[-1] if self.samples else Sample(0.0)

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
        """Take a sample of the counters."""
        sample = parse(self._get("/metrics").text, time.monotonic())
        kept = [old for old in self.samples if sample.at - old.at <= WINDOW_SECONDS]
        self.samples = deque([*kept, sample])

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
