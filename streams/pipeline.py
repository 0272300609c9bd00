"""The way of an event, in nine numbered steps (design/architecture.md).

1 decode · 2 guard · 3 load · 4 dedupe · 5 decide · 6 fold · 7 emit · 8 store · 9 gate

Steps 2 to 6 happen per event in ``streams.partition`` and touch nothing outside the process. A *unit of work* is all
that is queued for an agent, over all its partitions: its outputs are sent and acknowledged (7), then its state is
appended to the changelogs and acknowledged (8), and only then may its offsets be committed (9). If the worker dies:

* before 7 is done: some outputs are out. The replay decides the same from the same state and sends them again, with the
  same ids and bytes;
* between 7 and 8: all outputs are out, the state is not. The same replay;
* between 8 and 9, or before the commit: the state holds the offsets, so the replay starts after them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from faust.types import TP

from streams.codec import NeedsSchema
from streams.failpoints import failpoint
from streams.failures import FatalFailure, classify
from streams.log_records import Notes, RecordLog
from streams.outbox import BatchTooLarge, Outgoing, Target
from streams.partition import Partition, Unstorable
from streams.transport import PartitionBatch
from streams.units import Order, Unit, chunks, halves

if TYPE_CHECKING:
    from streams.app import SluiceApp

log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
"""An owner that has nothing to store appends its position this often, so that it notices when it was replaced."""

TIMER_REPEAT_MS = 30_000
TIMERS_AT_ONCE = 500
"""Commands that a partition sends between two units: at the end of an hour, every hour of every tenant is due."""

RETRY_LOOK_S = 0.1
IDLE_S = 0.5
STOOD_STILL_S = 2.0
"""Longer than this between two looks, the loop stood still: far above ``IDLE_S``, below any usual session timeout."""

REGISTRY_S = 1.0

TOO_MUCH_STATE = (
    "one event changes more state than fits into a changelog batch; raise SLUICE_CHANGELOG_MAX_BYTES and the "
    "changelog topics' max.message.bytes"
)


Work = Sequence[tuple[Partition, dict[str, int], list[Any]]]
"""Per partition: the source offsets and the records that its changelog gets."""

Outputs = dict[Target, list[Outgoing]]


def merged(parts: Iterable[Mapping[Target, Sequence[Outgoing]]]) -> Outputs:
    """Return what several partitions send, by topic and partition."""
    outputs: Outputs = {}
    for part in parts:
        for target, records in part.items():
            outputs.setdefault(target, []).extend(records)
    return outputs


class Pipeline:
    """Processes the units of one aggregate's agent.

    Attributes:
        partitions: the partitions that this worker owns and has recovered, by number.
    """

    def __init__(self, app: SluiceApp, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare the pipeline of the agent ``name``; ``clock`` tells seconds, and never goes back."""
        self.name = name
        self.partitions: dict[int, Partition] = {}
        self._app = app
        self._settings = app.settings
        self._order = Order()
        self._clock = clock
        self._stored_at: dict[int, float] = {}
        self._looked_at = clock()
        self._look_at = 0.0
        self._storing: asyncio.Task[None] | None = None
        self._hang = app.hang
        self._record_log = RecordLog(name)

    # --- the agent's loop ---------------------------------------------------------------------------------------

    async def units(self, stream: Any) -> AsyncIterator[Unit]:
        """Yield units of work until the worker stops; an empty unit is time to look for due retries and timers."""
        queue = stream.channel.queue
        while True:
            unit = Unit()
            try:
                self._take(unit, await asyncio.wait_for(queue.get(), IDLE_S))
            except TimeoutError:
                yield unit
                continue
            except StopAsyncIteration:
                return  # Faust's way to say that the worker stops
            self._hold(unit)  # from its first record on
            if self._settings.linger_s:
                await self._linger(queue, unit)
            while len(unit) < self._settings.unit_records and not queue.empty():
                self._take(unit, queue.get_nowait())
            yield unit

    def _take(self, unit: Unit, event: Any) -> None:
        unit.add(event)
        self._app.backlog.take(len(event.value.records))

    async def _linger(self, queue: Any, unit: Unit) -> None:
        # A batch of one costs nearly as much as a batch of twenty; a few milliseconds let them meet.
        age = time.monotonic() - unit.batches[0].fetched_at
        if age < self._settings.linger_s and len(unit) < self._settings.unit_records:
            await asyncio.sleep(self._settings.linger_s - age)

    async def process(self, unit: Unit) -> None:
        """Do one unit of work. An error that cannot be answered by a dead letter or by waiting ends the process.

        No exception may leave an agent: Faust would acknowledge the batch and go on (design/faust-facts.md 3).
        """
        self._hold(unit)
        try:
            await self._process(unit)
        except asyncio.CancelledError:
            self._abandon()
            raise
        except Exception as exc:
            self._app.abort(exc)
        finally:
            if self._storing is not None:
                self._storing.add_done_callback(lambda _: self._release(unit))
            else:
                self._release(unit)

    def _hold(self, unit: Unit) -> None:
        """Let a rebalance and a shutdown wait for a unit, until it is released."""
        consumer: Any = self._app.consumer
        consumer._unacked_messages.update(unit.messages)

    def _release(self, unit: Unit) -> None:
        consumer: Any = self._app.consumer
        consumer._unacked_messages.difference_update(unit.messages)
        self._app.notify_acked()

    async def _process(self, unit: Unit) -> None:
        generation = self._app.consumer_generation_id
        work = [batch for batch in unit.batches if batch.generation == generation]
        rewinds: dict[TP, int] = {}
        owned = [batch for batch in work if batch.tp.partition in self.partitions]
        next_ones = [part for batch in owned if (part := self._order.next(batch, rewinds)) is not None]
        if not await self._run(next_ones, generation):
            return
        if rewinds:
            await self._rewind(rewinds)
        await self._retry_parked(generation)
        await self._heartbeat(generation)
        await self._send_due_commands()

    async def _rewind(self, offsets: Mapping[TP, int]) -> None:
        for tp, offset in offsets.items():
            fields = {"agent": self.name, "topic": tp.topic, "partition": tp.partition, "offset": offset}
            log.warning("%s[%d]: records are missing from %d on; reading again", *tp, offset, extra=fields)
        await self._app.gated_consumer.thread.rewind(offsets)

    async def _run(self, batches: Sequence[PartitionBatch], generation: int) -> bool:
        for chunk in chunks(batches, self._settings.unit_records):
            if not await self._unit(chunk, generation):
                return False  # what follows must not be decided on a state that misses this unit
        return True

    # --- the nine steps -----------------------------------------------------------------------------------------

    async def _unit(self, batches: Sequence[PartitionBatch], generation: int) -> bool:
        """Do the nine steps. Return False where the partitions were taken away before the state was stored."""
        started = time.perf_counter()
        await self._make_room()
        decoded = [(batch, await self._decode(batch)) for batch in batches]  # 1
        failpoint("decoded")
        if generation != self._app.consumer_generation_id:
            return False
        touched = self._decide(decoded)  # 2 to 6
        failpoint("decided")
        try:
            changes = await self._emit(touched)  # 7
        except BatchTooLarge:
            return await self._halve(batches, touched, generation)
        except Unstorable:
            with self._carefully(touched):
                return await self._unit(batches, generation)
        return await self._store(changes, batches, generation, started)  # 8, 9

    async def _make_room(self) -> None:
        crowded = [partition for partition in self.partitions.values() if partition.crowded]
        if crowded:
            await self.settle()
            for partition in crowded:
                partition.trim()

    async def _decode(self, batch: PartitionBatch) -> list[Any]:
        """Step 1. Unknown schema ids are asked for; what the registry cannot answer comes back as a retryable mark."""
        values = [record.value for record in batch.records]
        events = self._decode_values(values)
        unknown = {event.schema_id for event in events if type(event) is NeedsSchema}
        if unknown:
            await self._learn(unknown)
            events = self._decode_values(values)
        return events

    async def _learn(self, schema_ids: set[int]) -> None:
        """Ask the registry for schemas, but not for long: the keys that need them can wait, the others must not."""
        try:
            await asyncio.wait_for(self._app.codec.resolve(schema_ids), REGISTRY_S)
        except TimeoutError:
            log.warning(
                "the schema registry did not answer within %.0f s; the keys that need it wait", REGISTRY_S
            )

    def _decode_values(self, values: Sequence[bytes | None]) -> list[Any]:
        return self._app.codec.decode_batch(values)

    def _decide(self, decoded: Sequence[tuple[PartitionBatch, list[Any]]]) -> list[Partition]:
        touched: dict[int, Partition] = {}
        for batch, events in decoded:
            partition = touched[batch.tp.partition] = self.partitions[batch.tp.partition]
            with self._hang.watch(partition):
                partition.process(batch.tp.topic, batch.records, events)
        return list(touched.values())

    async def _emit(self, touched: Sequence[Partition]) -> Work:
        """Step 7. Return what step 8 has to append.

        Changes and the offsets that they stem from are taken together, before anything is awaited: a rebalance in
        between would leave the one without the other, and count events twice.
        """
        work = [(partition, partition.sources, partition.raw_changes()) for partition in touched]
        limit = self._settings.changelog_max_bytes
        for _, _, records in work:
            if sum(len(key) + len(value or b"") + 32 for key, value in records) > limit - 65_536:
                raise BatchTooLarge(
                    "the state that one unit of work changes does not fit into one changelog batch"
                )
        outputs = merged(partition.outputs for partition in touched)
        if outputs:
            await self._app.outputs.send(outputs)
        failpoint("emitted")
        return work

    async def _store(
        self, work: Work, batches: Sequence[PartitionBatch], generation: int, started: float
    ) -> bool:
        """Steps 8 and 9, which go on while the next unit is decided and its outputs are sent.

        That is safe: the next unit's outputs are no state, and its state waits here until this one is acknowledged.

        Returns:
            False where the partitions were taken away: the new owner does the unit again.
        """
        await self.settle()
        if generation != self._app.consumer_generation_id or not self._owns(work):
            self._abandon()
            return False
        self._app.metrics.decided(self.name, [partition for partition, _, _ in work])
        replies = merged(partition.replies for partition, _, _ in work)
        notes = [partition.notes for partition, _, _ in work]
        for partition, _, _ in work:
            partition.commit()
        self._storing = asyncio.create_task(self._finish(work, batches, started, replies, notes))
        return True

    async def _finish(
        self,
        work: Work,
        batches: Sequence[PartitionBatch],
        started: float,
        replies: Outputs,
        notes: Sequence[Notes],
    ) -> None:
        try:
            await asyncio.gather(*(self._append(*each) for each in work))  # 8
            failpoint("stored")
            self._gate(batches)  # 9
            failpoint("gated")
            if replies:
                await self._app.outputs.send(replies)
            self._record_log.write(notes)
            self._trace(batches, notes, started)
            self._app.metrics.unit_done(self.name, batches, time.perf_counter() - started)
        except Exception as exc:
            self._app.abort(exc)
        finally:
            self._storing = None

    def _trace(self, batches: Sequence[PartitionBatch], notes: Sequence[Notes], started: float) -> None:
        if self._app.tracing is None:
            return
        records = ((*batch.tp, record) for batch in batches for record in batch.records)
        outcomes = [outcome for each in notes for outcome in each.outcomes]
        self._app.tracing.unit(self.name, records, outcomes, time.perf_counter() - started)

    def _owns(self, work: Work) -> bool:
        return all(self.partitions.get(partition.number) is partition for partition, _, _ in work)

    async def settle(self) -> None:
        """Return when every unit that was decided is stored."""
        if self._storing is not None:
            await asyncio.shield(self._storing)

    async def _append(self, partition: Partition, sources: dict[str, int], records: list[Any]) -> None:
        # By our clock and not the events': compaction leaves young records alone, which recovery relies on.
        await partition.changelog.append(sources, records, int(time.time() * 1000))
        self._stored_at[partition.number] = self._clock()

    def _gate(self, batches: Sequence[PartitionBatch]) -> None:
        """Step 9: the offsets that the stored state contains may be committed."""
        for batch in batches:
            stored = self._app.gate[batch.tp] = batch.records[-1].offset + 1
            self._app.arrivals.stored(batch.tp, stored)

    @contextmanager
    def _carefully(self, touched: Sequence[Partition]) -> Iterator[None]:
        """Take a unit back whose state cannot be stored; done again, the event to blame becomes a dead letter."""
        if any(partition.careful for partition in touched):
            raise FatalFailure("the state of one unit of work cannot be encoded; this is a defect")
        self._rollback(touched)
        for partition in touched:
            partition.careful = True
        try:
            yield
        finally:
            for partition in touched:
                partition.careful = False

    async def _halve(
        self, batches: Sequence[PartitionBatch], touched: Sequence[Partition], generation: int
    ) -> bool:
        self._rollback(touched)
        if sum(len(batch.records) for batch in batches) <= 1:
            raise FatalFailure(TOO_MUCH_STATE)
        for half in halves(batches):
            if not await self._unit(half, generation):
                return False
        return True

    # --- what is due --------------------------------------------------------------------------------------------

    async def _retry_parked(self, generation: int) -> None:
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + RETRY_LOOK_S
        more = await self._retry_some(generation, self._settings.unit_records)
        if more:
            self._look_at = now

    async def _retry_some(self, generation: int, most: int) -> bool:
        """Try again what waits and is due, at most ``most`` events in one unit. Return whether more are due."""
        now = datetime.now(UTC)
        due = [(each, key) for each in self.partitions.values() for key in each.parked.due(now)]
        await self._resolve([partition.parked.head(key).value for partition, key in due[:most]])
        if not due or generation != self._app.consumer_generation_id:
            return False
        touched, tried = self._decide_waiting(due, most)
        try:
            work = await self._emit(touched)
        except BatchTooLarge:
            if tried <= 1:
                raise FatalFailure(TOO_MUCH_STATE) from None
            self._rollback(touched)
            return await self._retry_some(generation, tried // 2)
        except Unstorable:
            with self._carefully(touched):
                return await self._retry_some(generation, most)
        return await self._store(work, (), generation, time.perf_counter()) and tried >= most

    def _decide_waiting(
        self, due: Sequence[tuple[Partition, bytes]], most: int
    ) -> tuple[list[Partition], int]:
        touched: dict[int, Partition] = {}
        tried = 0
        for partition, key in due:
            if tried >= most:
                break
            touched[partition.number] = partition
            with self._hang.watch(partition):
                tried += partition.process_waiting(key, most - tried)
        return list(touched.values()), tried

    async def _resolve(self, values: Sequence[bytes | None]) -> None:
        unknown = {event.schema_id for event in self._decode_values(values) if type(event) is NeedsSchema}
        if unknown:
            await self._learn(unknown)

    async def _heartbeat(self, generation: int) -> None:
        now, last = self._clock(), self._looked_at
        self._looked_at = now
        if now - last > STOOD_STILL_S:
            # A process that was paused may have been replaced without having heard of it. Readers skip what it writes,
            # but it moves the changelog's end: the next batch of the new owner, too, lies where it was not meant to,
            # and both workers stop (``streams.changelog``). Until the next heartbeat the group tells who owns what.
            self._stored_at = dict.fromkeys(self.partitions, now)
            return
        idle = [
            partition
            for number, partition in self.partitions.items()
            if now - self._stored_at.setdefault(number, now) > HEARTBEAT_S
        ]
        if idle:
            await self.settle()
            if generation == self._app.consumer_generation_id:
                await asyncio.gather(*(self._append(partition, {}, []) for partition in idle))

    async def _send_due_commands(self) -> None:
        now_ms = int(time.time() * 1000)
        outputs: dict[Any, list[Any]] = {}
        for partition in self.partitions.values():
            due = partition.timers.pop_due(now_ms, TIMERS_AT_ONCE)
            if due:
                await self.settle()
            for record, due_ms in due:
                sent = self._due_command(partition, record, due_ms)
                if sent is not None:
                    outputs.setdefault(sent[0], []).append(sent[1])
                partition.timers.again(record, now_ms + TIMER_REPEAT_MS)
        if outputs:
            await self._app.outputs.send(outputs)

    def _due_command(self, partition: Partition, record: bytes, due_ms: int) -> Any:
        try:
            return partition.command(record, due_ms)
        except Exception as exc:
            failure = classify(exc)
            if failure.kind == "fatal":
                raise
            # One record's timer must not stop the worker, which would find it again at every start. The exception's
            # text is left out, because it may hold the key.
            at = (self.name, partition.number, failure.exception, failure.stacktrace)
            fields = {"agent": self.name, "partition": partition.number, "code": failure.code}
            log.error("a due record of %s[%d] gave no command, but %s:\n%s", *at, extra=fields)
            return None

    # --- owning partitions --------------------------------------------------------------------------------------

    def own(self, partition: Partition) -> None:
        """Take a recovered partition into work."""
        self.partitions[partition.number] = partition
        self._stored_at[partition.number] = self._clock()

    def disown(self) -> None:
        """Drop every partition: the assignment changes."""
        self._abandon()
        self.partitions.clear()
        self._order.clear()

    def expected(self, tp: TP) -> int | None:
        """Return the offset of the next record to be processed, or None before ``start_at``."""
        return self._order.expected(tp)

    def start_at(self, tp: TP, offset: int) -> None:
        """Set the offset from which a source partition is processed without a hole."""
        self._order.start_at(tp, offset)

    def _abandon(self) -> None:
        self._rollback(self.partitions.values())

    @staticmethod
    def _rollback(partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            partition.rollback()
