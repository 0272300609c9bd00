"""A poll gives each partition's records whole, never those of a partition that was not asked for, and loses none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.consumer.fetcher import FetchError, FetchResult, PartitionRecords
from aiokafka.errors import IllegalStateError, TopicAuthorizationFailedError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from faust.types import TP

from streams.transport import (
    Backlog,
    Fetched,
    GatedConsumer,
    Hollows,
    MicroBatchThread,
    PartitionBatch,
    _drain,
    _fetched,
)

CONTROL = 0x20
"""Bit of a batch's attributes that makes it a transaction's marker."""

A, B, C = TP("t", 0), TP("t", 1), TP("t", 2)


class Assignment:
    """The positions of the assigned partitions."""

    active = True

    def __init__(self) -> None:
        self.positions: dict[Any, int] = {}

    def state_value(self, tp: Any) -> Any:
        def consumed_to(position: int) -> None:
            self.positions[tp] = position

        return SimpleNamespace(paused=False, position=self.positions[tp], consumed_to=consumed_to)


class Fetcher:
    """What aiokafka's fetcher holds between two polls."""

    def __init__(self) -> None:
        self.assignment = Assignment()
        self._records: dict[TP, Any] = {}
        self._closed = False
        self._subscriptions = SimpleNamespace(reassignment_in_progress=False)
        self._wait_consume_future = None
        self.waiter: asyncio.Future[None] | None = None

    def ask(self, tp: TP, offset: int) -> None:
        """Let what has arrived be the answer to a fetch from ``offset`` on."""
        self._records[tp]._partition_records.next_fetch_offset = offset
        self.assignment.positions[TopicPartition(*tp)] = offset

    def _notify(self, _: Any) -> None:
        pass

    def _create_fetch_waiter(self) -> asyncio.Future[None]:
        self.waiter = asyncio.get_running_loop().create_future()
        return self.waiter

    def arrive(self, tp: TP, values: Sequence[bytes], start: int = 0, *, marker: bool = False) -> None:
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 2**20)
        for number, value in enumerate(values):
            builder.append(number, 1000 + number, b"k", value, [("h", b"1")])
        if marker:
            builder.append(0, 1000, b"\0\0\0\1", b"\0\0\0\0\0\0", [])
        frame = bytearray(builder.build())
        frame[22] |= CONTROL if marker else 0
        frame[0:8] = start.to_bytes(8, "big")
        self.assignment.positions[TopicPartition(*tp)] = start
        records = PartitionRecords(
            TopicPartition(*tp), MemoryRecords(bytes(frame)), [], start, None, None, False, 0
        )
        self._records[tp] = FetchResult(
            TopicPartition(*tp), assignment=self.assignment, partition_records=records, backoff=0
        )


def values(drained: Mapping[TP, list[Any]]) -> dict[TP, list[bytes]]:
    return {tp: [record.value for record in records] for tp, records in drained.items()}


def test_a_poll_returns_all_records_of_each_partition_raw_and_moves_the_position() -> None:
    fetcher = Fetcher()
    fetcher.arrive(A, [b"1", b"2"], start=5)
    fetcher.arrive(B, [b"3"])
    drained = _drain(fetcher, {A, B}, 100, Hollows())
    assert values(drained) == {A: [b"1", b"2"], B: [b"3"]}
    [first, second] = drained[A]
    assert (first.offset, second.offset, first.timestamp, second.timestamp) == (5, 6, 1000, 1001)
    assert (first.key, list(first.headers)) == (b"k", [("h", b"1")])
    assert fetcher.assignment.positions[TopicPartition(*A)] == 7
    assert _drain(fetcher, {A, B}, 100, Hollows()) == {}


def test_what_was_fetched_knows_from_where_to_where() -> None:
    fetcher = Fetcher()
    fetcher.arrive(A, [b"1", b"2"], start=5)
    fetched = _drain(fetcher, {A}, 100, Hollows())[A]
    assert (fetched.begin, fetched.end) == (5, 7)
    fetcher.arrive(A, [b"3"], start=9)
    fetcher.ask(A, 7)  # offsets 7 and 8 are gone
    fetched = _drain(fetcher, {A}, 100, Hollows())[A]
    assert (fetched.begin, fetched[0].offset, fetched.end) == (7, 9, 10)


def test_a_fetch_without_a_record_is_remembered_until_the_next_one() -> None:
    fetcher, hollows = Fetcher(), Hollows()
    for start in (7, 8):
        fetcher.arrive(A, [], start=start, marker=True)
        assert _drain(fetcher, {A}, 100, hollows) == {}
        assert fetcher.assignment.positions[TopicPartition(*A)] == start + 1
    fetcher.arrive(B, [b"1"], start=9)
    fetcher.arrive(A, [b"2"], start=9)
    drained = _drain(fetcher, {A, B}, 100, hollows)
    assert (drained[A].begin, drained[B].begin) == (7, 9)
    fetcher.arrive(A, [b"3"], start=10)
    assert _drain(fetcher, {A}, 100, hollows)[A].begin == 10


