"""The table of commands over HTTP (peer-features F24): what a row says, what a request asks, what it is answered.

The answer is 202 as soon as the broker has the command. With ``?wait=5s`` it is what the command led to: the reply
comes after the state is stored, so whoever has it reads what it wrote. Sent again under one ``Idempotency-Key``, a
command is done once and answered with its first result.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any
from urllib.parse import quote

from aiohttp import web
from pydantic import AfterValidator, BaseModel, Field

from streams.client import Client
from streams.keys import DEFAULT_TENANT
from streams.web_bodies import body_of
from streams.web_views import Query

IDEMPOTENCY_KEY = "Idempotency-Key"
MOST_WAIT_S = 30.0
_WAIT = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s)", re.ASCII).fullmatch


def seconds_of(text: str) -> float:
    """Return how long ``5s`` or ``500ms`` is. Raises ValueError."""
    found = _WAIT(text)
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else 0.0
    if not 0 < seconds <= MOST_WAIT_S:
        raise ValueError(f"not a time such as 5s or 500ms, of at most {MOST_WAIT_S:.0f} s")
    return seconds


def _checked(text: str) -> str:
    seconds_of(text)
    return text


class CommandQuery(Query):
    """How long to wait for the result."""

    wait: Annotated[str, AfterValidator(_checked)] | None = Field(
        None,
        description="Answer with the result where it is there in this time, such as 5s or 500ms; at most 30s.",
    )


class TenantCommandQuery(CommandQuery):
    """The same, and whose data changes."""

    tenant: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description=f"Whose data; the caller's own, or {DEFAULT_TENANT!r} for one that may change every tenant's.",
    )


class Accepted(BaseModel):
    """The command is on its way: it will be done once."""

    event_id: str = Field(
        description="The Idempotency-Key, or one that was made: repeat the command under it."
    )
    correlation_id: str


class Fact(BaseModel):
    """What the command led to."""

    type: str = Field(description="Canonical event type, such as stock.allocation.allocated.")
    record: str = Field(description="Full name of its record.")
    data: dict[str, Any] = Field(description="Its fields; decimals are texts.")


class Result(Accepted):
    """The command is done, and views show what it changed."""

    duplicate: bool = Field(description="It had been done before; this is its first result.")
    message: str = Field("", description="Why there are no facts, where there are none.")
    facts: list[Fact]


Prepare = Callable[[Client, Any, float | None], Awaitable[Any]]
"""``(client, command, seconds) -> command``"""


@dataclass(frozen=True)
class Command:
    """One row of the table of commands.

    Attributes:
        path: the route, with parameters in braces.
        record: the command that a request becomes.
        summary: what it does, in one line.
        location: path of the view that shows the result, with fields of the command, or of a fact, in braces; empty
            where there is none.
        status: 201 where success makes something, 200 otherwise.
        fields: path parameter -> field of the record.
        named: fields that take the event's id where the body leaves them out.
        wait: what ``?wait=`` says where it is left out: questions are for who waits.
        operator: only the operator may give it.
        known: ``command -> fields`` that the command leaves to the rules, for the location.
        prepare: completes the command before it is sent.
    """

    path: str
    record: type
    summary: str
    location: str = ""
    status: int = 200
    fields: Mapping[str, str] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    wait: str = ""
    operator: bool = False
    known: Callable[[Any], Mapping[str, str]] | None = None
    prepare: Prepare | None = None

    @cached_property
    def body(self) -> Any:
        """Model of the body."""
        return body_of(self.record, frozenset({"tenant_id", *self.fields.values()}), frozenset(self.named))

    @property
    def query(self) -> type[CommandQuery]:
        """Model of the query: a path that names the tenant leaves it out there."""
        return CommandQuery if "tenant_id" in self.fields.values() else TenantCommandQuery

    @property
    def versioned(self) -> bool:
        """Whether ``If-Match`` may be sent."""
        return "expected_version" in self._names

    @property
    def _names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.record.__struct_fields__  # type: ignore[attr-defined]
        return names

    def place(self, event: Any, facts: tuple[Any, ...] = ()) -> str:
        """Return where the result is to be read, or "" where that is not known."""
        known = {} if self.known is None else self.known(event)
        found = {}
        for name in re.findall(r"{(\w+)}", self.location):
            values = (known.get(name, ""), *(getattr(each, name, "") for each in (event, *facts)))
            found[name] = quote(next((str(value) for value in values if value), ""), safe="")
        if not all(found.values()):
            return ""
        path = self.location.format(**found)
        named = "tenant_id" in found or event.tenant_id == DEFAULT_TENANT
        return path if named or not path else f"{path}?tenant={quote(event.tenant_id, safe='')}"


def warned(response: web.Response, records: Iterable[type]) -> web.Response:
    """Return an answer with a ``Warning`` (299) for each of the records that is deprecated (contracts 000-16)."""
    for record in dict.fromkeys(records):
        if deprecated := getattr(record, "DEPRECATED", None):
            kind: str = record.TYPE  # type: ignore[attr-defined]
            since, successor = deprecated
            response.headers.add(
                "Warning", f'299 - "{kind} is deprecated since {since}; send {successor} instead"'
            )
    return response
