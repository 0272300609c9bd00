"""What a view is: a path, typed parameters, a typed answer, and a function between them.

The table of views is the one truth: the routes are made from it, and so is the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streams.web_auth import Caller
from streams.web_errors import INVALID, ErrorDetail, ValidationFailed

if TYPE_CHECKING:
    from streams.reading import Reader
    from streams.web_peers import Peers

MAX_PER_PAGE = 200
"""contracts 3.13"""

Item = TypeVar("Item")
Parsed = TypeVar("Parsed", bound="Query")


class Query(BaseModel):
    """Base of a view's query parameters. An unknown parameter is an error: it would be ignored silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class PageQuery(Query):
    """Which part of a list (000-09)."""

    page: int = Field(1, ge=1, le=2**31, description="Page, from 1.")
    per_page: int = Field(20, ge=1, le=MAX_PER_PAGE, description="Items on a page.")


class PaginatedResult(BaseModel, Generic[Item]):
    """A part of a list (000-10)."""

    items: list[Item]
    total: int = Field(description="Items in the whole list.")
    page: int
    per_page: int
    has_next: bool = Field(description="Whether there is another page after this one.")


def page_of(items: list[Any], query: PageQuery, total: int | None = None) -> dict[str, Any]:
    """Return the fields of a ``PaginatedResult``.

    Args:
        items: the list from its beginning, at least up to the end of the page that is asked for.
        query: the page.
        total: length of the whole list, where ``items`` is not all of it.
    """
    total = len(items) if total is None else total
    end = query.page * query.per_page
    return {
        "items": items[end - query.per_page : end],
        "total": total,
        "page": query.page,
        "per_page": query.per_page,
        "has_next": end < total,
    }


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a view.

    Attributes:
        path: the parts of the path that are parameters, decoded.
        query: the view's ``query`` model, validated.
        caller: who asks.
        reader: this worker's state.
        peers: the other workers.
        request: the request itself, to be passed on to its owner.
    """

    path: dict[str, str]
    query: Any
    caller: Caller
    reader: Reader
    peers: Peers
    request: web.Request


Answer = BaseModel | web.StreamResponse


@dataclass(frozen=True, slots=True)
class View:
    """One row of the table of views.

    Attributes:
        path: the route, with parameters in braces.
        handle: answers a call; its docstring is the summary. Raises ``HttpError``, or what
            ``streams.reading`` raises.
        answer: model of the answer; None where it is not ours to model (``content_type`` says what it is).
        query: model of the query parameters.
        table: the table it reads; a worker without it has no such view. Empty for what is about the worker.
        errors: statuses of failures that are possible besides 401, 403 and 500.
        status: statuses that carry the answer's model.
        open: readable without a token.
        content_type: of the answer.
    """

    path: str
    handle: Callable[[Call], Awaitable[Answer]]
    answer: type[BaseModel] | None = None
    query: type[Query] = Query
    table: str = ""
    errors: tuple[int, ...] = ()
    status: tuple[int, ...] = (200,)
    open: bool = False
    content_type: str = "application/json"

    @property
    def summary(self) -> str:
        """What it answers, in one line."""
        text = (self.handle.__doc__ or "").strip().partition("\n")[0]
        return text.removeprefix("Return ").rstrip(".")


def etag_of(answer: BaseModel) -> str:
    """Return the ETag of an answer that tells its aggregate's version, or ""; a command sends it in ``If-Match``."""
    version = getattr(answer, "version", None)
    return f'"{version}"' if isinstance(version, int) else ""


def parse_query(model: type[Parsed], request: web.Request) -> Parsed:
    """Return the query parameters as ``model``.

    Raises:
        ValidationFailed: with everything that is wrong with them.
    """
    given = request.query
    repeated = [
        ErrorDetail(field=name, reason="given more than once")
        for name in dict.fromkeys(given)
        if len(given.getall(name)) > 1
    ]
    try:
        parsed = model.model_validate(dict(given), by_alias=True)
    except ValidationError as error:
        failed = ValidationFailed.of(error)
        failed.details += repeated
        raise failed from None
    if repeated:
        raise ValidationFailed(INVALID, repeated)
    return parsed
