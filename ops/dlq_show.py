"""One dead letter with all it says: its event decoded, or its bytes where that cannot be, and its history.

A letter holds what users sent, secrets included. It is shown to the one who asks and written nowhere.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ops.dlq_fold import Letters, Query, matching
from ops.dlq_letters import (
    DISCARDED,
    OPEN,
    REPLAYED,
    REPLAYED_FROM,
    Headers,
    Letter,
    Stored,
    key_text,
    original_headers,
    place_of,
    source_of,
    text_of,
)
from ops.dlq_reading import fetch, read_letters, source_topics
from ops.errors import Invalid, NotThere
from streams.codec import Codec, NeedsSchema, Undecodable
from streams.registry import Registry
from streams.settings import Settings
from streams.topics import dead_letter_topic
from streams.web_bodies import fact_as_json, plain


def find(settings: Settings, text: str) -> tuple[Letters, Letter, Stored]:
    """Return all letters of a topic, the one that is named, and its record.

    Args:
        settings: of the cluster.
        text: place of the letter, such as ``usage.metered.dlq/1/42``, or of the event that died, without ``.dlq``.

    Raises:
        OpsError: there is no such letter.
    """
    try:
        place = place_of(text)
    except ValueError as error:
        raise Invalid(f"{error}.".capitalize(), "`sluice dlq list <topic>` shows the places.") from None
    topic = source_of(place.topic)
    source_topics(settings, topic)
    letters = read_letters(settings, [topic])[topic]
    if place.topic == dead_letter_topic(topic):
        letter = letters.at(place.partition, place.offset)
    else:
        letter = next(iter(reversed(letters.of_origin(text))), None)
    stored = None if letter is None else fetch(settings, [letter.place]).get(letter.place)
    if letter is None or stored is None:
        raise NotThere(
            f"There is no dead letter at {text}, or no longer.",
            f"`sluice dlq list {topic}` shows those there are.",
        )
    return letters, letter, stored


def decoded(settings: Settings, records: Sequence[Stored]) -> list[Any]:
    """Return what the values of some letters hold, as ``Codec.decode`` does, once the registry was asked."""

    async def ask() -> list[Any]:
        registry = Registry(settings)
        try:
            return await decode_with(Codec(registry), [each.value for each in records])
        finally:
            await registry.close()

    return asyncio.run(ask())


async def decode_with(codec: Codec, values: Sequence[bytes | None]) -> list[Any]:
    """Return what values hold; the registry is asked for schemas that are not known yet."""
    found = codec.decode_batch(values)
    needed = {each.schema_id for each in found if isinstance(each, NeedsSchema)}
    if needed:
        await codec.resolve(needed)
        found = codec.decode_batch(values)
    return found


def show(settings: Settings, text: str) -> dict[str, Any]:
    """Return everything about a dead letter, as JSON takes it. Raises OpsError."""
    letters, letter, stored = find(settings, text)
    [event] = decoded(settings, [stored])
    return details(letters, letter, stored, event)


def details(letters: Letters, letter: Letter, stored: Stored, event: Any) -> dict[str, Any]:
    """Return everything about a dead letter whose value holds ``event``."""
    return {
        **summary(letters, letter),
        "message": letter.message,
        "exception": text_of(stored.headers, "__streams.errors.exception") or "",
        "stacktrace": text_of(stored.headers, "__streams.errors.stacktrace") or "",
        "first_failure": letter.first_failure,
        "consumer_group": text_of(stored.headers, "sluice.dlq.consumer-group") or "",
        "agent": text_of(stored.headers, "sluice.dlq.agent") or "",
        "headers": [
            {"name": name, "value": _shown(value)} for name, value in original_headers(stored.headers)
        ],
        "history": history(letters, letter, stored.headers),
        **content(stored.value, event),
    }


def summary(letters: Letters, letter: Letter) -> dict[str, Any]:
    """Return a letter as a line of a list."""
    return {
        "letter": str(letter.place),
        "origin": letter.origin,
        "state": letters.state(letter),
        "reason": letter.reason,
        "key": key_text(letter.key),
        "event_type": letter.event_type,
        "event_id": letter.event_id,
        "at": plain(letter.at),
        "attempts": letter.attempts,
        "replays": letter.replays,
        "bytes": letter.size,
    }


def history(letters: Letters, letter: Letter, headers: Headers) -> list[str]:
    """Return what happened to an event before it died and since, the oldest first."""
    before = [
        f"replayed from {(value or b'').decode('utf-8', 'replace')}"
        for name, value in headers
        if name == REPLAYED_FROM
    ]
    died = f"died of {letter.reason} {letter.at:%Y-%m-%d %H:%M:%S} UTC"
    since = [
        f"{done.how}{' after an edit' if done.edited else ''} {done.at:%Y-%m-%d %H:%M:%S} UTC, "
        f"selection {done.selection}"
        for done in letters.resolutions(letter)
    ]
    return [*before, died, *since]


def content(value: bytes | None, event: Any) -> dict[str, Any]:
    """Return what a value holds: its bytes, and its fields where it could be decoded, else why not."""
    raw = (value or b"").hex()
    if isinstance(event, NeedsSchema | Undecodable):
        cause = event.message if isinstance(event, Undecodable) else f"schema {event.schema_id} is not known"
        return {"record": None, "event": None, "undecodable": cause, "hex": raw}
    return {"record": type(event).RECORD, "event": fact_as_json(event), "undecodable": "", "hex": raw}


def _shown(value: bytes | None) -> str | None:
    return None if value is None else key_text(value)


def overview(letters: Letters, query: Query) -> dict[str, Any] | None:
    """Return how many letters of a topic there are in each state, or None: none that a query wants, open or not."""
    everything = replace(query, resolved=True)
    found = matching(letters, everything)
    if not found:
        return None
    states = Counter(letters.state(letter) for letter in found)
    open_ = [letter for letter in found if letters.state(letter) == OPEN]
    return {
        "topic": letters.topic,
        "open": states[OPEN],
        "replayed": states[REPLAYED],
        "discarded": states[DISCARDED],
        "oldest": plain(open_[0].at) if open_ else None,
        "reasons": dict(Counter(letter.reason for letter in open_).most_common()),
    }
