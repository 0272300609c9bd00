"""Headers in the AsyncAPI document: CloudEvents in binary mode, and what commands, replies and dead letters add."""

from __future__ import annotations

from typing import Any, Final

from streams.envelope import ce_headers, derived_id
from streams.replies import DUPLICATE, REPLY_TO, REQUEST_ID

EVENT: Final = "event"
COMMAND: Final = "command"
REPLY: Final = "reply"
DEAD_LETTER: Final = "deadLetter"
SOURCE: Final = "urn:example:shop"
REQUEST: Final = derived_id("example", 0, 0, "request")
"""Id of the command that the example of a reply answers."""


def _texts(**descriptions: str) -> dict[str, Any]:
    return {name: {"type": "string", "description": told} for name, told in descriptions.items()}


_EVENT: Final = {
    "ce_specversion": {"type": "string", "const": "1.0"},
    "content-type": {"type": "string", "const": "application/avro"},
    "ce_time": {"type": "string", "format": "date-time", "description": "The event's own time."},
    **_texts(
        ce_id="The event's id. Sent again under the same id, an event counts once.",
        ce_type="Which kind of event it is.",
        ce_source="Who published it.",
        ce_dataschema="The schema, as urn:sluice:schema:<id>.",
        ce_partitionkey="The record's key.",
        ce_tenantid="Whose it is.",
        ce_correlationid="Shared by all records that follow from one request.",
        ce_causationid="Id of the event that caused this one.",
        ce_deprecated="Since which release the record should not be used any more.",
        ce_successor="The type to use in its place.",
        traceparent="W3C trace context; passed on to what follows.",
        tracestate="W3C trace context.",
    ),
}
_COMMAND: Final = _texts(
    **{
        REPLY_TO: "Where the answer is awaited: a partition of the topic of replies, as <topic>/<partition>.",
        REQUEST_ID: "Comes back with the reply: two who send one command each find their own answer by it.",
    }
)
_REPLY: Final = {
    **_texts(
        ce_causationid="The command's id, which is the record's key too.", ce_correlationid="The command's."
    ),
    REQUEST_ID: _COMMAND[REQUEST_ID],
    DUPLICATE: {"type": "string", "const": "true", "description": "The command had been done before."},
}
_DEAD: Final = _texts(
    **{
        "__streams.errors.exception": "Class of the error (KIP-1034).",
        "__streams.errors.message": "Cause and remedy.",
        "__streams.errors.stacktrace": "Where it was raised, where that is known.",
        "__streams.errors.topic": "Where the record came from.",
        "__streams.errors.partition": "Its partition.",
        "__streams.errors.offset": "Its offset.",
        "sluice.dlq.reason": "Reason code, such as NOT_FRAMED.",
        "sluice.dlq.attempts": "How often it was tried.",
        "sluice.dlq.first-failure": "When the first attempt failed, ISO 8601.",
        "sluice.dlq.consumer-group": "Who gave up.",
        "sluice.dlq.agent": "Whose rules it was for.",
        "sluice.dlq.id": "Where the record is, as <topic>/<partition>/<offset>.",
    }
)


def _trait(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {"headers": schema | ({"required": list(required)} if required else {})}


TRAITS: Final = {
    EVENT: _trait(_EVENT),
    COMMAND: _trait(_EVENT | _COMMAND),
    REPLY: _trait(
        {name: _EVENT[name] for name in ("ce_specversion", "ce_type", "ce_source")} | _REPLY,
        ("ce_specversion", "ce_type", "ce_source", "ce_causationid", "ce_correlationid"),
    ),
    DEAD_LETTER: _trait(_EVENT | _COMMAND | _DEAD, tuple(name for name in _DEAD if "stacktrace" not in name)),
}
"""No header of an event is required: a producer that sends none is served as well, and what follows has them all."""


def example_headers(event: Any, key: str, trait: str) -> dict[str, str]:
    """Return the headers of an example, as whoever publishes with our code sends them."""
    made = ce_headers(type(event), SOURCE)(
        event.event_id, event.timestamp, key.encode(), event.tenant_id, getattr(event, "event_type", "")
    )
    headers = {name: value.decode() for name, value in made}
    if trait == REPLY:
        kept = {name: headers[name] for name in ("ce_specversion", "ce_type", "ce_source")}
        return kept | {"ce_causationid": key, "ce_correlationid": key}
    return headers
