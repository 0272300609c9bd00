"""When a tenant's hours, days and months begin and end: plain functions of a zone and a time.

Times are whole seconds since the epoch here, because a record name holds them and comparing integers is what
the hot path can afford. Everything a day or a month is made of is the *hour bucket* (contracts 3.5), so an
hour begins where the tenant's local hour begins: at :30 UTC in India, and no day ever cuts a bucket in two.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3600
QUARTER = 900
"""No zone in use changes its offset, or has one, off a quarter of an hour."""
GRACE = HOUR
"""A bucket closes this long after its hour (contracts 3.5)."""
PERIOD_GRACE = 24 * HOUR
"""A quota's period closes this long after its end (contracts 3.5)."""
CLOSES_AFTER = HOUR + GRACE
"""From the start of a bucket to its close."""


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """Return the zone called ``name``.

    Raises:
        ValueError: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(f"no time zone {name!r}; use an IANA name such as Europe/Berlin") from error


@lru_cache(maxsize=8192)
def moment(seconds: int) -> datetime:
    """Return the aware UTC time of ``seconds`` since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def seconds_of(time: datetime) -> int:
    """Return the whole seconds since the epoch at or before an aware ``time``."""
    return int(time.timestamp() // 1)


@lru_cache(maxsize=16384)
def hour_start(zone: str, quarter: int) -> int:
    """Return where the local hour begins that holds quarter of an hour number ``quarter`` since the epoch."""
    seconds = quarter * QUARTER
    offset = moment(seconds).astimezone(zone_of(zone)).utcoffset() or timedelta()
    return seconds - (seconds + int(offset.total_seconds())) % HOUR


def _midnight(day: date, zone: str) -> int:
    # Where a clock change skips midnight, fold=0 names the instant of the change; where one repeats it, the
    # first of the two. So every day begins exactly where the one before ends.
    return seconds_of(datetime(day.year, day.month, day.day, tzinfo=zone_of(zone)))


@lru_cache(maxsize=16384)
def period_bounds(zone: str, period: str, seconds: int) -> tuple[int, int]:
    """Return start and end of the calendar period that holds a time.

    Args:
        zone: IANA name of the tenant's zone.
        period: HOUR, DAY or MONTH.
        seconds: the time.

    Raises:
        ValueError: the period is none of the three.
    """
    if period == "HOUR":
        start = hour_start(zone, seconds // QUARTER)
        return start, start + HOUR
    day = moment(seconds).astimezone(zone_of(zone)).date()
    if period == "DAY":
        return _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
    if period == "MONTH":
        first = day.replace(day=1)
        return _midnight(first, zone), _midnight((first + timedelta(days=31)).replace(day=1), zone)
    raise ValueError(f"no period {period!r}; use HOUR, DAY or MONTH")
