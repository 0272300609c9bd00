"""A worker without a broker whose partitions take in real events, unit by unit, as its pipelines would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents import alerts, customer, stock, usage
from streams.app import SluiceApp
from streams.topics import partition_for
from tests.unit.streams.core_world import Raw
from tests.unit.streams.web_world import PARTITIONS, World, a_world

BUILDS = (usage.build, alerts.build, stock.build, customer.build)

Samples = dict[str, dict[tuple[str, ...], float]]
"""By name and by the values of the labels, in the order of the labels' names."""


class Metered:
    """The worker and what it was sent."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._offset = 0

    @property
    def app(self) -> SluiceApp:
        return self.world.workers[0].app

    def send(self, topic: str, *events: tuple[str, Any], at_ms: int) -> None:
        """Process events, given with their keys, as one unit of each partition that they belong to."""
        [table] = {route.aggregate.name for route in self.app.index.on(topic).values()}
        units: dict[int, list[Raw]] = {}
        for key, event in events:
            raw = key.encode()
            value = self.app.codec.encode(event, topic)
            units.setdefault(partition_for(raw, PARTITIONS), []).append(Raw(self._offset, raw, value, at_ms))
            self._offset += 1
        for number, records in units.items():
            self._unit(table, topic, number, records)

    def _unit(self, table: str, topic: str, number: int, records: Sequence[Raw]) -> None:
        partition = self.app.pipelines[table].partitions[number]
        partition.process(topic, records, self.app.codec.decode_batch([record.value for record in records]))
        changes = partition.raw_changes()
        self.app.metrics.decided(table, [partition])
        store = partition.changelog.store
        store.write(changes, store.next_offset + len(changes))
        partition.commit()

    async def scraped(self) -> Samples:
        """Return what the worker tells Prometheus."""
        found: Samples = {}
        text = (await self.world.get("/metrics")).body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = tuple(value for _, value in sorted(sample.labels.items()))
                found.setdefault(sample.name, {})[labels] = sample.value
        return found


@asynccontextmanager
async def metered(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[Metered]:
    """Start a worker that owns every partition; the census looks as often as it can."""
    monkeypatch.setattr("streams.metrics_census.LOOK_S", 0.01)
    monkeypatch.setattr("streams.metrics_census.EVERY_S", 0.0)
    monkeypatch.setattr("streams.metrics_census.REST_S", 0.0)
    async with a_world(folder, monkeypatch, builds=BUILDS, **options) as world:
        await world.assign(range(PARTITIONS))
        app = world.workers[0].app
        app.census.start()
        try:
            yield Metered(world)
        finally:
            await app.census.stop()
