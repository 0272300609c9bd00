"""Watching the worker from beside it: does each partition it owns advance, do broker and registry answer.

The watch looks every few seconds through connections of its own, so that a broker which hangs never holds
up the pipeline's, and a health check or a scrape only reads what was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

from aiohttp import web
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from faust.types import TP

from streams.recovery import ChangelogTables

if TYPE_CHECKING:
    from streams.app import SluiceApp

log = logging.getLogger(__name__)

CHECK_INTERVAL_S = 30
"""contracts 3.13: how often whoever watches the worker asks for its components."""
LOOK_S = 5.0
REGISTRY_LOOK_S = 10.0
UNSURE_LOOK_S = 0.2
"""A worker that starts, or lost its broker, is watched closely, to be called ready as soon as it is."""
ASK_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Progress:
    """How far one source partition is.

    Attributes:
        end: offset after the last record of the partition.
        stored: offset up to which everything is contained in the stored state.
        still_s: seconds for which there was work and nothing moved.
    """

    end: int = 0
    stored: int = 0
    fetched: int = 0
    still_s: float = 0.0

    @property
    def lag(self) -> int:
        """Records that are not in the state yet."""
        return max(0, self.end - self.stored)

    def look(self, *, end: int, applied: int, delivered: int, fetched: int, seconds: float) -> None:
        """Take in what is seen now.

        Args:
            end: offset after the last record.
            applied: offset after the last record that the state contains; 0 where it contains none.
            delivered: offset after the last record that was handed to the pipeline; 0 where none was.
            fetched: offset that is fetched next.
            seconds: time since the last look.
        """
        # Offsets without a record (transaction markers, compaction) are fetched over and never applied. So
        # where the pipeline has nothing in hand, all that was fetched counts as stored.
        waiting = delivered > applied
        stored = max(applied, self.stored if waiting else fetched)
        moved = stored > self.stored or fetched > self.fetched
        self.still_s = self.still_s + seconds if (waiting or fetched < end) and not moved else 0.0
        self.end, self.stored, self.fetched = end, stored, fetched


class Watch:
    """Looks at the worker's partitions, its broker and its registry, again and again.

    Attributes:
        progress: by source partition that this worker owns and has recovered.
        broker: what is wrong with the broker, empty where nothing is; None before the first look.
        registry: whether the registry answers; None before the first look.
        looked_at, registry_looked_at: POSIX time of the last look.
    """

    def __init__(self, app: SluiceApp) -> None:
        self._app = app
        self._interval = min(LOOK_S, app.settings.stall_timeout_s / 10)
        self._looked = 0.0
        self.progress: dict[TP, Progress] = {}
        self.broker: str | None = None
        self.registry: bool | None = None
        self.looked_at: float | None = None
        self.registry_looked_at: float | None = None

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient({**self._app.settings.librdkafka_config(), "log_level": 0})

    async def run(self, _: web.Application) -> AsyncIterator[None]:
        """Watch while the web server runs (an aiohttp ``cleanup_ctx``)."""
        tasks = [
            asyncio.create_task(self._forever(self.look)),
            asyncio.create_task(self._forever(self._look_at_registry)),
        ]
        yield
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _forever(self, look: Callable[[], Awaitable[float]]) -> None:
        while True:
            try:
                pause = await look()
            except Exception as error:
                # The assignment changes while we look; the next look sees the new one.
                log.debug("looking at the worker failed (%s)", type(error).__name__)
                pause = self._interval
            await asyncio.sleep(pause)

    @property
    def settled(self) -> bool:
        """Whether the worker has an assignment and no new one is under way."""
        tables = cast(ChangelogTables, self._app.tables)
        return tables.recovery.completed.is_set() and not self._app.rebalancing

    async def look(self) -> float:
        """Look at the broker and at each partition once; return the seconds until the next look."""
        now = time.monotonic()
        # A process that was paused did not stall: no look counts for more than two intervals.
        seconds = min(now - self._looked, 2 * self._interval) if self._looked else 0.0
        self._looked, self.looked_at = now, time.time()
        applied = self.applied() if self.settled else {}
        ends = await asyncio.to_thread(self._ends, list(applied))
        self.progress = {tp: self.progress.get(tp, Progress()) for tp in applied}
        if self.broker:
            return UNSURE_LOOK_S  # nothing moves while the broker is away, and a restart would not help
        for tp, offset in applied.items():
            fetched = await asyncio.wait_for(self._app.consumer.position(tp), ASK_TIMEOUT_S)
            delivered = self._app.delivered.get(tp, 0)
            self.progress[tp].look(
                end=ends.get(tp, 0),
                applied=offset,
                delivered=delivered,
                fetched=fetched or 0,
                seconds=seconds,
            )
        return self._interval

    def stalled(self, seconds: float | None = None) -> dict[TP, Progress]:
        """Return the partitions that have work and do not move, for the stall timeout unless ``seconds`` are given."""
        limit = self._app.settings.stall_timeout_s if seconds is None else seconds
        return {tp: progress for tp, progress in self.progress.items() if progress.still_s >= limit}

    def applied(self) -> dict[TP, int]:
        """Return the source partitions in work, and the offset after the last record in their state."""
        return {
            TP(topic.name, number): 1 + partition.changelog.position.sources.get(f"{topic.name}-{number}", -1)
            for name, pipeline in self._app.pipelines.items()
            for topic in self._app.index.sources(name)
            for number, partition in pipeline.partitions.items()
        }

    def _ends(self, tps: list[TP]) -> dict[TP, int]:
        # Without partitions of its own, a worker still needs the broker: any partition tells whether it
        # answers.
        asked = tps or [TP(self._app.index.routes[0].topic.name, 0)]
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(tp.topic, tp.partition): latest for tp in asked}
        try:
            found = self._admin.list_offsets(wanted, request_timeout=ASK_TIMEOUT_S)
            ends = {
                TP(tp.topic, tp.partition): future.result(2 * ASK_TIMEOUT_S) for tp, future in found.items()
            }
        except (KafkaException, TimeoutError) as error:
            self.broker = error.args[0].str() if isinstance(error, KafkaException) else "no answer"
        else:
            # A request that times out gives no error, but an offset that cannot be.
            self.broker = "" if all(end.offset >= 0 for end in ends.values()) else "no answer in time"
        if self.broker:
            # The client keeps leader epochs from before an outage and would be refused for ever.
            del self._admin
            return {}
        return {tp: int(end.offset) for tp, end in ends.items()}

    async def _look_at_registry(self) -> float:
        self.registry = await self._app.schema_registry.ready()
        self.registry_looked_at = time.time()
        return REGISTRY_LOOK_S
