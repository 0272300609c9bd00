"""What one worker counts, and what the counts of all workers come to from one look to the next."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from prometheus_client.metrics_core import Metric
from pydantic import BaseModel

WINDOW_S = 5.0
"""Latencies are of the events of so many seconds: of one second there may be too few to tell a percentile of."""
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

OUTCOMES, PUBLISHED = "sluice_events_processed_total", "sluice_events_published_total"
LATENCY, LAG = "sluice_event_end_to_end_seconds_bucket", "sluice_consumer_lag_records"
KEYS, PARKED, READY = "sluice_table_keys", "sluice_parked_keys", "sluice_worker_ready"
DEAD = "sluice_dead_letters_total"


class Counts(BaseModel):
    """The counters of one worker at one moment.

    Attributes:
        ready: whether it says that it is ready.
        taken: events taken in since its start, by topic, then by outcome.
        published: records published since its start, by agent, then by topic.
        dead: dead letters sent since its start, by the topic of their events; those of refused events too.
        latency: events by the upper bound of their latency in seconds, cumulated; the bound is a text, such as +Inf.
        lag: records that are not in the state yet, by topic, then by partition.
        keys, parked: records stored, and keys that wait for a retry, by table.
    """

    ready: bool = False
    taken: dict[str, dict[str, float]] = {}
    published: dict[str, dict[str, float]] = {}
    dead: dict[str, float] = {}
    latency: dict[str, float] = {}
    lag: dict[str, dict[int, float]] = {}
    keys: dict[str, float] = {}
    parked: dict[str, float] = {}

    def by_topic(self) -> dict[str, float]:
        """Return the events taken in, by topic."""
        return {topic: sum(outcomes.values()) for topic, outcomes in self.taken.items()}

    def by_outcome(self) -> Counter[str]:
        """Return the events taken in, by how they ended."""
        return _sum(self.taken.values())

    def by_route(self) -> dict[tuple[str, str], float]:
        """Return the records published, by agent and topic."""
        return {(agent, topic): value for agent, of in self.published.items() for topic, value in of.items()}

    def by_bound(self) -> dict[float, float]:
        """Return the events by the upper bound of their latency in seconds, cumulated."""
        return {float(bound): value for bound, value in self.latency.items()}


def counts_of(families: Iterable[Metric]) -> Counts:
    """Return what a worker's metrics say."""
    # All fields are given, though they are empty yet: one worker sends another those that were given.
    counts = Counts(ready=False, taken={}, published={}, dead={}, latency={}, lag={}, keys={}, parked={})
    for family in families:
        for name, labels, value, *_ in family.samples:
            if name == OUTCOMES:
                _add(counts.taken.setdefault(labels["topic"], {}), labels["outcome"], value)
            elif name == PUBLISHED:
                _add(counts.published.setdefault(labels["agent"], {}), labels["topic"], value)
            elif name == DEAD:
                _add(counts.dead, labels["topic"], value)
            elif name == LATENCY:
                _add(counts.latency, labels["le"], value)
            elif name == LAG:
                counts.lag.setdefault(labels["topic"], {})[int(labels["partition"])] = value
            elif name == KEYS:
                counts.keys[labels["table"]] = value
            elif name == PARKED:
                counts.parked[labels["table"]] = value
            elif name == READY:
                counts.ready = value == 1.0
    return counts


def _add(sums: dict[str, float], name: str, value: float) -> None:
    sums[name] = sums.get(name, 0.0) + value


def percentile(buckets: Mapping[float, float], share: float) -> float | None:
    """Return a percentile in milliseconds, or None where there is no event.

    Args:
        buckets: events by upper bound in seconds, cumulated.
        share: between 0 and 1.
    """
    bounds = sorted(buckets.items())
    wanted = share * bounds[-1][1] if bounds else 0.0
    if wanted <= 0:
        return None
    for (lower, below), (upper, count) in pairwise([(0.0, 0.0), *bounds]):
        if count >= wanted:
            inside = (wanted - below) / (count - below)
            return 1000 * (lower if upper == float("inf") else lower + inside * (upper - lower))
    return None


class Meter:
    """Rates and latencies of a group of workers, from what each has counted at one look and at the next."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, dict[str, Counts]]] = deque()

    def look(self, at: float, workers: Mapping[str, Counts]) -> dict[str, Any]:
        """Take in the counters of the workers, by name; return what they come to.

        Args:
            at: monotonic seconds.
            workers: those that answered. One that did not is left out of the rates until it has answered twice.
        """
        if self._looks and at - self._looks[-1][0] > WINDOW_S:
            self._looks.clear()  # nobody looked meanwhile, and what was then is no part of now
        self._looks.append((at, dict(workers)))
        while len(self._looks) > 2 and at - self._looks[1][0] >= WINDOW_S:
            self._looks.popleft()
        last = list(self._looks)[-3:]  # of two seconds: in one there may be a unit more, or one less
        taken, published = _rates(last, Counts.by_topic), _rates(last, Counts.by_route)
        latency = _grown(self._looks[0][1], workers, Counts.by_bound)
        outcomes = _sum(counts.by_outcome() for counts in workers.values())
        dead = _sum(counts.dead for counts in workers.values())
        lag = _sum(
            {topic: sum(of.values()) for topic, of in counts.lag.items()} for counts in workers.values()
        )
        return {
            "rate": sum(taken.values()),
            "latency": {name: percentile(latency, share) for name, share in PERCENTILES.items()},
            "lag": sum(lag.values()),
            "dead": sum(dead.values()),
            "outcomes": dict(outcomes),
            "keys": dict(_sum(counts.keys for counts in workers.values())),
            "parked": dict(_sum(counts.parked for counts in workers.values())),
            "published": _nested(published),
            "topics": {
                topic: {
                    "in": taken.get(topic, 0.0),
                    "out": sum(value for (_, name), value in published.items() if name == topic),
                    "lag": lag[topic],
                    "dead": dead[topic],
                }
                for topic in sorted({*taken, *(name for _, name in published), *lag, *dead})
            },
        }


def _nested(rates: Mapping[tuple[str, str], float]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for (agent, topic), value in rates.items():
        found.setdefault(agent, {})[topic] = value
    return found


def _sum(each: Iterable[Mapping[Any, float]]) -> Counter[Any]:
    total: Counter[Any] = Counter()
    for one in each:
        total.update(one)
    return total


def _grown(
    before: Mapping[str, Counts], now: Mapping[str, Counts], of: Callable[[Counts], Mapping[Any, float]]
) -> Counter[Any]:
    """Return by how much counters have grown, over the workers that are in both."""
    grown: Counter[Any] = Counter()
    for name in before.keys() & now.keys():
        old = of(before[name])
        new = of(now[name])
        started_again = any(new.get(key, 0.0) < value for key, value in old.items())
        grown.update(
            {key: value - (0.0 if started_again else old.get(key, 0.0)) for key, value in new.items()}
        )
    return grown


def _rates(
    looks: Sequence[tuple[float, Mapping[str, Counts]]], of: Callable[[Counts], Mapping[Any, float]]
) -> dict[Any, float]:
    """Return growth per second between two looks; nothing where there is only one."""
    (began, before), (ended, now) = looks[0], looks[-1]
    seconds = ended - began
    return {key: value / seconds for key, value in _grown(before, now, of).items()} if seconds > 0 else {}
