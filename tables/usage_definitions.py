"""Definitions of a tenant:

Quotas, meters and the time zone, and what a change of one does to the current period.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from streams.events import (
    UsageMeter,
    UsageMeterDefined,
    UsageMeterDefineRequested,
    UsageQuota,
    UsageQuotaIndex,
    UsageQuotaSet,
    UsageQuotaSetRequested,
    UsageRollup,
    UsageRoute,
    UsageTenant,
    UsageTenantSet,
    UsageTenantSetRequested,
)
from tables.facts import caused_by, changed
from tables.state import State
from tables.usage_alarms import About, Change, recovery
from tables.usage_count import kind_of
from tables.usage_facts import (
    CONFLICT,
    VALIDATION_FAILED,
    ZERO,
    Assigned,
    Draft,
    present,
    rejected,
)
from tables.usage_names import (
    TENANT,
    meter_name,
    quota_name,
    rollup_id,
    rollup_name,
    rollup_prefix,
)
from tables.usage_prices import normal_model
from tables.usage_quotas import (
    DEFAULT_THRESHOLDS,
    bucket_totals,
    evaluate,
    index_of,
    new_rollup,
    scope_kind,
)
from tables.usage_windows import moment, period_bounds, seconds_of, zone_of

MAX_LIMIT = Decimal("1E+26")
MAX_PERCENT = 1000
MAX_THRESHOLDS = 20


def zone_in(state: State | Draft) -> str:
    """Return the tenant's time zone; UTC where none was set."""
    tenant: UsageTenant | None = state.get(TENANT)
    return "UTC" if tenant is None else tenant.time_zone


