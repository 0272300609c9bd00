"""Alerts: what is firing and what is resolved, by fingerprint (contracts 3.9).

The aggregate's key is the fingerprint ``tenant|alert_type|subject``. Alerts that say the same again move
``last_seen`` and ``count``, so there is one firing alert per fingerprint until it is resolved. Where several
sources report on one fingerprint, each has its own say: it fires while one of them says so.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from streams.events import Alert, AlertPhase, AlertState, NotificationSendRequested
from tables.notification_requests import of_alert
from tables.state import Aggregate, Changes, State

RECORD = "alert"
"""Name of the one record of a fingerprint."""

STALE = "STALE"
NOT_FIRING = "NOT_FIRING"
OTHER_INCIDENT = "OTHER_INCIDENT"
UNKNOWN_STATUS = "UNKNOWN_STATUS"

NOTHING: Changes = {}


class AlertNoted(NamedTuple):
    """The state of a fingerprint has a new value."""

    state: AlertState


class AlertIgnored(NamedTuple):
    """An alert changed nothing.

    Attributes:
        reason_code: STALE (older than the state it would change), NOT_FIRING (nothing to resolve),
            OTHER_INCIDENT (it resolves an earlier one), UNKNOWN_STATUS (neither firing nor resolved).
    """

    reason_code: str


Told = AlertNoted | AlertIgnored | NotificationSendRequested


def decide(state: State, event: Alert, at: datetime) -> tuple[Told, ...]:
    """Answer an alert: the fingerprint's new state, or why nothing changes; and a notification when it begins or ends.

    Args:
        state: of the fingerprint.
        event: the alert; its own ``timestamp`` orders the states of a fingerprint.
        at: its append time; an alert holds from the time its producer gives.
    """
    known: AlertState | None = state.get(RECORD)
    if event.status == "firing":
        fact = _fires(known, event)
    elif event.status == "resolved":
        fact = _resolves(known, event)
    else:
        fact = AlertIgnored(UNKNOWN_STATUS)
    if isinstance(fact, AlertNoted) and _is_news(known, fact.state):
        return fact, of_alert(event, fact.state, at)
    return (fact,)


def _is_news(known: AlertState | None, now: AlertState) -> bool:
    """Return whether an alert has begun or ended; repetitions are no news."""
    fired = known is not None and known.status == "firing"
    if now.status == "firing":
        return not fired or (known is not None and now.since != known.since)
    return fired


def fold(state: State, fact: Any) -> Changes:
    """Return the record a fact replaces."""
    return {RECORD: fact.state} if type(fact) is AlertNoted else NOTHING


def source_of(event: Alert) -> str:
    """Return who says so; empty where the event does not tell."""
    return (event.envelope.source or "") if event.envelope is not None else ""


def _fires(known: AlertState | None, event: Alert) -> AlertNoted | AlertIgnored:
    if event.ended_at is not None:
        return _over_already(known, event)
    if known is None or known.status != "firing":
        if known is not None and event.timestamp < known.since:
            return AlertIgnored(STALE)
        return AlertNoted(_state(known, event, "firing", event.timestamp, {source_of(event): event.alert_id}))
    sources = {**known.sources, source_of(event): event.alert_id}
    if event.timestamp < known.last_seen:
        return AlertNoted(_seen_again(known, known.sources))
    new_incident = known.sources.get(source_of(event)) != event.alert_id and len(sources) == 1
    since = event.timestamp if new_incident else known.since
    return AlertNoted(_state(known, event, "firing", since, sources))


def _over_already(known: AlertState | None, event: Alert) -> AlertNoted:
    """Note an alert that was over before it was noticed:

    It counts, and opens nothing that nobody would close.
    """
    if known is None:
        return AlertNoted(_state(None, event, "resolved", event.ended_at or event.timestamp, {}))
    return AlertNoted(_seen_again(known, known.sources))


def _resolves(known: AlertState | None, event: Alert) -> AlertNoted | AlertIgnored:
    source = source_of(event)
    if known is None or known.status != "firing" or source not in known.sources:
        return AlertIgnored(NOT_FIRING)
    if known.sources[source] != event.alert_id and event.alert_id:
        return AlertIgnored(OTHER_INCIDENT)
    # Where another source may have been seen later, only the beginning is sure to be older.
    if event.timestamp < (known.last_seen if len(known.sources) == 1 else known.since):
        return AlertIgnored(STALE)
    rest = {name: alert_id for name, alert_id in known.sources.items() if name != source}
    if rest:
        return AlertNoted(_seen_again(known, rest, counted=0))
    return AlertNoted(_state(known, event, "resolved", event.timestamp, {}))


def _state(
    known: AlertState | None, event: Alert, status: AlertPhase, since: datetime, sources: dict[str, str]
) -> AlertState:
    resolved = status == "resolved"
    count = (0 if known is None else known.count) + (event.status == "firing")
    keep = known is not None and resolved
    return AlertState(
        tenant_id=event.tenant_id,
        alert_type=event.alert_type,
        subject=event.subject,
        status=status,
        severity=known.severity if known is not None and keep else event.severity,
        since=since,
        last_seen=event.timestamp,
        count=count,
        started_at=known.started_at
        if known is not None and (keep or since == known.since)
        else event.started_at,
        alert_id=event.alert_id or (known.alert_id if known is not None else ""),
        ended_at=(event.ended_at or event.timestamp) if resolved else None,
        value=event.value,
        threshold=known.threshold if known is not None and keep else event.threshold,
        period=event.period,
        labels=event.labels,
        description=event.description,
        runbook=event.runbook,
        correlation_id=event.correlation_id,
        sources=sources,
    )


def _seen_again(known: AlertState, sources: dict[str, str], counted: int = 1) -> AlertState:
    fields = {name: getattr(known, name) for name in known.__struct_fields__}
    return AlertState(**{**fields, "count": known.count + counted, "sources": sources})


ALERTS = Aggregate(name="alerts", decide=decide, fold=fold, records=(AlertState,))
