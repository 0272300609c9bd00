"""Answering ``POST /events``: events become records on the bus, each on its own."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client.metrics_core import Metric
from pydantic import BaseModel
from pydantic_core import from_json

from streams.client import ClientError, Invalid, Sent
from streams.log_records import named
from streams.metrics_families import family
from streams.web_auth import CALLER, Caller
from streams.web_commands import warned
from streams.web_errors import (
    CORRELATION_KEY,
    INVALID,
    RETRY_AFTER_S,
    ErrorBody,
    ErrorDetail,
    Forbidden,
    HttpError,
    NotReady,
    UnsupportedMedia,
    ValidationFailed,
)
from streams.web_events import (
    BATCH,
    MAX_BODY_BYTES,
    MAX_EVENTS,
    ONE,
    PLAIN,
    CloudEvent,
    Event,
    Outcome,
    Outcomes,
    Taken,
    TooLarge,
)
from streams.web_events_reading import Reading, Ready
from streams.web_views import Query, parse_query

if TYPE_CHECKING:
    from streams.app import SluiceApp

log = logging.getLogger(__name__)

AWAY = "the bus does not take events right now; send the same again later, under the same ids"
AT_ONCE = 25
"""So many events are checked before others get their turn."""

COUNTED: dict[type, str] = {
    Sent: "taken",
    ValidationFailed: "invalid",
    Forbidden: "forbidden",
    NotReady: "unavailable",
}
"""All that can become of an event, as its metric calls it."""


class Ingress:
    """Answers the requests of one worker."""

    def __init__(self, app: SluiceApp, tenants: Collection[type]) -> None:
        """Read the app's index.

        Args:
            tenants: records that a tenant's token may send.
        """
        self._app = app
        self._reading = Reading(app.index, tenants)
        self._outcomes = Counter(dict.fromkeys(COUNTED.values(), 0))
        app.metrics.sources.append(self.families)

    def families(self) -> Iterator[Metric]:
        """Yield how many events were taken and refused."""
        yield family(
            "sluice_posted_events_total", {(outcome,): times for outcome, times in self._outcomes.items()}
        )

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request: an aiohttp handler.

        Raises:
            HttpError: nothing was taken.
        """
        parse_query(Query, request)
        model = _model(request)
        items, batch = _items(await _body(request), request.content_type)
        read = await self._read(items, model, request)
        found = await self._send(read)
        self._outcomes.update(COUNTED[type(outcome)] for outcome in found)
        records = [type(each.event) for each in read if isinstance(each, Ready)]
        if not batch:
            [outcome] = found
            if isinstance(outcome, HttpError):
                raise outcome
            return warned(_json(_taken(outcome), HTTPStatus.ACCEPTED), records)
        if found and all(isinstance(outcome, NotReady) for outcome in found):
            raise NotReady(AWAY)
        return warned(_answer(items, found, request[CORRELATION_KEY]), records)

    async def _read(
        self, items: Sequence[Any], model: type[Event], request: web.Request
    ) -> list[Ready | HttpError]:
        caller = request.get(CALLER, Caller())
        found: list[Ready | HttpError] = []
        for place, item in enumerate(items, start=1):
            try:
                found.append(self._reading.read(item, model, caller))
            except HttpError as error:
                found.append(error)
            if place % AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    async def _send(self, items: Sequence[Ready | HttpError]) -> list[Sent | HttpError]:
        """Send what may be sent, and return what became of each item."""
        ready = [item for item in items if isinstance(item, Ready)]
        outcomes: Sequence[Sent | ClientError] = []
        if ready:
            try:
                outcomes = await self._app.client.publish_each(
                    [item.event for item in ready], headers=[item.headers for item in ready]
                )
            except ClientError as error:
                outcomes = [error] * len(ready)
        failed = [
            (item.event, outcome)
            for item, outcome in zip(ready, outcomes, strict=True)
            if isinstance(outcome, ClientError) and not isinstance(outcome, Invalid)
        ]
        if failed:
            first, why = failed[0]
            log.warning("%d of %d events were not sent: %s", len(failed), len(items), why, extra=named(first))
        sent = iter(outcomes)
        return [_outcome(next(sent)) if isinstance(item, Ready) else item for item in items]


def _model(request: web.Request) -> type[Event]:
    """Return the model of the items.

    Raises:
        UnsupportedMedia: it is no JSON, or CloudEvents in binary mode.
    """
    if request.content_type in (ONE, BATCH):
        return CloudEvent
    if request.content_type != PLAIN:
        # Also what keeps other sites out: a browser sends none of these for a page without asking us first.
        raise UnsupportedMedia(f"send an event as {ONE} or {PLAIN}, several as {BATCH} or {PLAIN}")
    if any(name.lower().startswith("ce-") for name in request.headers):
        raise UnsupportedMedia(f"CloudEvents in binary mode are not taken; send attributes and data as {ONE}")
    return Event


async def _body(request: web.Request) -> Any:
    try:
        text = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge(f"the body has more than {MAX_BODY_BYTES} bytes; send fewer events at once") from None
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        raise ValidationFailed(INVALID, [ErrorDetail(field="body", reason="is no JSON in UTF-8")]) from None


def _items(body: Any, content_type: str) -> tuple[list[Any], bool]:
    """Return the items of a body, and whether they are a batch.

    Raises:
        ValidationFailed: it is not what its type says.
        TooLarge: there are too many.
    """
    batch = isinstance(body, list)
    if content_type == (ONE if batch else BATCH):
        reason = f"is {'an array' if batch else 'no array'}; send it as {BATCH if batch else ONE}"
        raise ValidationFailed(INVALID, [ErrorDetail(field="body", reason=reason)])
    if batch and len(body) > MAX_EVENTS:
        raise TooLarge(f"a batch may have {MAX_EVENTS} events, and this one has {len(body)}; send several")
    return (body, True) if batch else ([body], False)


def _outcome(outcome: Sent | ClientError) -> Sent | HttpError:
    if isinstance(outcome, Sent):
        return outcome
    if isinstance(outcome, Invalid):
        return ValidationFailed(
            INVALID, [ErrorDetail(field="data", reason=text) for _, text in outcome.errors]
        )
    return NotReady(AWAY)


def _taken(sent: Sent) -> Taken:
    return Taken(id=sent.event_id, topic=sent.topic, partition=sent.partition, offset=sent.offset)


def _answer(items: Sequence[Any], found: Sequence[Sent | HttpError], correlation_id: str) -> web.Response:
    results = [_result(item, each, correlation_id) for item, each in zip(items, found, strict=True)]
    taken = sum(isinstance(each, Sent) for each in found)
    response = _json(
        Outcomes(taken=taken, failed=len(found) - taken, results=results), HTTPStatus.MULTI_STATUS
    )
    if any(isinstance(each, NotReady) for each in found):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _result(item: Any, outcome: Sent | HttpError, correlation_id: str) -> Outcome:
    if isinstance(outcome, Sent):
        return Outcome(status=HTTPStatus.ACCEPTED, **_taken(outcome).model_dump())
    given = item.get("id") if isinstance(item, dict) else None
    body = ErrorBody(
        code=outcome.code, message=outcome.message, details=outcome.details, correlation_id=correlation_id
    )
    return Outcome(status=outcome.status, id=given if isinstance(given, str) else None, error=body)


def _json(body: BaseModel, status: int) -> web.Response:
    return web.json_response(text=body.model_dump_json(exclude_unset=True), status=status)
