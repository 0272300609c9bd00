"""Dead letters over HTTP: what is asked and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ops.dlq_edit import Edit
from ops.dlq_selection import Picked
from streams.web_views import PageQuery, PaginatedResult

MOST_LETTERS = 500
"""In one request: a transaction holds as many."""

State = Literal["open", "replayed", "discarded"]


class DeadLetterTopicsQuery(PageQuery):
    """Which dead letters are counted."""

    reason: str | None = Field(None, description="Only with this code, such as UNKNOWN_SCHEMA_ID.")
    key: str | None = Field(None, description="Only of this key.")
    since: AwareDatetime | None = Field(None, description="Only those written at this time or later.")


class DeadLettersQuery(DeadLetterTopicsQuery):
    """Which dead letters."""

    topic: str | None = Field(None, description="Topic of the events; without one, of all topics.")
    state: State | Literal["all"] = Field("open", description="Only in this state.")


class DeadLetter(BaseModel):
    """A dead letter without its value; place, origin and digest name it in a selection."""

    topic: str = Field(description="Topic of the event that died.")
    partition: int = Field(description="Of the dead letter topic, as offset.")
    offset: int
    origin: str = Field(description="Place of the event that died.")
    digest: str = Field(description="Of key and value.")
    letter: str = Field(description="Place of the letter: topic, partition and offset.")
    state: State
    reason: str = Field(description="A code, such as NOT_FRAMED.")
    key: str = Field(description="One that is no text is in hexadecimal, after 0x.")
    event_type: str
    event_id: str
    at: datetime = Field(description="When the letter was written.")
    attempts: int = Field(description="How often the event was tried.")
    replays: int = Field(description="How often it had been replayed before.")
    bytes: int = Field(description="Size of the value.")


class DeadLetters(PaginatedResult[DeadLetter]):
    """A page of dead letters, the oldest first."""


class DeadLetterTopic(BaseModel):
    """How many dead letters a topic has."""

    topic: str = Field(description="Topic of the events that died.")
    open: int
    replayed: int
    discarded: int
    oldest: datetime | None = Field(description="When the oldest one that is open was written.")
    reasons: dict[str, int] = Field(description="Of those that are open, the most frequent first.")


class DeadLetterTopics(PaginatedResult[DeadLetterTopic]):
    """A page of topics that have dead letters."""


class Header(BaseModel):
    """A header of the event."""

    name: str
    value: str | None


class DeadLetterDetails(DeadLetter):
    """Everything about one dead letter. It may hold secrets of users."""

    message: str = Field(description="The cause.")
    exception: str
    stacktrace: str
    first_failure: str
    consumer_group: str
    agent: str
    headers: list[Header]
    history: list[str] = Field(description="What happened to the event, the oldest first.")
    record: str | None = Field(
        description="Full name of the event's record; null where it cannot be decoded."
    )
    event: dict[str, Any] | None = Field(description="Its fields; decimals are texts.")
    undecodable: str = Field(description="Why it cannot be decoded, where that is so.")
    hex: str = Field(description="Its bytes in hexadecimal.")


class SelectionRequest(BaseModel):
    """What to do with exactly these letters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["dry_run", "replay", "discard"]
    topic: str = Field(min_length=1, description="Topic of the events.")
    letters: list[Picked] = Field(
        min_length=1,
        max_length=MOST_LETTERS,
        description="The letters as they were listed: nothing else is touched, whatever arrives meanwhile.",
    )
    again: bool = Field(False, description="Also those that were replayed or discarded before.")


class EditRequest(Edit):
    """An event to be sent in place of its letter's, under the same id. All its fields are given."""

    action: Literal["dry_run", "replay"]
    again: bool = Field(False, description="Also when the letter was replayed or discarded before.")


class Outcome(BaseModel):
    """What was done with a letter, or would come of it."""

    letter: str
    origin: str
    key: str
    outcome: str = Field(
        description="sent, discarded, skipped (it was resolved before), gone (retention removed it); of a dry run "
        "done, duplicate, rejected, dead_lettered, parked, worker_stops or not_reached.",
    )
    partition: int | None = Field(None, description="Where the event would go.")
    code: str = Field("", description="Why it would not be done.")
    message: str = ""
    dead_letter: str = Field("", description="Code of the letter that would be written.")
    facts: list[dict[str, Any]] = Field([], description="What would be published.")
    changes: list[dict[str, Any]] = Field([], description="Records before and after.")
    timers: list[dict[str, Any]] = Field([], description="Due times that would change.")


class Outcomes(BaseModel):
    """What was done with a selection, or would come of it."""

    selection: str = Field(description="Its name in the history of its letters.")
    outcomes: list[Outcome]
    behind: int = Field(0, description="Records of the topic that a dry run did not know of yet, at most.")
    left_behind: list[str] = Field(
        [],
        description="Of a dry run: open letters that came before these and have the same keys, but are not among them.",
    )
