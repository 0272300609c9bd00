"""Quotas: when a period's usage crosses a threshold, and when it is below it again (contracts 3.5).

A threshold fires when usage reaches it (exactly on it counts) and it has not fired in this period; it is
armed again by a new period, or by usage dropping strictly below it. So each crossing is one event, whatever
is replayed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from streams.events import (
    UsageBucket,
    UsageMeter,
    UsageQuota,
    UsageQuotaIndex,
    UsageRollup,
)
from tables.facts import changed
from tables.readable import text
from tables.state import Record, State
from tables.usage_alarms import About, Change, reached, recovery, thresholds
from tables.usage_facts import (
    ZERO,
    Draft,
    add,
    present,
)
from tables.usage_names import BucketId, bucket_id, bucket_start, index_name, quota_name, rollup_name
from tables.usage_prices import normal_model
from tables.usage_windows import PERIOD_GRACE, moment, period_bounds

DEFAULT_THRESHOLDS = (80, 100)


def scope_kind(quota: UsageQuota) -> str:
    """Return the kind of a quota's scope: TENANT, USER, MODEL, or EACH_USER, EACH_MODEL."""
    return f"EACH_{quota.scope}" if quota.scope != "TENANT" and quota.subject is None else quota.scope


def index_of(quota: UsageQuota) -> str:
    """Return the name of the index that a quota stands in."""
    return index_name(quota.meter, scope_kind(quota), quota.subject or "")


def quotas_on(state: State | Draft, meter: UsageMeter, which: BucketId) -> Iterator[tuple[UsageQuota, str]]:
    """Yield the quotas that usage of a meter counts in, each with the subject of its roll-up.

    A quota on one user or model, or on all together, has an empty subject in its roll-up's name; a quota that
    each user or model has for itself has one roll-up per user or model.
    """
    for kind in meter.scopes:
        key = subject = ""
        if kind != "TENANT":
            owner = which.user if kind.endswith("USER") else normal_model(which.model)
            if not owner:
                continue
            if kind.startswith("EACH"):
                subject = owner
            else:
                key = owner
        index: UsageQuotaIndex | None = state.get(index_name(which.meter, kind, key))
        if index is not None:
            for quota_id in index.quota_ids:
                yield present(state, quota_name(quota_id)), subject


def subject_in(quota: UsageQuota, which: BucketId) -> str | None:
    """Return the roll-up's subject that a bucket counts in, or None where it does not count in ``quota``."""
    if which.meter != quota.meter:
        return None
    if quota.scope == "TENANT":
        return ""
    owner = which.user if quota.scope == "USER" else normal_model(which.model)
    if not owner:
        return None
    if quota.subject is None:
        return owner
    return "" if quota.subject == owner else None


def value_of(aggregation: str, bucket: UsageBucket) -> Decimal:
    """Return what a bucket adds to a quota: its sum, its count, or its maximum."""
    if aggregation == "COUNT":
        return Decimal(bucket.count)
    return bucket.max if aggregation == "MAX" else bucket.sum


def join(aggregation: str, total: Decimal, value: Decimal) -> Decimal:
    """Return a total with a value joined: added, or the larger of the two for a MAX meter."""
    return max(total, value) if aggregation == "MAX" else add(total, value)


def bucket_totals(
    state: State | Draft, quota: UsageQuota, meter: UsageMeter, bounds: tuple[int, int]
) -> dict[str, Decimal]:
    """Return the usage of a period by subject, from its hour buckets.

    Reads every bucket's name, so it is for definitions that change and for periods older than the quota only.
    """
    found: dict[str, Decimal] = {}
    for name in state.names("b|"):
        if not bounds[0] <= bucket_start(name) < bounds[1]:
            continue
        which = bucket_id(name)
        subject = subject_in(quota, which)
        if subject is None or which.unit != meter.unit:
            continue
        value = value_of(meter.aggregation, present(state, name))
        found[subject] = join(meter.aggregation, found.get(subject, ZERO), value)
    return found