def set_tenant(state: State, event: UsageTenantSetRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a tenant's settings.

    In another zone the current periods are rolled up anew; what fired stays fired.
    """
    try:
        zone_of(event.time_zone)
    except ValueError as error:
        return (rejected(event, at, VALIDATION_FAILED, str(error)),)
    draft = Draft(state)
    before = zone_in(draft)
    tenant = changed(
        draft.get(TENANT) or UsageTenant(),
        time_zone=event.time_zone,
        reject_cost_mismatch=event.reject_cost_mismatch,
    )
    draft.put(TENANT, tenant)
    facts: list[Any] = []
    if event.time_zone != before:
        for name in sorted(draft.names("d|")):
            quota: UsageQuota = present(draft, name)
            start = period_bounds(event.time_zone, quota.period, seconds_of(at))[0]
            quota = changed(quota, counted_from=moment(start))
            draft.put(name, quota)
            facts += _roll_up(draft, quota, _limit_change(event, at))
    fact = UsageTenantSet(
        timestamp=at,
        tenant_id=event.tenant_id,
        time_zone=event.time_zone,
        reject_cost_mismatch=event.reject_cost_mismatch,
        envelope=caused_by(event),
    )
    return (Assigned(draft.records), fact, *facts)


def define_meter(state: State, event: UsageMeterDefineRequested, at: datetime) -> tuple[Any, ...]:
    """Decide what a meter counts from now on. Unit and aggregation are fixed while quotas compare them."""
    if not event.meter or not event.unit or event.aggregation == "UNKNOWN":
        message = "a meter needs a name, a unit and one of SUM, COUNT, MAX"
        return (rejected(event, at, VALIDATION_FAILED, message),)
    draft = Draft(state)
    name = meter_name(event.meter)
    known: UsageMeter = draft.get(name) or UsageMeter()
    same_unit = known.unit is None or known.unit == event.unit
    if known.scopes and not (same_unit and known.aggregation == event.aggregation):
        message = "quotas compare this meter's unit and aggregation; define another meter for others"
        return (rejected(event, at, CONFLICT, message),)
    draft.put(name, changed(known, unit=event.unit, aggregation=event.aggregation, defined=True))
    tenant: UsageTenant = draft.get(TENANT) or UsageTenant()
    draft.put(TENANT, changed(tenant, routes=_routes(tenant.routes, event)))
    fact = UsageMeterDefined(
        timestamp=at,
        tenant_id=event.tenant_id,
        meter=event.meter,
        event_type=event.event_type,
        resource_type=event.resource_type,
        unit=event.unit,
        aggregation=event.aggregation,
        envelope=caused_by(event),
    )
    return (Assigned(draft.records), fact)


def _routes(routes: tuple[UsageRoute, ...], event: UsageMeterDefineRequested) -> tuple[UsageRoute, ...]:
    resource = event.resource_type
    if not event.event_type and not resource:
        resource = event.meter
    kind = kind_of(event.event_type) if event.event_type else None
    new = UsageRoute(meter=event.meter, event_type=kind, resource_type=resource or None)
    others = [route for route in routes if route.meter != event.meter]

    def order(route: UsageRoute) -> tuple[bool, bool, str]:
        return route.resource_type is None, route.event_type is None, route.meter

    return tuple(sorted((*others, new), key=order))


def set_quota(state: State, event: UsageQuotaSetRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a quota.

    The current period is rolled up from its buckets and compared with the new limit at once.
    """
    problem = _quota_problem(event)
    if problem:
        return (rejected(event, at, VALIDATION_FAILED, problem),)
    draft = Draft(state)
    known: UsageQuota | None = draft.get(quota_name(event.quota_id))
    start = period_bounds(zone_in(draft), event.period, seconds_of(at))[0]
    quota = _quota(event, known, moment(start))
    change = _limit_change(event, at)
    facts: list[Any] = []
    if known is not None and _counts_other_usage(known, quota):
        facts += _retire(draft, known, change)
    _enter(draft, quota)
    facts += _roll_up(draft, quota, change)
    fact = UsageQuotaSet(
        timestamp=at,
        tenant_id=event.tenant_id,
        quota_id=quota.quota_id,
        meter=quota.meter,
        scope=quota.scope,
        subject=quota.subject,
        limit=quota.limit,
        period=quota.period,
        thresholds=quota.thresholds,
        absolute_thresholds=quota.absolute_thresholds,
        hard=quota.hard,
        version=quota.version,
        envelope=caused_by(event),
    )
    return (Assigned(draft.records), fact, *facts)


def _quota_problem(event: UsageQuotaSetRequested) -> str:
    if not event.quota_id or not event.meter:
        return "a quota needs a quota_id and a meter"
    if event.scope == "UNKNOWN" or event.period == "UNKNOWN":
        return "scope is TENANT, USER or MODEL, period HOUR, DAY or MONTH; an older worker knows fewer"
    if event.scope == "TENANT" and event.subject:
        return "a quota of the whole tenant has no subject; use scope USER or MODEL"
    if event.limit is None and event.thresholds:
        return "percent of an unlimited quota means nothing; use absolute_thresholds"
    numbers = [*event.absolute_thresholds, *(() if event.limit is None else (event.limit,))]
    if not all(number.is_finite() and 0 <= number < MAX_LIMIT for number in numbers):
        return "limit and thresholds are numbers from 0 to below 10^26"
    if not all(1 <= percent <= MAX_PERCENT for percent in event.thresholds):
        return f"percent thresholds are from 1 to {MAX_PERCENT}"
    if len(event.thresholds) + len(event.absolute_thresholds) > MAX_THRESHOLDS:
        return f"a quota has at most {MAX_THRESHOLDS} thresholds"
    return ""


def _quota(event: UsageQuotaSetRequested, known: UsageQuota | None, counted_from: datetime) -> UsageQuota:
    percents = tuple(sorted(set(event.thresholds)))
    if not percents and not event.absolute_thresholds and event.limit is not None:
        percents = DEFAULT_THRESHOLDS
    subject = event.subject or None
    if subject and event.scope == "MODEL":
        subject = normal_model(subject)
    return UsageQuota(
        quota_id=event.quota_id,
        meter=event.meter,
        scope=event.scope,
        period=event.period,
        version=1 if known is None else known.version + 1,
        counted_from=counted_from,
        subject=subject,
        limit=event.limit,
        thresholds=percents,
        absolute_thresholds=tuple(sorted(set(event.absolute_thresholds))),
        hard=event.hard,
    )


def _limit_change(event: Any, at: datetime) -> Change:
    return Change(event, at, cause="LIMIT_CHANGED", recovery="LIMIT_CHANGED")


def _counts_other_usage(known: UsageQuota, new: UsageQuota) -> bool:
    before = (known.meter, known.scope, known.subject, known.period)
    return before != (new.meter, new.scope, new.subject, new.period)


def _enter(draft: Draft, quota: UsageQuota) -> None:
    draft.put(quota_name(quota.quota_id), quota)
    name = index_of(quota)
    index: UsageQuotaIndex = draft.get(name) or UsageQuotaIndex(quota_ids=())
    draft.put(name, UsageQuotaIndex(quota_ids=tuple(sorted({*index.quota_ids, quota.quota_id}))))
    meter: UsageMeter = draft.get(meter_name(quota.meter)) or UsageMeter()
    scopes = tuple(sorted({*meter.scopes, scope_kind(quota)}))
    draft.put(meter_name(quota.meter), changed(meter, scopes=scopes))


def _current(draft: Draft, quota_id: str, at: datetime) -> dict[str, tuple[str, UsageRollup]]:
    """Return a quota's roll-ups of the period that holds ``at``: subject to name and record."""
    found = {}
    for name in sorted(draft.names(rollup_prefix(quota_id))):
        rollup: UsageRollup = present(draft, name)
        if not rollup.ended and rollup.start <= at < rollup.end:
            found[rollup_id(name)[2]] = (name, rollup)
    return found


def _retire(draft: Draft, quota: UsageQuota, change: Change) -> list[Any]:
    """Take a quota out that from now on counts something else: what it had fired recovers."""
    facts: list[Any] = []
    meter: UsageMeter = present(draft, meter_name(quota.meter))
    for subject, (name, rollup) in _current(draft, quota.quota_id, change.at).items():
        if rollup.fired:
            quiet = changed(rollup, fired={})
            about = About(quota, subject, meter.unit or "", quiet, rollup.firing_since, change)
            facts += recovery(about, list(rollup.fired), change.recovery)
        draft.put(name, None)
    name = index_of(quota)
    index: UsageQuotaIndex = present(draft, name)
    rest = tuple(quota_id for quota_id in index.quota_ids if quota_id != quota.quota_id)
    draft.put(name, UsageQuotaIndex(quota_ids=rest) if rest else None)
    return facts


def _roll_up(draft: Draft, quota: UsageQuota, change: Change) -> list[Any]:
    """Assign the roll-ups of the current period from its buckets; compare them with the quota as it is."""
    meter: UsageMeter = present(draft, meter_name(quota.meter))
    bounds = period_bounds(zone_in(draft), quota.period, seconds_of(change.at))
    sums = bucket_totals(draft, quota, meter, bounds)
    known = _current(draft, quota.quota_id, change.at)
    facts: list[Any] = []
    for subject in sorted({*sums, *known}):
        fresh = new_rollup(quota, bounds, ZERO, change.at)
        name = rollup_name(quota.quota_id, bounds[0], subject)
        if subject in known:
            old_name, old = known[subject]
            fresh = changed(fresh, fired=old.fired, firing_since=old.firing_since, passes=old.passes)
            if old_name != name:
                draft.put(old_name, None)
        rollup, found = evaluate(quota, subject, meter, fresh, sums.get(subject, ZERO), change)
        draft.put(name, rollup)
        facts += found
    return facts
