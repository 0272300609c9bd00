"""What the facts of every domain have in common."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from streams.events import Envelope


def caused_by(event: Any) -> Envelope:
    """Return the envelope of what ``event`` causes: the same correlation, and the event as its cause."""
    correlation = event.envelope.correlation_id if event.envelope is not None else None
    return Envelope(correlation_id=correlation, causation_id=event.event_id)


changed = replace
"""``changed(record, **values)`` returns a copy of a record with some fields changed.

It is the cheapest way to make one, but for a call of more than 14 values, which Python makes a dict for (0.3 us become
2 us; so does a record made with more than 15 values by name).
"""
