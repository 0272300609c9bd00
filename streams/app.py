"""The composition root: the one place that knows every part of a worker.

``create_app(settings)`` builds a Faust app with the transport, tables, recovery and pipelines of this package and the
agents of the index. Nothing is held in module state, so tests build as many as they need.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Protocol, cast
from zlib import crc32

import faust
from faust import stores
from faust.types import TP
from mode.utils.futures import notify

from streams.arrivals import Arrivals
from streams.changelog import Changelog, ChangelogTaken, Replay
from streams.client import Client
from streams.codec import Codec
from streams.events import Parked, Position, RecentIds, Reply
from streams.failpoints import failpoint
from streams.failures import FatalFailure
from streams.hang import HangGuard
from streams.membership import MemberReplaced
from streams.metrics import Metrics, Uncounted
from streams.metrics_census import Census
from streams.outbox import Outbox
from streams.partition import Partition
from streams.pipeline import Pipeline
from streams.publisher import Publisher
from streams.recovery import ChangelogReader, ChangelogTables, read_changelogs
from streams.registry import Registry, RegistryError
from streams.replica import Replica
from streams.replies import Replies
from streams.routing import Index
from streams.settings import Settings
from streams.store import TableStore
from streams.topics import changelog_topic, replies_of
from streams.tracing import continues, open_tracing
from streams.transport import Backlog, GatedConsumer, MicroBatchTransport
from streams.web import advertised_url, faust_web_options, install
from streams.web_actions import Pages
from streams.web_health import HealthCheck
from streams.web_progress import Watch

log = logging.getLogger(__name__)

EXIT_FATAL = 70
EXIT_TAKEN = 71
CLAIM_ATTEMPTS = 20

stores.STORES.aliases["sluice"] = "streams.store:TableStore"


class Companion(Protocol):
    """What runs in a worker beside its agents (``agents/senders.py``)."""

    async def start(self) -> None:
        """Begin; the producers are connected and the schema ids known."""

    async def stop(self) -> None:
        """End, in a few seconds; the producers are still connected."""


class SluiceApp(faust.App):
    """A Faust app whose records travel in micro-batches and whose offsets wait for the state.

    Attributes:
        gate: by source partition, the offset that may be committed: the state up to it is acknowledged.
        delivered: by source partition, the offset after the last record handed to an agent.
        backlog: how many records wait for the agents.
        arrivals: when the records that wait for their state were appended.
        replays: by changelog partition, what a recovery under way reads.
        pipelines: by aggregate name.
        replica: what every worker holds of the index's shared topics.
        companions: what runs beside the agents and publishes through the worker's producer.
        pages: what the web port has beside the project's views and commands.
        census: counts what is in the state.
        tracing: what records spans; None where nobody asks for any.
        health: components that ``/health`` shows beside the worker's own.
    """

    settings: Settings
    index: Index

    def __init__(self, settings: Settings, index: Index, **options: Any) -> None:
        self.settings = settings
        self.index = index
        self.gate: dict[TP, int] = {}
        self.delivered: dict[TP, int] = {}
        self.backlog = Backlog(4 * settings.unit_records)
        self.arrivals = Arrivals()
        self.replays: dict[TP, Replay] = {}
        self.schema_registry = Registry(settings)
        self.codec = Codec(self.schema_registry)
        self.replica = Replica(index.shared, self.codec, settings)
        self.companions: list[Companion] = []
        self.pages: list[Pages] = []
        self.health: list[HealthCheck] = []
        self.outputs = Outbox(settings, "outputs")
        self.changelogs = Outbox(settings, "changelog")
        self.hang = HangGuard(settings.handler_timeout_s)
        self.tracing = open_tracing(settings)
        counting = Metrics if settings.metrics else Uncounted
        self.metrics = counting(settings.app_id, options.get("version", ""))
        self.census = Census(self)
        super().__init__(settings.app_id, **_faust_options(settings))
        self.transport = MicroBatchTransport(self.conf.broker_consumer, self)
        self.pipelines = {aggregate.name: Pipeline(self, aggregate.name) for aggregate in index.aggregates}
        self.state_tables = {
            aggregate.name: self.Table(
                aggregate.name, partitions=settings.partitions, key_type=bytes, value_type=bytes
            )
            for aggregate in index.aggregates
        }
        self._aggregate_of = {
            changelog_topic(aggregate.name, settings.app_id): aggregate for aggregate in index.aggregates
        }
        self._publisher: Publisher | None = None
        self._replies: Replies | None = None
        self.on_partitions_revoked.connect(self._disown)

    @property
    def gated_consumer(self) -> GatedConsumer:
        """The consumer, by its own type."""
        return cast(GatedConsumer, self.consumer)

    @cached_property
    def client(self) -> Client:
        """The worker's own client of the bus, for commands that come over HTTP; it connects with the first one."""
        return Client(
            self.settings,
            self.index,
            source=self.settings.app_id,
            codec=self.codec,
            tracing=self.tracing,
        )

    @cached_property
    def watch(self) -> Watch:
        """Who looks whether this worker gets on, while its web server runs."""
        return Watch(self)

    # --- what agents use ------------------------------------------------------------------------------------------

    def source(self, aggregate: str) -> Any:
        """Return the Faust topic with all source topics of an aggregate; keys and values stay bytes."""
        names = [topic.name for topic in self.index.sources(aggregate)]
        return self.topic(
            *names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )

    def add_agent(self, aggregate: str) -> Any:
        """Add the agent of an aggregate: it hands the aggregate's units of work to the pipeline, one by one."""
        pipeline = self.pipelines[aggregate]

        async def work(stream: Any) -> None:
            async for unit in pipeline.units(stream):
                await pipeline.process(unit)

        return self.agent(self.source(aggregate), name=aggregate)(work)

    # --- life -----------------------------------------------------------------------------------------------------

    async def on_first_start(self) -> None:
        """Connect the producers and learn the schema ids before anything is consumed."""
        self.conf.datadir.mkdir(parents=True, exist_ok=True)
        await super().on_first_start()
        pairs = [(output.topic.name, event) for event, output in self.index.outputs.items()]
        pairs += [(route.topic.name, route.event) for route in self.index.routes]
        if any(route.answered for route in self.index.routes):
            pairs.append((replies_of(self.settings.app_id).name, Reply))
        state = [
            (topic, record)
            for topic, aggregate in self._aggregate_of.items()
            for record in (*aggregate.records, Position, RecentIds, Parked)
        ]
        try:
            await self.codec.prepare([*pairs, *state])
            await self.codec.learn_versions(state)
        except RegistryError as exc:
            raise FatalFailure(str(exc)) from exc
        app_id, partitions = self.settings.app_id, self.settings.partitions
        trace = continues(self.tracing, app_id)
        self._publisher = Publisher(self.index, self.codec, partitions, app_id, trace)
        self._replies = Replies(self.codec, app_id, partitions, trace)
        await self.replica.start()
        await self.outputs.start()
        await self.changelogs.start()
        self.census.start()
        for companion in self.companions:
            await companion.start()

    async def on_stop(self) -> None:
        await self.census.stop()
        await super().on_stop()
        for pipeline in self.pipelines.values():
            await pipeline.settle()
        for companion in self.companions:
            await companion.stop()
        await self.replica.stop()
        if "client" in vars(self):
            await self.client.close()
        await self.outputs.stop()
        await self.changelogs.stop()
        await self.schema_registry.close()
        if self.tracing is not None:
            await self.tracing.close()

    def abort(self, error: BaseException, **about: Any) -> None:
        """End the process at once, committing nothing: whatever is not stored will be done again after the restart.

        Args:
            error: why.
            about: fields of the log line, such as the topic, partition and offset that it is about.
        """
        code = EXIT_TAKEN if isinstance(error, ChangelogTaken | MemberReplaced) else EXIT_FATAL
        expected = isinstance(error, FatalFailure)
        try:
            log.critical(
                "worker stops (exit %d): %s", code, error, exc_info=None if expected else error, extra=about
            )
            for tp, offset in sorted(self.in_hand().items()):
                fields = {"topic": tp.topic, "partition": tp.partition, "offset": offset}
                log.critical(
                    "in work then: %s[%d] from %d to %d", *tp, offset, self.delivered[tp] - 1, extra=fields
                )
            logging.shutdown()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def in_hand(self) -> dict[TP, int]:
        """Return the source partitions with records that were handed to an agent and are not stored, and the first."""
        return {
            tp: offset for tp, offset in self.watch.applied().items() if offset < self.delivered.get(tp, 0)
        }

    def notify_acked(self) -> None:
        """Wake a rebalance or a shutdown that waits for the unit of work that has just ended."""
        notify(self.gated_consumer._waiting_for_ack)

    # --- recovery -------------------------------------------------------------------------------------------------

    async def restore_tables(self, changelogs: set[TP]) -> None:
        """Rebuild and claim the table partitions behind ``changelogs``; afterwards exactly those are owned.

        Any error but a new assignment ends the process: Faust would otherwise stay in recovery for good.
        """
        started = time.monotonic()
        try:
            self.metrics.rebalances += 1
            self.gate.clear()
            self.delivered.clear()
            self.backlog.clear()
            self.arrivals.clear()
            await self._disown()
            self._release(changelogs)
            records = await self._restore(changelogs)
            self.metrics.recovered_records += records
            self.metrics.recovery_seconds = time.monotonic() - started
            log.info("restored %d partitions from %d changelog records", len(changelogs), records)
        except Exception as exc:
            self.abort(exc)
        finally:
            self.replays = {}

    def to_recover(self) -> list[tuple[str, int]]:
        """Return, for each changelog that is being read, its table and how many records are left, at most."""
        return [(self._aggregate_of[tp.topic].name, replay.remaining) for tp, replay in self.replays.items()]

    def on_rebalance_start(self) -> None:
        """Begin to count the time without work."""
        self.metrics.rebalance_began()
        super().on_rebalance_start()

    def on_rebalance_end(self) -> None:
        """Count the time without work."""
        super().on_rebalance_end()
        self.metrics.rebalance_ended()

    async def _disown(self, *_: Any, **__: Any) -> None:
        """Stop work on every partition: they are being given away, and the unit in hand has been finished."""
        self.census.abandon()
        for pipeline in self.pipelines.values():
            await pipeline.settle()
            pipeline.disown()

    def _release(self, changelogs: set[TP]) -> None:
        for topic, aggregate in self._aggregate_of.items():
            self._store(aggregate.name).release({tp.partition for tp in changelogs if tp.topic == topic})

    def _store(self, table: str) -> TableStore:
        return cast(TableStore, self.state_tables[table].data)

    async def _restore(self, changelogs: set[TP]) -> int:
        waiting = changelogs
        records = 0
        for _ in range(CLAIM_ATTEMPTS):
            replays = {tp: self._replay(tp) for tp in waiting}
            self.replays = {tp: replay for tp, (replay, _) in replays.items()}
            ends = await read_changelogs(ChangelogReader(self.settings), replays) if replays else {}
            failpoint("recovered")
            for tp, (replay, _) in replays.items():
                replay.finish(ends[tp])
                records += replay.records
            claimed = await asyncio.gather(*(self._claim(tp, replays[tp][0]) for tp in sorted(replays)))
            failpoint("claimed")
            waiting = {tp for tp, done in zip(sorted(replays), claimed, strict=True) if not done}
            if not waiting:
                return records
        raise FatalFailure(
            f"other workers keep writing to {sorted(waiting)}: do two run under one app id elsewhere?"
        )

    def _replay(self, tp: TP) -> tuple[Replay, int]:
        store = self._store(self._aggregate_of[tp.topic].name).open(tp.partition)
        return Replay(store, self.codec), store.next_offset

    async def _claim(self, tp: TP, replay: Replay) -> bool:
        aggregate = self._aggregate_of[tp.topic]
        store = self._store(aggregate.name).open(tp.partition)
        limit = self.settings.changelog_max_bytes
        changelog = Changelog(tp.topic, tp.partition, store, self.codec, self.changelogs, limit)
        if not await changelog.claim(
            self.settings.worker_name, self.settings.partitions, replay.repairs(), int(time.time() * 1000)
        ):
            return False
        if self._publisher is None or self._replies is None:
            raise FatalFailure("partitions were assigned before the app had started")
        partition = Partition(
            aggregate=aggregate,
            number=tp.partition,
            index=self.index,
            changelog=changelog,
            codec=self.codec,
            publisher=self._publisher,
            settings=self.settings,
            replies=self._replies,
            shared=self.replica,
            traced=self.tracing is not None,
        )
        self.pipelines[aggregate.name].own(partition)
        return True

    async def source_starts(self, sources: set[TP]) -> dict[TP, int]:
        """Return where each source partition goes on: after what its table has applied, or at its beginning.

        Raises (by ending the process): the table has applied more than the source holds, or the group has committed
        offsets whose state is gone.
        """
        if not sources:
            return {}
        earliest = await self.consumer.earliest_offsets(*sources)
        latest = await self.consumer.highwaters(*sources)
        starts = {}
        for tp in sources:
            try:
                starts[tp] = self._start(tp, earliest[tp], latest[tp])
            except FatalFailure as exc:
                self.abort(exc, topic=tp.topic, partition=tp.partition)
        for tp, offset in starts.items():
            if offset > (self.gated_consumer._committed_offset[tp] or 0):
                # Stored, but its owner died before the commit. Without new records nobody else would commit it.
                self.gate[tp] = offset
            for pipeline in self._pipelines_of(tp):
                pipeline.start_at(tp, offset)
        return starts

    def expected(self, tp: TP) -> int | None:
        """Return the offset of the next record to be processed of a source partition, or None where that is open."""
        offsets = [pipeline.expected(tp) for pipeline in self._pipelines_of(tp)]
        return min((offset for offset in offsets if offset is not None), default=None)

    def _pipelines_of(self, tp: TP) -> Iterable[Pipeline]:
        names = {route.aggregate.name for route in self.index.on(tp.topic).values()}
        return [self.pipelines[name] for name in names]

    def _start(self, tp: TP, earliest: int, latest: int) -> int:
        committed = self.gated_consumer._committed_offset[tp]
        applied: int | None = None
        for pipeline in self._pipelines_of(tp):
            partition = pipeline.partitions.get(tp.partition)
            if partition is not None:
                applied = partition.changelog.position.sources.get(f"{tp.topic}-{tp.partition}")
        if applied is None:
            if committed is not None and committed > earliest:
                raise FatalFailure(
                    f"{tp.topic}[{tp.partition}] was consumed to {committed}, but its table knows nothing of it: the "
                    "changelog was deleted. Stop all workers and run `sluice reset` to rebuild from the source"
                )
            return earliest
        if applied + 1 > latest:
            raise FatalFailure(
                f"{tp.topic}[{tp.partition}] ends at {latest}, but its table has applied {applied}: the topic was "
                "deleted or truncated. Stop all workers and run `sluice reset`"
            )
        if applied + 1 < earliest:
            log.warning(
                "%s[%d]: records %d to %d were removed by retention before they were processed",
                tp.topic,
                tp.partition,
                applied + 1,
                earliest - 1,
                extra={"topic": tp.topic, "partition": tp.partition, "offset": applied + 1},
            )
        return max(applied + 1, earliest)


