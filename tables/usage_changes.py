"""What changes buckets other than a timely event:

Their close, the close of a period, and the adjustment they publish.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from streams.events import (
    UsageBucket,
    UsageHour,
    UsageMeter,
    UsagePeriodCloseRequested,
    UsageQuota,
    UsageQuotaPeriodClosed,
    UsageRollup,
)
from tables.facts import caused_by, changed
from tables.state import Record, State
from tables.usage_alarms import About, Change, recovery
from tables.usage_facts import (
    Assigned,
    closed,
    present,
)
from tables.usage_names import bucket_id, hour_name, meter_name, quota_name, rollup_name
from tables.usage_windows import PERIOD_GRACE, moment, seconds_of

CLOSES_AT_ONCE = 500
"""Buckets closed by one command. An hour with more takes several: no unit of work grows with the tenant."""


def close_period(state: State, event: UsagePeriodCloseRequested, at: datetime) -> tuple[Any, ...]:
    """Decide the timer's command: close an hour's buckets, or end and then close a quota's period."""
    if event.quota_id is None:
        return _close_hour(state, event, at)
    name = rollup_name(event.quota_id, seconds_of(event.start), event.subject or "")
    rollup: UsageRollup | None = state.get(name)
    if rollup is None or rollup.due_at is None:
        return ()
    target = moment(seconds_of(rollup.end) + PERIOD_GRACE) if rollup.ended else rollup.end
    passes = rollup.passes + 1
    if at < target:
        return (Assigned({name: changed(rollup, due_at=_later(target, at), passes=passes)}),)
    quota: UsageQuota = present(state, quota_name(event.quota_id))
    meter: UsageMeter = present(state, meter_name(quota.meter))
    about = About(
        quota, event.subject or "", meter.unit or "", rollup, rollup.firing_since, Change(event, at)
    )
    if rollup.ended:
        return (Assigned({name: changed(rollup, due_at=None, passes=passes)}), _period_closed(about))
    close = moment(seconds_of(rollup.end) + PERIOD_GRACE)
    ended = changed(rollup, ended=True, firing_since=None, due_at=close, passes=passes)
    over = recovery(about, list(rollup.fired), "PERIOD_ENDED") if rollup.firing_since is not None else []
    return (Assigned({name: ended}), *over)


def _later(target: datetime, at: datetime) -> datetime:
    """Return when a timer should ask again that asked before ``target``.

    It goes by the worker's clock, which must be ahead of the broker's by ``target - at`` at least. Asking
    again at ``target`` would be at once, over and over, until the broker's clock is there (scenario N63).
    """
    return target + (target - at)


def _close_hour(state: State, event: UsagePeriodCloseRequested, at: datetime) -> tuple[Any, ...]:
    start = seconds_of(event.start)
    hour: UsageHour | None = state.get(hour_name(start))
    if hour is None:
        return ()
    passes = hour.passes + 1
    if at < hour.closes_at:
        due = _later(hour.closes_at, at)
        return (Assigned({hour_name(start): changed(hour, due_at=due, passes=passes)}),)
    names = (name for name in state.names(f"b|{start}|") if not present(state, name).closed)
    todo = sorted(islice(names, CLOSES_AT_ONCE + 1))
    records: dict[str, Record | None] = {}
    facts = []
    for name in todo[:CLOSES_AT_ONCE]:
        bucket: UsageBucket = present(state, name)
        records[name] = changed(bucket, closed=True)
        facts.append(closed(event, at, bucket_id(name), bucket))
    done = len(todo) <= CLOSES_AT_ONCE
    # A timer that is due again at the same time would not be told from the one that has just asked.
    again = hour.due_at + timedelta(milliseconds=1)
    records[hour_name(start)] = None if done else changed(hour, passes=passes, due_at=again)
    return (Assigned(records), *facts)


def _period_closed(about: About) -> UsageQuotaPeriodClosed:
    quota, rollup, change = about.quota, about.rollup, about.change
    return UsageQuotaPeriodClosed(
        timestamp=change.at,
        tenant_id=change.event.tenant_id,
        quota_id=quota.quota_id,
        meter=quota.meter,
        unit=about.unit,
        scope=quota.scope,
        subject=about.subject or quota.subject,
        value=rollup.total,
        limit=quota.limit,
        period=quota.period,
        period_start=rollup.start,
        period_end=rollup.end,
        envelope=caused_by(change.event),
    )
