"""How many of what are in the state: gauges that only a walk through a table can tell.

A census looks at every aggregate of a table, partition by partition, and counts what its question asks for. It is no
running count kept from each unit's changes, because that would cost the pipeline time with every event, and would have
to be made good after every recovery, roll-back and change of definitions; a walk is right by itself. Its price is age:
a walk begins as soon as a partition is owned, then every ``EVERY_S``, and takes at most one hundredth of the event
loop's time (``SLICE_S`` in every ``SLICE_S + REST_S``), so over a million products it takes minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric

from streams.codec import NeedsSchema, Undecodable
from streams.metrics_families import family
from streams.partition import Partition
from streams.reading import StoredState
from tables.state import Record

if TYPE_CHECKING:
    from streams.app import SluiceApp

log = logging.getLogger(__name__)

EVERY_S = 30.0
LOOK_S = 1.0
SLICE_S = 0.002
REST_S = 0.2

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What is counted in a table.

    Attributes:
        metric: name of the gauge.
        table: the table.
        prefixes: with which the names of the records begin that ``answers`` reads.
        answers: ``state -> labels`` of each thing that counts in an aggregate; None for one that does not.
        always: labels that have a value even where nothing counts.
    """

    metric: str
    table: str
    prefixes: Sequence[str]
    answers: Callable[[StoredState], Iterable[Labels | None]]
    always: Sequence[Labels]


@dataclass(frozen=True, slots=True)
class _Counted:
    partition: Partition
    found: Counter[Labels]
    begun: float


class Unreadable(Exception):
    """A record's schema is not known here."""


class Census:
    """Asks its questions, for as long as the worker runs.

    Attributes:
        questions: at most one for each table.
    """

    def __init__(self, app: SluiceApp) -> None:
        self.questions: list[Question] = []
        self._app = app
        self._counted: dict[tuple[str, int], _Counted] = {}
        self._walk: Generator[None] | None = None
        self._task: asyncio.Task[None] | None = None
        app.metrics.sources.append(self.families)

    def start(self) -> None:
        """Begin in the background, where anything is to be counted."""
        if not self._app.settings.metrics:
            return
        self._task = asyncio.create_task(self._run(), name="sluice-census")

    async def stop(self) -> None:
        """End, and let go of the stores."""
        self.abandon()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def abandon(self) -> None:
        """Let go of the stores at once: they are about to be closed."""
        if self._walk is not None:
            self._walk.close()
            self._walk = None

    def families(self) -> Iterator[Metric]:
        """Yield the gauges, as of the latest walks through the partitions owned now."""
        for question in self.questions:
            totals = Counter(dict.fromkeys(question.always, 0))
            for number, partition in self._app.pipelines[question.table].partitions.items():
                counted = self._counted.get((question.table, number))
                if counted is not None and counted.partition is partition:
                    totals.update(counted.found)
            yield family(question.metric, totals)

    async def _run(self) -> None:
        while True:
            for question, number, partition in self._due():
                begun = time.monotonic()
                try:
                    found = await self._count(question, partition)
                except Exception as error:
                    # Its text may hold a key. The next walk may succeed.
                    log.warning(
                        "the census of %s[%d] failed (%s)", question.table, number, type(error).__name__
                    )
                    found = Counter()
                if found is not None:
                    self._counted[question.table, number] = _Counted(partition, found, begun)
            await asyncio.sleep(LOOK_S)

    def _due(self) -> list[tuple[Question, int, Partition]]:
        oldest = time.monotonic() - EVERY_S
        return [
            (question, number, partition)
            for question in self.questions
            for number, partition in self._app.pipelines[question.table].partitions.items()
            if (counted := self._counted.get((question.table, number))) is None
            or counted.partition is not partition
            or counted.begun <= oldest
        ]

    async def _count(self, question: Question, partition: Partition) -> Counter[Labels] | None:
        """Return what was found; None where the walk was abandoned."""
        found: Counter[Labels] = Counter()
        walk = self._walk = self._steps(question, partition, found)
        until = time.perf_counter() + SLICE_S
        while next(walk, self) is None:
            if time.perf_counter() >= until:
                await asyncio.sleep(REST_S)
                until = time.perf_counter() + SLICE_S
        return found if self._walk is walk else None

    def _steps(self, question: Question, partition: Partition, found: Counter[Labels]) -> Generator[None]:
        """Count, and yield after each thing that was looked at."""
        store = partition.changelog.store
        for key in store.aggregates():
            for labels in question.answers(StoredState(key, store, self._decode, None, question.prefixes)):
                if labels is not None:
                    found[labels] += 1
                yield
            yield

    def _decode(self, value: bytes) -> Record:
        record = self._app.codec.decode(value)
        if isinstance(record, Undecodable | NeedsSchema):
            raise Unreadable
        return record
