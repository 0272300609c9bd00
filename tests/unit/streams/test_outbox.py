"""Outputs become batches that keep their order and fit into a topic; a unit of state becomes one batch or none."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.failures import FatalFailure
from streams.outbox import BATCH_BYTES, BatchTooLarge, Outbox, Outgoing, _batches
from tests.unit.streams import core_world

MIB = 2**20


def read(batch: Any) -> list[tuple[bytes | None, bytes | None, list[Any], int]]:
    """Return the records of a built batch, as a broker's readers see them."""
    return [
        (record.key, record.value, list(record.headers), record.timestamp)
        for record in DefaultRecordBatch(bytes(built(batch)))
    ]


def built(batch: Any) -> bytes:
    batch.close()
    return bytes(batch._build())


outgoing = st.tuples(
    st.none() | st.binary(max_size=5),
    st.none() | st.binary(max_size=5) | st.integers(100_000, 400_000).map(bytes),
    st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=2),
    st.integers(0, 2**40),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(outgoing, max_size=8))
def test_batches_hold_every_record_once_in_order_and_fit_into_a_topic(records: list[Outgoing]) -> None:
    batches = list(_batches(records))
    assert [each for batch in batches for each in read(batch)] == records
    assert all(len(built(batch)) <= MIB for batch in batches)


@pytest.mark.parametrize("place", [0, 1])
def test_a_record_that_is_too_large_goes_out_compressed_wherever_it_stands(place: int) -> None:
    records: list[Outgoing] = [(b"k", b"v", [], 1)]
    records.insert(place, (b"k", b"x" * 3 * MIB, [("h", b"1")], 1))
    batches = list(_batches(records))
    assert [each for batch in batches for each in read(batch)] == records
    assert all(len(built(batch)) <= BATCH_BYTES for batch in batches)


def test_no_records_make_no_batch() -> None:
    assert list(_batches([])) == []


class Producer:
    """What an outbox asks of aiokafka's producer."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.sent: list[tuple[str, int, Any]] = []
        self.refusal: Exception | None = None

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append((topic, partition, batch))
        future = asyncio.get_running_loop().create_future()
        if self.refusal is not None:
            future.set_exception(self.refusal)
        else:
            future.set_result(type("Metadata", (), {"offset": len(self.sent) * 10})())
        return future


def connected(producer: Producer) -> Outbox:
    outbox = Outbox(core_world.settings(), "outputs")
    outbox._producer = cast(Any, producer)
    return outbox


async def test_records_count_by_what_came_of_their_sending() -> None:
    producer = Producer()
    outbox = connected(producer)
    await outbox.send({("a", 1): [RECORD], ("b", 2): [RECORD, RECORD]})
    await outbox.send_atomically(("c", 0), [RECORD], MIB)
    assert outbox.counts == {"acknowledged": 4}
    producer.refusal = RuntimeError("no")
    with pytest.raises(FatalFailure):
        await outbox.send({("a", 1): [RECORD, RECORD]})
    assert outbox.counts == {"acknowledged": 4, "failed": 2}


RECORD: Outgoing = (b"k", b"v", [], 1)


async def test_records_go_to_their_targets() -> None:
    producer = Producer()
    await connected(producer).send({("a", 1): [RECORD], ("b", 2): [RECORD, RECORD]})
    assert [(topic, number, batch.record_count()) for topic, number, batch in producer.sent] == [
        ("a", 1, 1),
        ("b", 2, 2),
    ]


async def test_a_unit_of_state_is_one_batch_and_its_offset_is_returned() -> None:
    producer = Producer()
    assert await connected(producer).send_atomically(("c", 0), [RECORD, RECORD], MIB) == 10
    assert [batch.record_count() for _, _, batch in producer.sent] == [2]


async def test_a_unit_of_state_that_does_not_fit_is_not_sent() -> None:
    producer = Producer()
    with pytest.raises(BatchTooLarge):
        await connected(producer).send_atomically(("c", 0), [RECORD, (b"k", bytes(MIB), [], 1)], MIB)
    assert producer.sent == []


async def test_a_slow_broker_is_waited_for() -> None:
    producer = Producer(KafkaTimeoutError(), KafkaTimeoutError())
    await connected(producer).send({("a", 1): [RECORD]})
    assert len(producer.sent) == 1


async def test_a_missing_topic_ends_the_worker_with_the_remedy() -> None:
    with pytest.raises(FatalFailure, match="sluice setup"):
        await connected(Producer(UnknownTopicOrPartitionError())).send({("a", 1): [RECORD]})


async def test_a_refused_batch_ends_the_worker() -> None:
    producer = Producer()
    producer.refusal = RuntimeError("no")
    with pytest.raises(FatalFailure, match="refused"):
        await connected(producer).send({("a", 1): [RECORD]})


async def test_nothing_is_sent_without_a_connection() -> None:
    with pytest.raises(FatalFailure, match="not connected"):
        await Outbox(core_world.settings(), "outputs").send({("a", 1): [RECORD]})
