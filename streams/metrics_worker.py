"""What a scrape reads off a worker: how far it is, what it holds, and whether it can work.

Nothing here is counted: every value is looked up when somebody asks, in time that does not grow with the tables.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from faust.types import TP
from prometheus_client.metrics_core import Metric

from streams.metrics_families import family
from streams.watchdog import restarts
from streams.web_progress import Progress

if TYPE_CHECKING:
    from streams.app import SluiceApp


class WorkerMetrics:
    """The families of one worker."""

    def __init__(self, app: SluiceApp, ready: Callable[[], bool]) -> None:
        """Add them to the worker's metrics.

        Args:
            ready: whether the worker is ready now.
        """
        self._app = app
        self._ready = ready
        app.metrics.sources.append(self.families)

    def families(self) -> Iterator[Metric]:
        """Yield the families, as they are now."""
        yield from self._progress()
        yield from self._tables()
        yield family("sluice_backlog_records", {(): self._app.backlog.records})
        yield family("sluice_records_sent_total", self._sent())
        yield family("sluice_worker_ready", {(): int(self._ready())})
        yield family("sluice_broker_reachable", {(): int(self._app.watch.broker == "")})
        yield family("sluice_registry_reachable", {(): int(self._app.watch.registry is True)})
        yield family("sluice_restarts_total", {(): restarts()})

    def _progress(self) -> Iterator[Metric]:
        lag, age, still = {}, {}, {}
        for tp, progress in self._app.watch.progress.items():
            here = (tp.topic, str(tp.partition))
            lag[here], age[here], still[here] = progress.lag, self._age(tp, progress), progress.still_s
        yield family("sluice_consumer_lag_records", lag)
        yield family("sluice_consumer_lag_seconds", age)
        yield family("sluice_partition_still_seconds", still)

    def _age(self, tp: TP, progress: Progress) -> float:
        # A poll may have brought records that the state had already; nothing is stored for them again.
        self._app.arrivals.stored(tp, max(progress.stored, self._app.gate.get(tp, 0)))
        oldest = self._app.arrivals.oldest_ms(tp)
        if oldest is not None:
            return max(0.0, time.time() - oldest / 1000)
        # What was not fetched yet has an unknown age; where nothing moves, it waits at least as long as that.
        return progress.still_s

    def _tables(self) -> Iterator[Metric]:
        partitions, keys, size, parked = {}, {}, {}, {}
        for name, pipeline in self._app.pipelines.items():
            table, owned = (name,), list(pipeline.partitions.values())
            partitions[table] = len(owned)
            keys[table] = sum(len(partition.changelog.store) for partition in owned)
            size[table] = sum(partition.changelog.store.size for partition in owned)
            parked[table] = sum(len(partition.parked) for partition in owned)
        yield family("sluice_table_partitions", partitions)
        yield family("sluice_table_keys", keys)
        yield family("sluice_table_bytes", size)
        yield family("sluice_parked_keys", parked)
        remaining = dict.fromkeys(partitions, 0)
        for name, records in self._app.to_recover():
            remaining[(name,)] += records
        yield family("sluice_recovery_remaining_records", remaining)

    def _sent(self) -> dict[tuple[str, ...], int]:
        app = self._app
        producers = {"outputs": app.outputs.counts, "changelog": app.changelogs.counts}
        if "client" in vars(app):
            counts = app.client.counts
            producers["client"] = Counter(acknowledged=counts["published"], failed=counts["failed"])
        return {
            (producer, outcome): counts[outcome]
            for producer, counts in producers.items()
            for outcome in ("acknowledged", "failed")
        }
