"""How a command ends: the new sums, and whether stock became low or has recovered (contracts 3.1, 3.9).

Stock is low from when what is available falls to the reorder point, or below it, until it is above by more than the
hysteresis: one alert for each time, however often it goes up and down near the point.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from streams.events import Alert, AlertSeverity, AlertStatus, StockLevelLow, StockLevelRecovered
from tables.readable import text
from tables.stock_draft import Draft
from tables.stock_facts import add
from tables.stock_names import HEAD


def finish(draft: Draft, *, new_point: bool = False) -> tuple[Any, ...]:
    """Return the facts of a command that changed something.

    Args:
        draft: all that it changed.
        new_point: whether stock that is at or below the reorder point has reached it by a change of the point.
    """
    since, point = draft.head.low_since, draft.policy.reorder_point
    facts: tuple[Any, ...] = ()
    if since is None:
        if point is not None and draft.available <= point and (draft.head.available > point or new_point):
            since = draft.at
            facts = (_low(draft, point), _alert(draft, "firing", since, point))
    elif point is None or draft.available > add(point, draft.policy.hysteresis):
        facts = (_recovered(draft, point, since), _alert(draft, "resolved", since, None))
        since = None
    draft.put(HEAD, draft.sums(since))
    return (draft.changes(), *draft.facts, *facts)


def _common(draft: Draft) -> dict[str, Any]:
    return {
        "timestamp": draft.at,
        "tenant_id": draft.event.tenant_id,
        "product_id": draft.product,
        "warehouse_id": draft.warehouse,
        "available": draft.available,
        "on_hand": draft.on_hand,
        "reserved": draft.reserved,
        "uom": draft.uom,
        "envelope": draft.envelope,
    }


def _low(draft: Draft, point: Decimal) -> StockLevelLow:
    return StockLevelLow(reorder_point=point, **_common(draft))


def _recovered(draft: Draft, point: Decimal | None, since: datetime) -> StockLevelRecovered:
    return StockLevelRecovered(reorder_point=point, low_since=since, **_common(draft))


def _alert(draft: Draft, status: AlertStatus, since: datetime, point: Decimal | None) -> Alert:
    subject = f"{draft.product}/{draft.warehouse}"
    envelope = draft.envelope
    fires: AlertSeverity = "warning" if draft.available else "critical"
    return Alert(
        timestamp=draft.at,
        tenant_id=draft.event.tenant_id,
        event_type="alerts.low_stock",
        alert_id=f"{subject}@{since.isoformat()}",
        alert_type="low_stock",
        subject=subject,
        severity=fires if status == "firing" else "info",
        status=status,
        value=draft.available,
        threshold=point,
        started_at=since,
        ended_at=draft.at if status == "resolved" else None,
        labels={"product_id": draft.product, "warehouse_id": draft.warehouse},
        description=_description(draft, status),
        correlation_id=envelope.correlation_id,
        envelope=envelope,
    )


def _description(draft: Draft, status: AlertStatus) -> str:
    state = "has recovered" if status == "resolved" else "is low"
    unit = f" {draft.uom}" if draft.uom else ""
    point = draft.policy.reorder_point
    limit = "no reorder point" if point is None else f"reorder point {text(point)}"
    return f"Stock of {draft.product} in {draft.warehouse} {state}: {text(draft.available)}{unit} available, {limit}."
