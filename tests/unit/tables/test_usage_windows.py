"""Hours, days and months in a tenant's time zone (contracts 3.5, N26, N29)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.usage_windows import HOUR, QUARTER, hour_start, moment, period_bounds, seconds_of, zone_of
from tests.unit.tables.scenario import time

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Havana",
    "Africa/Cairo",
    "Pacific/Apia",
)
SECONDS = st.integers(int(time("2020-01-01").timestamp()), int(time("2035-01-01").timestamp()))


def bounds(zone: str, period: str, text: str) -> tuple[datetime, datetime]:
    start, end = period_bounds(zone, period, seconds_of(time(text)))
    return moment(start), moment(end)


@settings(deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(("HOUR", "DAY", "MONTH")), SECONDS)
def test_every_time_lies_in_exactly_one_period_and_periods_have_no_gaps(
    zone: str, period: str, seconds: int
) -> None:
    start, end = period_bounds(zone, period, seconds)
    assert start <= seconds < end
    if period != "HOUR":
        assert period_bounds(zone, period, end)[0] == end
        assert period_bounds(zone, period, start) == (start, end)


@settings(deadline=None)
@given(st.sampled_from(ZONES), SECONDS)
def test_a_bucket_lies_in_one_day_and_one_month(zone: str, seconds: int) -> None:
    start = hour_start(zone, seconds // QUARTER)
    assert start <= seconds < start + HOUR
    for period in ("DAY", "MONTH"):
        assert period_bounds(zone, period, start) == period_bounds(zone, period, seconds)


@settings(deadline=None)
@given(st.sampled_from(ZONES), SECONDS)
def test_a_day_begins_at_local_midnight_or_where_a_clock_change_skips_it(zone: str, seconds: int) -> None:
    start, _ = period_bounds(zone, "DAY", seconds)
    local = moment(start).astimezone(ZoneInfo(zone))
    before = moment(start - 1).astimezone(ZoneInfo(zone))
    assert (local.hour, local.minute) == (0, 0) or before.utcoffset() != local.utcoffset()
    assert before.date() < local.date()


def test_hours_begin_at_the_half_hour_where_the_zone_is_half_an_hour_off() -> None:
    start = hour_start("Asia/Kolkata", seconds_of(time("2026-11-20T12:10")) // QUARTER)
    assert moment(start) == time("2026-11-20T11:30")


@pytest.mark.parametrize(
    ("day", "start", "end"),
    [
        ("2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
    ],
)
def test_clock_changes_in_berlin_make_a_short_and_a_long_day(day: str, start: str, end: str) -> None:
    assert bounds("Europe/Berlin", "DAY", day) == (time(start), time(end))


def test_both_hours_that_a_clock_change_repeats_are_buckets_of_their_own() -> None:
    first = hour_start("Europe/Berlin", seconds_of(time("2026-10-25T00:30")) // QUARTER)
    second = hour_start("Europe/Berlin", seconds_of(time("2026-10-25T01:30")) // QUARTER)
    assert second - first == HOUR


def test_a_month_with_a_clock_change_ends_at_local_midnight() -> None:
    start, end = bounds("Europe/Berlin", "MONTH", "2026-10-10")
    assert (start, end) == (time("2026-09-30T22:00"), time("2026-10-31T23:00"))


def test_a_midnight_that_a_clock_change_skips_is_where_the_day_begins() -> None:
    start, end = bounds("Africa/Cairo", "DAY", "2026-04-24T12:00")
    assert (start, end - start) == (time("2026-04-23T22:00"), timedelta(hours=23))


def test_months_have_28_to_31_days() -> None:
    lengths = [
        (end - start).days
        for month in ("2027-02", "2028-02", "2026-11", "2026-12")
        for start, end in [bounds("UTC", "MONTH", f"{month}-15")]
    ]
    assert lengths == [28, 29, 30, 31]


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "Europe"])
def test_a_zone_that_does_not_exist_is_an_error_with_a_remedy(name: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        zone_of(name)


def test_an_unknown_period_is_an_error() -> None:
    with pytest.raises(ValueError, match="MONTH"):
        period_bounds("UTC", "YEAR", 0)


def test_a_time_before_the_epoch_has_its_hour_too() -> None:
    assert moment(hour_start("UTC", -1)) == datetime(1969, 12, 31, 23, tzinfo=UTC)
