"""One request of a client: the command out, the reply back, and what it means where none comes (peer-features F25)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

from streams.client_errors import Invalid, NotSent, RequestTimeout
from streams.client_messages import Message, Messages
from streams.client_producers import Sender
from streams.client_replies import Listener, Reply, read
from streams.codec import Codec
from streams.replies import REPLY_TO, REQUEST_ID


class Requests:
    """Makes the requests of a client.

    Args:
        counts: where requests are counted: ``requested``, and ``replied`` or ``timeout``.
        sending: a context that counts the events that are sent within it.
    """

    def __init__(
        self,
        messages: Messages,
        sender: Sender,
        listener: Listener,
        codec: Codec,
        app_id: str,
        counts: Counter[str],
        sending: Callable[[Sequence[Any]], AbstractContextManager[None]],
    ) -> None:
        self._messages = messages
        self._sender = sender
        self._listener = listener
        self._codec = codec
        self._app_id = app_id
        self._counts = counts
        self._sending = sending

    async def ask(self, command: Any, seconds: float, correlation_id: str) -> Reply:
        """Send a command and return its reply; all of it within ``seconds``.

        Raises:
            As ``Client.request``.
        """
        if not self._messages.answered(command):
            name = type(command).__name__
            raise Invalid([(0, f"{name} is no command with a route, so nobody answers it; use publish")])
        self._counts["requested"] += 1
        request = _Request()
        try:
            async with asyncio.timeout(seconds):
                [request.message] = await self._messages.of([command], correlation_id)
                await self._listener.start()
                reply = await read(
                    self._codec, await self._send(request, request.message, command, seconds / 2)
                )
        except TimeoutError:
            self._counts["timeout"] += 1
            raise request.late(type(command).__name__, seconds, self._app_id) from None
        self._counts["replied"] += 1
        return reply

    async def _send(self, request: _Request, message: Message, command: Any, patience_s: float) -> Any:
        request_id = uuid4().hex
        message.headers.extend(
            [(REPLY_TO, self._listener.address.encode()), (REQUEST_ID, request_id.encode())]
        )
        reply = self._listener.expect(request_id)
        try:
            request.sending = True
            with self._sending([command]):
                await self._sender.deliver(message)
            request.sent = True
            done, _ = await asyncio.wait([reply], timeout=patience_s)
            if not done:
                with contextlib.suppress(NotSent):  # the first one may be answered yet
                    await self._sender.deliver(message)
            return await reply
        finally:
            self._listener.forget(request_id)


class _Request:
    """How far a request has come."""

    def __init__(self) -> None:
        self.message: Message | None = None
        self.sending = False
        self.sent = False

    def late(self, kind: str, seconds: float, app_id: str) -> NotSent | RequestTimeout:
        """Return what it means that the time is up."""
        if self.message is None or not self.sending:
            return NotSent(
                f"{kind} was not sent: broker and registry did not answer within {seconds:g} s; see that both run, or "
                "give them more time"
            )
        event_id = self.message.event_id
        if not self.sent:
            return NotSent(
                f"{kind} was not acknowledged by the broker within {seconds:g} s; it may arrive all the same, and "
                f"counts once when sent again under its id {event_id}",
                uncertain=True,
            )
        return RequestTimeout(kind, seconds, event_id, self.message.correlation_id, app_id)
