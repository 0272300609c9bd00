"""A replica on the real broker: it reads all there is, over gaps in the offsets too, and follows through an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from ops.stack.local import LocalStack
from streams import replica as module
from streams.codec import Codec
from streams.events import CatalogProductSnapshot
from streams.failures import FatalFailure
from streams.replica import Replica
from streams.settings import Settings
from streams.topics import CATALOG_STATE, Topic
from tests.contract.offline import TOPIC, offline_codec

pytestmark = pytest.mark.broker

PARTITIONS = 3


class Catalogue:
    """A shared topic, what is written to it, and the replicas that read it."""

    def __init__(self, stack: LocalStack, name: str, codec: Codec) -> None:
        self.settings = Settings.read(bootstrap_servers=stack.bootstrap_servers, app_id=name)
        self.topic: Topic = replace(CATALOG_STATE, name=name)
        self.codec = codec
        self.producer = self._producer()

    def create(self) -> None:
        admin = AdminClient(self.settings.librdkafka_config())
        wanted = NewTopic(self.topic.name, PARTITIONS, 1, config=self.topic.config)
        admin.create_topics([wanted])[self.topic.name].result(30)

    def _producer(self, **options: str) -> Producer:
        return Producer({**self.settings.librdkafka_config(), "partitioner": "murmur2_random", **options})

    def frame(self, number: int, name: str) -> bytes:
        snapshot = CatalogProductSnapshot(
            timestamp=datetime(2026, 11, 20, tzinfo=UTC),
            tenant_id="t",
            product_id=str(number),
            name=name,
            version=1,
        )
        return self.codec.encode(snapshot, TOPIC)

    def write(self, number: int, name: str | None) -> None:
        value = None if name is None else self.frame(number, name)
        self.producer.produce(self.topic.name, value, f"t|{number}")

    def write_in_transaction(self, number: int, name: str, *, commit: bool) -> None:
        producer = self._producer(**{"transactional.id": f"{self.topic.name}-{number}"})
        producer.init_transactions(30)
        producer.begin_transaction()
        for partition in range(PARTITIONS):
            producer.produce(self.topic.name, self.frame(number, name), f"t|{number}", partition)
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    def replica(self) -> Replica:
        return Replica((self.topic,), self.codec, self.settings)


@pytest.fixture
async def codec(tmp_path: Path) -> Codec:
    codec = offline_codec(tmp_path)
    await codec.prepare([(TOPIC, CatalogProductSnapshot)])
    return codec


def name_in(replica: Replica, number: int) -> str | None:
    found = replica.get(CatalogProductSnapshot, f"t|{number}")
    return None if found is None else str(found.name)


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_everything_is_there_after_the_start_and_what_comes_later_follows(
    broker: LocalStack, unique: str, codec: Codec
) -> None:
    catalogue = Catalogue(broker, unique, codec)
    catalogue.create()
    for number in range(2_000):
        catalogue.write(number, "first")
    for number in range(1_000):
        catalogue.write(number, "second")
    catalogue.write(5, None)
    catalogue.producer.flush(30)
    # Both leave markers at the end of every partition, which no reader ever sees as records.
    catalogue.write_in_transaction(2_000, "committed", commit=True)
    catalogue.write_in_transaction(2_001, "taken back", commit=False)

    replica = catalogue.replica()
    await replica.start()
    assert [name_in(replica, number) for number in (0, 5, 1_500, 2_000, 2_001)] == [
        "second",
        None,
        "first",
        "committed",
        None,
    ]
    assert len(list(replica.keys(CatalogProductSnapshot, "t|"))) == 2_000
    assert replica.lag == 0
    started = replica.fresh_at or 0

    catalogue.write(0, None)
    catalogue.write(5, "back")
    catalogue.producer.flush(30)
    await until(lambda: name_in(replica, 5) == "back" and name_in(replica, 0) is None)
    await until(lambda: (replica.fresh_at or 0) > started)
    await replica.stop()


async def test_an_empty_topic_is_a_catalogue_too_and_a_missing_one_is_not(
    broker: LocalStack, unique: str, codec: Codec
) -> None:
    catalogue = Catalogue(broker, unique, codec)
    with pytest.raises(FatalFailure, match=f"topics are missing: {unique}; run `sluice setup`"):
        await catalogue.replica().start()
    catalogue.create()
    replica = catalogue.replica()
    await replica.start()
    catalogue.write(1, "first")
    catalogue.producer.flush(30)
    await until(lambda: name_in(replica, 1) == "first")
    await replica.stop()


async def test_a_broker_that_goes_and_comes_back_is_followed_on(
    breakable: LocalStack, unique: str, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BROKER_S", 1.0)
    catalogue = Catalogue(breakable, unique, codec)
    catalogue.create()
    catalogue.write(1, "first")
    catalogue.producer.flush(30)
    replica = catalogue.replica()
    await replica.start()
    breakable.kill_kafka()
    assert name_in(replica, 1) == "first"
    with pytest.raises(FatalFailure, match=r"no broker answers at .*; start one"):
        await catalogue.replica().start()
    await asyncio.to_thread(breakable.start_kafka)
    catalogue.write(1, "second")
    catalogue.producer.flush(30)
    await until(lambda: name_in(replica, 1) == "second", 30)
    await replica.stop()
