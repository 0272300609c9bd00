"""Workers without a broker: real apps on real ports, with partitions that hold state in memory.

The assignment is given instead of coming from a group coordinator, and the registry is the cache file of one that is
down. All between an HTTP request and the stored bytes is what a worker runs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import aiohttp
from aiohttp import web
from faust.assignor.partition_assignor import PartitionAssignor
from yarl import URL

from ops.stack.processes import free_ports
from streams.app import SluiceApp
from streams.changelog import Changelog
from streams.codec import Codec
from streams.events import RECORDS
from streams.partition import Partition
from streams.publisher import Publisher
from streams.registry import fingerprint
from streams.replies import Replies
from streams.routes import INDEX
from streams.schemas import contracts
from streams.settings import Settings
from streams.store import SEPARATOR, TableStore
from streams.topics import all_topics, changelog_topic, partition_for
from streams.web import install
from streams.web_progress import Watch
from tables.state import Snapshot
from tests.unit.tables.tables_world import decided

NOBODY = "http://127.0.0.1:9/apis/ccompat/v7"
PARTITIONS = 4
AGGREGATES = {aggregate.name: aggregate for aggregate in INDEX.aggregates}


@dataclass
class Worker:
    """One worker.

    Attributes:
        app: the real app, not started.
        url: where its views are.
        seen: path and query of every request it got, as sent.
        watch: what health checks read; a test puts in what is to be seen.
    """

    app: SluiceApp
    url: str
    seen: list[str] = field(default_factory=list)
    runner: web.AppRunner | None = None
    watch: Watch = field(init=False)

    def told(self, distribution: Any) -> None:
        """Learn who owns which changelog partitions, as from the group's leader."""
        cast(PartitionAssignor, self.app.assignor).changelog_distribution = distribution

    async def stop(self) -> None:
        """Close its port."""
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None


