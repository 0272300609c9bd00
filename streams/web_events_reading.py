"""From JSON to events of the index: which record it is, whether it fits its contract, and what is filled in."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from streams.keys import DEFAULT_TENANT
from streams.routing import Index, Route
from streams.web_auth import Caller
from streams.web_bodies import event_model
from streams.web_errors import INVALID, ErrorDetail, ValidationFailed
from streams.web_events import Event

SAME = {"id": "event_id", "time": "timestamp", "tenantid": "tenant_id", "type": "event_type"}
"""Attributes that are fields of the contract too."""

ENVELOPE = {"source": "source", "correlationid": "correlation_id", "causationid": "causation_id"}
HEADERS = {
    "source": "ce_source",
    "subject": "ce_subject",
    "traceparent": "traceparent",
    "tracestate": "tracestate",
}


@dataclass(frozen=True, slots=True)
class Ready:
    """An event that may be sent.

    Attributes:
        event: a record of the index.
        headers: those that the sender says.
    """

    event: Any
    headers: dict[str, str]


class Reading:
    """Reads the events of one index."""

    def __init__(self, index: Index, tenants: Collection[type]) -> None:
        """Index the routes.

        Args:
            tenants: records that a tenant's token may send; the operator's may send all.
        """
        self._routes = {route.event.TYPE.lower(): route for route in index.routes}  # type: ignore[attr-defined]
        self._tenants = frozenset(tenants)

    def read(self, item: Any, model: type[Event], caller: Caller) -> Ready:
        """Return the event that an item of a request is.

        Args:
            item: what JSON gave.
            model: ``CloudEvent``, or ``Event`` where less is asked for.

        Raises:
            ValidationFailed: with everything that is wrong with it.
            Forbidden: it is not this caller's to send.
        """
        details: list[ErrorDetail] = []
        attributes = _valid(model, item, details)
        told = item if isinstance(item, dict) else {}
        route = self._route(told.get("type"), details)
        event = None if route is None else _event(route, told, caller, details)
        if details or attributes is None or route is None or event is None:
            raise ValidationFailed(INVALID, details)
        caller.may_command(event.tenant_id, operator=route.event not in self._tenants)
        headers = {header: getattr(attributes, name) for name, header in HEADERS.items()}
        return Ready(event, {header: value for header, value in headers.items() if value})

    def _route(self, name: Any, details: list[ErrorDetail]) -> Route | None:
        """Return the route of a type, or of the longest type that it is a kind of (decision D1: in any case)."""
        if not isinstance(name, str) or not name:
            return None  # the model says so
        known = name.lower()
        exact = self._routes.get(known)
        if exact is not None:
            return exact
        while known := known.rpartition(".")[0]:
            route = self._routes.get(known)
            if route is not None and not route.answered and _has(route, "event_type"):
                return route
        reason = "no event of this type is taken; /asyncapi.json has those that are"
        details.append(ErrorDetail(field="type", reason=reason))
        return None


def _has(route: Route, field: str) -> bool:
    names: tuple[str, ...] = route.event.__struct_fields__  # type: ignore[attr-defined]
    return field in names


def _valid(model: type[BaseModel], item: Any, details: list[ErrorDetail]) -> BaseModel | None:
    try:
        return model.model_validate(item)
    except ValidationError as error:
        details += ValidationFailed.of(error).details
        return None


def _event(route: Route, told: dict[str, Any], caller: Caller, details: list[ErrorDetail]) -> Any | None:
    """Return the record; None where something is wrong with it, which ``details`` has then."""
    data = told.get("data")
    if not isinstance(data, dict):
        return None  # the model says so
    said = {name: told[name] for name in (*SAME, *ENVELOPE) if isinstance(told.get(name), str)}
    if said["type"].lower() == route.event.TYPE.lower():  # type: ignore[attr-defined]
        del said["type"]
    details += _contradictions(data, said)
    fields = _filled(data, said, caller)
    if not route.answered and fields.get("event_id") and "timestamp" not in fields:
        # Commands may be repeated with another time; of all others the bytes are compared (docs/guarantees.md).
        reason = "has to be given with an id: sent again without it, the event would be another one under the same id"
        details.append(ErrorDetail(field="time", reason=reason))
    fields.setdefault("timestamp", datetime.now(UTC))
    try:
        body = event_model(route.event).model_validate_json(to_json(fields))
    except ValidationError as error:
        names = {SAME[name]: name for name in said if name in SAME}
        details += [
            ErrorDetail(field=names.get(each.field, f"data.{each.field}"), reason=each.reason)
            for each in ValidationFailed.of(error).details
        ]
        return None
    return msgspec.convert(body.model_dump(exclude_unset=True), route.event)


def _contradictions(data: dict[str, Any], said: dict[str, str]) -> Iterator[ErrorDetail]:
    """Yield what an attribute and the data say differently."""
    for name, value in said.items():
        if name in SAME:
            other = data.get(SAME[name], value)
            kind = name == "type" and isinstance(other, str) and value.endswith(f".{other}")
            differs = other != value and not kind
        else:
            differs = name != "source" and data.get("envelope") is not None
        if differs:
            yield ErrorDetail(field=name, reason="data says it too, and differently; say it once")


def _filled(data: dict[str, Any], said: dict[str, str], caller: Caller) -> dict[str, Any]:
    """Return the record's fields as far as the sender says them, and whose they are."""
    fields = {"tenant_id": caller.tenant or DEFAULT_TENANT} | data
    fields |= {SAME[name]: value for name, value in said.items() if name in SAME}
    envelope = {ENVELOPE[name]: value for name, value in said.items() if name in ENVELOPE}
    if envelope and data.get("envelope") is None:
        fields["envelope"] = envelope
    return fields