def test_a_fetch_that_does_not_continue_what_was_remembered_begins_where_it_began() -> None:
    hollows = Hollows()
    hollows.join(A, Fetched((), 7, 8))
    hollows.join(A, Fetched((), 8, 8))  # thrown away
    later = Fetched([object()], 9, 10)
    hollows.join(A, later)
    assert later.begin == 9
    hollows.join(A, Fetched((), 10, 12))
    behind = Fetched([object()], 12, 13)
    hollows.join(A, behind)
    assert behind.begin == 10


def test_records_of_other_partitions_stay_where_they_are() -> None:
    fetcher = Fetcher()
    fetcher.arrive(A, [b"1"])
    fetcher.arrive(B, [b"2"])
    assert values(_drain(fetcher, {B}, 100, Hollows())) == {B: [b"2"]}
    assert values(_drain(fetcher, {A}, 100, Hollows())) == {A: [b"1"]}


def test_a_poll_ends_after_the_partition_with_which_it_has_enough() -> None:
    fetcher = Fetcher()
    for tp in (A, B, C):
        fetcher.arrive(tp, [b"1", b"2"])
    assert set(_drain(fetcher, {A, B, C}, 3, Hollows())) == {A, B}
    assert set(_drain(fetcher, {A, B, C}, 3, Hollows())) == {C}


def test_an_error_of_one_partition_waits_until_the_records_of_the_others_are_safe() -> None:
    fetcher = Fetcher()
    fetcher.arrive(A, [b"1"])
    fetcher._records[B] = FetchError(error=TopicAuthorizationFailedError(), backoff=0)
    assert values(_drain(fetcher, {A, B}, 100, Hollows())) == {A: [b"1"]}
    with pytest.raises(TopicAuthorizationFailedError):
        _drain(fetcher, {A, B}, 100, Hollows())
    assert fetcher._records == {}


async def test_a_poll_waits_for_records_that_arrive_in_time() -> None:
    fetcher = Fetcher()
    polling = asyncio.create_task(_fetched(fetcher, {A}, 30, 100, Hollows()))
    while fetcher.waiter is None:
        await asyncio.sleep(0)
    fetcher.arrive(A, [b"1"])
    fetcher.waiter.set_result(None)
    assert values(await polling) == {A: [b"1"]}


async def test_a_poll_returns_nothing_when_its_time_is_up_or_the_fetcher_is_closed() -> None:
    fetcher = Fetcher()
    assert await _fetched(fetcher, {A}, 0.001, 100, Hollows()) == {}
    assert fetcher.waiter is not None
    assert fetcher.waiter.cancelled()
    fetcher._closed = True
    assert await _fetched(fetcher, {A}, 30, 100, Hollows()) == {}


async def test_without_partitions_or_without_flow_nothing_is_fetched() -> None:
    for flow, partitions in ((True, set[TP]()), (False, {A})):
        thread = cast(Any, SimpleNamespace(consumer=SimpleNamespace(flow_active=flow)))
        assert await MicroBatchThread._fetch_records(thread, None, partitions) == {}


async def test_a_rewind_moves_what_is_still_assigned() -> None:
    sought: list[tuple[Any, int]] = []

    def seek(tp: Any, offset: int) -> None:
        if tp.partition == 1:
            raise IllegalStateError
        sought.append((tp, offset))

    async def call_thread(work: Any) -> None:
        await work()

    thread = cast(
        Any, SimpleNamespace(call_thread=call_thread, _ensure_consumer=lambda: SimpleNamespace(seek=seek))
    )
    await MicroBatchThread.rewind(thread, {B: 3, A: 7})
    assert sought == [(TopicPartition("t", 0), 7)]


def test_only_what_is_in_the_gate_is_committed() -> None:
    consumer = cast(Any, SimpleNamespace(sluice=SimpleNamespace(gate={A: 5})))
    assert list(GatedConsumer._filter_tps_with_pending_acks(consumer)) == [A]
    assert GatedConsumer._new_offset(consumer, A) == 5
    assert GatedConsumer._new_offset(consumer, B) is None


def test_a_batch_knows_when_it_arrived() -> None:
    first, second = PartitionBatch(A, [], 1), PartitionBatch(A, [], 1)
    assert first.fetched_at <= second.fetched_at


def test_a_backlog_is_full_beyond_its_size_and_has_room_again_once_records_are_taken() -> None:
    backlog = Backlog(10)
    seen = []
    for records in (10, 1, -1):
        if records > 0:
            backlog.add(records)
        else:
            backlog.take(-records)
        seen.append(backlog.full)
    assert seen == [False, True, False]


async def test_whoever_waits_for_room_goes_on_when_the_queues_are_emptied() -> None:
    backlog = Backlog(10)
    backlog.add(11)
    waiting = asyncio.ensure_future(backlog.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    backlog.clear()
    await asyncio.wait_for(waiting, 5)
