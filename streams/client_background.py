"""Events that are sent without anybody waiting for them (001-45, 001-46)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError

from streams.client_errors import ClientError
from streams.client_messages import Messages
from streams.client_producers import Sender
from streams.log_records import named
from streams.trace_context import CURRENT, continuing

log = logging.getLogger(__name__)

MOST_WAITING = 10_000
FLUSH_S = 5.0


class Background:
    """Sends events in the order in which they came, and never tells their producer of a failure.

    Attributes:
        dropped: events that were not sent: they were wrong, too many waited, or the broker refused them.
    """

    def __init__(self, messages: Messages, sender: Sender, on_sent: Callable[[Any, float], None]) -> None:
        """Start nothing yet.

        Args:
            on_sent: called for every event that was acknowledged, with the time (``perf_counter``) at which it came.
        """
        self.dropped = 0
        self._messages = messages
        self._sender = sender
        self._on_sent = on_sent
        self._queue: asyncio.Queue[Any] = asyncio.Queue(MOST_WAITING)
        self._unacknowledged: set[asyncio.Future[Any]] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, event: Any, correlation_id: str) -> None:
        """Send an event when its turn comes."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="sluice-client-background")
        try:
            self._queue.put_nowait((event, correlation_id, CURRENT.get(), time.perf_counter()))
        except asyncio.QueueFull:
            self._drop(event, f"{MOST_WAITING} events wait already; is the broker away?")

    async def _work(self) -> None:
        while True:
            event, correlation_id, trace, came = await self._queue.get()
            try:
                with continuing(trace):
                    [message] = await self._messages.of([event], correlation_id)
                future = await self._sender.submit(message)
                self._unacknowledged.add(future)
                future.add_done_callback(partial(self._acknowledged, event, came))
            except (ClientError, KafkaError) as error:
                self._drop(event, str(error) or repr(error))
            finally:
                self._queue.task_done()

    def _acknowledged(self, event: Any, came: float, future: asyncio.Future[Any]) -> None:
        self._unacknowledged.discard(future)
        if future.cancelled():
            self._drop(event, "the client was closed")
        elif future.exception() is not None:
            self._drop(event, repr(future.exception()))
        else:
            self._on_sent(event, came)

    def _drop(self, event: Any, reason: str) -> None:
        self.dropped += 1
        log.warning("%s was not sent: %s", type(event).__name__, reason, extra=named(event))

    async def close(self) -> None:
        """Send what waits, for a few seconds; the rest is dropped."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._queue.join()
                await asyncio.gather(*self._unacknowledged, return_exceptions=True)
        except TimeoutError:
            log.warning("the broker does not take the last events; they are dropped")
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        while not self._queue.empty():
            self._drop(self._queue.get_nowait()[0], "the client was closed")
