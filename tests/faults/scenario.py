"""One app id on a broker: its topics, its workers, its load, and the comparison of all it made with the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from faust.types import TP

from ops.stack.local import LocalStack
from streams.changelog import Replay
from streams.codec import Codec
from streams.events import UsageEvent
from streams.recovery import ChangelogReader
from streams.registry import Registry
from streams.settings import Settings
from streams.store import SEPARATOR, MemoryPartition
from tests.faults.cluster import PARTITIONS, committed, drained, ends, environment_of, make, read, settings_of
from tests.faults.load import KEY, EventWriter, Load, Sender
from tests.faults.processes import Worker, until
from tests.faults.verify import (
    Total,
    Truth,
    Verdict,
    check_dead,
    check_derived,
    check_table,
    truth_of,
)


class Scenario:
    """Makes what a run needs, and ends its workers with the block.

    Args:
        stack: a running stack.
        run: the app id, which no other run of the broker has.
        folder: of data and logs.
        variables: ``SLUICE_*`` variables of the workers.
    """

    def __init__(self, stack: LocalStack, run: str, folder: Path, **variables: str) -> None:
        self.settings = settings_of(stack, run, folder)
        self.names = make(self.settings)
        self.workers: list[Worker] = []
        self._environment = environment_of(stack, **variables)
        self._folder = folder
        self._owned = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owned.close()

    @property
    def source(self) -> str:
        """Name of the source topic."""
        return self.names.source.name

    def worker(self, name: str, **variables: str) -> Worker:
        """Return a worker slot, not started; it ends with the scenario."""
        worker = Worker(name, self.settings.app_id, self._folder, {**self._environment, **variables})
        self._owned.callback(worker.stop)
        self.workers.append(worker)
        return worker

    def load(
        self, *, events: int, seed: int = 1, rate: float = 1e9, aggregates: int = 500, poison: int = 0
    ) -> Load:
        """Return a load for the source topic, not started."""
        return Load(
            self.settings,
            self.source,
            self.schema_id(),
            seed=seed,
            events=events,
            rate=rate,
            aggregates=aggregates,
            poison=poison,
        )

    def writer(self) -> EventWriter:
        """Return what frames events of the source."""
        return EventWriter(self.schema_id())

    def schema_id(self) -> int:
        """Return the id of the source's schema."""
        return asyncio.run(self._schema_id())

    async def _schema_id(self) -> int:
        registry = Registry(self.settings)
        try:
            subject, text, _ = self.names.subjects[0]
            return await registry.id_of(subject, text)
        finally:
            await registry.close()

    def await_drained(self, seconds: float = 60.0) -> None:
        """Return when everything in the source topic is committed."""
        await_drained(self.settings, self.source, self.workers, seconds)

    def compare(self, load: Load | Sender, worker: Worker) -> tuple[Truth, Verdict]:
        """Compare everything with the independent count; ``worker`` must own all partitions."""
        settings, names, verdict = self.settings, self.names, Verdict()
        truth = truth_of(self.source, read(settings, self.source), load.recorder)
        verdict.problems += truth.problems
        verdict.lost += truth.lost
        check_derived(truth, read(settings, names.derived.name), verdict)
        dead, failed = read(settings, names.dead.name), read(settings, names.failed.name)
        check_dead(self.source, truth, dead, failed, verdict)
        until(lambda: len(table_pages(worker)) == PARTITIONS, 60, "a worker that owns every partition")
        check_table(truth, "the worker's table", table_of_worker(worker, verdict), verdict)
        check_table(truth, "the table from the changelog", self.rebuilt(), verdict)
        telling = [worker.name for worker in self.workers if KEY in worker.log_text()]
        if telling:
            verdict.note(f"the logs of {', '.join(telling)} show keys of events")
        return truth, verdict

    def rebuilt(self) -> dict[str, Total]:
        """Return the table as a machine with an empty disk rebuilds it from the changelog."""
        return asyncio.run(self._rebuilt())

    async def _rebuilt(self) -> dict[str, Total]:
        registry, changelog = Registry(self.settings), self.names.changelog
        codec = Codec(registry)
        subjects = [row for row in self.names.subjects if row[0].startswith(changelog)]
        await codec.resolve([await registry.id_of(subject, text) for subject, text, _ in subjects])
        stores = {TP(changelog, number): MemoryPartition() for number in range(PARTITIONS)}
        replays = {tp: (Replay(store, codec), 0) for tp, store in stores.items()}
        for tp, end in ChangelogReader(self.settings).read(replays).items():
            replays[tp][0].finish(end)
        found: dict[str, Total] = {}
        for store in stores.values():
            for key in store.aggregates():
                total = codec.decode(store.get(key + SEPARATOR))
                assert isinstance(total, UsageEvent)
                found[key.decode()] = (int(total.metadata["n"]), total.quantity, total.metadata["seq"])
        await registry.close()
        return found


def await_drained(settings: Settings, topic: str, workers: Iterable[Worker], seconds: float) -> None:
    """Return when everything in a source topic is committed. Raises TimeoutError with the end of the workers' logs."""
    try:
        until(lambda: drained(settings, topic), seconds, "committed offsets at the end of the source")
    except TimeoutError as late:
        found = f"committed {committed(settings, topic)}, ends {ends(settings, topic)}"
        logs = "\n".join(f"{worker.name}: {worker.log_text()[-2_000:]}" for worker in workers)
        raise TimeoutError(f"{late}: {found}\n{logs}") from late


def table_pages(worker: Worker) -> dict[str, Any]:
    """Return what a worker shows of its partitions, or nothing while it is not ready."""
    page = worker.page()
    return dict(page["partitions"]) if page is not None and page["ready"] else {}


def table_of_worker(worker: Worker, verdict: Verdict) -> dict[str, Total]:
    """Return the table as a worker that owns all partitions shows it; an aggregate in two partitions is noted."""
    found: dict[str, Total] = {}
    for table in table_pages(worker).values():
        for key, (count, total, seq) in table.items():
            if key in found:
                verdict.note(f"aggregate {key} has state in two partitions")
            found[key] = (int(count), Decimal(total), seq)
    return found
