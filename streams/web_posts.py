"""Answering commands over HTTP: a request becomes an event on the bus, and its reply an answer."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from aiohttp import web
from prometheus_client.metrics_core import Metric
from pydantic import BaseModel, ValidationError

from streams.client import (
    ClientError,
    Closed,
    Failed,
    Invalid,
    Rejected,
    Reply,
    RequestTimeout,
    UnreadableReply,
)
from streams.keys import DEFAULT_TENANT
from streams.log_records import named
from streams.metrics_families import family
from streams.web_auth import CALLER, Caller
from streams.web_bodies import fact_as_json
from streams.web_commands import (
    IDEMPOTENCY_KEY,
    Accepted,
    Command,
    CommandQuery,
    Fact,
    Result,
    seconds_of,
    warned,
)
from streams.web_errors import (
    CORRELATION_KEY,
    INVALID,
    ErrorDetail,
    NotReady,
    Refused,
    UnsupportedMedia,
    ValidationFailed,
)
from streams.web_views import parse_query

if TYPE_CHECKING:
    from streams.app import SluiceApp

log = logging.getLogger(__name__)

AWAY = "the bus does not take commands right now; send the same again later, under the same Idempotency-Key"

_KEY = re.compile(r"[\x21-\x7e]{1,128}").fullmatch
_ETAG = re.compile(r'"(\d{1,18})"', re.ASCII).fullmatch


class Commands:
    """Answers the requests of one worker."""

    def __init__(self, app: SluiceApp) -> None:
        self._app = app
        app.metrics.sources.append(self._counters)

    def _counters(self) -> Iterator[Metric]:
        if "client" not in vars(self._app):
            return
        client = self._app.client
        ended = {(outcome,): client.counts[outcome] for outcome in ("replied", "timeout")}
        published = {(event_type,): times for event_type, times in client.metrics.published.items()}
        yield family("sluice_client_events_published_total", published)
        yield family("sluice_client_requests_total", ended)
        yield family("sluice_client_late_replies_total", {(): client.late})

    async def close(self, _: web.Application) -> None:
        """End what waits for replies, so that a shutdown need not (an aiohttp ``on_shutdown``)."""
        await self._app.client.close()

    def handler(self, row: Command) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the aiohttp handler of a row."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return warned(await self._answer(row, request), [row.record])

        return handle

    async def _answer(self, row: Command, request: web.Request) -> web.Response:
        event, wait = await self._read(row, request)
        correlation_id = request[CORRELATION_KEY]
        try:
            event = await self._prepared(row, event, wait)
            if wait is None:
                await self._app.client.publish(event, correlation_id=correlation_id)
                return accepted(row, event, correlation_id)
            reply = await self._app.client.request(event, wait, correlation_id=correlation_id)
        except Invalid as error:
            details = [ErrorDetail(field="body", reason=reason) for _, reason in error.errors]
            raise ValidationFailed(INVALID, details) from None
        except (RequestTimeout, UnreadableReply) as error:
            log.info("no result of a command: %s", type(error).__name__, extra=named(event, correlation_id))
            return accepted(row, event, correlation_id)
        except ClientError as error:
            if isinstance(error, Closed) and error.sent:
                return accepted(row, event, correlation_id)
            log.warning("a command was not sent: %s", error, extra=named(event, correlation_id))
            raise NotReady(AWAY) from None
        return answered(row, event, reply)

    async def _prepared(self, row: Command, event: Any, wait: float | None) -> Any:
        """Return the command as its row completes it.

        Raises:
            NotReady: nobody answers what it has to ask.
            Refused: what it asks is refused.
        """
        if row.prepare is None:
            return event
        try:
            return await row.prepare(self._app.client, event, wait)
        except Rejected as refusal:
            raise Refused(refusal.code, refusal.message, failed=False) from None
        except Failed as failure:
            raise Refused(failure.code, failure.message, failed=True) from None
        except (RequestTimeout, UnreadableReply, Closed):
            raise NotReady(
                "what the command has to know before is not answered right now; send it again"
            ) from None

    async def _read(self, row: Command, request: web.Request) -> tuple[Any, float | None]:
        """Return the command in a request, and how long to wait for its result.

        Raises:
            UnsupportedMedia, Forbidden, ValidationFailed: with everything that is wrong with it.
        """
        if request.content_type != "application/json":
            # Also what keeps other sites out: a browser does not send this type for a page without asking us first.
            raise UnsupportedMedia("send the command as JSON, with Content-Type: application/json")
        details: list[ErrorDetail] = []
        query = _query(row, request, details)
        given = _headers(row, request, details)
        body = await _body(row, request, details)
        if details:
            raise ValidationFailed(INVALID, details)
        caller = request.get(CALLER, Caller())
        given |= {name: request.match_info[parameter] for parameter, name in row.fields.items()}
        tenant = getattr(query, "tenant", None) or caller.tenant or DEFAULT_TENANT
        given = {"timestamp": datetime.now(UTC), "tenant_id": tenant} | body | given
        given |= {name: given["event_id"] for name in row.named if not given.get(name)}
        caller.may_command(given["tenant_id"], operator=row.operator)
        wait = query.wait or row.wait
        return msgspec.convert(given, row.record), seconds_of(wait) if wait else None


def _query(row: Command, request: web.Request, details: list[ErrorDetail]) -> CommandQuery:
    try:
        return parse_query(row.query, request)
    except ValidationFailed as error:
        details += error.details
        return CommandQuery(wait=None)


def _headers(row: Command, request: web.Request, details: list[ErrorDetail]) -> dict[str, Any]:
    """Return what the headers say: the event's id and the version that is expected."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not _KEY(key):
        details.append(ErrorDetail(field=IDEMPOTENCY_KEY, reason="1 to 128 visible ASCII characters"))
    given: dict[str, Any] = {"event_id": key or str(uuid4())}
    match = request.headers.get("If-Match")
    if match is None:
        return given
    version = _ETAG(match)
    if not row.versioned:
        details.append(ErrorDetail(field="If-Match", reason="this command knows no version; leave it out"))
    elif version is None:
        details.append(ErrorDetail(field="If-Match", reason='not one ETag of the view, such as "3"'))
    else:
        given["expected_version"] = int(version[1])
    return given


