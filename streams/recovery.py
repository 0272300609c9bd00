"""Rebuilding tables from their changelogs when partitions are assigned.

Faust recovers through the consumer that also reads the events, one record at a time, and may never end where the last
changelog record was compacted away (design/faust-facts.md 2). Here librdkafka reads each changelog from where the local
store ends to the end of the partition, the replay applies it in bulk, and the worker then claims the partition.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

from aiokafka.errors import IllegalStateError
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP
from mode import Service

from streams.changelog import Replay
from streams.failures import FatalFailure
from streams.settings import Settings

log = logging.getLogger(__name__)

POLL_RECORDS = 10_000
SILENCE_S = 60.0
"""A broker that returns nothing for this long while records are due has a problem that a restart may solve."""

PAUSE_S = 0.2
PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
}
"""What a broker answers, or does not, while partitions get new leaders: after an outage that is when tables recover."""


class RecoveryAborted(Exception):
    """The assignment changed while a changelog was read."""


class ChangelogReader:
    """Reads changelog partitions to their end with librdkafka, in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.aborted = threading.Event()

    def read(self, replays: dict[TP, tuple[Replay, int]]) -> dict[TP, int]:
        """Apply each changelog from its given offset to its end.

        Args:
            replays: by changelog partition, the replay and the offset to begin at.

        Returns:
            The end offset of each partition.

        Raises:
            FatalFailure: a changelog ends before the local state does, or the broker stays silent.
            RecoveryAborted: ``aborted`` was set.
        """
        consumer = Consumer(self._config())
        try:
            starts = [self._start(consumer, tp, *each) for tp, each in replays.items()]
            consumer.assign(starts)
            return self._drain(consumer, {tp: replay for tp, (replay, _) in replays.items()})
        finally:
            consumer.close()

    def _config(self) -> dict[str, Any]:
        return {
            **self._settings.librdkafka_config(),
            "group.id": f"{self._settings.app_id}-recovery",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "queued.min.messages": 200_000,
            "queued.max.messages.kbytes": 131_072,
            "fetch.message.max.bytes": self._settings.changelog_max_bytes,
            "fetch.wait.max.ms": 50,
        }

    def _start(self, consumer: Consumer, tp: TP, replay: Replay, offset: int) -> TopicPartition:
        low, high = self._watermarks(consumer, TopicPartition(tp.topic, tp.partition))
        if offset > high:
            raise FatalFailure(
                f"changelog {tp.topic}[{tp.partition}] ends at {high}, but this worker's local state has read it to "
                f"{offset}: the changelog was deleted or truncated. Stop all workers and run `sluice reset`"
            )
        replay.end = high
        return TopicPartition(tp.topic, tp.partition, max(low, offset))

    def _watermarks(self, consumer: Consumer, source: TopicPartition) -> tuple[int, int]:
        deadline = time.monotonic() + SILENCE_S
        while True:
            try:
                low, high = consumer.get_watermark_offsets(source, timeout=30)
                return low, high
            except KafkaException as exc:
                if exc.args[0].code() not in PASSING or time.monotonic() > deadline:
                    raise
            if self.aborted.wait(PAUSE_S):
                raise RecoveryAborted

    def _drain(self, consumer: Consumer, replays: dict[TP, Replay]) -> dict[TP, int]:
        ends: dict[TP, int] = {}
        heard = time.monotonic()
        while len(ends) < len(replays):
            if self.aborted.is_set():
                raise RecoveryAborted
            messages = consumer.consume(POLL_RECORDS, 0.2)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_S:
                raise FatalFailure(
                    f"no changelog record arrived for {SILENCE_S:.0f} s; is the broker reachable?"
                )
            self._apply(messages, replays, ends)
        return ends

    def _apply(self, messages: Iterable[Any], replays: dict[TP, Replay], ends: dict[TP, int]) -> None:
        by_partition: dict[tuple[str, int], list[tuple[bytes, bytes | None, int]]] = {}
        for message in messages:
            error = message.error()
            if error is None:
                record = (message.key(), message.value(), message.offset())
                by_partition.setdefault((message.topic(), message.partition()), []).append(record)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends[TP(message.topic(), message.partition())] = message.offset()
            elif error.fatal() or not error.retriable():
                raise KafkaException(error)
        for (topic, partition), records in by_partition.items():
            replays[TP(topic, partition)].apply(records)


class ChangelogRecovery(Recovery):
    """Faust's recovery service, with the reading replaced.

    On each assignment: restore the tables, claim their partitions, move the consumer to where the state ends, and only
    then let records flow. Faust's order (resume, then seek) drops records in between (faust-facts 2.1).
    """

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start):  # type: ignore[arg-type]
                break
            self.signal_recovery_start.clear()
            try:
                await self._recover(self._generation_id)
            except RebalanceAgain:
                log.info("the assignment changed during recovery; recovering for the new one")
            except ServiceStopped:
                break

    async def _recover(self, generation: int) -> None:
        started = time.monotonic()
        self._set_recovery_started()
        app: Any = self.app
        await self._wait(app.restore_tables(set(self.active_tps)))
        await app.on_rebalance_complete.send()
        self._set_recovery_ended()
        if app.consumer_generation_id != generation:
            return  # the newer assignment has already signalled its own recovery
        await self._resume(generation)
        log.info(
            "worker ready: %d changelog partitions, %.1f s", len(self.active_tps), time.monotonic() - started
        )

    async def _resume(self, generation: int) -> None:
        app: Any = self.app
        consumer = app.consumer
        assignment = consumer.assignment()
        changelogs = [tp for tp in assignment if self._is_changelog_tp(tp)]
        if assignment:
            await self._wait(consumer.thread.stop_fetching(changelogs))
            try:
                await self._wait(consumer.perform_seek(), timeout=app.conf.broker_request_timeout)
            except IllegalStateError as exc:
                # The group took the partitions back meanwhile. The assignment to come signals its own recovery.
                raise RebalanceAgain from exc
        app.flow_control.resume()
        consumer.resume_partitions({tp for tp in assignment if not self._is_changelog_tp(tp)})
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        self.completed.set()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()

    def _is_changelog_tp(self, tp: TP) -> bool:
        return tp.topic in self.tables.changelog_topics

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Read nothing: changelog records never pass through Faust's consumer."""

    def need_recovery(self) -> bool:
        return False


class ChangelogTables(TableManager):
    """Faust's table manager with the recovery above."""

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = ChangelogRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        """Start at once; Faust sleeps a second here, which would be a fifth of the time a restart may take."""
        await self._update_channels()
        await self.recovery.start()


async def read_changelogs(reader: ChangelogReader, replays: dict[TP, tuple[Replay, int]]) -> dict[TP, int]:
    """Run ``reader.read`` in a thread; a cancelled caller aborts the reading and waits until the thread has ended."""
    task = asyncio.ensure_future(asyncio.to_thread(reader.read, replays))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        reader.aborted.set()
        await asyncio.gather(task, return_exceptions=True)
        raise
