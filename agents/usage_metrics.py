"""What is counted of usage: events and quantities by meter, late events, and how full quotas are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from prometheus_client.metrics_core import Metric

from streams.app import SluiceApp
from streams.events import UsageAggregateAdjusted, UsageBucket, UsageEventRejected, UsageQuota, UsageRollup
from streams.metric_names import KNOWN_METERS
from streams.metrics_census import Question
from streams.metrics_families import OTHER, family
from streams.partition import Partition
from streams.reading import StoredState
from tables.usage_facts import LATE_EVENT, present
from tables.usage_names import quota_name, rollup_id

SHARES: Final = (("0-50", 50), ("50-80", 80), ("80-100", 100))
OVER: Final = "100+"


class UsageMetrics:
    """Counts for a worker's usage table."""

    def __init__(self, app: SluiceApp) -> None:
        """Add them to the worker's metrics."""
        self._meter_of = {meter: meter for meter in KNOWN_METERS}.get
        self._events: Counter[str] = Counter()
        self._quantity: dict[str, Decimal] = {}
        self._late: Counter[str] = Counter({"counted": 0, "refused": 0})
        app.metrics.observers["usage"] = self.observe
        app.metrics.sources.append(self.families)
        always = [(share,) for share, _ in SHARES] + [(OVER,)]
        app.census.questions.append(Question("sluice_usage_quotas", "usage", ("r|", "d|"), shares, always))

    def observe(self, partition: Partition) -> None:
        """Count what a unit of work changes: once for each bucket, however many events it took."""
        for state in partition.touched:
            stored = state.stored
            for name, after in state.dirty.items():
                if type(after) is UsageBucket:
                    self._count(name.split("|", 3)[2], stored.get(name), after)
        for fact in partition.facts:
            if type(fact) is UsageAggregateAdjusted:
                self._late["counted"] += fact.reason == "LATE"
            elif type(fact) is UsageEventRejected:
                self._late["refused"] += fact.reason_code == LATE_EVENT

    def _count(self, meter: str, before: UsageBucket | None, after: UsageBucket) -> None:
        label = self._meter_of(meter, OTHER)
        events, quantity = after.count, after.sum
        if before is not None:
            events, quantity = events - before.count, quantity - before.sum
        if events > 0:  # a void takes an event back, which a counter cannot
            self._events[label] += events
            self._quantity[label] = self._quantity.get(label, Decimal(0)) + quantity

    def families(self) -> Iterator[Metric]:
        """Yield what was counted."""
        yield family("sluice_usage_events_total", {(meter,): times for meter, times in self._events.items()})
        quantities = {(meter,): float(quantity) for meter, quantity in self._quantity.items()}
        yield family("sluice_usage_quantity_total", quantities)
        yield family(
            "sluice_usage_late_events_total", {(outcome,): times for outcome, times in self._late.items()}
        )


def shares(state: StoredState) -> Iterator[tuple[str] | None]:
    """Yield which share of its limit each quota of a tenant has used in its current period."""
    now = datetime.now(UTC)
    for name in state.names("r|"):
        rollup: UsageRollup = present(state, name)
        quota: UsageQuota | None = None
        if rollup.start <= now < rollup.end:
            quota = state.get(quota_name(rollup_id(name)[0]))
        yield None if quota is None or quota.limit is None else (share_of(rollup.total, quota.limit),)


def share_of(total: Decimal, limit: Decimal) -> str:
    """Return into which share of a limit a total falls; exactly on the limit it is reached (contracts 3.5)."""
    for share, percent in SHARES:
        if total * 100 < limit * percent:
            return share
    return OVER
