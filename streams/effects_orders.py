"""Taking orders from their topic, so that whoever takes over knows what may have been begun.

1 take     up to a window of orders; those of one key one after the other, the urgent ones first
2 claim    commit, with the last offset taken in the metadata: the next owner doubts what lies before it
3 begin    at most so many at once
4 commit   the position before the first order that is not done

A claim is renewed before it is older than a session, and fails for a worker that lost its partitions: one that was
paused and comes back begins nothing any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from streams.effects_lanes import Gate, Lane
from streams.effects_reading import decoded, last_claim
from streams.log_records import about

if TYPE_CHECKING:
    from streams.app import SluiceApp

log = logging.getLogger(__name__)

AT_ONCE = 10
WINDOW = 100
"""Orders taken and not done. What an earlier owner may have begun is never more."""
POLL_MS = 500
COMMIT_S = 1.0
DRAIN_S = 5.0
"""Shorter than a shutdown may take (streams/worker.py). What is not done by then is doubtful to the next owner."""
REBALANCE_S = 30.0
RETRY_S = 1.0
MAX_RETRY_S = 30.0

CarryOut = Callable[[Lane, Any, Any], Awaitable[None]]
"""``(lane, record, what it holds)``; returns when the order is done with. Raises KafkaError to have it begun anew."""


class Orders(ConsumerRebalanceListener):  # type: ignore[misc]
    """Takes the orders of one topic, in the background of a worker.

    Attributes:
        wrong: why no orders are taken, or "" while they are.
    """

    def __init__(
        self,
        app: SluiceApp,
        topic: str,
        group: str,
        carry_out: CarryOut,
        urgency: Callable[[Any], int],
    ) -> None:
        """Prepare to take the orders of ``topic`` as a member of ``group``.

        Args:
            urgency: of what a record holds; higher goes first.
        """
        self._app = app
        self._topic = topic
        self._group = group
        self._work = carry_out
        self._urgency = urgency
        self._lanes: dict[TopicPartition, Lane] = {}
        self._gate = Gate(AT_ONCE)
        self._committing = asyncio.Lock()
        self._committed_at = 0.0
        self._trouble: BaseException | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self.wrong = "they have not begun to be taken"

    @property
    def unfinished(self) -> int:
        """How many orders are taken and not done."""
        return sum(len(lane.unfinished) for lane in self._lanes.values())

    # --- taking -----------------------------------------------------------------------------------------------------

    async def take_all(self) -> None:
        """Take orders until cancelled; then finish what has begun, commit and leave."""
        delay = RETRY_S
        while True:
            started = time.monotonic()
            try:
                await self._session()
            except (KafkaError, OSError) as error:
                if time.monotonic() - started > MAX_RETRY_S:
                    delay = RETRY_S
                self.wrong = f"the brokers fail ({type(error).__name__})"
                log.warning("%s: %s: %s; again in %.0f s", self._group, type(error).__name__, error, delay)
                await asyncio.sleep(delay)
                delay = min(2 * delay, MAX_RETRY_S)
            except Exception as error:
                self._app.abort(error)

    async def _session(self) -> None:
        """Take orders until the brokers fail. All that the group has to know, the broker has."""
        settings = self._app.settings
        consumer = self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            client_id=self._group,
            group_id=self._group,
            group_instance_id=settings.group_instance_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            rebalance_timeout_ms=int(max(REBALANCE_S, settings.session_timeout_s) * 1000),
            heartbeat_interval_ms=int(max(0.3, settings.session_timeout_s / 10) * 1000),
            **settings.aiokafka_security(),
        )
        self._trouble = None
        try:
            await consumer.start()
            consumer.subscribe([self._topic], listener=self)
            while True:
                await self._room()
                batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=WINDOW - self.unfinished)
                self.wrong = ""
                for where, records in batches.items():
                    await self._take(where, records)
                await self._commit_progress()
        finally:
            await self._give_back(list(self._lanes))
            await consumer.stop()

    async def _room(self) -> None:
        """Wait until half of the window is free, so that a claim is about many orders.

        Raises:
            KafkaError, OSError: what went wrong with an order under way.
        """
        while self._trouble is None and self.unfinished > WINDOW // 2:
            tasks = [task for lane in self._lanes.values() for task in lane.tasks]
            await asyncio.wait(tasks, timeout=POLL_MS / 1000, return_when=asyncio.FIRST_COMPLETED)
            await self._commit_progress()
        if self._trouble is not None:
            raise self._trouble

    async def _take(self, where: TopicPartition, records: Sequence[Any]) -> None:
        events = await decoded(self._app.codec, [record.value for record in records], self._group)
        lane = self._lanes.get(where)
        if lane is None:
            doubtful = await last_claim(self._app.settings, self._group, where)
            lane = self._lanes[where] = Lane(doubtful, records[0].offset)
        lane.next = records[-1].offset + 1
        lane.unfinished.update(dict.fromkeys(record.offset for record in records))
        await self._commit({where: lane}, ahead=True)
        for record, event in zip(records, events, strict=True):
            earlier = lane.last.get(record.key)
            task = asyncio.create_task(self._carry_out(where, lane, record, event, earlier))
            lane.unfinished[record.offset] = lane.last[record.key] = task
            task.add_done_callback(partial(self._ended, lane, record, event))

    # --- carrying them out ----------------------------------------------------------------------------------------

    async def _carry_out(
        self,
        where: TopicPartition,
        lane: Lane,
        record: Any,
        event: Any,
        earlier: asyncio.Task[None] | None,
    ) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        await self._gate.enter(self._urgency(event))
        try:
            if not await self._still_ours(where, lane):
                return
            lane.performing.add(record.offset)
            lane.begun = max(lane.begun, record.offset)
            await self._work(lane, record, event)
            lane.unfinished.pop(record.offset, None)
        finally:
            lane.performing.discard(record.offset)
            self._gate.leave()

    async def _still_ours(self, where: TopicPartition, lane: Lane) -> bool:
        """Return whether an order may be begun; a claim that grows old is renewed first."""
        if self._trouble is None and self._lanes.get(where) is lane:
            if time.monotonic() - lane.claimed_at > self._app.settings.session_timeout_s / 2:
                await self._commit({where: lane}, ahead=True)
            return self._trouble is None and self._lanes.get(where) is lane
        return False

    def _ended(self, lane: Lane, record: Any, event: Any, task: asyncio.Task[None]) -> None:
        if lane.last.get(record.key) is task:
            del lane.last[record.key]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, (KafkaError, OSError)):
            self._trouble = error
        elif error is not None:
            self._app.abort(error, **about(record.topic, record.partition, record, event))

    # --- committing -----------------------------------------------------------------------------------------------

    async def _commit_progress(self) -> None:
        moved = {where: lane for where, lane in self._lanes.items() if lane.position != lane.committed}
        if moved and time.monotonic() - self._committed_at > COMMIT_S:
            await self._commit(moved, ahead=True)

    async def _commit(self, lanes: dict[TopicPartition, Lane], *, ahead: bool) -> None:
        if self._consumer is None or not lanes:
            return
        async with self._committing:
            positions = {where: (lane.position, lane.claim(ahead=ahead)) for where, lane in lanes.items()}
            asked = self._committed_at = time.monotonic()
            await self._consumer.commit(positions)
            for where, (position, _) in positions.items():
                lanes[where].committed, lanes[where].claimed_at = position, asked

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Finish what is being carried out of the partitions that go to another worker."""
        await self._give_back(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Nothing: a lane is made when its first order comes."""

    async def _give_back(self, partitions: Collection[TopicPartition]) -> None:
        lanes = {where: self._lanes.pop(where) for where in partitions if where in self._lanes}
        tasks = [task for lane in lanes.values() for task in lane.tasks]
        for lane in lanes.values():
            for offset, task in lane.unfinished.items():
                if task is not None and offset not in lane.performing:
                    task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        try:
            await self._commit(lanes, ahead=False)
        except KafkaError as error:
            log.info("%s: the last positions were not committed (%s)", self._group, type(error).__name__)
