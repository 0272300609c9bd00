"""What a run needs on the broker: its topics and schemas, and plain readers that share nothing with the pipeline."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from fastavro import parse_schema, schemaless_reader

from ops.setup import setup
from ops.stack.local import LocalStack
from streams.schemas import contracts
from streams.settings import Settings
from tests.faults.totals import Names

PARTITIONS = 4
Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it lies on the broker."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    timestamp: int

    def header(self, name: str) -> bytes | None:
        """Return the last header of that name, or None."""
        return next((value for key, value in reversed(self.headers) if key == name), None)


def settings_of(stack: LocalStack, run: str, folder: Path, **more: Any) -> Settings:
    """Return settings for tools that work on a run."""
    return Settings.read(
        bootstrap_servers=stack.bootstrap_servers,
        registry_url=stack.registry_url,
        app_id=run,
        partitions=PARTITIONS,
        data_dir=folder / "tools",
        **more,
    )


def environment_of(stack: LocalStack, **more: str) -> dict[str, str]:
    """Return the variables that point a worker to a stack."""
    return {
        "SLUICE_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "SLUICE_REGISTRY_URL": stack.registry_url,
        "SLUICE_PARTITIONS": str(PARTITIONS),
        **more,
    }


def make(settings: Settings) -> Names:
    """Create topics and schemas of a run."""
    names = Names(settings.app_id)
    asyncio.run(setup(settings, names.topics, names.subjects))
    return names


def _consumer(settings: Settings) -> Consumer:
    return Consumer(
        {
            **settings.librdkafka_config(),
            "group.id": settings.app_id,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "log_level": 2,
        }
    )


def read(settings: Settings, topic: str, partitions: int = PARTITIONS) -> Iterator[Stored]:
    """Yield every record of a topic, partition by partition in offset order."""
    consumer = _consumer(settings)
    found: dict[int, list[Stored]] = {number: [] for number in range(partitions)}
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        ended: set[int] = set()
        deadline = time.monotonic() + 120
        while len(ended) < partitions:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic} could not be read to its end")
            for message in consumer.consume(10_000, 0.5):
                error = message.error()
                if error is None:
                    stored = _stored(message)
                    found[stored.partition].append(stored)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(int(message.partition() or 0))
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()
    for number in range(partitions):
        yield from found[number]


def _stored(message: Any) -> Stored:
    headers = tuple(message.headers() or ())
    return Stored(
        message.partition(), message.offset(), message.key(), message.value(), headers, message.timestamp()[1]
    )


def ends(settings: Settings, topic: str, partitions: int = PARTITIONS) -> dict[int, int]:
    """Return the end offset of each partition."""
    with closing(_consumer(settings)) as consumer:
        return _ends(consumer, topic, partitions)


def _ends(consumer: Consumer, topic: str, partitions: int) -> dict[int, int]:
    return {
        number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
        for number in range(partitions)
    }


def committed(settings: Settings, topic: str, partitions: int = PARTITIONS) -> dict[int, int]:
    """Return what the run's consumer group has committed for each partition; -1001 where nothing is."""
    with closing(_consumer(settings)) as consumer:
        return _committed(consumer, topic, partitions)


def _committed(consumer: Consumer, topic: str, partitions: int) -> dict[int, int]:
    asked = [TopicPartition(topic, number) for number in range(partitions)]
    return {found.partition: found.offset for found in consumer.committed(asked, timeout=10)}


def drained(settings: Settings, topic: str) -> bool:
    """Return whether everything in a source topic is committed; False too while the broker does not answer."""
    try:
        with closing(_consumer(settings)) as consumer:
            end = _ends(consumer, topic, PARTITIONS)
            done = _committed(consumer, topic, PARTITIONS)
    except KafkaException:
        return False
    return all(done[number] == offset or offset == 0 for number, offset in end.items())


class Reader:
    """Decodes frames of one record type with fastavro, sharing nothing with the codec under test."""

    def __init__(self, record: str) -> None:
        self._schema = parse_schema(contracts()[record].schema)

    def __call__(self, frame: bytes) -> dict[str, Any]:
        """Return the record's fields."""
        found: Any = schemaless_reader(io.BytesIO(frame[5:]), self._schema, self._schema)
        return dict(found)
