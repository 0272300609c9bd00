"""Replies to a client's commands: listening for them, and reading them (001-43, 001-44, peer-features F25)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.brokers import START
from streams.client_errors import ClientError, Closed, NotSent, UnreadableReply
from streams.codec import Codec, NeedsSchema, Undecodable
from streams.events import Reply as Frame
from streams.publisher import header
from streams.replies import DUPLICATE, REQUEST_ID
from streams.settings import Settings
from streams.topics import replies_of

log = logging.getLogger(__name__)

CONNECT_S = 15.0
ENDED = 10_000
"""Requests that ended lately, of which a reply counts as late. Other clients' replies pass by uncounted."""

AGAIN_S = 0.5

Fact = TypeVar("Fact")


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a command.

    Attributes:
        status: OK; REJECTED: refused by a rule; FAILED: it became a dead letter; UNKNOWN: ask a newer program.
        code: reason code of what was refused or failed; of an OK, why there are no facts.
        message: cause and remedy.
        facts: what was published in answer, as records of ``streams.events``.
        duplicate: the command had been applied before, be it by a repetition of this very request.
        event_id: the command's.
        correlation_id: what all records of the request have in common.
    """

    status: str
    code: str
    message: str
    facts: tuple[Any, ...]
    duplicate: bool
    event_id: str
    correlation_id: str

    @property
    def ok(self) -> bool:
        """Whether the command was applied."""
        return self.status == "OK"

    def fact(self, kind: type[Fact]) -> Fact | None:
        """Return the first fact of a kind, or None."""
        return next((fact for fact in self.facts if isinstance(fact, kind)), None)


async def read(codec: Codec, record: Any) -> Reply:
    """Return the reply in a record.

    Raises:
        UnreadableReply: it holds what this program does not know.
    """
    [frame] = await _decoded(codec, [record.value])
    if not isinstance(frame, Frame):
        raise UnreadableReply(
            f"what came as a reply is none ({_why(frame)}); do two applications share a name?"
        )
    facts = await _decoded(codec, [fact.value for fact in frame.facts])
    for fact, found in zip(frame.facts, facts, strict=True):
        if isinstance(found, Undecodable | NeedsSchema):
            raise UnreadableReply(
                f"the command is {frame.status}, but its reply holds a {fact.record} that this program cannot read "
                f"({_why(found)}); update it, or read the fact from {fact.topic}"
            )
    return Reply(
        status=frame.status,
        code=frame.code,
        message=frame.message,
        facts=tuple(facts),
        duplicate=header(record.headers, DUPLICATE) == "true",
        event_id=(record.key or b"").decode("utf-8", "replace"),
        correlation_id=header(record.headers, "ce_correlationid") or "",
    )


async def _decoded(codec: Codec, values: list[bytes]) -> list[Any]:
    found = codec.decode_batch(values)
    unknown = {each.schema_id for each in found if isinstance(each, NeedsSchema)}
    if unknown:
        await codec.resolve(unknown)
        found = codec.decode_batch(values)
    return found


def _why(found: Any) -> str:
    return found.message if isinstance(found, Undecodable) else type(found).__name__


class Listener:
    """Listens on one partition of the topic of replies, and hands each reply to who waits for it.

    Attributes:
        late: replies that came when nobody waited for them any more.
    """

    def __init__(self, settings: Settings) -> None:
        self.late = 0
        self._settings = settings
        self._topic = replies_of(settings.app_id).name
        # Clients spread over the partitions, so that each reads a part of the others' replies only.
        self._partition = random.randrange(settings.partitions)  # noqa: S311 - nothing secret
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._closed = False

    @property
    def address(self) -> str:
        """Where replies are awaited: what the header ``ce_replyto`` says."""
        return f"{self._topic}/{self._partition}"

    async def start(self) -> None:
        """Listen to what is sent from now on. Call it before each request: it starts what is not running.

        Raises:
            NotSent: no broker answers, or the topic does not exist.
            Closed: ``stop`` was called.
        """
        async with self._starting:
            if self._closed:
                raise Closed("the client is closed; make another one")
            if self._task is not None and not self._task.done():
                return
            await self._disconnect()
            self._consumer = await self._connect()
            self._task = asyncio.create_task(self._listen(self._consumer), name="sluice-client-replies")

    async def _connect(self) -> AIOKafkaConsumer:
        servers = self._settings.bootstrap_servers
        consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            client_id=f"{self._settings.app_id}-client",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            **self._settings.aiokafka_security(),
        )
        place = TopicPartition(self._topic, self._partition)
        try:
            async with asyncio.timeout(CONNECT_S):
                await consumer.start()
                if self._topic not in await consumer.topics():
                    raise NotSent(f"topic {self._topic} does not exist; run `sluice setup`")
                consumer.assign([place])
                consumer.seek(place, (await consumer.end_offsets([place]))[place])
        except BaseException as error:
            await consumer.stop()
            if isinstance(error, KafkaError | TimeoutError):
                raise NotSent(
                    f"replies cannot be listened to at {servers} ({type(error).__name__}); {START}"
                ) from error
            raise
        return consumer

    def expect(self, request_id: str) -> asyncio.Future[Any]:
        """Return the future of a request's reply, a record. Always ``forget`` the request in the end."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        return future

    def forget(self, request_id: str) -> None:
        """Note that a request has ended: whatever comes now is late."""
        del self._waiting[request_id]
        self._ended[request_id] = None
        if len(self._ended) > ENDED:
            self._ended.popitem(last=False)

    async def _listen(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                for records in (await consumer.getmany(timeout_ms=60_000)).values():
                    for record in records:
                        self._take(record)
            except KafkaError as error:
                if not getattr(error, "retriable", False):
                    self._fail(
                        ClientError(f"no reply can be read ({error!r}); check the rights on {self._topic}")
                    )
                    raise
                log.warning("replies cannot be read right now (%r); trying again", error)
                await asyncio.sleep(AGAIN_S)

    def _take(self, record: Any) -> None:
        request_id = header(record.headers, REQUEST_ID) or ""
        future = self._waiting.get(request_id)
        if future is not None and not future.done():
            future.set_result(record)
        elif future is not None or request_id in self._ended:
            self.late += 1
            log.debug("a reply came late")

    def _fail(self, error: ClientError) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)

    async def stop(self) -> None:
        """Stop listening. Requests under way end with ``Closed``."""
        self._closed = True
        self._fail(
            Closed(
                "the client was closed before the reply came; the command may be applied all the same",
                sent=True,
            )
        )
        async with self._starting:
            await self._disconnect()

    async def _disconnect(self) -> None:
        task, self._task = self._task, None
        consumer, self._consumer = self._consumer, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if consumer is not None:
            await cast(Any, consumer).stop()