def count_in_quotas(
    state: State,
    records: dict[str, Record | None],
    zone: str,
    which: BucketId,
    meter: UsageMeter,
    value: Decimal,
    event: Any,
    at: datetime,
) -> list[Any]:
    """Bring the roll-ups that a bucket counts in to their new totals; return what crossed.

    Args:
        state: as it is *before* the bucket changes.
        records: takes the new roll-ups.
        zone: the tenant's time zone.
        which: the bucket.
        meter: its meter.
        value: what the bucket's value changes by; for a MAX meter the new quantity.
        event, at: why, and its append time.
    """
    facts: list[Any] = []
    largest = meter.aggregation == "MAX"
    for quota, subject in quotas_on(state, meter, which):
        bounds = period_bounds(zone, quota.period, which.start)
        name = rollup_name(quota.quota_id, bounds[0], subject)
        rollup: UsageRollup | None = state.get(name)
        if rollup is None:
            before = ZERO
            if moment(bounds[0]) < quota.counted_from:
                before = bucket_totals(state, quota, meter, bounds).get(subject, ZERO)
            rollup = new_rollup(quota, bounds, before, at)
        total = max(rollup.total, value) if largest else add(rollup.total, value)
        next_level = rollup.next
        if (
            total >= rollup.total
            and rollup.version == quota.version
            and (next_level is None or total < next_level)
        ):
            records[name] = changed(rollup, total=total)
        else:
            records[name], crossed = evaluate(quota, subject, meter, rollup, total, Change(event, at))
            facts += crossed
    return facts


def recount_in_quotas(
    draft: Draft, zone: str, which: BucketId, meter: UsageMeter, change: Change
) -> list[Any]:
    """Assign the roll-ups that a bucket counts in anew from all their buckets; return what that crossed.

    It is for what no difference tells: the maximum that is left when the largest one is gone. It reads every
    bucket's name. ``draft`` holds the bucket as it is now, and takes the roll-ups.
    """
    facts: list[Any] = []
    for quota, subject in list(quotas_on(draft, meter, which)):
        bounds = period_bounds(zone, quota.period, which.start)
        name = rollup_name(quota.quota_id, bounds[0], subject)
        rollup: UsageRollup | None = draft.get(name)
        if rollup is not None:
            total = bucket_totals(draft, quota, meter, bounds).get(subject, ZERO)
            after, crossed = evaluate(quota, subject, meter, rollup, total, change)
            draft.put(name, after)
            facts += crossed
    return facts


def new_rollup(quota: UsageQuota, bounds: tuple[int, int], total: Decimal, at: datetime) -> UsageRollup:
    """Return a roll-up in which nothing has fired. One of a period that is over waits for its close only."""
    end, close = moment(bounds[1]), moment(bounds[1] + PERIOD_GRACE)
    ended = at >= end
    due = close if ended else end
    levels = thresholds(quota)
    return UsageRollup(
        start=moment(bounds[0]),
        end=end,
        total=total,
        version=quota.version,
        next=levels[0].level if levels else None,
        due_at=due if at < close else None,
        ended=ended,
    )


def evaluate(
    quota: UsageQuota, subject: str, meter: UsageMeter, rollup: UsageRollup, total: Decimal, change: Change
) -> tuple[UsageRollup, list[Any]]:
    """Return the roll-up with its new total and fired thresholds, and the facts and alerts of the change."""
    late = change.at >= rollup.end
    levels = thresholds(quota)
    in_alarm = [threshold for threshold in levels if total >= threshold.level]
    crossed = [threshold for threshold in in_alarm if threshold.label not in rollup.fired]
    labels = {threshold.label for threshold in in_alarm}
    recovered = [label for label in rollup.fired if label not in labels]
    waiting = [threshold.level for threshold in levels if threshold.label not in labels]
    fired = {label: value for label, value in rollup.fired.items() if label in labels}
    fired |= {threshold.label: text(total) for threshold in crossed}
    since = rollup.firing_since
    if crossed and since is None and not late:
        since = change.at
    after = changed(
        rollup,
        total=total,
        version=quota.version,
        next=min(waiting) if waiting else None,
        fired=fired,
        firing_since=since if fired else None,
    )
    about = About(quota, subject, meter.unit or "", after, since, change)
    facts: list[Any] = []
    if recovered:
        facts += recovery(about, recovered, change.recovery)
    if crossed:
        facts += reached(about, crossed)
    return after, facts
