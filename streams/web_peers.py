"""Answers that are not on this worker: a key that another one owns, lists that are spread over all of them.

Requests between workers carry the caller's token and a mark. Whoever receives the mark answers from its own
state or not at all, so no request travels twice, however wrong two workers' ideas of the assignment are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import aiohttp
from aiohttp import web
from pydantic import BaseModel, ValidationError
from yarl import URL

from streams.web_errors import CORRELATION, CORRELATION_KEY, NotReady, Unauthenticated

if TYPE_CHECKING:
    from streams.reading import Reader

log = logging.getLogger(__name__)

FORWARDED = "X-Sluice-Forwarded"
TIMEOUT = aiohttp.ClientTimeout(total=5, connect=2)
"""Shorter than a shutdown may take (streams/worker.py): a request under way must not hold it up."""

COPIED = ("Content-Type", "ETag", "Retry-After", "WWW-Authenticate", "Allow")
PASSED_ON = ("Authorization", "If-None-Match")

Item = TypeVar("Item")
Answered = TypeVar("Answered", bound=BaseModel)


class Part(BaseModel, Generic[Item]):
    """What one worker has of a list: the beginning of it, for the worker that was asked to merge."""

    partitions: list[int]
    total: int
    items: list[Item]


class Peers:
    """The other workers of the group, over HTTP."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._session: aiohttp.ClientSession | None = None

    async def session(self, _: web.Application) -> AsyncIterator[None]:
        """Keep connections open while the web server runs (an aiohttp ``cleanup_ctx``)."""
        async with aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()) as session:
            self._session = session
            yield
            self._session = None

    @staticmethod
    def is_forwarded(request: web.Request) -> bool:
        """Return whether another worker passed this request on."""
        return FORWARDED in request.headers

    async def forward(self, request: web.Request, owner: URL) -> web.Response:
        """Return the owner's answer to a request, as it is.

        Raises:
            NotReady: it does not answer, or the request was forwarded before.
        """
        if self.is_forwarded(request):
            raise NotReady("the partition has just moved to another worker; ask again")
        status, headers, body = await self._ask(request, owner)
        kept = {name: headers[name] for name in COPIED if name in headers}
        return web.Response(body=body, status=status, headers=kept)

    async def gather(
        self, request: web.Request, table: str, part: type[Part[Any]], own: Callable[[], Awaitable[Part[Any]]]
    ) -> list[Part[Any]]:
        """Return every worker's part of a list, which together have each partition of ``table`` exactly once.

        Args:
            request: what was asked; each worker is asked the same.
            table: the table behind the list.
            part: the model of the other workers' answers.
            own: makes this worker's part; called last, so that nothing of it is older than the others.

        Raises:
            NotReady: a worker does not answer, or partitions are moving. Half a list is never the answer.
        """
        others = sorted({url for url in self._reader.owners(table).values() if url != self._reader.url})
        parts = await asyncio.gather(*(self.part(request, url, part) for url in others))
        parts.append(await own())
        covered = sorted(number for found in parts for number in found.partitions)
        if covered != list(range(self._reader.partitions)):
            raise NotReady(
                "partitions are moving between workers, and the list would be incomplete; ask again"
            )
        return parts

    async def part(self, request: web.Request, owner: URL, model: type[Answered]) -> Answered:
        """Return one worker's part of what was asked.

        Raises:
            NotReady: it does not answer, or something else.
            Unauthenticated: it does not know the caller's token.
        """
        status, _, body = await self._ask(request, owner)
        if status == 401:
            raise Unauthenticated(
                "another worker does not accept this token; give all workers the same tokens"
            )
        if status != 200:
            raise NotReady(f"a worker answered {status} for its part of the list; ask again")
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise NotReady("a worker of another version answered; ask again when all are updated") from error

    async def _ask(self, request: web.Request, owner: URL) -> tuple[int, Any, bytes]:
        if self._session is None:
            raise NotReady("the worker is stopping; ask another one")
        headers = {FORWARDED: str(self._reader.url), CORRELATION: request[CORRELATION_KEY]}
        headers |= {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        # Path and query go as they came, still encoded: a key may hold a slash.
        url = URL(f"{owner}{request.rel_url.raw_path_qs}", encoded=True)
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                return response.status, response.headers, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("worker %s does not answer (%s)", owner, type(error).__name__)
            raise NotReady(f"the worker that owns this does not answer ({owner}); ask again") from error


def merged(parts: Sequence[Part[Any]], order: Callable[[Any], Any]) -> tuple[list[Any], int]:
    """Return the items of all parts in one order, and the length of the whole list."""
    items = [item for part in parts for item in part.items]
    return sorted(items, key=order), sum(part.total for part in parts)
