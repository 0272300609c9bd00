"""What ``POST /events`` takes and answers: CloudEvents 1.0 as JSON, one or a batch (peer-features F18, F60)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from streams.web_errors import ErrorBody, HttpError

PATH = "/events"
SUMMARY = "Send events: one, or a batch with a result for each"
ONE, BATCH, PLAIN = "application/cloudevents+json", "application/cloudevents-batch+json", "application/json"
MAX_BODY_BYTES = 1024**2
"""What aiohttp reads of a body (its ``client_max_size``)."""

MAX_EVENTS = 500
"""They are checked in the process that handles events too, and must not hold it up."""

Text = Annotated[str, Field(min_length=1, max_length=512)]


class Event(BaseModel):
    """One event: what CloudEvents 1.0 says of it, around its data. An unknown name is an error: it would get lost."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: Text = Field(
        description="A type of the index, such as usage.metered; where the record has an event_type, also a kind of "
        "it, such as usage.metered.api_call."
    )
    data: dict[str, Any] = Field(
        description="The fields of its contract in avro/. Decimals are texts, times ISO 8601 with their offset."
    )
    specversion: Literal["1.0"] | None = None
    id: Text | None = Field(
        None, description="Sent again under it, the event counts once. One is made where it is left out."
    )
    source: Text | None = Field(None, description="Who sends it; the worker's application if left out.")
    subject: Text | None = Field(None, description="What it is about; carried in its header.")
    time: Text | None = Field(
        None,
        description="When it happened, ISO 8601 with its offset; now, if left out. An event with an id, that is no "
        "command, has to say it: sent again, it must be the same.",
    )
    tenantid: Text | None = Field(
        None, description="Whose it is; if left out, the token's own tenant, or 'default'."
    )
    correlationid: Text | None = Field(
        None, description="What all that follows from it has in common with it; its id, if left out."
    )
    causationid: Text | None = Field(None, description="Id of the event that caused it.")
    traceparent: Text | None = Field(None, description="W3C trace context; carried in its header.")
    tracestate: Text | None = None
    datacontenttype: str | None = Field(
        None, pattern=r"^(application/json|[\w.+-]+/[\w.+-]+\+json)\s*(;.*)?$"
    )
    dataschema: Text | None = Field(
        None, description="Not looked at: data has to fit the contract as it is now."
    )


class CloudEvent(Event):
    """The same, with everything that CloudEvents ask for."""

    specversion: Literal["1.0"]
    id: Text = Field(description="Sent again under it, the event counts once.")
    source: Text = Field(description="Who sends it.")


class Taken(BaseModel):
    """The broker has the event."""

    id: str
    topic: str
    partition: int
    offset: int


class Outcome(BaseModel):
    """What became of one event of a batch: where it is, or why it is not there."""

    status: int = Field(description="202, or that of the error as it would be answered to the event alone.")
    id: str | None = Field(None, description="Null where the event has none and was not taken.")
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    error: ErrorBody | None = None


class Outcomes(BaseModel):
    """What became of a batch."""

    taken: int = Field(description="How many the broker has.")
    failed: int = Field(description="How many it has not; send those with status 503 again, under their ids.")
    results: list[Outcome] = Field(description="One for each event, in their order.")


class TooLarge(HttpError):
    """More than is taken at once."""

    status = 413
    code = "VALIDATION_FAILED"
