"""What the operator does over HTTP that is no command of a tenant's: a path, a typed body, a typed answer, a function.

Views and actions of another package come as ``Pages`` (``SluiceApp.pages``): the worker's own code knows none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web
from pydantic import BaseModel, ValidationError

from streams.web_auth import CALLER, Caller, check_origin
from streams.web_errors import UnsupportedMedia, ValidationFailed
from streams.web_views import Query, View, parse_query


@dataclass(frozen=True, slots=True)
class Action:
    """One row of what operators do with a POST.

    Attributes:
        path: the route.
        handle: answers a body; its docstring is the summary. Raises ``HttpError``.
        body: model of the body.
        answer: model of the answer.
        errors: statuses of failures that are possible besides 400, 401, 403, 415 and 500.
    """

    path: str
    handle: Callable[[Any], Awaitable[BaseModel]]
    body: type[BaseModel]
    answer: type[BaseModel]
    errors: tuple[int, ...] = ()

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return (self.handle.__doc__ or "").strip().partition("\n")[0].rstrip(".")


class Pages(Protocol):
    """Views and actions of one subject."""

    def views(self) -> Sequence[View]:
        """Return what there is to read."""

    def actions(self) -> Sequence[Action]:
        """Return what there is to do."""

    async def close(self, server: web.Application) -> None:
        """End what is under way, so that a shutdown need not wait (an aiohttp ``on_shutdown``)."""


def answering(action: Action) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the aiohttp handler of an action."""

    async def handle(request: web.Request) -> web.StreamResponse:
        request.get(CALLER, Caller()).may_operate()
        check_origin(request)
        parse_query(Query, request)
        if request.content_type != "application/json":
            # Also what keeps other sites out: a browser does not send this type for a page without asking us first.
            raise UnsupportedMedia("send the body as JSON, with Content-Type: application/json")
        try:
            body = action.body.model_validate_json(await request.read() or b"{}")
        except ValidationError as error:
            raise ValidationFailed.of(error) from None
        answer = await action.handle(body)
        return web.json_response(text=answer.model_dump_json(by_alias=True))

    return handle
