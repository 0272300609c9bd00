"""Usage metering: the aggregate of a tenant's usage, quotas and cost (contracts 3.5, 002-19 to 002-22).

The rules are in the modules beside this one: ``usage_count`` (events), ``usage_quotas`` and ``usage_alarms``
(thresholds), ``usage_prices`` (cost), ``usage_definitions`` (commands that define), ``usage_changes`` (closing) and
``usage_voids``. What they share: ``usage_facts``, ``usage_names`` (of records) and ``usage_windows`` (time).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from streams.events import (
    UsageBucket,
    UsageEvent,
    UsageEventRejected,
    UsageEventVoidRequested,
    UsageHour,
    UsageMeter,
    UsageMeterDefineRequested,
    UsagePeriodCloseRequested,
    UsagePrices,
    UsagePriceSetRequested,
    UsageQuota,
    UsageQuotaIndex,
    UsageQuotaSetRequested,
    UsageRollup,
    UsageTenant,
    UsageTenantSetRequested,
    UsageVoid,
)
from tables.state import Aggregate, Changes, Record, State
from tables.usage_changes import close_period
from tables.usage_count import count
from tables.usage_definitions import define_meter, set_quota, set_tenant
from tables.usage_facts import FUTURE_TIMESTAMP, LATE_EVENT, Assigned, Counted
from tables.usage_names import rollup_id
from tables.usage_prices import set_price
from tables.usage_voids import REFUSED, memo_of, void

NOTHING: Changes = {}

RULES: dict[type, Callable[[Any, Any, datetime], tuple[Any, ...]]] = {
    UsageEvent: count,
    UsageQuotaSetRequested: set_quota,
    UsageMeterDefineRequested: define_meter,
    UsagePriceSetRequested: set_price,
    UsageTenantSetRequested: set_tenant,
    UsageEventVoidRequested: void,
    UsagePeriodCloseRequested: close_period,
}
"""The rule of each event and command."""


def decide(state: State, event: Any, at: datetime) -> tuple[Any, ...]:
    """Answer an event or command of a tenant's usage with facts; ``at`` is its append time.

    Raises:
        LookupError: the event is none of this aggregate's.
    """
    rule = RULES.get(type(event))
    if rule is None:
        raise LookupError(
            f"{type(event).__name__} is no event of usage metering; correct its row in the routes"
        )
    return rule(state, event, at)


def fold(state: State, fact: Any) -> Changes:
    """Return the records a fact replaces.

    Published facts replace none: the values travel in the folded ones.
    """
    kind = type(fact)
    if kind is Counted or kind is Assigned:
        records: Changes = fact.records
        return records
    return NOTHING


def memo(fact: Any) -> str | None:
    """Return what to keep with the id of the event that ``fact`` answers, so that it can be voided."""
    kind = type(fact)
    if kind is Counted:
        return memo_of(fact)
    return REFUSED if kind is UsageEventRejected else None


def dead_letter_code(fact: Any) -> str | None:
    """Return the code with which a refused event also becomes a dead letter, to be redriven, or None."""
    if type(fact) is UsageEventRejected and fact.reason_code in (LATE_EVENT, FUTURE_TIMESTAMP):
        return str(fact.reason_code)
    return None


def due(name: str, record: Record) -> datetime | None:
    """Return when an hour or a roll-up wants to be closed."""
    if name[0] in "hr":
        time: datetime | None = record.due_at
        return time
    return None


def on_due(key: str, name: str, record: Record) -> UsagePeriodCloseRequested:
    """Return the command that closes an hour or a roll-up. The key of a usage topic is the tenant's id as it is.

    Its id is the same however often the timer asks.
    """
    quota_id, subject = None, None
    if name[0] == "r":
        quota_id, _, subject = rollup_id(name)
    return UsagePeriodCloseRequested(
        event_id=f"close|{key}|{name}|{record.passes}",
        timestamp=record.due_at,
        tenant_id=key,
        period="HOUR" if quota_id is None else "UNKNOWN",
        start=record.start,
        quota_id=quota_id,
        subject=subject or None,
    )


USAGE = Aggregate(
    name="usage",
    decide=decide,
    fold=fold,
    records=(
        UsageTenant,
        UsageMeter,
        UsageQuota,
        UsageQuotaIndex,
        UsagePrices,
        UsageHour,
        UsageBucket,
        UsageRollup,
        UsageVoid,
    ),
    memo=memo,
    dead_letter=dead_letter_code,
    due=due,
    on_due=on_due,
)
