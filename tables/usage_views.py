"""Read models of a tenant's usage: what the HTTP views answer, from the records of the state (contracts 3.5).

All are pure functions of a state and parameters, and return what JSON can hold: decimals as strings without
exponent, times as ISO 8601 in UTC. Sums come from the hour buckets, which are the truth; lists are whole, the
web layer pages them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from streams.events import UsageBucket, UsageMeter, UsageQuota, UsageRollup
from tables.exact import EXACT
from tables.readable import QueryError, iso, text
from tables.state import State
from tables.usage_definitions import zone_in
from tables.usage_facts import ZERO, add, present, totals
from tables.usage_names import (
    BucketId,
    bucket_id,
    bucket_start,
    meter_name,
    rollup_id,
    rollup_prefix,
)
from tables.usage_query import UsageQuery, iso_seconds, parse
from tables.usage_windows import period_bounds, seconds_of

__all__ = ["QueryError", "usage", "usage_cost", "usage_quotas", "usage_user"]

CENT = Decimal("0.01")

Buckets = list[tuple[BucketId, UsageBucket]]


def usage(state: State, tenant: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return a tenant's usage: per meter, and per window and group where asked for.

    Args:
        state: the tenant's.
        tenant: its id.
        query: ``meter``, ``from`` (included), ``to`` (not included), ``window`` (hour, day, month) and
            ``group_by`` (user, model, service), each optional. Hours count by their beginning.

    Raises:
        QueryError: a parameter cannot be used.
    """
    zone = zone_in(state)
    wanted = parse(query, zone)
    return _usage(_buckets(state, wanted), tenant, zone, wanted)


