"""Quotas: each crossing alerts exactly once (contracts 3.5, N19, N29)."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from streams.events import (
    Alert,
    UsageEventRejected,
    UsageQuotaPeriodClosed,
    UsageQuotaRecovered,
    UsageQuotaSet,
    UsageQuotaThresholdReached,
)
from tests.unit.tables.scenario import NOON, Scenario, seconds, time


def crossings(scenario: Scenario, facts: list[Any] | None = None) -> list[tuple[int, ...]]:
    return [fact.thresholds for fact in scenario.of(UsageQuotaThresholdReached, facts)]


def test_a_threshold_fires_when_usage_reaches_it_exactly_and_only_once() -> None:
    tenant = Scenario()
    tenant.quota(100)
    assert crossings(tenant, tenant.used("79.999999")) == []
    assert crossings(tenant, tenant.used("0.000001")) == [(80,)]
    assert crossings(tenant, tenant.used(10)) == []
    assert crossings(tenant, tenant.used(10)) == [(100,)]
    assert crossings(tenant, tenant.used(1000)) == []


def test_a_jump_over_several_thresholds_is_one_event_and_one_alert_of_the_highest_severity() -> None:
    tenant = Scenario()
    tenant.quota(100)
    tenant.used(150)
    assert crossings(tenant) == [(80, 100)]
    [alert] = tenant.firing()
    assert (alert.severity, alert.value, alert.threshold) == ("critical", Decimal(150), Decimal(100))
    assert (alert.event_type, alert.alert_type, alert.subject) == (
        "alerts.quota_exceeded",
        "quota_exceeded",
        "q1",
    )


def test_below_the_limit_the_alert_is_a_warning() -> None:
    tenant = Scenario()
    tenant.quota(100)
    tenant.used(80)
    assert [alert.severity for alert in tenant.firing()] == ["warning"]


def test_the_fact_says_value_limit_and_period() -> None:
    tenant = Scenario()
    tenant.quota(100, hard=True)
    tenant.used(85)
    fact = tenant.one(UsageQuotaThresholdReached)
    assert (fact.quota_id, fact.value, fact.limit, fact.period) == ("q1", Decimal(85), Decimal(100), "MONTH")
    assert (fact.period_start, fact.period_end) == (time("2026-11-01"), time("2026-12-01"))
    assert (fact.cause, fact.late, fact.hard, fact.unit) == ("USAGE", False, True, "tokens")


def test_a_limit_of_zero_fires_at_the_first_unit() -> None:
    tenant = Scenario()
    tenant.quota(0)
    assert crossings(tenant, tenant.used(0)) == []
    assert crossings(tenant, tenant.used("0.000001")) == [(80, 100)]
    assert len(tenant.firing()) == 1
    assert tenant.used(1) == []


def test_without_a_quota_nothing_ever_fires() -> None:
    tenant = Scenario()
    tenant.used("1E+17")
    assert crossings(tenant) == []


def test_an_unlimited_quota_has_absolute_thresholds_only() -> None:
    tenant = Scenario()
    tenant.quota(None, thresholds=(80,))
    assert tenant.one(UsageEventRejected).reason_code == "VALIDATION_FAILED"
    tenant.quota(None, absolute_thresholds=(Decimal(500), Decimal(50)))
    tenant.used(60)
    fact = tenant.one(UsageQuotaThresholdReached)
    assert (fact.thresholds, fact.absolute_thresholds, fact.limit) == ((), (Decimal(50),), None)


def test_percent_and_absolute_thresholds_may_be_mixed() -> None:
    tenant = Scenario()
    tenant.quota(100, thresholds=(50, 120), absolute_thresholds=(Decimal(70),))
    tenant.used(60)
    tenant.used(15)
    tenant.used(60)
    facts = tenant.of(UsageQuotaThresholdReached)
    assert [(fact.thresholds, fact.absolute_thresholds) for fact in facts] == [
        ((50,), ()),
        ((), (Decimal(70),)),
        ((120,), ()),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"quota_id": ""},
        {"meter": ""},
        {"scope": "UNKNOWN"},
        {"period": "UNKNOWN"},
        {"subject": "user-001"},
        {"limit": Decimal(-1)},
        {"limit": Decimal("NaN")},
        {"thresholds": (0,)},
        {"thresholds": (1001,)},
        {"thresholds": tuple(range(1, 22))},
        {"absolute_thresholds": (Decimal(-5),)},
    ],
)
def test_a_quota_that_makes_no_sense_is_rejected(wrong: dict[str, Any]) -> None:
    tenant = Scenario()
    tenant.quota(**{"limit": 100, **wrong})
    assert tenant.one(UsageEventRejected).reason_code == "VALIDATION_FAILED"
    assert tenant.records == {}


def test_a_quota_of_one_user_counts_only_that_user() -> None:
    tenant = Scenario()
    tenant.quota(100, scope="USER", subject="user-002")
    tenant.used(500)
    assert crossings(tenant) == []
    tenant.used(80, user_id="user-002")
    assert tenant.one(UsageQuotaThresholdReached).subject == "user-002"


def test_a_quota_for_each_user_counts_every_user_apart() -> None:
    tenant = Scenario()
    tenant.quota(100, scope="USER")
    for user in ("a", "b", "a", "b", "a", ""):
        tenant.used(50, user_id=user)
    facts = tenant.of(UsageQuotaThresholdReached)
    assert [(fact.subject, fact.value) for fact in facts] == [("a", Decimal(100)), ("b", Decimal(100))]
    assert [alert.subject for alert in tenant.firing()] == ["q1/a", "q1/b"]


def test_a_quota_of_a_model_counts_its_dated_versions() -> None:
    tenant = Scenario()
    tenant.quota(100, scope="MODEL", subject="GPT-4")
    tenant.used(40, model="gpt-4-0613")
    tenant.used(40, model="openai/gpt-4-2024-05-13")
    tenant.used(999, model="gpt-4o")
    assert tenant.one(UsageQuotaThresholdReached).value == Decimal(80)


def test_a_quota_of_one_meter_does_not_count_another() -> None:
    tenant = Scenario()
    tenant.quota(100)
    tenant.used(500, resource_type="tokens.output")
    assert crossings(tenant) == []


def test_a_quota_on_a_counting_meter_counts_events() -> None:
    tenant = Scenario()
    tenant.meter("tokens.input", "tokens", aggregation="COUNT")
    tenant.quota(3, thresholds=(100,))
    tenant.used(1000)
    tenant.used(1000)
    assert crossings(tenant) == []
    assert crossings(tenant, tenant.used(1000)) == [(100,)]


def test_a_quota_on_a_maximum_meter_compares_the_largest_quantity() -> None:
    tenant = Scenario()
    tenant.meter("tokens.input", "tokens", aggregation="MAX")
    tenant.quota(100, thresholds=(100,))
    for _ in range(5):
        tenant.used(99)
    assert crossings(tenant) == []
    assert crossings(tenant, tenant.used(100)) == [(100,)]


def test_several_quotas_fire_each_for_itself() -> None:
    tenant = Scenario()
    tenant.quota(100, quota_id="month")
    tenant.quota(10, quota_id="day", period="DAY")
    tenant.quota(50, quota_id="user", scope="USER", subject="user-001")
    tenant.used(60)
    fired = {fact.quota_id: fact.thresholds for fact in tenant.of(UsageQuotaThresholdReached)}
    assert fired == {"day": (80, 100), "user": (80, 100)}


def test_a_quota_set_later_counts_what_the_period_has_used_already() -> None:
    tenant = Scenario()
    tenant.used(60)
    tenant.used(30, user_id="user-002")
    tenant.quota(100)
    fact = tenant.one(UsageQuotaThresholdReached)
    assert (fact.thresholds, fact.value, fact.cause) == ((80,), Decimal(90), "LIMIT_CHANGED")
    tenant.used(10)
    assert crossings(tenant) == [(80,), (100,)]


def test_lowering_the_limit_below_the_usage_fires_with_its_cause() -> None:
    tenant = Scenario()
    tenant.quota(1000)
    tenant.used(90)
    facts = tenant.quota(100)
    fact = tenant.one(UsageQuotaThresholdReached, facts)
    assert (fact.thresholds, fact.cause, fact.limit) == ((80,), "LIMIT_CHANGED", Decimal(100))
    assert [set_.version for set_ in tenant.of(UsageQuotaSet)] == [1, 2]


def test_raising_the_limit_recovers_and_arms_again() -> None:
    tenant = Scenario()
    tenant.quota(100)
    tenant.used(85)
    facts = tenant.quota(200)
    recovered = tenant.one(UsageQuotaRecovered, facts)
    assert (recovered.thresholds, recovered.cause, recovered.remaining) == ((80,), "LIMIT_CHANGED", ())
    assert [alert.status for alert in tenant.of(Alert, facts)] == ["resolved"]
    assert crossings(tenant, tenant.used(75, at=NOON + seconds(1))) == [(80,)]
    first, second = tenant.firing()
    [resolved] = tenant.resolved()
    assert first.alert_id == resolved.alert_id != second.alert_id


def test_a_partial_recovery_leaves_the_alert_firing() -> None:
    tenant = Scenario()
    tenant.quota(100)
    tenant.used(110)
    recovered = tenant.one(UsageQuotaRecovered, tenant.quota(120))
    assert (recovered.thresholds, recovered.remaining) == ((100,), ("80%",))
    assert tenant.resolved() == []


def test_setting_the_same_quota_again_fires_nothing() -> None:
    tenant = Scenario()
    tenant.quota(100)
    tenant.used(85)
    facts = tenant.quota(100)
    assert [type(fact) for fact in facts] == [UsageQuotaSet]


def test_a_quota_that_moves_to_another_meter_recovers_and_counts_there() -> None:
    tenant = Scenario()
    tenant.quota(100)
    tenant.used(85)
    tenant.used(95, resource_type="tokens.output")
    facts = tenant.quota(100, meter="tokens.output")
    assert tenant.one(UsageQuotaRecovered, facts).meter == "tokens.input"
    assert tenant.one(UsageQuotaThresholdReached, facts).meter == "tokens.output"
    tenant.used(1000)
    assert crossings(tenant) == [(80,), (80,)]


def test_usage_around_the_threshold_fires_once_per_real_crossing() -> None:
    tenant = Scenario()
    tenant.quota(100, thresholds=(80,))
    tenant.used(79)
    for round_ in range(100):
        tenant.used(1, event_id=f"up-{round_}")
        tenant.void(f"up-{round_}")
    assert len(tenant.firing()) == 100
    assert len(tenant.resolved()) == 100


def test_a_new_month_starts_at_zero_and_fires_its_own_alert() -> None:
    tenant = Scenario(at=time("2026-10-31T23:00"))
    tenant.quota(100, thresholds=(100,))
    tenant.used(100)
    tenant.used(1, time("2026-11-01T00:00"), at=time("2026-11-01T00:00"))
    tenant.used(99, at=time("2026-11-01T00:01"))
    assert [fact.period_start for fact in tenant.of(UsageQuotaThresholdReached)] == [
        time("2026-10-01"),
        time("2026-11-01"),
    ]
    first, second = tenant.firing()
    assert first.alert_id != second.alert_id
    assert first.period != second.period


def test_the_end_of_a_period_recovers_what_it_fired() -> None:
    tenant = Scenario(at=time("2026-10-31T23:00"))
    tenant.quota(100)
    tenant.used(100)
    facts = tenant.run_timers(time("2026-11-01T00:00"))
    recovered = tenant.one(UsageQuotaRecovered, facts)
    assert (recovered.thresholds, recovered.cause, recovered.late) == ((80, 100), "PERIOD_ENDED", False)
    [resolved] = tenant.resolved()
    assert resolved.alert_id == tenant.firing()[0].alert_id


def test_a_period_without_alarm_ends_in_silence_and_closes_a_day_later() -> None:
    tenant = Scenario(at=time("2026-10-31T23:00"))
    tenant.quota(100)
    tenant.used(10)
    assert tenant.of(UsageQuotaRecovered, tenant.run_timers(time("2026-11-01T23:59"))) == []
    closed = tenant.one(UsageQuotaPeriodClosed, tenant.run_timers(time("2026-11-02T00:00")))
    assert (closed.value, closed.period_end) == (Decimal(10), time("2026-11-01"))
    assert tenant.run_timers(time("2027-01-01")) == []


def test_a_late_event_fires_only_the_alert_of_its_own_period_and_says_so() -> None:
    tenant = Scenario(at=time("2026-10-31T22:00"))
    tenant.quota(100, thresholds=(100,))
    tenant.used(90)
    tenant.run_timers(time("2026-11-02"))
    facts = tenant.used(20, time("2026-10-31T22:30"), at=time("2026-11-02T10:00"))
    fact = tenant.one(UsageQuotaThresholdReached, facts)
    assert (fact.late, fact.period_start) == (True, time("2026-10-01"))
    [alert] = tenant.firing()
    assert (alert.labels["late"], alert.ended_at) == ("true", time("2026-11-01"))
    tenant.used(20, time("2026-10-31T22:30"), at=time("2026-11-02T10:01"))
    assert len(crossings(tenant)) == 1


def test_what_fired_late_recovers_without_ending_an_alert_that_never_ran() -> None:
    tenant = Scenario(at=time("2026-10-31T22:00"))
    tenant.quota(100, thresholds=(100,))
    tenant.used(90)
    tenant.run_timers(time("2026-11-01"))
    tenant.used(20, time("2026-10-31T22:30"), at=time("2026-11-02"), event_id="late")
    facts = tenant.void("late")
    assert tenant.one(UsageQuotaRecovered, facts).late is True
    assert tenant.of(Alert, facts) == []


def test_a_late_event_is_compared_with_the_quota_as_it_is_now() -> None:
    tenant = Scenario(at=time("2026-10-31T22:00"))
    tenant.quota(100)
    tenant.used(50)
    tenant.run_timers(time("2026-11-01"))
    tenant.quota(60, at=time("2026-11-02"))
    tenant.used(5, time("2026-10-31T22:30"))
    fact = tenant.one(UsageQuotaThresholdReached)
    assert (fact.thresholds, fact.value, fact.limit) == ((80,), Decimal(55), Decimal(60))


def test_a_late_event_into_a_period_before_the_quota_counts_its_buckets() -> None:
    tenant = Scenario(at=time("2026-10-31T22:00"))
    tenant.used(90)
    tenant.quota(100, at=time("2026-11-02T09:00"), thresholds=(100,))
    fact = tenant.one(
        UsageQuotaThresholdReached, tenant.used(10, time("2026-10-31T22:30"), at=time("2026-11-02T10:00"))
    )
    assert (fact.value, fact.late) == (Decimal(100), True)


def test_days_begin_at_the_midnight_of_the_tenants_zone() -> None:
    tenant = Scenario(at=time("2026-11-20T18:00"))
    tenant.zone("Asia/Kolkata")
    tenant.quota(100, period="DAY", thresholds=(100,))
    tenant.used(60, time("2026-11-20T18:29:59"), at=time("2026-11-20T18:31"))
    tenant.used(60, time("2026-11-20T18:30:00"))
    assert crossings(tenant) == []
    fact = tenant.one(UsageQuotaThresholdReached, tenant.used(40, time("2026-11-20T18:30:30")))
    assert fact.period_start == time("2026-11-20T18:30")


@pytest.mark.parametrize(
    ("night", "hours"), [("2026-03-29T12:00", 23), ("2026-10-25T12:00", 25), ("2026-06-01T12:00", 24)]
)
def test_a_day_with_a_clock_change_has_23_or_25_hours(night: str, hours: int) -> None:
    tenant = Scenario(at=time(night))
    tenant.zone("Europe/Berlin")
    tenant.quota(100, period="DAY")
    tenant.used(100)
    fact = tenant.one(UsageQuotaThresholdReached)
    assert fact.period_end - fact.period_start == timedelta(hours=hours)


def test_another_time_zone_moves_the_period_and_does_not_fire_again() -> None:
    tenant = Scenario(at=time("2026-11-20T12:00"))
    tenant.quota(100, period="DAY")
    tenant.used(85)
    facts = tenant.zone("America/New_York")
    assert crossings(tenant, facts) == []
    assert tenant.of(UsageQuotaRecovered, facts) == []
    fact = tenant.one(UsageQuotaThresholdReached, tenant.used(20))
    assert (fact.thresholds, fact.value) == ((100,), Decimal(105))
    assert fact.period_start == time("2026-11-20T05:00")
    assert len(list(tenant.names("r|"))) == 1


def test_a_late_event_after_a_change_of_zone_counts_what_its_new_day_has_used() -> None:
    tenant = Scenario(at=time("2026-11-18T10:00"))
    tenant.quota(100, period="DAY", thresholds=(100,))
    tenant.used(90, at=time("2026-11-19T10:00"))
    tenant.at = time("2026-11-20T12:00")
    tenant.zone("America/New_York")
    tenant.used(10, time("2026-11-19T10:30"))
    fact = tenant.one(UsageQuotaThresholdReached)
    assert (fact.value, fact.period_start) == (Decimal(100), time("2026-11-19T05:00"))


def test_usage_before_the_midnight_of_the_new_zone_leaves_the_day() -> None:
    tenant = Scenario(at=time("2026-11-20T03:00"))
    tenant.quota(100, period="DAY")
    tenant.used(85)
    tenant.at = time("2026-11-20T12:00")
    recovered = tenant.one(UsageQuotaRecovered, tenant.zone("America/New_York"))
    assert (recovered.thresholds, recovered.value) == ((80,), Decimal(0))


def test_an_unknown_time_zone_is_rejected_with_a_remedy() -> None:
    tenant = Scenario()
    tenant.zone("Mars/Olympus")
    refusal = tenant.one(UsageEventRejected)
    assert refusal.reason_code == "VALIDATION_FAILED"
    assert "Europe/Berlin" in refusal.message


def test_a_quota_of_an_hour_is_possible_too() -> None:
    tenant = Scenario()
    tenant.quota(10, period="HOUR", thresholds=(100,))
    tenant.used(10)
    tenant.used(10, at=NOON + timedelta(hours=1))
    assert len(crossings(tenant)) == 2


def test_a_quota_command_that_comes_in_late_to_a_period_close_is_harmless() -> None:
    tenant = Scenario()
    tenant.close(NOON, NOON + timedelta(hours=2), quota_id="gone")
    assert tenant.records == {}


def test_a_period_timer_that_asks_too_early_is_put_off() -> None:
    tenant = Scenario(at=time("2026-11-30T23:00"))
    tenant.quota(100)
    tenant.used(100)
    end = time("2026-12-01")
    tenant.close(time("2026-11-01"), end - timedelta(minutes=30), quota_id="q1")
    assert tenant.of(UsageQuotaRecovered) == []
    [rollup] = [tenant.records[name] for name in tenant.names("r|")]
    assert rollup.due_at == end + timedelta(minutes=30)
    assert len(tenant.of(UsageQuotaRecovered, tenant.run_timers(rollup.due_at))) == 1


def test_a_replayed_burst_over_month_end_alerts_once_per_period() -> None:
    tenant = Scenario(at=time("2026-11-30T23:59"))
    tenant.quota(1000)
    start = time("2026-11-30T23:59:00")
    moments: list[datetime] = [start + seconds(tenth / 10) for tenth in range(1200)]
    for moment in moments:
        tenant.used(2, moment, at=moment)
    assert crossings(tenant) == [(80,), (100,), (80,), (100,)]
