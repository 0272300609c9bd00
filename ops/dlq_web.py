"""Dead letters over HTTP, for the operator's token only (peer-features F09, F10).

in     GET  /dlq/topics, /dlq, /dlq/{topic}/{partition}/{offset}     what there is
       POST /dlq/selections, /dlq/edits     try out, replay, discard: exactly the letters that are named
out    ops/dlq_web_models.py, or the error body of contracts 3.0

Any worker answers: dead letters are the topics', not a partition's owner's.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web
from pydantic import BaseModel

from ops.dlq_fold import Letters, Query, matching
from ops.dlq_letters import Letter
from ops.dlq_process import ProcessFailed, Refused, ask
from ops.dlq_reading import read_letters, source_topics
from ops.dlq_show import decode_with, details, find, overview, summary
from ops.dlq_web_models import (
    DeadLetterDetails,
    DeadLetters,
    DeadLettersQuery,
    DeadLetterTopics,
    DeadLetterTopicsQuery,
    EditRequest,
    Outcomes,
    SelectionRequest,
)
from ops.errors import OpsError
from streams.web_actions import Action
from streams.web_errors import INVALID, Conflict, ErrorDetail, HttpError, NotFound, NotReady, ValidationFailed
from streams.web_views import Call, View, page_of

if TYPE_CHECKING:
    from streams.app import SluiceApp

log = logging.getLogger(__name__)

PATIENCE_S = 120.0
"""A request that takes longer is ended. What was committed of it stays, and is skipped by the next one."""

Found = TypeVar("Found")


class DlqPages:
    """The views and actions of one worker."""

    def __init__(self, app: SluiceApp) -> None:
        self._app = app
        self._known: dict[str, Letters] = {}
        self._reading = asyncio.Lock()
        self._acting = asyncio.Lock()
        self._children: set[asyncio.subprocess.Process] = set()

    def views(self) -> Sequence[View]:
        """Return what there is to read."""
        errors = (400, 404, 503)
        return [
            View("/dlq", self.letters, DeadLetters, DeadLettersQuery, errors=errors),
            View("/dlq/topics", self.topics, DeadLetterTopics, DeadLetterTopicsQuery, errors=errors),
            View("/dlq/{topic}/{partition}/{offset}", self.one, DeadLetterDetails, errors=errors),
        ]

    def actions(self) -> Sequence[Action]:
        """Return what there is to do."""
        errors = (404, 409, 503)
        return [
            Action("/dlq/selections", self.select, SelectionRequest, Outcomes, errors),
            Action("/dlq/edits", self.edit, EditRequest, Outcomes, errors),
        ]

    async def close(self, server: web.Application) -> None:
        """End what is under way. A transaction that was not committed is aborted by the broker."""
        for child in self._children:
            child.kill()

    async def letters(self, call: Call) -> BaseModel:
        """Return dead letters, the oldest first."""
        call.caller.may_operate()
        asked: DeadLettersQuery = call.query
        page = await self._read(lambda: page_of(listed(self._letters(asked.topic), asked), asked))
        return DeadLetters.model_validate(page)

    async def topics(self, call: Call) -> BaseModel:
        """Return how many dead letters each topic has, and of what."""
        call.caller.may_operate()
        asked: DeadLetterTopicsQuery = call.query
        query = Query(asked.reason, asked.key, asked.since)
        found = await self._read(lambda: [overview(letters, query) for letters in self._letters(None)])
        return DeadLetterTopics.model_validate(page_of([row for row in found if row is not None], asked))

    async def one(self, call: Call) -> BaseModel:
        """Return everything about one dead letter, by its place or by that of the event that died."""
        call.caller.may_operate()
        place = "{topic}/{partition}/{offset}".format(**call.path)
        letters, letter, stored = await self._read(lambda: find(self._app.settings, place))
        [event] = await decode_with(self._app.codec, [stored.value])
        return DeadLetterDetails(**named(letters, letter) | details(letters, letter, stored, event))

    async def select(self, request: SelectionRequest) -> Outcomes:
        """Try out, replay or discard exactly the dead letters that are named."""
        return await self._act(request)

    async def edit(self, request: EditRequest) -> Outcomes:
        """Try out or replay an edited event in place of its letter's."""
        return await self._act(request)

    def _letters(self, topic: str | None) -> list[Letters]:
        """Return the letters of one topic or of all; for ``_read``."""
        topics = source_topics(self._app.settings, topic)
        found = read_letters(self._app.settings, topics, self._known)
        self._known.update(found)
        return list(found.values())

    async def _read(self, work: Callable[[], Found]) -> Found:
        """Return what ``work`` finds, in a thread, because it waits for the brokers.

        One at a time, because it keeps what was read.
        """
        async with self._reading:
            try:
                return await asyncio.to_thread(work)
            except OpsError as error:
                cause = Refused(type(error).__name__, error.cause, error.remedy, [])
                raise http_error(cause) from error

    async def _act(self, request: BaseModel) -> Outcomes:
        try:
            async with asyncio.timeout(PATIENCE_S), self._acting:
                return await ask(self._app.settings, request, self._children)
        except Refused as refusal:
            raise http_error(refusal) from refusal
        except TimeoutError:
            raise NotReady(
                "it took too long; ask again with fewer letters: what is done is skipped"
            ) from None
        except ProcessFailed as failure:
            log.error("a request about dead letters was not answered: %s", failure)
            raise HttpError(
                "the process that was to do this failed; the worker's log has the cause"
            ) from None


def http_error(refusal: Refused) -> HttpError:
    """Return the answer that says what an ``OpsError`` says."""
    given = [ErrorDetail(field=field, reason=reason) for field, reason in refusal.details]
    match refusal.kind:
        case "Invalid":
            return ValidationFailed(INVALID if given else str(refusal), given)
        case "NotThere":
            return NotFound(str(refusal))
        case "Outdated":
            return Conflict(str(refusal))
    return NotReady(str(refusal))


def listed(topics: Iterable[Letters], asked: DeadLettersQuery) -> list[dict[str, Any]]:
    """Return the letters that are asked for; those of one topic in its order, topics merged by time."""
    query = Query(asked.reason, asked.key, asked.since, resolved=True)
    found = ([(letters, letter) for letter in matching(letters, query)] for letters in topics)
    rows = (named(*each) for each in heapq.merge(*found, key=lambda each: each[1].at))
    return [row for row in rows if asked.state in (row["state"], "all")]


def named(letters: Letters, letter: Letter) -> dict[str, Any]:
    """Return a letter as a list shows it, with what names it in a selection."""
    return {
        "topic": letters.topic,
        "partition": letter.place.partition,
        "offset": letter.place.offset,
        "digest": letter.digest,
        **summary(letters, letter),
    }


def build(app: SluiceApp) -> None:
    """Put the pages on a worker's web port."""
    app.pages.append(DlqPages(app))