async def _body(row: Command, request: web.Request, details: list[ErrorDetail]) -> dict[str, Any]:
    text = await request.read()
    try:
        body: BaseModel = row.body.model_validate_json(text or b"{}")
    except ValidationError as error:
        details += ValidationFailed.of(error).details
        return {}
    return body.model_dump(exclude_unset=True)


def accepted(row: Command, event: Any, correlation_id: str) -> web.Response:
    """Return the answer where the result is not there yet."""
    body = Accepted(event_id=event.event_id, correlation_id=correlation_id)
    return _json(body, 202, row.place(event))


def answered(row: Command, event: Any, reply: Reply) -> web.Response:
    """Return the answer that a reply gives.

    Raises:
        Refused: it was refused, or failed.
    """
    if reply.status in ("REJECTED", "FAILED"):
        raise Refused(reply.code, reply.message, failed=reply.status == "FAILED")
    if not reply.ok:
        return accepted(row, event, reply.correlation_id)
    facts = [Fact(type=fact.TYPE, record=fact.RECORD, data=fact_as_json(fact)) for fact in reply.facts]
    body = Result(
        event_id=reply.event_id,
        correlation_id=reply.correlation_id,
        duplicate=reply.duplicate,
        message=reply.message,
        facts=facts,
    )
    response = _json(body, row.status, row.place(event, reply.facts))
    versions = [fact.version for fact in reply.facts if isinstance(getattr(fact, "version", None), int)]
    if versions:
        response.headers["ETag"] = f'"{max(versions)}"'
    return response


def _json(body: BaseModel, status: int, location: str) -> web.Response:
    headers = {"Location": location} if location else {}
    return web.json_response(text=body.model_dump_json(by_alias=True), status=status, headers=headers)