def usage_user(state: State, tenant: str, user: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return what one user used: like :func:`usage`, with the user and their cost.

    Raises:
        QueryError: a parameter cannot be used.
    """
    zone = zone_in(state)
    wanted = parse(query, zone, user)
    found = _buckets(state, wanted)
    return {**_usage(found, tenant, zone, wanted), "user": user, "cost": _cost_items(found, wanted)}


def usage_cost(state: State, tenant: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return what a tenant's usage costs, one item per currency; currencies are never added.

    Args:
        state: the tenant's.
        tenant: its id.
        query: ``currency``, ``meter``, ``from`` and ``to``, each optional.

    Raises:
        QueryError: a parameter cannot be used.
    """
    zone = zone_in(state)
    wanted = parse(query, zone)
    found = _buckets(state, wanted)
    return {
        **_head(found, tenant, zone, wanted),
        "items": _cost_items(found, wanted),
        "unpriced": _unpriced(found),
    }


def usage_quotas(state: State, tenant: str, at: datetime) -> dict[str, Any]:
    """Return a tenant's quotas with their usage in the period that holds ``at``.

    A quota that each user or model has for itself gives one item for each that used something in the period.
    """
    zone = zone_in(state)
    items = []
    for name in sorted(state.names("d|")):
        quota: UsageQuota = present(state, name)
        start, end = period_bounds(zone, quota.period, seconds_of(at))
        found: dict[str, UsageRollup] = {}
        for rollup in state.names(rollup_prefix(quota.quota_id)):
            _, first, subject = rollup_id(rollup)
            if first == start:
                found[subject] = present(state, rollup)
        if not found and (quota.scope == "TENANT" or quota.subject is not None):
            items.append(_quota(state, quota, "", None, (start, end)))
        items += [_quota(state, quota, subject, found[subject], (start, end)) for subject in sorted(found)]
    return {"tenant": tenant, "time_zone": zone, "items": items}


def _buckets(state: State, query: UsageQuery) -> Buckets:
    found: Buckets = []
    for name in state.names("b|"):
        if query.covers(bucket_start(name)):
            which = bucket_id(name)
            if query.wants(which):
                found.append((which, present(state, name)))
    return found


def _head(found: Buckets, tenant: str, zone: str, query: UsageQuery) -> dict[str, Any]:
    """Return the fields every answer about buckets has, with how far the data reaches."""
    watermark: datetime | None = None
    late = 0
    for _, bucket in found:
        late += bucket.late_adjustments
        if watermark is None or bucket.last_event_at > watermark:
            watermark = bucket.last_event_at
    return {
        "tenant": tenant,
        "time_zone": zone,
        "from": iso_seconds(query.start),
        "to": iso_seconds(query.end),
        "watermark": iso(watermark),
        "late_adjustments": late,
    }


class _Sums:
    """What several buckets amount to."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = ZERO
        self.max = ZERO

    def take(self, bucket: UsageBucket) -> None:
        self.count += bucket.count
        self.sum = add(self.sum, bucket.sum)
        self.max = max(self.max, bucket.max)

    def fields(self) -> dict[str, Any]:
        return {"count": self.count, "sum": text(self.sum), "max": text(self.max)}


def _usage(found: Buckets, tenant: str, zone: str, query: UsageQuery) -> dict[str, Any]:
    sums: dict[tuple[int, int, str, str, str], _Sums] = {}
    for which, bucket in found:
        bounds = (0, 0) if query.window is None else period_bounds(zone, query.window, which.start)
        key = (*bounds, which.meter, query.group(which), which.unit)
        sums.setdefault(key, _Sums()).take(bucket)
    items = []
    for key in sorted(sums):
        start, end, meter, group, unit = key
        item: dict[str, Any] = {"meter": meter, "unit": unit, **sums[key].fields()}
        if query.window is not None:
            item = {"start": iso_seconds(start), "end": iso_seconds(end), **item}
        if query.group_by is not None:
            item[query.group_by] = group
        items.append(item)
    window = None if query.window is None else query.window.lower()
    head = _head(found, tenant, zone, query)
    return {**head, "window": window, "group_by": query.group_by, "items": items}


def _cost_items(found: Buckets, query: UsageQuery) -> list[dict[str, Any]]:
    meters: dict[str, dict[str, Decimal]] = {}
    for which, bucket in found:
        for cost in totals(bucket.costs):
            if query.currency in (None, cost.currency):
                of = meters.setdefault(cost.currency, {})
                of[which.meter] = add(of.get(which.meter, ZERO), cost.amount)
    return [
        {
            "currency": currency,
            "amount": text(_total(of)),
            "meters": [{"meter": meter, "amount": text(of[meter])} for meter in sorted(of)],
        }
        for currency, of in sorted(meters.items())
    ]


def _total(amounts: Mapping[str, Decimal]) -> Decimal:
    total = ZERO
    for amount in amounts.values():
        total = add(total, amount)
    return total


def _unpriced(found: Buckets) -> list[dict[str, str]]:
    """Return the units that came without a cost and have no price yet."""
    units: dict[tuple[str, str], Decimal] = {}
    for which, bucket in found:
        for line in bucket.costs:
            if not line.currency and line.quantity:
                key = (which.meter, which.unit)
                units[key] = add(units.get(key, ZERO), line.quantity)
    return [
        {"meter": meter, "unit": unit, "quantity": text(units[meter, unit])} for meter, unit in sorted(units)
    ]


def _quota(
    state: State, quota: UsageQuota, subject: str, rollup: UsageRollup | None, bounds: tuple[int, int]
) -> dict[str, Any]:
    meter: UsageMeter | None = state.get(meter_name(quota.meter))
    value = ZERO if rollup is None else rollup.total
    percent = None
    if quota.limit:
        percent = text(
            EXACT.divide(EXACT.multiply(value, Decimal(100)), quota.limit).quantize(CENT, context=EXACT)
        )
    fired = {} if rollup is None else rollup.fired
    return {
        "quota_id": quota.quota_id,
        "meter": quota.meter,
        "unit": None if meter is None else meter.unit,
        "aggregation": "SUM" if meter is None else meter.aggregation,
        "scope": quota.scope,
        "subject": subject or quota.subject,
        "limit": None if quota.limit is None else text(quota.limit),
        "value": text(value),
        "percent": percent,
        "thresholds": [f"{percent}%" for percent in quota.thresholds]
        + [text(number) for number in quota.absolute_thresholds],
        "fired": [{"threshold": label, "value": fired[label]} for label in sorted(fired)],
        "hard": quota.hard,
        "period": quota.period,
        "period_start": iso_seconds(bounds[0]),
        "period_end": iso_seconds(bounds[1]),
    }
