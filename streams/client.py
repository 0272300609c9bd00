"""The client of the bus, for programs in Python: publish events, and ask for what a command led to (001-43 to 001-46).

    async with Client(Settings.read()) as client:
        await client.publish(UsageEvent(...))
        reply = await client.request(StockAllocationRequested(...), timeout=5)
        if reply.ok:
            [allocated] = reply.facts

Typed operations (``allocate_stock`` and the like) are in ``agents.clients``. A client belongs to one event loop.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from streams.client_background import Background
from streams.client_errors import (
    ClientError,
    Closed,
    Failed,
    Invalid,
    NotSent,
    Rejected,
    RequestTimeout,
    UnreadableReply,
)
from streams.client_messages import Message, Messages
from streams.client_metrics import BusMetrics
from streams.client_producers import Sender, Sent, Transactions
from streams.client_replies import Listener, Reply
from streams.client_requests import Requests
from streams.codec import Codec
from streams.registry import Registry
from streams.routing import Index
from streams.settings import Settings
from streams.tracing import open_tracing

if TYPE_CHECKING:
    from streams.tracing_spans import Spans

__all__ = [
    "Client",
    "ClientError",
    "Closed",
    "Failed",
    "Invalid",
    "NotSent",
    "Rejected",
    "Reply",
    "RequestTimeout",
    "Sent",
    "UnreadableReply",
]

TIMEOUT_S: Final = 30


class Client:
    """Publishes events and asks for replies.

    Attributes:
        response_timeout_seconds: how long ``request`` waits unless it is told otherwise (001-44).
        counts: how many events, commands of requests too, were ``published`` or ``failed`` to be sent; how many
            commands were ``requested``, and of these ``replied`` to or ended in a ``timeout``; see also ``late`` and
            ``dropped``.
        metrics: what was published by type, and how long that took; a program's own handlers count there too.
    """

    def __init__(
        self,
        settings: Settings,
        index: Index | None = None,
        *,
        source: str = "",
        codec: Codec | None = None,
        response_timeout_seconds: int = TIMEOUT_S,
        tracing: Spans | None = None,
    ) -> None:
        """Connect nothing yet.

        Args:
            settings: brokers, registry, ``app_id`` and number of partitions: those of the workers.
            index: what is sent where; the project's own by default.
            source: who publishes (``ce_source``); by default the application's client.
            codec: that of a worker in this process; by default the client has its own.
            tracing: that of a worker in this process; by default the client has its own, if ``settings`` ask for it.

        Raises:
            FatalFailure: they do, and the extra ``otel`` is not installed.
        """
        if index is None:
            from streams.routes import INDEX

            index = INDEX
        self.response_timeout_seconds = response_timeout_seconds
        self.counts: Counter[str] = Counter()
        self.metrics = BusMetrics(enabled=settings.metrics)
        self._registry: Registry | None = None
        if codec is None:
            self._registry = Registry(settings)
            codec = Codec(self._registry)
        self._messages = Messages(index, codec, settings, source or f"{settings.app_id}/client")
        self._sender = Sender(settings, enable_idempotence=True)
        self._transactions = Transactions(settings)
        self._listener = Listener(settings)
        self._background = Background(self._messages, self._sender, self._published)
        self._requests = Requests(
            self._messages, self._sender, self._listener, codec, settings.app_id, self.counts, self._sending
        )
        self._own_tracing = open_tracing(settings) if tracing is None else None
        self._tracing = tracing or self._own_tracing
        self._closed = False

    async def __aenter__(self) -> Self:
        """Connect to the broker.

        Raises:
            NotSent: none answers.
        """
        await self._sender.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Send what waits and disconnect. Requests under way end with ``Closed``."""
        self._closed = True
        await self._listener.stop()
        await self._background.close()
        await self._transactions.close()
        await self._sender.close()
        if self._registry is not None:
            await self._registry.close()
        if self._own_tracing is not None:
            await self._own_tracing.close()

    @property
    def late(self) -> int:
        """Replies that came after their requests had ended."""
        return self._listener.late

    @property
    def dropped(self) -> int:
        """Events that were sent without waiting, and did not arrive."""
        return self._background.dropped

    # --- publishing ---------------------------------------------------------------------------------------------

    async def publish(self, event: Any, *, correlation_id: str = "") -> Sent:
        """Send one event and return when the broker has it (001-01).

        Args:
            event: a record of ``streams.events`` that has a route; an empty ``event_id`` is made.
            correlation_id: what all that follows from it has in common with it; by default the event's id.

        Raises:
            Invalid: it cannot be sent as it is.
            NotSent: broker or registry did not do their part.
        """
        self._open()
        with self._traced(event), self._sending([event]):
            [message] = await self._messages.of([event], correlation_id)
            return await self._sender.deliver(message)

    async def publish_batch(self, events: Sequence[Any], *, correlation_id: str = "") -> list[Sent]:
        """Send several events in one transaction: readers see all of them or none (001-02).

        Every event is checked before any is sent.

        Args:
            events, correlation_id: as for ``publish``.

        Raises:
            Invalid: with everything that is wrong with any of them; nothing was sent.
            NotSent: none of them counts, or, where it is uncertain, all or none.
        """
        self._open()
        if not events:
            return []
        with self._traced(*events), self._sending(events):
            messages = await self._messages.of(events, correlation_id)
            return await self._transactions.deliver(messages)

    async def publish_each(
        self, events: Sequence[Any], *, headers: Sequence[Mapping[str, str]] = ()
    ) -> list[Sent | ClientError]:
        """Send several events, each on its own: one that is not sent does not stop the others.

        Args:
            events: as for ``publish``; those of one key stay in their order.
            headers: of each event further headers, or other values of those that it has anyway.

        Returns:
            Of each event what ``publish`` would return or raise.

        Raises:
            NotSent: broker or registry did not do their part; none was sent.
        """
        self._open()
        began = time.perf_counter()
        with self._traced(*events):
            found = await self._messages.each(events)
        extra = dict(enumerate(headers))
        messages = {
            place: message.under(extra.get(place, {}))
            for place, message in enumerate(found)
            if isinstance(message, Message)
        }
        places = await self._sender.deliver_each(list(messages.values())) if messages else []
        sent = dict(zip(messages, places, strict=True))
        for place, outcome in sent.items():
            if isinstance(outcome, Sent):
                self._published(events[place], began)
            else:
                self.counts["failed"] += 1
        return [each if isinstance(each, Invalid) else sent[place] for place, each in enumerate(found)]

    async def send(self, event: Any, *, is_critical: bool = False, correlation_id: str = "") -> None:
        """Send an event without waiting for what comes of it (001-45).

        Args:
            event, correlation_id: as for ``publish``.
            is_critical: wait for the broker and raise what goes wrong, as ``publish`` does. Otherwise nothing is ever
                raised: a failure is logged, and counted in ``dropped`` (001-46).

        Raises:
            Invalid, NotSent: where it is critical.
        """
        if is_critical:
            await self.publish(event, correlation_id=correlation_id)
        else:
            with self._traced(event):
                self._background.add(event, correlation_id)

    def _traced(self, *events: Any) -> AbstractContextManager[None]:
        if self._tracing is None or not events:
            return nullcontext()
        return self._tracing.sending(type(events[0]).__name__)

    @contextmanager
    def _sending(self, events: Sequence[Any]) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        except NotSent:
            self.counts["failed"] += len(events)
            raise
        for event in events:
            self._published(event, began)

    def _published(self, event: Any, began: float) -> None:
        self.counts["published"] += 1
        self.metrics.record_event_published(type(event).TYPE, (time.perf_counter() - began) * 1000)

    def _open(self) -> None:
        if self._closed:
            raise Closed("the client is closed; make another one")

    # --- requests -----------------------------------------------------------------------------------------------

    async def request(self, command: Any, timeout: float | None = None, *, correlation_id: str = "") -> Reply:
        """Send a command and return the reply to it, which comes after its state is stored.

        A refusal is a reply and no exception. At half of the time the command is sent once more, under the same id:
        a reply that got lost with its worker is had again, and nothing is done twice.

        Args:
            command: an event whose name ends in ``Requested``; an empty ``event_id`` is made.
            timeout: seconds; ``response_timeout_seconds`` unless given.
            correlation_id: what all records of the request have in common; by default the command's id.

        Raises:
            Invalid: it cannot be sent as it is, or is no command.
            NotSent: broker or registry did not do their part.
            RequestTimeout: no reply in time.
            UnreadableReply: a reply that this program does not understand.
            Closed: the client was closed meanwhile.
        """
        self._open()
        seconds = self.response_timeout_seconds if timeout is None else timeout
        with self._traced(command):
            return await self._requests.ask(command, seconds, correlation_id)
