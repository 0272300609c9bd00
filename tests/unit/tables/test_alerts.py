"""Firing and resolved alerts by fingerprint (contracts 3.9)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from streams.events import Alert, AlertState, Envelope
from tables.alerts import ALERTS, AlertIgnored
from tables.alerts_views import alert as alert_view
from tables.alerts_views import alerts as alerts_view
from tables.readable import QueryError
from tests.unit.tables.scenario import NOON, TENANT, Scenario, seconds

FINGERPRINT = f"{TENANT}|quota_exceeded|q1"


def alert(status: str = "firing", after: float = 0, *, source: str | None = None, **more: Any) -> Alert:
    when = NOON + seconds(after)
    fields: dict[str, Any] = {
        "event_id": f"{status}-{after}",
        "timestamp": when,
        "tenant_id": TENANT,
        "event_type": "alerts.quota_exceeded",
        "alert_id": "incident-1",
        "alert_type": "quota_exceeded",
        "subject": "q1",
        "severity": "warning",
        "status": status,
        "value": Decimal(80),
        "started_at": when,
        "envelope": None if source is None else Envelope(source=source),
    }
    return Alert(**{**fields, **more})


def fingerprint() -> Scenario:
    return Scenario(ALERTS, FINGERPRINT)


def state(scenario: Scenario) -> AlertState:
    found: AlertState = scenario.records["alert"]
    return found


def ignored(scenario: Scenario, event: Alert, at: datetime = NOON) -> str:
    before = dict(scenario.records)
    [fact] = ALERTS.decide(scenario, event, at)
    assert isinstance(fact, AlertIgnored)
    assert ALERTS.fold(scenario, fact) == {}
    assert scenario.records == before
    return fact.reason_code


def test_the_first_firing_alert_opens_the_fingerprint() -> None:
    scenario = fingerprint()
    scenario.send(alert())
    assert (state(scenario).status, state(scenario).since, state(scenario).count) == ("firing", NOON, 1)


def test_duplicates_move_last_seen_and_count_only() -> None:
    scenario = fingerprint()
    for after in (0, 10, 20):
        scenario.send(alert(after=after))
    found = state(scenario)
    assert (found.since, found.started_at, found.last_seen) == (NOON, NOON, NOON + seconds(20))
    assert found.count == 3


def test_an_alert_that_gets_worse_says_so() -> None:
    scenario = fingerprint()
    scenario.send(alert())
    scenario.send(alert(after=10, severity="critical", value=Decimal(100)))
    found = state(scenario)
    assert (found.severity, found.value, found.since) == ("critical", Decimal(100), NOON)


def test_a_resolved_alert_ends_what_fired() -> None:
    scenario = fingerprint()
    scenario.send(alert())
    scenario.send(alert("resolved", 30))
    found = state(scenario)
    assert (found.status, found.since, found.ended_at) == (
        "resolved",
        NOON + seconds(30),
        NOON + seconds(30),
    )
    assert (found.started_at, found.severity, found.count) == (NOON, "warning", 1)


def test_resolved_means_nothing_before_firing() -> None:
    assert ignored(fingerprint(), alert("resolved")) == "NOT_FIRING"


def test_resolved_twice_changes_nothing() -> None:
    scenario = fingerprint()
    scenario.send(alert())
    scenario.send(alert("resolved", 30))
    assert ignored(scenario, alert("resolved", 40)) == "NOT_FIRING"


def test_an_alert_may_fire_again_after_it_was_resolved() -> None:
    scenario = fingerprint()
    scenario.send(alert())
    scenario.send(alert("resolved", 30))
    scenario.send(alert(after=60, alert_id="incident-2"))
    found = state(scenario)
    assert (found.status, found.since, found.ended_at, found.count) == ("firing", NOON + seconds(60), None, 2)


def test_a_firing_alert_older_than_its_resolution_changes_nothing() -> None:
    scenario = fingerprint()
    scenario.send(alert())
    scenario.send(alert("resolved", 30))
    assert ignored(scenario, alert(after=20)) == "STALE"


def test_a_resolution_older_than_the_last_firing_changes_nothing() -> None:
    scenario = fingerprint()
    scenario.send(alert(after=30))
    assert ignored(scenario, alert("resolved", 20)) == "STALE"


def test_a_firing_alert_that_overtook_an_older_one_keeps_the_newer_facts() -> None:
    scenario = fingerprint()
    scenario.send(alert(after=30, value=Decimal(100)))
    scenario.send(alert(after=10, value=Decimal(80)))
    found = state(scenario)
    assert (found.value, found.last_seen, found.count) == (Decimal(100), NOON + seconds(30), 2)


def test_the_end_of_an_earlier_incident_does_not_end_the_running_one() -> None:
    scenario = fingerprint()
    scenario.send(alert())
    scenario.send(alert(after=10, alert_id="incident-2"))
    assert ignored(scenario, alert("resolved", 20)) == "OTHER_INCIDENT"
    assert (state(scenario).since, state(scenario).alert_id) == (NOON + seconds(10), "incident-2")


def test_an_alert_that_was_over_before_it_was_noticed_opens_nothing() -> None:
    scenario = fingerprint()
    scenario.send(alert(ended_at=NOON - seconds(3600)))
    assert (state(scenario).status, state(scenario).count) == ("resolved", 1)
    scenario.send(alert(after=10))
    scenario.send(alert(after=20, ended_at=NOON, alert_id="old"))
    assert (state(scenario).status, state(scenario).alert_id) == ("firing", "incident-1")
    assert state(scenario).count == 3


def test_an_alert_fires_while_one_of_its_sources_says_so() -> None:
    scenario = fingerprint()
    scenario.send(alert(source="/ours"))
    scenario.send(alert(after=10, source="/theirs", alert_id="x-1"))
    scenario.send(alert("resolved", 20, source="/ours"))
    assert (state(scenario).status, state(scenario).since) == ("firing", NOON)
    assert ignored(scenario, alert("resolved", 25, source="/nobody")) == "NOT_FIRING"
    scenario.send(alert("resolved", 30, source="/theirs", alert_id="x-1"))
    assert (state(scenario).status, state(scenario).since) == ("resolved", NOON + seconds(30))


def test_a_source_may_resolve_what_another_has_said_later() -> None:
    scenario = fingerprint()
    scenario.send(alert(source="/ours"))
    scenario.send(alert(after=30, source="/theirs"))
    scenario.send(alert("resolved", 20, source="/ours"))
    scenario.send(alert("resolved", 40, source="/theirs"))
    assert state(scenario).status == "resolved"


def test_an_unknown_status_changes_nothing() -> None:
    assert ignored(fingerprint(), alert("UNKNOWN")) == "UNKNOWN_STATUS"


def test_quota_alerts_open_and_close_their_fingerprint() -> None:
    tenant, scenario = Scenario(), fingerprint()
    tenant.quota(100)
    tenant.used(85)
    tenant.used(15, event_id="last")
    tenant.void("last")
    tenant.quota(1000)
    statuses = []
    for published in tenant.of(Alert):
        scenario.send(published)
        statuses.append(state(scenario).status)
    assert statuses == ["firing", "firing", "resolved"]


def views() -> list[tuple[str, Scenario]]:
    firing, resolved = fingerprint(), fingerprint()
    firing.send(alert(labels={"meter": "tokens.input"}))
    resolved.send(alert(subject="q2"))
    resolved.send(alert("resolved", 30, subject="q2"))
    return [("a", firing), ("b", resolved), ("c", fingerprint())]


def test_the_list_has_those_seen_last_first() -> None:
    assert [item["fingerprint"] for item in alerts_view(views(), {})] == ["b", "a"]


def test_the_list_can_be_narrowed() -> None:
    assert [item["subject"] for item in alerts_view(views(), {"status": "firing"})] == ["q1"]
    assert alerts_view(views(), {"severity": "critical"}) == []
    assert len(alerts_view(views(), {"tenant": TENANT, "alert_type": "quota_exceeded"})) == 2


@pytest.mark.parametrize(("field", "value"), [("status", "burning"), ("severity", "high")])
def test_a_filter_that_does_not_exist_is_named(field: str, value: str) -> None:
    with pytest.raises(QueryError) as caught:
        alerts_view([], {field: value})
    assert caught.value.field == field


def test_one_alert_shows_numbers_and_times_as_text() -> None:
    [(name, firing), *_, (_, empty)] = views()
    found = alert_view(name, firing)
    assert found is not None
    assert (found["value"], found["threshold"], found["since"]) == ("80", None, "2026-11-20T12:00:00Z")
    assert found["labels"] == {"meter": "tokens.input"}
    assert alert_view("c", empty) is None
