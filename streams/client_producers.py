"""The producers of a client: one that sends record by record, one that sends lists as transactions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from streams.brokers import START
from streams.client_errors import NotSent
from streams.client_messages import Message
from streams.settings import Settings

log = logging.getLogger(__name__)

ACK_S = 30.0
REQUEST_MS = 20_000
"""After this long a missing topic is called missing."""

CLOSE_S = 5.0

TRANSACTION_MS = 15_000
"""A producer that dies with its transaction open holds back the readers of its partitions for this long."""

BATCH_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Sent:
    """Where an event was appended.

    Attributes:
        event_id: its id, given or made.
        correlation_id: what all that follows from it has in common with it.
    """

    event_id: str
    correlation_id: str
    topic: str
    partition: int
    offset: int


class Sender:
    """An idempotent producer that connects when it is needed and again when it broke."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        """Connect nothing yet.

        Args:
            options: further ones of ``AIOKafkaProducer``.
        """
        self._settings = settings
        self._options = options
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def connect(self) -> AIOKafkaProducer:
        """Return the producer, connected.

        Raises:
            NotSent: no broker answers.
        """
        async with self._connecting:
            if self._producer is not None and self._producer._sender.sender_task.done():
                # It met an error that no producer id outlives; the events will be sent under another one.
                await self.close()
            if self._producer is None:
                self._producer = await self._start()
            return self._producer

    async def _start(self) -> AIOKafkaProducer:
        servers = self._settings.bootstrap_servers
        producer = AIOKafkaProducer(
            bootstrap_servers=servers,
            client_id=f"{self._settings.app_id}-client",
            acks="all",
            max_batch_size=BATCH_BYTES,
            max_request_size=self._settings.max_event_bytes + BATCH_BYTES,
            request_timeout_ms=REQUEST_MS,
            retry_backoff_ms=50,
            **self._settings.aiokafka_security(),
            **self._options,
        )
        try:
            async with asyncio.timeout(ACK_S):
                await producer.start()
        except (KafkaError, TimeoutError) as error:
            await producer.stop()
            raise NotSent(f"no broker answers at {servers} ({type(error).__name__}); {START}") from error
        return producer

    async def submit(self, message: Message) -> asyncio.Future[Any]:
        """Hand a record to the producer; the future has its place once the broker has acknowledged it.

        Raises:
            NotSent, and what aiokafka raises.
        """
        producer = await self.connect()
        found = len(await producer.partitions_for(message.topic))
        if found != self._settings.partitions:
            raise NotSent(
                f"topic {message.topic} has {found} partitions, and SLUICE_PARTITIONS={self._settings.partitions} says "
                "where keys belong; set it to what the workers have"
            )
        accepted: asyncio.Future[Any] = await producer.send(
            message.topic,
            message.value,
            key=message.key,
            partition=message.partition,
            headers=message.headers,
        )
        return accepted

    async def deliver(self, message: Message) -> Sent:
        """Send a record and return where it is once all brokers that should have it do.

        Raises:
            NotSent: it was refused, or was not acknowledged in time.
        """
        try:
            async with asyncio.timeout(ACK_S):
                return sent(message, await (await self.submit(message)))
        except (KafkaError, TimeoutError) as error:
            raise not_sent(error, [message], self._settings) from error

    async def deliver_each(self, messages: Sequence[Message]) -> list[Sent | NotSent]:
        """Send records in their order, and return of each where it is, or why it is not there.

        Raises:
            NotSent: no broker answers; none of them was sent.
        """
        await self.connect()
        futures: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(ACK_S):
                for message in messages:
                    futures.append(await self._submitted(message))
                await asyncio.gather(*futures, return_exceptions=True)
        except TimeoutError:
            for future in futures:
                future.cancel()
            futures += [_failed(TimeoutError()) for _ in messages[len(futures) :]]
        return [self._outcome(message, future) for message, future in zip(messages, futures, strict=True)]

    async def _submitted(self, message: Message) -> asyncio.Future[Any]:
        """Return what ``submit`` returns; a record that it does not take ends its own future, and not the others."""
        try:
            return await self.submit(message)
        except (KafkaError, NotSent) as error:
            return _failed(error)

    def _outcome(self, message: Message, future: asyncio.Future[Any]) -> Sent | NotSent:
        error = TimeoutError() if future.cancelled() else future.exception()
        if error is None:
            return sent(message, future.result())
        if isinstance(error, KafkaError | TimeoutError):
            return not_sent(error, [message], self._settings)
        if isinstance(error, NotSent):
            return error
        raise error

    async def close(self) -> None:
        """Send what is buffered and disconnect; what takes too long is given up."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            await asyncio.wait_for(producer.stop(), CLOSE_S)
        except TimeoutError:
            log.warning("the broker does not take what is buffered; it is given up")
            producer._message_accumulator.fail_all(KafkaError("the producer was closed"))
            await producer._sender.close()
            await producer.client.close()


