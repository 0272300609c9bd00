"""Edit and replay: an event's fields in a file, and back again once a person has put them right.

The event stays the same one: its id is not to be changed. Its key is made anew of its fields, so that one which came
under a wrong key, or under none, can be put right too.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError

from ops.dlq_letters import EDITED, Letter, Stored
from ops.dlq_producer import Resent, original
from ops.errors import Invalid, OpsError, Outdated
from streams.codec import Codec, NeedsSchema, Undecodable, Unencodable
from streams.events import RECORDS
from streams.registry import Registry, RegistryError
from streams.routing import Index, Route
from streams.settings import Settings
from streams.web_bodies import fact_as_json, record_model
from streams.web_errors import ValidationFailed


class Edit(BaseModel):
    """What a file of an edit holds.

    Attributes:
        letter, digest: place of the dead letter, and what tells it from any other one.
        record: full name of the event's record.
        event: its fields.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    letter: str
    digest: str
    record: str
    event: dict[str, Any]


def save(file: Path, letter: Letter, event: Any) -> None:
    """Write an event's fields to a new file, to be edited. Raises OpsError."""
    if isinstance(event, NeedsSchema | Undecodable):
        cause = event.message if isinstance(event, Undecodable) else f"schema {event.schema_id} is not known"
        raise Invalid(
            f"{letter.place} cannot be edited, because it cannot be decoded: {cause}.",
            "It can be replayed as it is, once a worker can decode it, or discarded.",
        )
    edit = Edit(
        letter=str(letter.place), digest=letter.digest, record=type(event).RECORD, event=fact_as_json(event)
    )
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(edit.model_dump_json(indent=2) + "\n")
    except FileExistsError:
        raise OpsError(f"There is already a file {file}.", "Name another one.") from None
    except OSError as error:
        raise OpsError(f"{file} cannot be written: {error.strerror}.", "Name another file.") from error


def load(file: Path) -> Edit:
    """Return what a file of an edit holds. Raises OpsError."""
    try:
        return Edit.model_validate_json(file.read_bytes())
    except OSError as error:
        raise OpsError(f"{file} cannot be read: {error.strerror}.", "Name the file of an edit.") from error
    except ValidationError as error:
        raise Invalid(
            f"{file} is not a file of an edit:",
            "Write one with `sluice dlq edit LETTER --save FILE` and change only its `event`.",
            _listed(error),
        ) from error


def edited(edit: Edit, letter: Letter, was: Any) -> Any:
    """Return the event that an edit holds, checked as the schema of today says.

    Args:
        edit: the file.
        letter: what is at the place that it names.
        was: the event before.

    Raises:
        OpsError: with everything that is wrong.
    """
    struct = RECORDS.get(edit.record)
    if letter.digest != edit.digest or struct is None or type(was) is not struct:
        raise Outdated(
            f"At {edit.letter} is another letter than the one that was written to the file.",
            "Write the file anew, and change only its `event`.",
        )
    event = checked(struct, edit.event)
    if getattr(event, "event_id", "") != getattr(was, "event_id", ""):
        raise Invalid(
            "The event is not right:",
            "Send a new one where another event is meant.",
            [("event_id", "it is the same event, so its id stays")],
        )
    return event


def checked(struct: type, fields: dict[str, Any]) -> Any:
    """Return the record of JSON fields. Raises OpsError with every field that is wrong."""
    try:
        model = record_model(struct).model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise Invalid("The event is not right:", "Correct these fields.", _listed(error)) from error
    return msgspec.convert(model.model_dump(), struct)


def _listed(error: ValidationError) -> list[tuple[str, str]]:
    return [(each.field, each.reason) for each in ValidationFailed.of(error).details]


def framed(settings: Settings, route: Route, event: Any) -> bytes:
    """Return the frame of an event under the schema of today. Raises OpsError."""

    async def encode() -> bytes:
        registry = Registry(settings)
        try:
            codec = Codec(registry)
            await codec.prepare([(route.topic.name, route.event)])
            return codec.encode(event, route.topic.name)
        finally:
            await registry.close()

    try:
        return asyncio.run(encode())
    except Unencodable as error:
        raise Invalid(f"The event does not fit its schema: {error}.", "Correct the field.") from error
    except RegistryError as error:
        raise OpsError(f"{error}.", "Start the stack with `sluice up` and run `sluice setup`.") from error


def route_of(index: Index, topic: str, event: Any) -> Route:
    """Return the row of an event. Raises OpsError."""
    for route in index.routes:
        if route.topic.name == topic and route.event is type(event):
            return route
    raise Invalid(
        f"No rules of ours answer {type(event).__name__} on {topic}.",
        "It can be replayed as it is, or discarded.",
    )


def resent(stored: Stored, route: Route, event: Any, value: bytes) -> Resent:
    """Return what is sent of an edited event: the headers that tell of its content are made anew."""
    key = route.key(event).encode()
    anew = {
        "ce_partitionkey": key,
        "ce_tenantid": str(getattr(event, "tenant_id", "")).encode(),
        "ce_time": event.timestamp.isoformat().encode(),
        "ce_dataschema": f"urn:sluice:schema:{int.from_bytes(value[1:5], 'big')}".encode(),
    }
    if getattr(event, "event_type", ""):
        anew["ce_type"] = event.event_type.encode()
    headers = [(name, anew.get(name, old)) for name, old in original(stored).headers if name != EDITED]
    return Resent(key, value, [*headers, (EDITED, b"true")], edited=True)
