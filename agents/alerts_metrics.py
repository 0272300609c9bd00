"""What is counted of alerts: how many fire."""

from __future__ import annotations

from collections.abc import Iterator

from streams.app import SluiceApp
from streams.events import AlertState
from streams.metrics_census import Question
from streams.reading import StoredState
from tables.alerts import RECORD

SEVERITIES = ("info", "warning", "critical")


def count_alerts(app: SluiceApp) -> None:
    """Add the count to a worker's metrics."""
    always = [(severity,) for severity in SEVERITIES]
    app.census.questions.append(Question("sluice_alerts_firing", "alerts", (RECORD,), firing, always))


def firing(state: StoredState) -> Iterator[tuple[str]]:
    """Yield the severity of an alert that fires."""
    alert: AlertState | None = state.get(RECORD)
    if alert is not None and alert.status == "firing":
        yield (alert.severity,)
