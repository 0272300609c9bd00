"""One producer of snapshots for everybody who looks at the same, which works only while somebody does.

A snapshot is made once a second and sent to each listener as it is. A listener that is slow gets the latest one and
misses those before it, so nothing piles up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from streams.failures import classify

log = logging.getLogger(__name__)

HISTORY = 300
"""Points of the curves that whoever comes gets at once: five minutes, as far as somebody was looking."""

Make = Callable[[], Awaitable[dict[str, Any]]]


class Listener:
    """Somebody who looks."""

    def __init__(self) -> None:
        self._latest: bytes | None = None
        self._woken = asyncio.Event()
        self._closed = False

    def put(self, snapshot: bytes) -> None:
        """Have a snapshot, in place of one that was not taken yet."""
        self._latest = snapshot
        self._woken.set()

    def close(self) -> None:
        """Have no more."""
        self._closed = True
        self._woken.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield snapshots, each once, until the feed is closed."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            if self._closed:
                return
            if self._latest is not None:
                latest, self._latest = self._latest, None
                yield latest


class Feed:
    """Snapshots for the listeners of one audience.

    Args:
        make: makes one; its ``point`` goes into the history.
        interval_s: from one to the next.

    Attributes:
        history: the latest points, oldest first.
    """

    def __init__(self, make: Make, interval_s: float) -> None:
        self._make = make
        self._interval = interval_s
        self._listeners: set[Listener] = set()
        self._producer: asyncio.Task[None] | None = None
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY)

    def __len__(self) -> int:
        return len(self._listeners)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Listener]:
        """Take part: the first one starts the producer, the last one to leave ends it."""
        listener = Listener()
        self._listeners.add(listener)
        if self._producer is None:
            self._producer = asyncio.create_task(self._produce())
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._end()

    def close(self) -> None:
        """Send everybody away."""
        self._end()
        for listener in self._listeners:
            listener.close()

    def _end(self) -> None:
        if self._producer is not None:
            self._producer.cancel()
            self._producer = None

    async def _produce(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval
            try:
                snapshot = await self._make()
            except Exception as error:
                failure = classify(error)  # the exception's own text may hold what a record holds
                log.error("a snapshot for the console failed: %s\n%s", failure.exception, failure.stacktrace)
            else:
                self.history.append(snapshot["point"])
                text = orjson.dumps(snapshot, option=orjson.OPT_NON_STR_KEYS)
                for listener in self._listeners:
                    listener.put(text)
            await asyncio.sleep(max(0.0, due - loop.time()))