class Transactions:
    """Sends lists of records, of each all or none."""

    def __init__(self, settings: Settings) -> None:
        """Connect nothing yet."""
        self._settings = settings
        name = f"{settings.app_id}-client-{uuid4().hex}"
        self._sender = Sender(settings, transactional_id=name, transaction_timeout_ms=TRANSACTION_MS)
        self._one_at_a_time = asyncio.Lock()

    async def deliver(self, messages: Sequence[Message]) -> list[Sent]:
        """Send records in one transaction, and return where they are once it is committed.

        Raises:
            NotSent: none of them counts, or, where it is uncertain, all or none.
        """
        async with self._one_at_a_time:
            committing = False
            try:
                async with asyncio.timeout(ACK_S):
                    producer = await self._sender.connect()
                    await producer.begin_transaction()
                    futures = [await self._sender.submit(message) for message in messages]
                    places = await asyncio.gather(*futures)
                    committing = True
                    await producer.commit_transaction()
            except (KafkaError, TimeoutError) as error:
                await self._give_up()
                raise not_sent(error, messages, self._settings, uncertain=committing) from error
            except BaseException:
                await self._give_up()
                raise
        return [sent(message, place) for message, place in zip(messages, places, strict=True)]

    async def _give_up(self) -> None:
        """Abort, and disconnect: the next transaction begins with a producer that knows of no other one."""
        with contextlib.suppress(KafkaError, TimeoutError, NotSent):
            async with asyncio.timeout(CLOSE_S):
                await (await self._sender.connect()).abort_transaction()
        await self._sender.close()

    async def close(self) -> None:
        """Disconnect, once the transaction under way has ended."""
        async with self._one_at_a_time:
            await self._sender.close()


def _failed(error: Exception) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


def sent(message: Message, place: Any) -> Sent:
    """Return where a message is, from aiokafka's metadata."""
    return Sent(message.event_id, message.correlation_id, place.topic, place.partition, place.offset)


def not_sent(
    error: Exception, messages: Sequence[Message], settings: Settings, *, uncertain: bool | None = None
) -> NotSent:
    """Return what an error of aiokafka's means for who sends.

    Args:
        uncertain: whether the messages may arrive all the same, where that is not up to the error.
    """
    what = (
        f"{messages[0].kind} was not sent" if len(messages) == 1 else f"{len(messages)} events were not sent"
    )
    topics = ", ".join(sorted({message.topic for message in messages}))
    if isinstance(error, UnknownTopicOrPartitionError):
        return NotSent(f"{what}: topic {topics} or one of its partitions does not exist; run `sluice setup`")
    if isinstance(error, TopicAuthorizationFailedError):
        return NotSent(f"{what}: no right to write to {topics}; ask for it, or check SLUICE_SASL_USERNAME")
    if isinstance(error, MessageSizeTooLargeError):
        return NotSent(f"{what}: {topics} takes no records of this size; send less at once")
    late = isinstance(error, TimeoutError) or bool(getattr(error, "retriable", False))
    cause = f"no acknowledgement within {ACK_S:.0f} s" if isinstance(error, TimeoutError) else repr(error)
    doubt = late if uncertain is None else uncertain
    consequence = (
        "it may arrive all the same, and counts once when sent again under its id" if doubt else START
    )
    return NotSent(f"{what} ({cause}); {consequence}", uncertain=doubt)
