"""What quotas publish: thresholds reached and recovered, and the alert of either (contracts 3.5, 3.9)."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from streams.events import (
    Alert,
    AlertSeverity,
    AlertStatus,
    UsageCause,
    UsageQuota,
    UsageQuotaRecovered,
    UsageQuotaThresholdReached,
    UsageRecoveryCause,
    UsageRollup,
)
from tables.exact import EXACT
from tables.facts import caused_by, changed
from tables.readable import text
from tables.usage_facts import (
    QUANTITY_STEP,
    multiply,
)

HUNDRED = Decimal(100)


class Threshold(NamedTuple):
    """A threshold of a quota.

    Attributes:
        level: usage from which it is in alarm; at least the smallest unit, so a limit of 0 fires at it.
        label: ``80%``, or the absolute number.
        percent: percent of the limit, or None for an absolute threshold.
        nominal: the usage it stands for, as people are told.
    """

    level: Decimal
    label: str
    percent: int | None
    nominal: Decimal


@lru_cache(maxsize=4096)
def thresholds_of(
    limit: Decimal | None, percents: tuple[int, ...], absolutes: tuple[Decimal, ...]
) -> tuple[Threshold, ...]:
    """Return a quota's thresholds, lowest first."""
    found = []
    if limit is not None:
        for percent in percents:
            # Rounded up: usage has six decimals, so it reaches the rounded level with the exact one.
            level = EXACT.divide(multiply(limit, Decimal(percent)), HUNDRED).quantize(
                QUANTITY_STEP, ROUND_CEILING, EXACT
            )
            found.append(Threshold(max(level, QUANTITY_STEP), f"{percent}%", percent, level))
    for absolute in absolutes:
        found.append(Threshold(max(absolute, QUANTITY_STEP), text(absolute), None, absolute))
    return tuple(
        sorted(found, key=lambda threshold: (threshold.level, threshold.nominal, threshold.percent or 0))
    )


def thresholds(quota: UsageQuota) -> tuple[Threshold, ...]:
    """Return the thresholds of ``quota``, lowest first."""
    return thresholds_of(quota.limit, quota.thresholds, quota.absolute_thresholds)


class Change(NamedTuple):
    """Why usage of a quota is looked at.

    Attributes:
        event: the event or command.
        at: its append time.
        cause: USAGE or LIMIT_CHANGED for thresholds reached.
        recovery: VOID, LIMIT_CHANGED or PERIOD_ENDED for thresholds recovered.
    """

    event: Any
    at: datetime
    cause: UsageCause = "USAGE"
    recovery: UsageRecoveryCause = "VOID"


class About(NamedTuple):
    """What a quota's facts are about: ``since`` is when the incident began, None where none is open."""

    quota: UsageQuota
    subject: str
    unit: str
    rollup: UsageRollup
    since: datetime | None
    change: Change


def _fields(about: About) -> dict[str, Any]:
    quota, rollup, change = about.quota, about.rollup, about.change
    return {
        "timestamp": change.at,
        "tenant_id": change.event.tenant_id,
        "quota_id": quota.quota_id,
        "meter": quota.meter,
        "unit": about.unit,
        "scope": quota.scope,
        "subject": about.subject or quota.subject,
        "value": rollup.total,
        "limit": quota.limit,
        "period": quota.period,
        "period_start": rollup.start,
        "period_end": rollup.end,
        "envelope": caused_by(change.event),
    }


def reached(about: About, crossed: list[Threshold]) -> list[Any]:
    """Return the fact that thresholds were reached, and its alert: one for all that one event crossed."""
    quota = about.quota
    late = about.change.at >= about.rollup.end
    fact = UsageQuotaThresholdReached(
        thresholds=tuple(threshold.percent for threshold in crossed if threshold.percent is not None),
        absolute_thresholds=tuple(threshold.nominal for threshold in crossed if threshold.percent is None),
        cause=about.change.cause,
        late=late,
        hard=quota.hard,
        **_fields(about),
    )
    top = crossed[-1]
    critical = quota.limit is not None and top.nominal >= quota.limit
    labels = {"thresholds": ",".join(threshold.label for threshold in crossed), "cause": about.change.cause}
    if late:
        labels["late"] = "true"
    alert = _alert(
        about, top.nominal, labels, severity="critical" if critical else "warning", status="firing"
    )
    if late:
        alert = changed(alert, ended_at=about.rollup.end)
    return [fact, alert]


def recovery(about: About, labels: list[str], cause: UsageRecoveryCause) -> list[Any]:
    """Return the fact that thresholds recovered, and the end of the alert once none is left.

    While another threshold of the quota stays reached, the alert goes on: a resolved alert means all is well.
    """
    percents = tuple(int(label[:-1]) for label in labels if label.endswith("%"))
    absolutes = tuple(Decimal(label) for label in labels if not label.endswith("%"))
    late = about.change.at >= about.rollup.end and cause != "PERIOD_ENDED"
    remaining = () if cause == "PERIOD_ENDED" else tuple(about.rollup.fired)
    fact = UsageQuotaRecovered(
        thresholds=percents,
        absolute_thresholds=absolutes,
        cause=cause,
        late=late,
        remaining=remaining,
        **_fields(about),
    )
    if remaining or about.since is None:
        return [fact]
    told = {"thresholds": ",".join(labels), "cause": cause}
    alert = _alert(about, None, told, severity="info", status="resolved")
    return [fact, changed(alert, ended_at=about.change.at)]


def _alert(
    about: About,
    threshold: Decimal | None,
    labels: dict[str, str],
    *,
    severity: AlertSeverity,
    status: AlertStatus,
) -> Alert:
    quota, rollup, change = about.quota, about.rollup, about.change
    subject = f"{quota.quota_id}/{about.subject}" if about.subject else quota.quota_id
    started = about.since or rollup.start
    envelope = caused_by(change.event)
    return Alert(
        timestamp=change.at,
        tenant_id=change.event.tenant_id,
        event_type="alerts.quota_exceeded",
        alert_id=f"{subject}@{started.isoformat()}",
        alert_type="quota_exceeded",
        subject=subject,
        severity=severity,
        status=status,
        value=rollup.total,
        threshold=threshold,
        started_at=about.since or change.at,
        period=f"{rollup.start.isoformat()}/{rollup.end.isoformat()}",
        labels={"quota_id": quota.quota_id, "meter": quota.meter, **labels},
        description=_description(about, status),
        correlation_id=envelope.correlation_id,
        envelope=envelope,
    )


def _description(about: About, status: AlertStatus) -> str:
    quota = about.quota
    limit = "no limit" if quota.limit is None else f"limit {text(quota.limit)}"
    state = "is back below its thresholds" if status == "resolved" else "has reached a threshold"
    unit = f" {about.unit}" if about.unit else ""
    used = f"{text(about.rollup.total)}{unit} used, {limit} per {quota.period.lower()}"
    return f"Quota {quota.quota_id} {state}: {used}."