class World:
    """A group of workers and somebody who asks them."""

    def __init__(self, workers: list[Worker], session: aiohttp.ClientSession) -> None:
        self.workers = workers
        self._session = session
        self._states: dict[tuple[str, str], Snapshot] = {}

    async def assign(self, *shares: Iterable[int], recovered: bool = True) -> None:
        """Give each worker its partitions of every table, as a finished rebalance does."""
        distribution = {
            worker.url: {changelog_topic(table): sorted(share) for table in AGGREGATES}
            for worker, share in zip(self.workers, shares, strict=True)
        }
        for worker, share in zip(self.workers, shares, strict=True):
            worker.told(distribution)
            for table, pipeline in worker.app.pipelines.items():
                pipeline.partitions.clear()
                for number in share if recovered else ():
                    pipeline.own(_partition(worker.app, table, number))

    def apply(self, table: str, key: str, event: Any, at: datetime) -> None:
        """Let the real rules answer an event, and store what changes with the key's owner."""
        aggregate = AGGREGATES[table]
        state = self._states.setdefault((table, key), Snapshot())
        self._states[table, key], changed, _ = decided(aggregate, state, event, at)
        self.store(table, key, changed)

    def store(self, table: str, key: str, records: dict[str, Any]) -> None:
        """Store records of an aggregate with the owner of its key."""
        number = partition_for(key.encode(), PARTITIONS)
        [worker] = [worker for worker in self.workers if number in worker.app.pipelines[table].partitions]
        store = worker.app.pipelines[table].partitions[number].changelog.store
        topic = changelog_topic(table)
        raw = [
            (
                key.encode() + SEPARATOR + name.encode(),
                None if record is None else worker.app.codec.encode(record, topic),
            )
            for name, record in records.items()
        ]
        store.write(raw, store.next_offset + len(raw))

    async def get(
        self, path: str, worker: int = 0, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> Answer:
        """Ask a worker; ``path`` is sent as it is."""
        url = URL(f"{self.workers[worker].url}{path}", encoded=True)
        async with self._session.request(method, url, headers=headers, allow_redirects=False) as response:
            return Answer(response.status, dict(response.headers), await response.read())


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code."""
        return str(self.json["error"]["code"])


def routes(world: World) -> set[tuple[str, str]]:
    """Return method and path of every route on the port of the world's first worker; GET stands for its HEAD."""
    server: web.Application = world.workers[0].app.web.web_app  # type: ignore[attr-defined]
    return {
        (route.method, route.resource.canonical)
        for route in server.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


def _partition(app: SluiceApp, table: str, number: int) -> Partition:
    topic = changelog_topic(table)
    store = cast(TableStore, app.state_tables[table].data).open(number)
    changelog = Changelog(topic, number, store, app.codec, app.changelogs, app.settings.changelog_max_bytes)
    return Partition(
        aggregate=AGGREGATES[table],
        number=number,
        index=INDEX,
        changelog=changelog,
        codec=app.codec,
        publisher=Publisher(INDEX, app.codec, PARTITIONS, app.settings.app_id),
        settings=app.settings,
        replies=Replies(app.codec, app.settings.app_id, PARTITIONS),
    )


def _write_cache(folder: Path) -> None:
    ids = {name: number for number, name in enumerate(sorted(contracts()), start=1)}
    content = {
        "url": NOBODY,
        "ids": {
            f"{topic.name}-{name} {fingerprint(contracts()[name].text)}": ids[name]
            for topic in all_topics()
            for name in topic.records
        },
        "schemas": {number: contracts()[name].text for name, number in ids.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "registry-cache.json").write_text(json.dumps(content), encoding="utf-8")


_CODECS: list[Codec] = []


async def _prepared(codec: Codec) -> Codec:
    """Return a codec that knows every schema. It is the same for all, because it takes a while to prepare."""
    if not _CODECS:
        pairs = [(topic.name, RECORDS[name]) for topic in all_topics() for name in topic.records]
        await codec.prepare(pairs)
        _CODECS.append(codec)
    return _CODECS[0]


async def _worker(folder: Path, port: int, options: dict[str, Any]) -> Worker:
    _write_cache(folder)
    builds = options.get("builds", ())
    settings = Settings.read(
        **{
            "data_dir": folder,
            "registry_url": NOBODY,
            "bootstrap_servers": "127.0.0.1:9",
            "partitions": PARTITIONS,
        }
        | {"web_port": port}
        | {name: value for name, value in options.items() if name != "builds"}
    )
    app = SluiceApp(settings, INDEX)
    app.codec = await _prepared(app.codec)
    for build in builds:
        build(app)
    install(app)
    worker = Worker(app, f"http://127.0.0.1:{port}")

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        worker.seen.append(str(request.rel_url))
        response: web.StreamResponse = await handler(request)
        return response

    server: web.Application = app.web.web_app  # type: ignore[attr-defined]
    server.middlewares.insert(0, note)
    app.web.init_server()
    worker.runner = web.AppRunner(server, access_log=None)
    await worker.runner.setup()
    await web.TCPSite(worker.runner, "127.0.0.1", port).start()
    return worker


@asynccontextmanager
async def a_world(folder: Path, monkeypatch: Any, count: int = 1, **options: Any) -> AsyncIterator[World]:
    """Start ``count`` workers with settings ``options``; nobody owns anything yet.

    The option ``builds`` is no setting: functions that are called with each app before it is complete.
    """
    watches: list[Watch] = []

    async def look(watch: Watch) -> float:
        watches.append(watch)
        return 3600.0  # no broker, so nothing to see

    async def look_at_registry(watch: Watch) -> float:
        return 3600.0

    monkeypatch.setattr(Watch, "look", look)
    monkeypatch.setattr(Watch, "_look_at_registry", look_at_registry)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        workers = []
        for number, port in enumerate(free_ports(count)):
            worker = await _worker(folder / str(number), port, options)
            stack.push_async_callback(worker.stop)
            workers.append(worker)
        while len(watches) < count:
            await asyncio.sleep(0)
        for worker, watch in zip(workers, watches, strict=True):
            worker.watch = watch
        yield World(workers, session)