def static_member(settings: Settings) -> str | None:
    """Return the worker's id as a static member of the consumer group, or None for an ordinary member.

    A static member that comes back gets its old assignment, which holds the address it had before; Faust waits for
    ever for one with its new address. So another address makes another member.
    """
    if settings.group_instance_id is None:
        return None
    return f"{settings.group_instance_id}-{crc32(advertised_url(settings).encode()):08x}"


def _faust_options(settings: Settings) -> dict[str, Any]:
    """Faust's settings, with the reasons in design/faust-facts.md 6."""
    return {
        "broker": f"kafka://{settings.bootstrap_servers.replace(',', ';')}",
        "broker_credentials": settings.faust_credentials(),
        "TableManager": ChangelogTables,
        "store": "sluice://",
        "autodiscover": False,
        "datadir": settings.state_dir / "faust",
        "broker_commit_interval": settings.commit_interval_s,
        "broker_commit_every": 1_000_000,
        "broker_max_poll_records": None,
        "broker_session_timeout": settings.session_timeout_s,
        "broker_heartbeat_interval": max(0.3, settings.session_timeout_s / 10),
        "broker_rebalance_timeout": 30,
        "broker_request_timeout": max(30.0, settings.session_timeout_s + 1),
        "consumer_auto_offset_reset": "earliest",
        "consumer_group_instance_id": static_member(settings),
        "producer_request_timeout": 30,
        "producer_threaded": False,
        "stream_publish_on_commit": False,
        "stream_wait_empty": True,
        "stream_buffer_maxsize": 100_000,  # the backlog bounds what waits, in records
        "stream_recovery_delay": 0,
        "table_standby_replicas": 0,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        **faust_web_options(settings),
    }


def create_app(
    settings: Settings, index: Index | None = None, agents: Sequence[Callable[[SluiceApp], Any]] | None = None
) -> SluiceApp:
    """Build a worker's app.

    Args:
        settings: read once, by the caller.
        index: routes and outputs; the project's own by default.
        agents: functions that add an agent each; the project's own by default.
    """
    if index is None or agents is None:
        from agents.index import AGENTS
        from streams.routes import INDEX

        index, agents = index or INDEX, agents or AGENTS
    app = SluiceApp(settings, index)
    for build in agents:
        build(app)
    install(app)
    return app
