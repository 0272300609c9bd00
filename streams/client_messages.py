"""Records of events: what a client checks and writes before it sends anything.

The checks are those of the pipeline's guard, so that a producer hears of a mistake instead of a dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import msgspec

from streams.client_errors import Invalid, NotSent
from streams.codec import Codec, Unencodable
from streams.events import Envelope
from streams.publisher import Prepared
from streams.registry import RegistryError
from streams.routing import Index, Output, Route
from streams.settings import Settings
from streams.store import SEPARATOR
from streams.trace_context import CURRENT
from streams.validation import errors_of


@dataclass(frozen=True, slots=True)
class Message:
    """An event as a record.

    Attributes:
        kind: the event's type, for errors and logs.
        event_id: its id, given or made.
        correlation_id: given, or the event's id.
    """

    kind: str
    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    event_id: str
    correlation_id: str

    def under(self, headers: Mapping[str, str]) -> Message:
        """Return it with further headers, or other values of those that it has."""
        kept = [pair for pair in self.headers if pair[0] not in headers]
        return replace(self, headers=kept + [(name, value.encode()) for name, value in headers.items()])


class Messages:
    """Makes records of the events that an index routes."""

    def __init__(self, index: Index, codec: Codec, settings: Settings, source: str) -> None:
        """Prepare nothing yet: schema ids are looked up when a type is sent for the first time.

        Args:
            source: ``ce_source`` of everything that is sent.
        """
        self._routes: dict[type, list[Route]] = {}
        for route in index.routes:
            self._routes.setdefault(route.event, []).append(route)
        self._codec = codec
        self._partitions = settings.partitions
        self._max_bytes = settings.max_event_bytes
        self._source = source
        self._prepared: dict[type, Prepared] = {}

    def answered(self, event: Any) -> bool:
        """Return whether a reply may be asked for."""
        return any(route.answered for route in self._routes.get(type(event), ()))

    async def of(self, events: Sequence[Any], correlation_id: str = "") -> list[Message]:
        """Return the records of events, in their order.

        Args:
            correlation_id: of all of them; without it each has its own.

        Raises:
            Invalid: with everything that is wrong with any of them.
            NotSent: the registry does not know a schema, or does not answer.
        """
        found = await self.each(events, correlation_id)
        errors = [error for each in found if isinstance(each, Invalid) for error in each.errors]
        if errors:
            raise Invalid(errors)
        return [each for each in found if isinstance(each, Message)]

    async def each(self, events: Sequence[Any], correlation_id: str = "") -> list[Message | Invalid]:
        """Return the record of each event, or everything that is wrong with it, in their order.

        Raises:
            NotSent: the registry does not know a schema, or does not answer.
        """
        unroutable = {place: text for place, event in enumerate(events) if (text := self._unroutable(event))}
        await self._prepare({type(event) for place, event in enumerate(events) if place not in unroutable})
        found: list[Message | Invalid] = []
        for place, event in enumerate(events):
            if place in unroutable:
                found.append(Invalid([(place, unroutable[place])]))
                continue
            try:
                found.append(self._message(event, correlation_id))
            except _Wrong as wrong:
                found.append(Invalid([(place, each) for each in wrong.errors]))
        return found

    def _unroutable(self, event: Any) -> str:
        routes = self._routes.get(type(event), [])
        if not routes:
            return (
                f"no route takes {type(event).__name__}; streams/routes.py lists the events that do have one"
            )
        if len(routes) > 1:
            return f"{type(event).__name__} is read from several topics, and a client cannot choose"
        return ""

    async def _prepare(self, structs: set[type]) -> None:
        missing = [self._routes[struct][0] for struct in structs if struct not in self._prepared]
        if not missing:
            return
        unknown = [
            pair for route in missing if not self._codec.knows(*(pair := (route.topic.name, route.event)))
        ]
        try:
            await self._codec.prepare(unknown)
        except RegistryError as error:
            raise NotSent(str(error)) from error
        for route in missing:
            output = Output(route.event, route.topic, route.key)
            self._prepared[route.event] = Prepared(output, self._codec, self._partitions, self._source)

    def _message(self, event: Any, correlation_id: str) -> Message:
        prepared, kind = self._prepared[type(event)], type(event).__name__
        event_id = event.event_id or str(uuid4())
        if not event.event_id:
            event = msgspec.structs.replace(event, event_id=event_id)  # keys may be made of it
        if correlation_id and getattr(event, "envelope", correlation_id) is None:
            # Rules see values and not headers: what they order carries the correlation on.
            event = msgspec.structs.replace(event, envelope=Envelope(correlation_id=correlation_id))
        key, value = self._checked(event, event_id)
        correlation = correlation_id or _correlation(event) or event_id
        headers = prepared.headers(value)(
            event_id,
            event.timestamp,
            key,
            event.tenant_id,
            event.event_type if prepared.typed else "",
            correlation,
            _causation(event),
            CURRENT.get(),
        )
        return Message(kind, *prepared.home(key), key, value, headers, event_id, correlation)

    def _checked(self, event: Any, event_id: str) -> tuple[bytes, bytes]:
        """Return an event's key and value, or raise _Wrong with everything that is wrong with it."""
        prepared, kind = self._prepared[type(event)], type(event).__name__
        wrong: list[str] = []
        key = value = b""
        try:
            value = prepared.encode(event, event_id)
        except Unencodable as error:
            found = errors_of(self._codec.schema_of(type(event)), event) or [str(error)]
            wrong += [f"{kind} does not fit its schema: {each}" for each in found]
        try:
            key = prepared.key(event).encode()
        except Exception as error:
            # A key is made by the index's functions, which expect fields of the right form.
            wrong += [] if wrong else [f"{kind} has no key ({type(error).__name__}); see its route"]
        else:
            if not key or SEPARATOR in key:
                wrong.append(
                    f"the key of {kind} is empty or contains a NUL character; give it the ids it is made of"
                )
        if len(value) > self._max_bytes:
            wrong.append(
                f"{kind} takes {len(value)} bytes and SLUICE_MAX_EVENT_BYTES are {self._max_bytes}; send less at once"
            )
        if wrong:
            raise _Wrong(*wrong)
        return key, value


class _Wrong(Exception):
    """Everything that is wrong with one event."""

    def __init__(self, *errors: str) -> None:
        super().__init__(*errors)
        self.errors = errors


def _correlation(event: Any) -> str:
    envelope = getattr(event, "envelope", None)
    return (envelope and envelope.correlation_id) or ""


def _causation(event: Any) -> str:
    envelope = getattr(event, "envelope", None)
    return (envelope and envelope.causation_id) or ""
