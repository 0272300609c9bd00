"""Taking usage events back (contracts 3.5, F34)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from streams.events import (
    Alert,
    UsageAggregateAdjusted,
    UsageBucket,
    UsageEventRejected,
    UsageEventVoided,
    UsageEventVoidRequested,
    UsageMoney,
    UsageQuotaRecovered,
    UsageQuotaThresholdReached,
)
from tables.usage import USAGE
from tables.usage_voids import entry_of, memo_of
from tests.unit.tables.scenario import NOON, TENANT, Scenario, cost, time


def buckets(scenario: Scenario) -> list[UsageBucket]:
    return [scenario.records[name] for name in sorted(scenario.names("b|"))]


def refusal(scenario: Scenario) -> str:
    return scenario.one(UsageEventRejected).reason_code


def test_a_void_is_a_negative_entry_that_says_what_it_took() -> None:
    tenant = Scenario()
    tenant.used(100, event_id="wrong", cost=cost("2", "0.02"))
    tenant.used(50, cost=cost("1", "0.02"))
    facts = tenant.void("wrong")
    adjusted = tenant.one(UsageAggregateAdjusted, facts)
    assert (adjusted.reason, adjusted.delta, adjusted.delta_count) == ("VOID", Decimal(-100), -1)
    assert adjusted.delta_costs == (UsageMoney(currency="USD", amount=Decimal(-2)),)
    assert (adjusted.sum, adjusted.count, adjusted.cause_event_id) == (Decimal(50), 1, "wrong")
    voided = tenant.one(UsageEventVoided, facts)
    assert (voided.quantity, voided.cost) == (Decimal(100), UsageMoney(currency="USD", amount=Decimal(2)))
    [bucket] = buckets(tenant)
    assert (bucket.count, bucket.sum) == (1, Decimal(50))


def test_an_event_cannot_be_voided_twice() -> None:
    tenant = Scenario()
    tenant.used(100, event_id="wrong")
    tenant.used(100)
    tenant.void("wrong")
    tenant.void("wrong")
    assert refusal(tenant) == "CONFLICT"
    assert buckets(tenant)[0].sum == Decimal(100)


def test_an_unknown_event_cannot_be_voided() -> None:
    tenant = Scenario()
    tenant.used(100)
    tenant.void("never-seen")
    assert refusal(tenant) == "NOT_FOUND"


def test_a_void_needs_an_event_and_a_reason() -> None:
    tenant = Scenario()
    for voided, reason in (("", "why"), ("e1", "")):
        tenant.send(
            UsageEventVoidRequested(timestamp=NOON, tenant_id=TENANT, voided_event_id=voided, reason=reason)
        )
    codes = [fact.reason_code for fact in tenant.of(UsageEventRejected)]
    assert codes == ["VALIDATION_FAILED", "VALIDATION_FAILED"]


def test_a_forgotten_event_is_voided_by_its_original() -> None:
    tenant = Scenario()
    original = tenant.usage(100, event_id="old", cost=cost("2", "0.02"))
    tenant.send(original)
    tenant.memos.clear()
    tenant.void("old", original)
    assert tenant.one(UsageEventVoided).quantity == Decimal(100)
    assert buckets(tenant)[0].costs == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": "other"},
        {"quantity": Decimal(101)},
        {"quantity": Decimal("NaN")},
        {"quantity": Decimal(-100)},
        {"user_id": "nobody"},
        {"tenant_id": "tenant-02"},
        {"timestamp": datetime.min.replace(tzinfo=UTC)},
        {"timestamp": datetime.max.replace(tzinfo=UTC)},
    ],
)
def test_an_original_that_cannot_have_been_counted_voids_nothing(changes: dict[str, object]) -> None:
    tenant = Scenario()
    tenant.used(100, event_id="old")
    tenant.memos.clear()
    fields = {"quantity": 100, "event_id": "old", **changes}
    tenant.void("old", tenant.usage(str(fields.pop("quantity")), **fields))  # type: ignore[arg-type]
    assert refusal(tenant) == "NOT_FOUND"
    assert buckets(tenant)[0].sum == Decimal(100)


def test_an_original_with_more_than_its_bucket_holds_voids_nothing() -> None:
    tenant = Scenario()
    tenant.used(100, event_id="old", cost=cost("2", "0.02"))
    tenant.memos.clear()
    tenant.void("old", tenant.usage(101, event_id="old", cost=cost("2", "0.02")))
    assert refusal(tenant) == "NOT_FOUND"


def test_a_void_of_another_unit_leaves_the_quotas_alone() -> None:
    tenant = Scenario()
    tenant.used(10, unit="tokns", event_id="odd")
    tenant.meter("tokens.input", "tokens")
    tenant.quota(100, thresholds=(80,))
    tenant.used(80)
    assert tenant.of(UsageQuotaRecovered, tenant.void("odd")) == []


def test_a_void_takes_the_cost_from_the_price_its_event_had() -> None:
    tenant = Scenario(at=time("2026-11-20T12:30"))
    tenant.price("1", time("2026-11-20T12:00"))
    tenant.price("3", time("2026-11-20T12:20"))
    tenant.used(10, time("2026-11-20T12:10"))
    tenant.used(10, time("2026-11-20T12:25"), event_id="dear")
    adjusted = tenant.one(UsageAggregateAdjusted, tenant.void("dear"))
    assert adjusted.delta_costs == (UsageMoney(currency="USD", amount=Decimal(-30)),)


def test_an_event_that_was_refused_cannot_be_voided_even_with_its_original() -> None:
    tenant = Scenario()
    tenant.used(100)
    refused = tenant.usage(50, event_id="refused", unit="1k_tokens")
    tenant.send(refused)
    original = tenant.usage(50, event_id="refused")
    tenant.void("refused", original)
    assert [fact.reason_code for fact in tenant.of(UsageEventRejected)] == ["UNKNOWN_UNIT", "NOT_FOUND"]


def test_dropping_strictly_below_the_threshold_recovers_and_arms_again() -> None:
    tenant = Scenario()
    tenant.quota(100, thresholds=(80,))
    tenant.used(79)
    tenant.used(1, event_id="last")
    facts = tenant.void("last")
    recovered = tenant.one(UsageQuotaRecovered, facts)
    assert (recovered.thresholds, recovered.value, recovered.cause) == ((80,), Decimal(79), "VOID")
    assert [alert.status for alert in tenant.of(Alert, facts)] == ["resolved"]
    tenant.used(1)
    assert len(tenant.firing()) == 2


def test_dropping_to_the_threshold_exactly_does_not_recover() -> None:
    tenant = Scenario()
    tenant.quota(100, thresholds=(80,))
    tenant.used(80)
    tenant.used(5, event_id="more")
    assert tenant.of(UsageQuotaRecovered, tenant.void("more")) == []


def test_a_void_in_a_past_period_recovers_there_and_ends_no_running_alert() -> None:
    tenant = Scenario(at=time("2026-10-31T22:00"))
    tenant.quota(100, thresholds=(80,))
    tenant.used(80, event_id="october")
    tenant.run_timers(time("2026-11-01"))
    facts = tenant.void("october", at=time("2026-11-02"))
    assert tenant.one(UsageQuotaRecovered, facts).late is True
    assert tenant.of(Alert, facts) == []


def test_a_void_keeps_the_maximum_until_nothing_is_left() -> None:
    tenant = Scenario()
    tenant.used(100, event_id="a")
    tenant.used(1, event_id="b")
    tenant.void("a")
    assert buckets(tenant)[0].max == Decimal(100)
    tenant.void("b")
    assert (buckets(tenant)[0].max, buckets(tenant)[0].count) == (Decimal(0), 0)


def test_a_quota_on_a_maximum_falls_to_the_largest_that_is_left_once_its_bucket_is_empty() -> None:
    tenant = Scenario()
    tenant.meter("tokens.input", "tokens", aggregation="MAX")
    tenant.quota(100, thresholds=(50, 80))
    tenant.used(90, event_id="largest")
    tenant.used(60, user_id="user-002")
    facts = tenant.void("largest")
    recovered = tenant.one(UsageQuotaRecovered, facts)
    assert (recovered.thresholds, recovered.value, recovered.remaining) == ((80,), Decimal(60), ("50%",))
    assert tenant.of(Alert, facts) == []
    tenant.used(80)
    assert tenant.of(UsageQuotaThresholdReached)[-1].thresholds == (80,)


def test_an_event_priced_from_the_table_is_voided_at_the_price_it_has_now() -> None:
    tenant = Scenario()
    tenant.price("1", time("2026-11-20T11:00"))
    tenant.used(10, time("2026-11-20T11:30"), event_id="wrong")
    tenant.used(5, time("2026-11-20T11:40"))
    tenant.price("3", time("2026-11-20T11:00"))
    adjusted = tenant.one(UsageAggregateAdjusted, tenant.void("wrong"))
    assert adjusted.delta_costs == (UsageMoney(currency="USD", amount=Decimal(-30)),)
    assert adjusted.costs == (UsageMoney(currency="USD", amount=Decimal(15)),)


def test_an_event_without_any_price_is_voided_too() -> None:
    tenant = Scenario()
    tenant.used(10, event_id="wrong")
    assert tenant.one(UsageAggregateAdjusted, tenant.void("wrong")).costs == ()
    assert buckets(tenant)[0].sum == Decimal(0)


def test_a_late_event_can_be_voided() -> None:
    tenant = Scenario()
    tenant.used(10, NOON - timedelta(hours=5), event_id="late")
    assert tenant.one(UsageAggregateAdjusted, tenant.void("late")).reason == "VOID"


@pytest.mark.parametrize("model", ["gpt-4", "a|b%|c\nd", ""])
@pytest.mark.parametrize("stated", [True, False])
def test_a_memo_gives_back_what_was_counted(model: str, stated: bool) -> None:
    tenant = Scenario()
    tenant.price("0.5", NOON - timedelta(days=1))
    event = tenant.usage("1.5", model=model, cost=cost("3", "2", "E|R") if stated else None)
    counted = USAGE.decide(tenant, event, NOON)[0]
    entry = entry_of(memo_of(counted))
    assert (entry.bucket, entry.quantity) == (counted.bucket, Decimal("1.5"))
    assert (entry.cost.currency, entry.cost.rate) == (("E|R", None) if stated else ("USD", Decimal("0.5")))
    assert entry.cost.amount == (Decimal(3) if stated else 0)
