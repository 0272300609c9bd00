"""What is counted of usage: events and quantities by meter, late events, and how full quotas are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from streams.app import SluiceApp
from streams.events import UsageAggregateAdjusted, UsageEvent, UsageEventRejected, UsageQuota, UsageRollup
from streams.metric_names import KNOWN_METERS
from streams.metrics_census import Question
from streams.metrics_families import OTHER, family
from streams.partition import Partition
from streams.reading import StoredState
from tables.usage_count import kind_of
from tables.usage_facts import LATE_EVENT, ZERO, present
from tables.usage_names import quota_name, rollup_id

SHARES: Final = (("0-50", 50), ("50-80", 80), ("80-100", 100))
OVER: Final = "100+"


class UsageMetrics:
    """Counts for a worker's usage table."""

    def __init__(self, app: SluiceApp) -> None:
        """Add them to the worker's metrics."""
        shown = (*KNOWN_METERS, *app.settings.metrics_meters, OTHER)
        self._meters: dict[str, list[Any]] = {meter: [0, ZERO] for meter in shown}
        self._late: Counter[str] = Counter({"counted": 0, "refused": 0})
        app.metrics.observers["usage"] = self.observe
        app.metrics.sources.append(self.families)
        always = [(share,) for share, _ in SHARES] + [(OVER,)]
        app.census.questions.append(Question("sluice_usage_quotas", "usage", ("r|", "d|"), shares, always))

    def observe(self, partition: Partition) -> None:
        """Count a unit of work.

        The loop is all that an event pays for its metrics. Buckets would tell the same once for many events, but
        where each event has a bucket of its own, finding what they were before costs ten times as much.
        """
        meters, other = self._meters.get, self._meters[OTHER]
        for event in partition.taken:
            if type(event) is UsageEvent:
                row = meters(event.resource_type or kind_of(event.event_type), other)
                row[0] += 1
                row[1] += event.quantity
        for fact in partition.facts:
            if type(fact) is UsageAggregateAdjusted:
                self._late["counted"] += fact.reason == "LATE"
            elif type(fact) is UsageEventRejected:
                self._late["refused"] += fact.reason_code == LATE_EVENT

    def families(self) -> Iterator[Metric]:
        """Yield what was counted."""
        seen = {(meter,): row for meter, row in self._meters.items() if row[0]}
        yield family("sluice_usage_events_total", {meter: events for meter, (events, _) in seen.items()})
        yield family("sluice_usage_quantity_total", {meter: float(sum_) for meter, (_, sum_) in seen.items()})
        yield family("sluice_usage_late_events_total", {(how,): times for how, times in self._late.items()})


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
