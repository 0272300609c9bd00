"""Dead letters as their topic holds them: what a record of ``<topic>.dlq`` says, and how its headers are called.

Such a record is a dead letter or a *marker*, which says that one was replayed or discarded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from streams.times import time_of
from streams.topics import dead_letter_topic

RESOLVED = "x-dlq-resolved"
"""Header of a marker: ``replayed`` or ``discarded``."""
LETTER = "x-dlq-letter"
"""Header of a marker: the place of its letter."""
SELECTION = "x-dlq-selection"
"""Header of a marker: the selection with which that was done."""
REPLAYED_FROM = "x-replayed-from"
"""Header of a replayed event: the place of its letter. One that dies again has one for each time."""
EDITED = "x-edited"
"""Header of an event that a person changed before it was replayed, and of its letter's marker."""

ADDED = ("__streams.errors.", "sluice.dlq.")
"""How the names of the headers begin that a dead letter has beside those of its event (``streams.failures``)."""
ORIGIN = "sluice.dlq.id"

OPEN, REPLAYED, DISCARDED = "open", "replayed", "discarded"

Headers = Sequence[tuple[str, bytes | None]]

_PLACE = re.compile(
    r"(?P<topic>[a-zA-Z0-9._-]+)/(?P<partition>\d{1,9})/(?P<offset>\d{1,18})", re.ASCII
).fullmatch


class Place(NamedTuple):
    """Where a record is."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def place_of(text: str) -> Place:
    """Return the place that a text such as ``usage.metered.dlq/1/42`` names. Raises ValueError."""
    found = _PLACE(text)
    if found is None:
        raise ValueError(f"{text!r} is not a place such as usage.metered.dlq/1/42")
    return Place(found["topic"], int(found["partition"]), int(found["offset"]))


class Stored(NamedTuple):
    """A record of a dead letter topic.

    Attributes:
        timestamp: when it was appended, in milliseconds since the epoch.
    """

    place: Place
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter without its value.

    Attributes:
        place: where it is.
        origin: ``topic/partition/offset`` of the event that died.
        digest: of key and value.
        key: the event's.
        at: when the letter was written.
        reason: a code of contracts 3.0.
        message: the cause.
        attempts: how often the event was tried.
        first_failure: when that failed first, as the header says it.
        event_type, event_id: as the event's own headers say them; empty where they do not.
        replays: how often the event had been replayed before it died.
        size: bytes of its value.
    """

    place: Place
    origin: str
    digest: str
    key: bytes | None
    at: datetime
    reason: str
    message: str
    attempts: int
    first_failure: str
    event_type: str
    event_id: str
    replays: int
    size: int


def text_of(headers: Headers, name: str) -> str | None:
    """Return the text of the last header of a name, or None: of one that died twice, the last ones count."""
    for key, value in reversed(headers):
        if key == name:
            return None if value is None else value.decode("utf-8", "replace")
    return None


def original_headers(headers: Headers) -> list[tuple[str, bytes | None]]:
    """Return the headers that the event had before it became a dead letter."""
    return [(name, value) for name, value in headers if not name.startswith(ADDED)]


def digest_of(key: bytes | None, value: bytes | None) -> str:
    """Return what tells two letters of one origin apart: a topic that was made anew counts from 0 again."""
    digest = hashlib.sha256()
    for part in (key, value):
        digest.update(b"-" if part is None else f"{len(part)}:".encode() + part)
    return digest.hexdigest()[:32]


def key_text(key: bytes | None) -> str:
    """Return a key as people read and write it; one that is no text in hexadecimal."""
    if key is None:
        return ""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return f"0x{key.hex()}"


def letter_of(stored: Stored) -> Letter:
    """Return what a dead letter says. One that another program wrote may leave anything out."""
    headers = stored.headers
    attempts = text_of(headers, "sluice.dlq.attempts") or ""
    return Letter(
        place=stored.place,
        origin=text_of(headers, ORIGIN) or str(stored.place),
        digest=digest_of(stored.key, stored.value),
        key=stored.key,
        at=time_of(stored.timestamp),
        reason=text_of(headers, "sluice.dlq.reason") or "UNKNOWN",
        message=text_of(headers, "__streams.errors.message") or "",
        attempts=int(attempts) if attempts.isdecimal() else 1,
        first_failure=text_of(headers, "sluice.dlq.first-failure") or "",
        event_type=text_of(headers, "ce_type") or "",
        event_id=text_of(headers, "ce_id") or "",
        replays=sum(name == REPLAYED_FROM for name, _ in headers),
        size=len(stored.value or b""),
    )


def source_of(topic: str) -> str:
    """Return a topic's name from its own, or from its dead letter topic's."""
    return topic.removesuffix(dead_letter_topic(""))
