"""Parameters of the usage views: read from text, with the field and the reason where one is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tables.readable import QueryError, iso
from tables.usage_names import BucketId
from tables.usage_windows import seconds_of, zone_of

WINDOWS = {"hour": "HOUR", "day": "DAY", "month": "MONTH"}
GROUPS = ("user", "model", "service")


class UsageQuery(NamedTuple):
    """Which buckets a view adds up, and how it divides them.

    Attributes:
        meter: only this meter.
        start: only hours that begin at or after it, seconds since the epoch.
        end: only hours that begin before it.
        window: HOUR, DAY or MONTH, or None for all in one.
        group_by: user, model or service, or None.
        user: only this user.
        currency: only this currency.
    """

    meter: str | None = None
    start: int | None = None
    end: int | None = None
    window: str | None = None
    group_by: str | None = None
    user: str | None = None
    currency: str | None = None

    def covers(self, start: int) -> bool:
        """Return whether an hour that begins at ``start`` is asked for."""
        return (self.start is None or start >= self.start) and (self.end is None or start < self.end)

    def wants(self, which: BucketId) -> bool:
        """Return whether a bucket of a wanted hour is asked for."""
        return self.meter in (None, which.meter) and self.user in (None, which.user)

    def group(self, which: BucketId) -> str:
        """Return the group a bucket falls in; empty without ``group_by``."""
        if self.group_by is None:
            return ""
        return {"user": which.user, "model": which.model, "service": which.service}[self.group_by]


def parse(query: Mapping[str, str], zone: str, user: str | None = None) -> UsageQuery:
    """Return the parameters of a request.

    Args:
        query: ``meter``, ``from``, ``to``, ``window``, ``group_by``, ``currency``, each optional.
        zone: the tenant's time zone: a date without a time begins at its midnight.
        user: the user of the path, or None.

    Raises:
        QueryError: one of them cannot be used.
    """
    window = query.get("window") or None
    if window is not None and window not in WINDOWS:
        raise QueryError("window", f"{window!r} is no window; use one of {', '.join(WINDOWS)}")
    group_by = query.get("group_by") or None
    if group_by is not None and group_by not in GROUPS:
        raise QueryError("group_by", f"{group_by!r} is no group; use one of {', '.join(GROUPS)}")
    start, end = _time("from", query, zone), _time("to", query, zone)
    if start is not None and end is not None and start >= end:
        raise QueryError("to", "must be after from; an hour that begins at `to` is not included")
    return UsageQuery(
        meter=query.get("meter") or None,
        start=start,
        end=end,
        window=None if window is None else WINDOWS[window],
        group_by=group_by,
        user=user,
        currency=query.get("currency") or None,
    )


def _time(field: str, query: Mapping[str, str], zone: str) -> int | None:
    text = query.get(field)
    if not text:
        return None
    try:
        # In a URL, a plus that is not escaped arrives as a space.
        time = datetime.fromisoformat(text.replace(" ", "+") if text.count(":") > 1 else text)
    except ValueError as error:
        reason = "not a time; use ISO 8601, such as 2026-11-20T10:00:00Z, or a date"
        raise QueryError(field, reason) from error
    if time.tzinfo is None:
        time = time.replace(tzinfo=zone_of(zone) if len(text) == len("2026-11-20") else UTC)
    if not datetime(1971, 1, 1, tzinfo=UTC) < time < datetime(9000, 1, 1, tzinfo=UTC):
        raise QueryError(field, "out of range; use a year from 1971 to 8999")
    exact = seconds_of(time)
    return exact if time == datetime.fromtimestamp(exact, UTC) else exact + 1


def iso_seconds(seconds: int | None) -> str | None:
    """Return seconds since the epoch as the views write times."""
    return None if seconds is None else iso(datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds))
