"""The micro-batch transport: how records come from the broker into Faust's agents, and when offsets are committed.

Faust hands records to agents one by one and commits what was acknowledged. Both are replaced here, through subclasses
of its aiokafka driver (nothing is forked):

* one Faust message carries *all* records of one partition and poll (a ``PartitionBatch``), so the cost per message is
  paid once per batch (design/performance.md);
* only offsets that the pipeline has put into the *gate* are committed, and only once the outputs and the state of every
  earlier record are acknowledged (design/faust-facts.md, section 9).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import ConsumerStoppedError, IllegalStateError
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streams.membership import watch_name

if TYPE_CHECKING:
    from streams.app import SluiceApp

FETCH_MAX_WAIT_MS = 250
"""Longest time the broker holds a fetch with nothing to return. Faust's own 1500 ms lets one busy partition wait for
the fetch that was sent for the idle ones."""

POLL_TIMEOUT_S = 1.0


class PartitionBatch:
    """The records of one partition that one poll returned, in offset order.

    Attributes:
        tp: topic and partition.
        records: aiokafka's raw records (``offset``, ``timestamp`` in ms, ``key``, ``value``, ``headers``).
        generation: generation of the consumer group in which they were fetched; older ones must not be processed.
        begin, end: from where to where the log holds no other records than these; None: nothing is known of that.
        fetched_at: ``time.monotonic()`` when they arrived.
    """

    __slots__ = ("begin", "end", "fetched_at", "generation", "records", "tp")

    def __init__(
        self,
        tp: TP,
        records: Sequence[Any],
        generation: int,
        begin: int | None = None,
        end: int | None = None,
    ) -> None:
        self.tp = tp
        self.begin = begin
        self.end = end
        self.records = records
        self.generation = generation
        self.fetched_at = time.monotonic()


class Backlog:
    """Counts the records that were handed to agents and not yet taken into work, so that polling can wait for them.

    Faust bounds the queues of agents by pausing partitions, and a partition whose records are fetched and not polled
    makes aiokafka hold back the next fetch of every other one for 100 ms. Bounding the records instead leaves small
    batches alone and keeps a catch-up from filling the memory.
    """

    def __init__(self, most: int) -> None:
        """Allow for ``most`` records."""
        self._most = most
        self._records = 0
        self._room = asyncio.Event()
        self._room.set()

    @property
    def records(self) -> int:
        """How many wait."""
        return self._records

    @property
    def full(self) -> bool:
        """Whether nothing more should be handed on for now."""
        return not self._room.is_set()

    def add(self, records: int) -> None:
        """Count records that were handed to an agent."""
        self._records += records
        if self._records > self._most:
            self._room.clear()

    def take(self, records: int) -> None:
        """Count records that an agent has taken into work."""
        self._records = max(
            0, self._records - records
        )  # a batch may outlive ``clear`` in the hands of an agent
        if self._records <= self._most:
            self._room.set()

    def clear(self) -> None:
        """Forget all: the queues of the agents were emptied."""
        self._records = 0
        self._room.set()

    async def wait(self) -> None:
        """Return when there is room for more."""
        await self._room.wait()


def _raw_record(tp: Any, record: Any) -> Any:
    return record


class Fetched(list[Any]):
    """The records of one fetch.

    Attributes:
        begin: offset from which on it was fetched.
        end: offset that is fetched next. Between the two the log has no other records.
    """

    __slots__ = ("begin", "end")

    def __init__(self, records: Iterable[Any], begin: int, end: int) -> None:
        super().__init__(records)
        self.begin = begin
        self.end = end


class Hollows:
    """Remembers over which offsets fetches went without a record: transaction markers, aborted or compacted records.

    That is the log's own, whoever fetches it, and stays so. Without it the next record would look as if others before
    it had been lost, and would be read a second time.
    """

    def __init__(self) -> None:
        self._found: dict[TP, tuple[int, int]] = {}

    def join(self, tp: TP, fetched: Fetched) -> None:
        """Let what was fetched begin where the offsets without a record before it do."""
        if fetched.end == fetched.begin:
            return  # it was thrown away, because the partition was paused or moved
        begin, end = self._found.pop(tp, (fetched.begin, fetched.begin))
        if end == fetched.begin:
            fetched.begin = begin
        if not fetched:
            self._found[tp] = (fetched.begin, fetched.end)


def _take(result: FetchResult) -> Fetched:
    """Return all records of one fetch result without wrapping each in aiokafka's ``ConsumerRecord`` (3 us a record)."""
    pending = result._partition_records
    if pending is None:
        return Fetched((), 0, 0)
    pending._consumer_record = _raw_record
    begin = pending.next_fetch_offset
    return Fetched(result.getall(None), begin, pending.next_fetch_offset)


def _drain(fetcher: Any, partitions: set[TP], most: int, hollows: Hollows) -> dict[TP, Fetched]:
    drained: dict[TP, Fetched] = {}
    for tp in [tp for tp in fetcher._records if tp in partitions]:
        result = fetcher._records[tp]
        if type(result) is FetchResult:
            records = _take(result)
            hollows.join(tp, records)
            if not result.has_more():
                del fetcher._records[tp]
                fetcher._notify(fetcher._wait_consume_future)
            if records:
                drained[tp] = records
                most -= len(records)
                if most <= 0:
                    break
        elif drained:
            break  # the error is raised by the next call, after these records are safe
        else:
            del fetcher._records[tp]
            fetcher._notify(fetcher._wait_consume_future)
            result.check_raise()
    return drained


