"""Read models of alerts:

What the HTTP views answer (contracts 3.9). Pure functions, whole lists, JSON-able values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from streams.events import AlertState
from tables.alerts import RECORD
from tables.readable import QueryError, iso, text
from tables.state import State

STATUSES = ("inactive", "pending", "firing", "resolved")
SEVERITIES = ("info", "warning", "critical")


def alerts(states: Iterable[tuple[str, State]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return alerts, those seen last first.

    Args:
        states: fingerprint and state of each.
        query: ``status``, ``severity``, ``tenant`` and ``alert_type``, each optional.

    Raises:
        QueryError: a parameter cannot be used.
    """
    for field, allowed in (("status", STATUSES), ("severity", SEVERITIES)):
        if query.get(field) and query[field] not in allowed:
            raise QueryError(field, f"{query[field]!r} is none; use one of {', '.join(allowed)}")
    found: list[tuple[AlertState, dict[str, Any]]] = []
    for fingerprint, state in states:
        record: AlertState | None = state.get(RECORD)
        if record is not None and _matches(record, query):
            found.append((record, _item(fingerprint, record)))
    found.sort(key=lambda pair: pair[1]["fingerprint"])
    found.sort(key=lambda pair: pair[0].last_seen, reverse=True)
    return [item for _, item in found]


def alert(fingerprint: str, state: State) -> dict[str, Any] | None:
    """Return one alert, or None where nothing is known of its fingerprint."""
    record: AlertState | None = state.get(RECORD)
    return None if record is None else _item(fingerprint, record)


def _matches(record: AlertState, query: Mapping[str, str]) -> bool:
    wanted = (
        ("status", record.status),
        ("severity", record.severity),
        ("tenant", record.tenant_id),
        ("alert_type", record.alert_type),
    )
    return all(not query.get(field) or query[field] == value for field, value in wanted)


def _item(fingerprint: str, record: AlertState) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint,
        "alert_id": record.alert_id,
        "alert_type": record.alert_type,
        "tenant_id": record.tenant_id,
        "subject": record.subject,
        "status": record.status,
        "severity": record.severity,
        "since": iso(record.since),
        "started_at": iso(record.started_at),
        "ended_at": iso(record.ended_at),
        "last_seen": iso(record.last_seen),
        "count": record.count,
        "value": None if record.value is None else text(record.value),
        "threshold": None if record.threshold is None else text(record.threshold),
        "period": record.period,
        "labels": dict(record.labels),
        "description": record.description,
        "runbook": record.runbook,
        "correlation_id": record.correlation_id,
    }
