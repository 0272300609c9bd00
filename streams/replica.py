"""The read replica: compacted topics that every worker holds whole, such as the catalogue (contracts 3.2).

A table has one owner for each key. What every aggregate needs to look up is published as snapshots on a compacted
topic instead, and each worker keeps the latest one of every key in memory. It is as new as the worker knows, a few
milliseconds old while all goes well, so rules make answers of it and never state.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.brokers import BrokerError, find_topics
from streams.codec import Codec, NeedsSchema, Undecodable
from streams.failures import FatalFailure
from streams.holdings import Holdings
from streams.log_records import about
from streams.settings import Settings
from streams.topics import Topic

log = logging.getLogger(__name__)

SLICE = 256
"""Records decoded at once: the loop that decodes them runs the pipelines too."""
FETCH_MS = 250
"""Longest time the brokers hold a fetch with nothing to return."""
POLL_MS = 500
"""Longer, so that a poll that returns nothing has let the brokers speak."""
BROKER_S = 10.0
"""Brokers have this long to say which partitions there are."""
SILENCE_S = 60.0
"""Brokers or a registry that say nothing for this long while they are needed have a problem."""
RETRY_S = 1.0
MAX_RETRY_S = 30.0


class Replica:
    """Reads shared topics from their beginning and goes on reading them.

    Attributes:
        lag: records of the topics that were not read yet, as far as is known.
        fresh_at: POSIX time at which the brokers last told that nothing was missing; None: never yet.
    """

    def __init__(self, topics: Sequence[Topic], codec: Codec, settings: Settings) -> None:
        """Prepare to read ``topics`` with ``codec``; ``settings`` say where the brokers are."""
        self.lag = 0
        self.fresh_at: float | None = None
        self._topics = tuple(topics)
        self._names = ", ".join(topic.name for topic in topics)
        self._codec = codec
        self._settings = settings
        self._holdings = Holdings(self._topics)
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None

    def get(self, kind: type, key: str) -> Any:
        """Return the record of a kind under a key, or None."""
        return self._holdings.get(kind, key)

    def keys(self, kind: type, prefix: str) -> Iterator[str]:
        """Return the keys of a kind that begin with ``prefix``, as they are now, in order."""
        return self._holdings.keys(kind, prefix)

    async def start(self) -> None:
        """Read every partition to its end, then follow the topics in the background.

        Raises:
            FatalFailure: that cannot be done; the text names cause and remedy.
        """
        if not self._topics:
            return
        try:
            await self._open()
        except BrokerError as error:
            raise FatalFailure(str(error)) from error
        except (KafkaError, OSError) as error:
            raise FatalFailure(
                f"the shared topics {self._names} cannot be read ({type(error).__name__}: {error}); check that the "
                "brokers are up and that this login may read them"
            ) from error
        log.info("replica of %s: %d records", self._names, len(self._holdings))
        self._task = asyncio.create_task(self._follow(), name="replica")

    async def stop(self) -> None:
        """Stop following; what was read stays readable."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._close()

    async def _open(self) -> None:
        """Connect and read everything anew. Until that is done, what was held before is what is answered."""
        partitions = await self._partitions()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.bootstrap_servers,
            client_id=f"{self._settings.app_id}-replica",
            group_id=None,
            fetch_max_wait_ms=FETCH_MS,
            enable_auto_commit=False,
            auto_offset_reset="none",  # a topic that was made anew has to be read anew, and not from somewhere
            isolation_level="read_committed",
            **self._settings.aiokafka_security(),
        )
        self._consumer = consumer
        try:
            await consumer.start()
            consumer.assign(partitions)
            for partition, offset in (await consumer.beginning_offsets(partitions)).items():
                consumer.seek(partition, offset)
            holdings, asked = Holdings(self._topics), time.time()
            await self._catch_up(consumer, await consumer.end_offsets(partitions), holdings)
        except BaseException:
            await self._close()
            raise
        self._holdings, self.lag, self.fresh_at = holdings, 0, asked

    async def _partitions(self) -> list[TopicPartition]:
        # Asked with librdkafka, in a thread, because it can say why nobody lets us in.
        known = await asyncio.to_thread(find_topics, self._settings, BROKER_S)
        missing = [topic.name for topic in self._topics if topic.name not in known]
        if missing:
            raise FatalFailure(
                f"topics are missing: {', '.join(missing)}; run `sluice setup`, or let this login read them"
            )
        return [
            TopicPartition(topic.name, number)
            for topic in self._topics
            for number in sorted(known[topic.name].partitions)
        ]

    async def _catch_up(
        self, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int], holdings: Holdings
    ) -> None:
        heard = time.monotonic()
        behind = set(ends)
        while behind := {tp for tp in behind if await consumer.position(tp) < ends[tp]}:
            batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=SLICE)
            if batches:
                try:
                    async with asyncio.timeout(SILENCE_S):
                        await self._take(batches, holdings)
                except TimeoutError:
                    raise FatalFailure(
                        f"the schemas of {self._names} cannot be read for {SILENCE_S:.0f} s; start the schema "
                        "registry, or set SLUICE_REGISTRY_URL"
                    ) from None
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_S:
                raise FatalFailure(
                    f"nothing came of {self._names} for {SILENCE_S:.0f} s; check that the brokers are up"
                )

    async def _follow(self) -> None:
        delay = RETRY_S
        while True:
            try:
                if self._consumer is None:
                    await self._open()
                    log.info("replica of %s: read again, %d records", self._names, len(self._holdings))
                delay = RETRY_S
                await self._read_on(self._consumer)
            except Exception as error:
                # Only what the brokers and we ourselves say is shown: other texts may hold what a record holds.
                known = isinstance(error, (BrokerError, KafkaError, OSError, FatalFailure))
                cause = f"{type(error).__name__}: {error}" if known else type(error).__name__
                log.warning(
                    "the replica of %s does not get on (%s); what it holds grows old; it is read again in %.0f s",
                    self._names,
                    cause,
                    delay,
                )
                await self._close()
                await asyncio.sleep(delay)
                delay = min(2 * delay, MAX_RETRY_S)

    async def _read_on(self, consumer: AIOKafkaConsumer) -> None:
        """Take in what comes, until the brokers fail.

        Raises:
            FatalFailure: they have said nothing for too long. aiokafka does not tell, and tries for ever.
        """
        while True:
            batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=SLICE)
            await self._take(batches, self._holdings)
            heard = await self._measure(consumer)
            if not batches and heard is not None and time.time() - heard > SILENCE_S:
                raise FatalFailure(f"the brokers have said nothing for {SILENCE_S:.0f} s")

    async def _measure(self, consumer: AIOKafkaConsumer) -> float | None:
        """Find out how much is missing; return when the brokers last told, None where one has not yet."""
        lag, heard = 0, time.time()
        for tp in consumer.assignment():
            polled = consumer.last_poll_timestamp(tp)
            if polled is None:
                return None
            heard = min(heard, polled / 1000)
            lag += max(0, consumer.last_stable_offset(tp) - await consumer.position(tp))
        self.lag = lag
        if lag == 0:
            self.fresh_at = heard
        return heard

    async def _take(self, batches: dict[TopicPartition, list[Any]], holdings: Holdings) -> None:
        for tp, records in batches.items():
            found = await self._decoded([record.value for record in records])
            for record, value in zip(records, found, strict=True):
                self._keep(tp, record, value, holdings)
        await asyncio.sleep(0)  # aiokafka returns what it has fetched without giving way to others

    def _keep(self, tp: TopicPartition, record: Any, value: Any, holdings: Holdings) -> None:
        try:
            key = record.key.decode()
        except (AttributeError, UnicodeDecodeError):
            cause = "its key is no text"
        else:
            if record.value is None:
                return holdings.put(tp.topic, key, None)
            if type(value) is not Undecodable and holdings.takes(tp.topic, type(value)):
                return holdings.put(tp.topic, key, value)
            cause = value.message if type(value) is Undecodable else "this topic does not carry such records"
        fields = about(tp.topic, tp.partition, record, value)
        log.error("a record is left out of the replica of %s: %s", tp.topic, cause, extra=fields)

    async def _decoded(self, values: list[bytes | None]) -> list[Any]:
        """Return what the values hold, once the registry has said all it has to."""
        delay = RETRY_S
        while True:
            found = self._codec.decode_batch(values)
            needed = {each.schema_id for each in found if type(each) is NeedsSchema}
            if needed:
                await self._codec.resolve(needed)
                found = self._codec.decode_batch(values)
            open_ = [each for each in found if type(each) is Undecodable and each.retryable]
            if not open_:
                return found
            log.warning("the replica of %s waits for the registry: %s", self._names, open_[0].message)
            await asyncio.sleep(delay)
            delay = min(2 * delay, MAX_RETRY_S)

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