async def _fetched(
    fetcher: Any, partitions: set[TP], timeout: float, most: int, hollows: Hollows
) -> dict[TP, Fetched]:
    deadline = time.monotonic() + timeout
    while not fetcher._closed:
        if fetcher._subscriptions.reassignment_in_progress:
            await fetcher._subscriptions.wait_for_assignment()
        drained = _drain(fetcher, partitions, most, hollows)
        left = deadline - time.monotonic()
        if drained or left <= 0:
            return drained
        waiter = fetcher._create_fetch_waiter()
        done, _ = await asyncio.wait([waiter], timeout=left)
        if not done:
            waiter.cancel()
            return {}
        waiter.result()
    return {}


class MicroBatchThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, returning raw records and never a record of a partition that was not asked for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._hollows = Hollows()

    async def on_start(self) -> None:
        await super().on_start()
        consumer = self._ensure_consumer()
        if consumer._group_instance_id is not None:
            watch_name(consumer._coordinator, cast("SluiceApp", self.consumer.app).abort)

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        # What a producer took back by aborting its transaction must not be metered.
        consumer._isolation_level = "read_committed"
        return consumer

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Any:
        # aiokafka reads an empty set as "every partition": a poll that outlived a rebalance would then return, and
        # advance past, records that nobody processes (faust-facts 2.1).
        if not self.consumer.flow_active or not active_partitions:
            return {}
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError()
        with fetcher._subscriptions.fetch_context():
            return await _fetched(
                fetcher, active_partitions, timeout or 0.0, max_records or 2**31, self._hollows
            )

    async def rewind(self, offsets: Mapping[TP, int]) -> None:
        """Move the position of assigned partitions, in the consumer's own thread."""

        async def seek() -> None:
            for tp, offset in offsets.items():
                try:
                    self._ensure_consumer().seek(TopicPartition(*tp), offset)
                except IllegalStateError:
                    continue  # revoked meanwhile: whoever owns it now starts at its own position

        await self.call_thread(seek)

    async def stop_fetching(self, tps: Sequence[TP]) -> None:
        """Pause partitions in aiokafka itself: their unread records would hold back every other fetch of the broker."""

        async def pause() -> None:
            assigned = self._ensure_consumer().assignment()
            self._ensure_consumer().pause(*[TopicPartition(*tp) for tp in tps if tp in assigned])

        await self.call_thread(pause)


class GatedConsumer(driver.Consumer):
    """Consumer that delivers one message per partition and poll, and commits only what the gate holds."""

    def _new_consumer_thread(self) -> MicroBatchThread:
        return MicroBatchThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def sluice(self) -> SluiceApp:
        """The app, by its own type."""
        return cast("SluiceApp", self.app)

    @property
    def thread(self) -> MicroBatchThread:
        return cast(MicroBatchThread, self._thread)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return iter(list(self.sluice.gate))

    def _new_offset(self, tp: TP) -> int | None:
        return self.sluice.gate.get(tp)

    async def perform_seek(self) -> None:
        """Start every source partition where the *state* ends; the committed offset only serves where there is none.

        The state's own position is the truth: it was stored atomically with the state. The committed offset can only
        lag behind it.
        """
        await super().perform_seek()
        starts = await self.sluice.source_starts(
            {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        )
        await self.thread.rewind(starts)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Deliver what the polls return until the consumer or ``fetcher`` stops; a full backlog holds the loop back."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                if self.sluice.backlog.full:
                    await self.wait_first(self.sluice.backlog.wait(), self.suspend_flow.wait())
                generation = self.app.consumer_generation_id
                records, _ = await self._wait_next_records(POLL_TIMEOUT_S)
                await asyncio.sleep(0)
                if not records:
                    continue
                if not self.flow_active or generation != self.app.consumer_generation_id:
                    await self._read_again(TP(tp.topic, tp.partition) for tp in records)
                    continue
                for tp, batch in records.items():
                    await self._deliver(TP(tp.topic, tp.partition), cast(Fetched, batch), generation)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    async def _read_again(self, tps: Iterable[TP]) -> None:
        """Go back to where processing is: this poll began before a rebalance and ended after it.

        Nobody processes what it returned, but the position is behind it already. Left there, the records would be
        missed when later ones arrive, which may take for ever.
        """
        wanted = ((tp, self.sluice.expected(tp)) for tp in tps)
        await self.thread.rewind({tp: offset for tp, offset in wanted if offset is not None})

    async def _deliver(self, tp: TP, records: Fetched, generation: int) -> None:
        last = records[-1]
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            None,
            None,
            cast(bytes, PartitionBatch(tp, records, generation, records.begin, records.end)),
            None,
            0,
            0,
            tp,
            generation_id=generation,
        )
        self.sluice.backlog.add(len(records))
        self.sluice.arrivals.add(tp, records)
        await self.callback(message)
        self.sluice.delivered[tp] = last.offset + 1

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's stall log compares clocks of two kinds; ``/health/live`` watches progress instead."""


class MicroBatchTransport(driver.Transport):
    """Faust's aiokafka transport with the consumer above."""

    Consumer: ClassVar[type[GatedConsumer]] = GatedConsumer
