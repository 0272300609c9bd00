"""What an effect service reads: what orders hold, what was claimed of them, and which were answered lately."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaTimeoutError

from streams.codec import Codec, NeedsSchema, Undecodable
from streams.effects_lanes import claimed
from streams.publisher import header
from streams.settings import Settings

log = logging.getLogger(__name__)

POLL_MS = 500
SILENCE_S = 30.0
RETRY_S = 1.0


async def decoded(codec: Codec, values: list[bytes | None], who: str) -> list[Any]:
    """Return what values hold, once the registry has said all it has to; ``who`` waits for it."""
    while True:
        found = codec.decode_batch(values)
        needed = {each.schema_id for each in found if type(each) is NeedsSchema}
        if needed:
            await codec.resolve(needed)
            found = codec.decode_batch(values)
        if not any(isinstance(each, Undecodable) and each.retryable for each in found):
            return found
        log.warning("%s waits for the schema registry", who)
        await asyncio.sleep(RETRY_S)


async def last_claim(settings: Settings, group: str, where: TopicPartition) -> int:
    """Return the last offset that the group's owners before us may have begun to carry out, or -1.

    Raises:
        KafkaError: the brokers do not say.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers, **settings.aiokafka_security())
    try:
        await admin.start()
        found = await admin.list_consumer_group_offsets(group, partitions=[where])
    finally:
        await admin.close()
    return claimed(found[where].metadata) if where in found else -1


async def answered_orders(
    settings: Settings, topic: str, partition: int, event_type: str, since_ms: int
) -> set[str]:
    """Return the ids of the orders that were answered on a partition since a time.

    Args:
        topic: where answers are published, among other records.
        event_type: ``ce_type`` of the answers; their ``ce_causationid`` is the order's id.
        since_ms: append time from which to read, milliseconds since the epoch.

    Raises:
        KafkaError: the brokers do not let it be read, or say nothing for half a minute.
    """
    where = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=f"{settings.app_id}-answers",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **settings.aiokafka_security(),
    )
    try:
        await consumer.start()
        consumer.assign([where])
        end = (await consumer.end_offsets([where]))[where]
        start = (await consumer.offsets_for_times({where: since_ms}))[where]
        if start is None:
            return set()
        consumer.seek(where, start.offset)
        return await _read(consumer, where, end, event_type)
    finally:
        await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, where: TopicPartition, end: int, event_type: str) -> set[str]:
    found: set[str] = set()
    loop = asyncio.get_running_loop()
    heard = loop.time()
    while await consumer.position(where) < end:
        records: list[Any] = (await consumer.getmany(timeout_ms=POLL_MS, max_records=1_000)).get(where, [])
        if records:
            heard = loop.time()
        elif loop.time() - heard > SILENCE_S:
            raise KafkaTimeoutError(f"{where.topic}[{where.partition}] cannot be read to its end")
        for record in records:
            if header(record.headers, "ce_type") == event_type:
                found.add(header(record.headers, "ce_causationid") or "")
        await asyncio.sleep(0)  # aiokafka returns what it has fetched without giving way to others
    return found
