"""Reads many views of a worker at once, over connections that stay open, and waits where it is not ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from ops.errors import OpsError

AT_ONCE = 32
"""Requests under way. A worker answers some thousand per second; more at once only wait in its queue."""
RETRY_SECONDS = 0.2
LONGEST_SECONDS = 2.0
ANSWER = aiohttp.ClientTimeout(total=30)

T = TypeVar("T")


class Views:
    """The views of one worker, which asks the others for what they own.

    Args:
        url: of the worker's web port.
        token: bearer token, where the worker asks for one.
        patience: seconds from now on in which the worker may be away or not ready.
    """

    def __init__(self, url: str, token: str | None, patience: float) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._deadline = time.monotonic() + patience
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=ANSWER)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self, path: str, **query: str) -> dict[str, Any] | None:
        """Return what a view answers, or None where it knows nothing of what is asked (404).

        Raises:
            OpsError: it refuses, or is not ready within the patience.
        """
        while True:
            status, wait, body = await self._ask(path, query)
            match status:
                case 200:
                    found: dict[str, Any] = body
                    return found
                case 404:
                    return None
                case 401 | 403:
                    raise OpsError(
                        f"{self._url} refuses to show {path} (status {status}).",
                        "Set SLUICE_WEB_TOKEN to the token that the worker was started with.",
                    )
                case 0 | 503:
                    await self._wait(wait, path, status)
                case _:
                    raise OpsError(
                        f"{self._url} answered {path} with status {status}.", "See the worker's log."
                    )

    async def _ask(self, path: str, query: dict[str, str]) -> tuple[int, float, Any]:
        """Return status (0: nobody answered), seconds to wait before asking again, and the body."""
        if self._session is None:
            raise RuntimeError("views are read inside of their async with block")
        try:
            async with self._session.get(self._url + path, params=query) as answer:
                if answer.status == 200:
                    return 200, 0.0, await answer.json()
                return answer.status, _seconds(answer.headers.get("Retry-After", "")), None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 0, RETRY_SECONDS, None

    async def _wait(self, seconds: float, path: str, status: int) -> None:
        if time.monotonic() + seconds > self._deadline:
            answered = "does not answer" if status == 0 else "is not ready to answer"
            raise OpsError(
                f"{self._url} {answered} {path}.",
                "Start a worker with `sluice worker`, or name another one with --url; --wait gives it more time.",
            )
        await asyncio.sleep(seconds)


def _seconds(text: str) -> float:
    """Return a Retry-After as seconds, within reason."""
    return min(float(text), LONGEST_SECONDS) if text.isdecimal() else RETRY_SECONDS


async def each(subjects: Iterable[T], ask: Callable[[T], Awaitable[None]]) -> None:
    """Await ``ask`` for every subject, so many at once as connections are kept open."""
    rest = iter(subjects)

    async def some() -> None:
        for subject in rest:
            await ask(subject)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())
