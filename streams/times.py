"""Record timestamps as times."""

from __future__ import annotations

from datetime import UTC, datetime

LAST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""


def time_of(millis: int) -> datetime:
    """Return the time (UTC) of a record's timestamp in milliseconds since the epoch.

    A timestamp outside of the years 1970 to 9999, which only a producer can have made up, counts as the nearest one.
    """
    return datetime.fromtimestamp(min(max(millis, 0), LAST_MS) / 1000, UTC)
