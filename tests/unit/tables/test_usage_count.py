"""Counting usage events in hour buckets (contracts 3.5, N26)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from streams.events import (
    UsageAggregateAdjusted,
    UsageAggregateClosed,
    UsageAggregateUpdated,
    UsageBucket,
    UsageEventRejected,
    UsageHour,
)
from tables.usage import dead_letter_code
from tests.unit.tables.scenario import NOON, Scenario, seconds, time


def buckets(scenario: Scenario) -> list[UsageBucket]:
    return [scenario.records[name] for name in sorted(scenario.names("b|"))]


def rejection(scenario: Scenario) -> str:
    return scenario.one(UsageEventRejected).reason_code


def test_an_event_is_counted_in_the_hour_of_its_own_time() -> None:
    tenant = Scenario()
    tenant.used(150, time("2026-11-20T11:59:59.999999"))
    tenant.used(50, time("2026-11-20T12:00:00"))
    names = sorted(tenant.names("b|"))
    assert [int(name.split("|")[1]) for name in names] == [
        int(time("2026-11-20T11:00").timestamp()),
        int(NOON.timestamp()),
    ]
    assert [bucket.sum for bucket in buckets(tenant)] == [Decimal(150), Decimal(50)]


def test_a_bucket_holds_count_sum_and_maximum() -> None:
    tenant = Scenario()
    for quantity in ("10", "0.5", "30", "20"):
        tenant.used(quantity)
    [bucket] = buckets(tenant)
    assert (bucket.count, bucket.sum, bucket.max) == (4, Decimal("60.5"), Decimal(30))


def test_users_models_services_and_meters_are_counted_apart() -> None:
    tenant = Scenario()
    tenant.used(1)
    tenant.used(1, user_id="user-002")
    tenant.used(1, model="gpt-4-0613")
    tenant.used(1, service_name="batch")
    tenant.used(1, resource_type="tokens.output")
    tenant.used(1, model="")
    assert [bucket.count for bucket in buckets(tenant)] == [1] * 6


def test_names_that_hold_separators_do_not_share_a_bucket() -> None:
    tenant = Scenario()
    tenant.used(1, user_id="a|b", model="c")
    tenant.used(1, user_id="a", model="b|c")
    tenant.used(1, user_id="a%7Cb", model="c")
    assert [bucket.count for bucket in buckets(tenant)] == [1, 1, 1]
    updates = tenant.of(UsageAggregateUpdated)
    assert [update.user_id for update in updates] == ["a|b", "a", "a%7Cb"]


def test_an_unknown_event_type_is_counted_and_summed() -> None:
    tenant = Scenario()
    tenant.used(3, event_type="usage.metered.coffee_brewed", resource_type="cups", unit="cups")
    tenant.used(4, event_type="Coffee_Brewed", resource_type="", unit="cups")
    meters = sorted((update.meter, update.count, update.sum) for update in tenant.of(UsageAggregateUpdated))
    assert meters == [("coffee_brewed", 1, Decimal(4)), ("cups", 1, Decimal(3))]


def test_a_bucket_publishes_its_value_at_most_once_a_second_of_append_time() -> None:
    tenant = Scenario()
    for tenth in range(21):
        tenant.used(1, NOON, at=NOON + seconds(tenth / 10))
    updates = tenant.of(UsageAggregateUpdated)
    assert [(update.timestamp - NOON, update.count) for update in updates] == [
        (seconds(0), 1),
        (seconds(1), 11),
        (seconds(2), 21),
    ]


def test_the_published_value_names_bucket_cause_and_correlation() -> None:
    tenant = Scenario()
    tenant.used(150, event_id="first")
    update = tenant.one(UsageAggregateUpdated)
    assert (update.start, update.end) == (NOON, NOON + timedelta(hours=1))
    assert (update.meter, update.unit, update.user_id, update.model) == (
        "tokens.input",
        "tokens",
        "user-001",
        "gpt-4",
    )
    assert update.envelope is not None
    assert update.envelope.causation_id == "first"


@pytest.mark.parametrize("quantity", ["-0.000001", "NaN", "Infinity", "-Infinity", "sNaN", "1E+18"])
def test_a_quantity_that_is_negative_not_a_number_or_absurd_is_rejected(quantity: str) -> None:
    tenant = Scenario()
    tenant.used(quantity)
    assert rejection(tenant) == "VALIDATION_FAILED"
    assert tenant.records == {}


def test_a_quantity_of_zero_is_counted() -> None:
    tenant = Scenario()
    tenant.used(0)
    assert buckets(tenant)[0].count == 1


def test_an_event_two_hours_late_is_applied_and_published_as_an_adjustment() -> None:
    tenant = Scenario()
    tenant.used(150, NOON - timedelta(hours=2), event_id="late")
    adjusted = tenant.one(UsageAggregateAdjusted)
    assert (adjusted.reason, adjusted.delta, adjusted.delta_count) == ("LATE", Decimal(150), 1)
    assert adjusted.cause_event_id == "late"
    assert tenant.of(UsageAggregateUpdated) == []
    assert buckets(tenant)[0].late_adjustments == 1


def test_an_event_within_the_grace_of_its_hour_is_not_late() -> None:
    tenant = Scenario()
    tenant.used(1, time("2026-11-20T11:00:00"), at=time("2026-11-20T12:59:59.999999"))
    assert len(tenant.of(UsageAggregateUpdated)) == 1
    tenant.used(1, time("2026-11-20T11:59:59"), at=time("2026-11-20T13:00:00"))
    assert len(tenant.of(UsageAggregateAdjusted)) == 1


def test_a_late_event_before_the_timer_closes_its_bucket_first() -> None:
    tenant = Scenario()
    tenant.used(10)
    facts = tenant.used(5, NOON, at=NOON + timedelta(hours=2))
    assert tenant.one(UsageAggregateClosed, facts).sum == Decimal(10)
    adjusted = tenant.one(UsageAggregateAdjusted, facts)
    assert (adjusted.delta, adjusted.sum) == (Decimal(5), Decimal(15))
    assert tenant.of(UsageAggregateClosed, tenant.run_timers(NOON + timedelta(hours=3))) == []


def test_an_event_of_35_days_is_counted_and_an_older_one_rejected_for_the_dead_letters() -> None:
    tenant = Scenario()
    tenant.used(1, NOON - timedelta(days=35))
    assert buckets(tenant)[0].count == 1
    tenant.used(1, NOON - timedelta(days=35, microseconds=1))
    assert rejection(tenant) == "LATE_EVENT"
    assert dead_letter_code(tenant.one(UsageEventRejected)) == "LATE_EVENT"


def test_a_redriven_late_event_is_counted_with_the_override() -> None:
    tenant = Scenario()
    tenant.used(1, NOON - timedelta(days=40), metadata={"sluice.allow_late": "true"})
    assert tenant.one(UsageAggregateAdjusted).reason == "LATE"


def test_a_clock_that_was_never_set_is_late_even_with_the_override() -> None:
    tenant = Scenario()
    tenant.zone("America/New_York")
    for stamp in (time("1970-01-01"), datetime.min.replace(tzinfo=UTC)):
        tenant.used(1, stamp, metadata={"sluice.allow_late": "true"})
    codes = [refusal.reason_code for refusal in tenant.of(UsageEventRejected)]
    assert codes == ["LATE_EVENT", "LATE_EVENT"]


def test_an_event_more_than_five_minutes_in_the_future_is_rejected_not_clamped() -> None:
    tenant = Scenario()
    tenant.used(1, NOON + timedelta(minutes=5))
    assert buckets(tenant)[0].count == 1
    tenant.used(1, NOON + timedelta(minutes=5, microseconds=1))
    assert rejection(tenant) == "FUTURE_TIMESTAMP"
    assert dead_letter_code(tenant.one(UsageEventRejected)) == "FUTURE_TIMESTAMP"


def test_other_refusals_are_no_dead_letters() -> None:
    tenant = Scenario()
    facts = tenant.used(-1)
    assert [dead_letter_code(fact) for fact in facts] == [None]
    assert [dead_letter_code(fact) for fact in tenant.used(1)] == [None]


def test_a_time_with_an_offset_counts_in_the_hour_of_the_same_instant() -> None:
    tenant = Scenario(at=time("2026-11-20T12:31:00"))
    tenant.used(1, time("2026-11-20T13:30:00+01:00"))
    tenant.used(1, time("2026-11-20T12:30:00"))
    assert [bucket.count for bucket in buckets(tenant)] == [2]


def test_a_meter_takes_its_unit_from_its_first_event_and_rejects_another() -> None:
    tenant = Scenario()
    tenant.used(150)
    tenant.used(1, unit="1k_tokens")
    assert rejection(tenant) == "UNKNOWN_UNIT"
    assert buckets(tenant)[0].count == 1


def test_a_defined_meter_rejects_an_unknown_unit_from_the_first_event_on() -> None:
    tenant = Scenario()
    tenant.meter("tokens.input", "tokens")
    tenant.used(1, unit="1k_tokens")
    assert rejection(tenant) == "UNKNOWN_UNIT"


def test_a_definition_corrects_the_unit_that_a_first_event_had_wrong() -> None:
    tenant = Scenario()
    tenant.used(1, unit="tokns")
    tenant.meter("tokens.input", "tokens")
    tenant.used(5)
    assert sorted(bucket.sum for bucket in buckets(tenant)) == [Decimal(1), Decimal(5)]


def test_unit_and_aggregation_of_a_meter_with_quotas_stay_as_they_are() -> None:
    tenant = Scenario()
    tenant.used(1)
    tenant.quota(100)
    tenant.meter("tokens.input", "1k_tokens")
    assert rejection(tenant) == "CONFLICT"


def test_an_event_is_counted_by_the_most_specific_definition_and_by_no_other() -> None:
    tenant = Scenario()
    tenant.meter("all-tokens", "tokens", resource_type="tokens.input")
    tenant.meter("inference", "tokens", event_type="usage.metered.model_inference")
    tenant.meter("chat-input", "tokens", event_type="chat", resource_type="tokens.input")
    tenant.used(1, event_type="chat")
    tenant.used(2, event_type="model_inference")
    tenant.used(4, event_type="model_inference", resource_type="tokens.output")
    tenant.used(8, event_type="chat", resource_type="tokens.output")
    meters = {update.meter: update.sum for update in tenant.of(UsageAggregateUpdated)}
    assert meters == {
        "chat-input": Decimal(1),
        "all-tokens": Decimal(2),
        "inference": Decimal(4),
        "tokens.output": Decimal(8),
    }


def test_a_meter_that_excludes_an_event_type_does_not_count_it_by_its_name() -> None:
    tenant = Scenario()
    tenant.meter("tokens", "tokens", event_type="chat", resource_type="tokens")
    tenant.used(1, event_type="embedding", resource_type="tokens")
    assert tenant.one(UsageAggregateUpdated).meter == "embedding/tokens"


def test_a_meter_without_name_or_unit_is_rejected() -> None:
    tenant = Scenario()
    tenant.meter("", "tokens")
    tenant.meter("tokens.input", "")
    codes = [refusal.reason_code for refusal in tenant.of(UsageEventRejected)]
    assert codes == ["VALIDATION_FAILED", "VALIDATION_FAILED"]
    assert tenant.records == {}


def test_the_timer_closes_every_bucket_of_an_hour_once() -> None:
    tenant = Scenario()
    tenant.used(1)
    tenant.used(2, user_id="user-002")
    assert tenant.run_timers(NOON + timedelta(hours=2) - seconds(1)) == []
    closed = tenant.of(UsageAggregateClosed, tenant.run_timers(NOON + timedelta(hours=2)))
    assert [(fact.user_id, fact.sum) for fact in closed] == [
        ("user-001", Decimal(1)),
        ("user-002", Decimal(2)),
    ]
    assert tenant.run_timers(NOON + timedelta(days=9)) == []
    assert list(tenant.names("h|")) == []


def test_an_hour_with_many_buckets_is_closed_in_several_units_of_work() -> None:
    tenant = Scenario()
    for number in range(1200):
        tenant.used(1, user_id=f"user-{number}")
    facts = tenant.close(NOON, NOON + timedelta(hours=2))
    assert len(facts) == 500
    [hour] = [tenant.records[name] for name in tenant.names("h|")]
    assert hour.due_at > hour.closes_at
    rest = tenant.run_timers(NOON + timedelta(hours=2, seconds=1))
    assert len(tenant.of(UsageAggregateClosed, rest)) == 700
    assert all(bucket.closed for bucket in buckets(tenant))


def test_a_timer_that_asks_too_early_is_put_off_by_as_much_as_its_clock_is_ahead() -> None:
    tenant = Scenario()
    tenant.used(1)
    closes = NOON + timedelta(hours=2)
    assert tenant.close(NOON, closes - timedelta(minutes=10)) == []
    hour = tenant.records[next(tenant.names("h|"))]
    assert isinstance(hour, UsageHour)
    assert hour.due_at == closes + timedelta(minutes=10)
    assert len(tenant.of(UsageAggregateClosed, tenant.run_timers(hour.due_at))) == 1


def test_closing_an_hour_again_changes_nothing() -> None:
    tenant = Scenario()
    tenant.used(1)
    tenant.close(NOON, NOON + timedelta(hours=2))
    before = dict(tenant.records)
    assert tenant.close(NOON, NOON + timedelta(hours=2)) == []
    assert tenant.records == before


def test_a_bucket_closed_by_the_timer_takes_a_later_event_as_an_adjustment() -> None:
    tenant = Scenario()
    tenant.used(10)
    tenant.close(NOON, NOON + timedelta(hours=2))
    facts = tenant.used(5, NOON, at=NOON + timedelta(hours=1, minutes=59))
    assert tenant.one(UsageAggregateAdjusted, facts).sum == Decimal(15)
    assert tenant.of(UsageAggregateClosed, facts) == []


def test_an_event_touches_its_bucket_only_once_meter_and_hour_are_known() -> None:
    tenant = Scenario()
    tenant.used(1)
    counted = tenant.aggregate.decide(tenant, tenant.usage(1), tenant.at)
    assert [list(counted[0].records)] == [list(tenant.names("b|"))]


def test_folding_a_fact_twice_is_folding_it_once() -> None:
    tenant = Scenario()
    tenant.quota(100)
    tenant.used(90)
    facts = tenant.aggregate.decide(tenant, tenant.usage(5), tenant.at)
    for _ in range(2):
        for fact in facts:
            tenant.records.update(tenant.aggregate.fold(tenant, fact))
    assert sorted(bucket.sum for bucket in buckets(tenant)) == [Decimal(95)]
    [rollup] = [tenant.records[name] for name in tenant.names("r|")]
    assert rollup.total == Decimal(95)


def test_an_event_of_another_domain_is_a_defect() -> None:
    tenant = Scenario()
    with pytest.raises(LookupError, match="routes"):
        tenant.send(object())
