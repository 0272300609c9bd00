"""Cost: exact, per currency, stated or from the price table (contracts 3.5, N31, N32)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from streams.events import (
    UsageAggregateAdjusted,
    UsageAggregateUpdated,
    UsageBucket,
    UsageCostMismatchDetected,
    UsageEventRejected,
    UsageMoney,
    UsagePriceSet,
)
from tables.usage_facts import totals
from tables.usage_prices import normal_model
from tests.unit.tables.scenario import NOON, Scenario, cost, time


def costs(scenario: Scenario) -> dict[str, Decimal]:
    lines = [line for name in scenario.names("b|") for line in scenario.records[name].costs]
    return {entry.currency: entry.amount for entry in totals(lines)}


def bucket(scenario: Scenario) -> UsageBucket:
    [name] = scenario.names("b|")
    found: UsageBucket = scenario.records[name]
    return found


def test_the_example_of_the_source_document_costs_what_it_says() -> None:
    tenant = Scenario()
    tenant.used(150, cost=cost("0.0003", "0.000002"))
    assert tenant.one(UsageAggregateUpdated).costs == (UsageMoney(currency="USD", amount=Decimal("0.0003")),)
    assert tenant.of(UsageCostMismatchDetected) == []


def test_small_costs_add_up_exactly() -> None:
    tenant = Scenario()
    for _ in range(150):
        tenant.used(1, cost=cost("0.000002", "0.000002"))
    assert costs(tenant) == {"USD": Decimal("0.0003")}


def test_costs_in_different_currencies_are_never_added() -> None:
    tenant = Scenario()
    tenant.used(1, cost=cost("2", "2"))
    tenant.used(1, cost=cost("3", "3", "EUR"))
    tenant.used(1, cost=cost("5", "5"))
    assert costs(tenant) == {"USD": Decimal(7), "EUR": Decimal(3)}


def test_the_currency_that_came_first_does_not_show() -> None:
    first, second = Scenario(), Scenario()
    entries = [cost("2", "2"), cost("3", "3", "EUR"), None]
    for each in entries:
        first.used(1, cost=each)
    for each in reversed(entries):
        second.used(1, cost=each)
    assert bucket(first).costs == bucket(second).costs


def test_a_cost_that_is_not_quantity_times_rate_is_counted_and_flagged() -> None:
    tenant = Scenario()
    tenant.used(150, event_id="odd", cost=cost("0.0004", "0.000002"))
    fact = tenant.one(UsageCostMismatchDetected)
    assert (fact.mismatched_event_id, fact.amount, fact.expected) == (
        "odd",
        Decimal("0.0004"),
        Decimal("0.0003"),
    )
    assert costs(tenant) == {"USD": Decimal("0.0004")}


@pytest.mark.parametrize(
    ("amount", "flagged"),
    [("1000000000", 0), ("1000000001", 0), ("999999999", 0), ("1000000001.1", 1), ("999999998.9", 1)],
)
def test_a_billionth_is_tolerated_and_no_more(amount: str, flagged: int) -> None:
    tenant = Scenario()
    tenant.used("1E+9", cost=cost(amount, "1"))
    assert len(tenant.of(UsageCostMismatchDetected)) == flagged


def test_an_amount_rounded_to_its_last_digit_is_no_mismatch() -> None:
    tenant = Scenario()
    tenant.used("0.000001", cost=cost("0", "0.000000000001"))
    assert tenant.of(UsageCostMismatchDetected) == []


def test_a_tenant_may_reject_mismatches() -> None:
    tenant = Scenario()
    tenant.zone("UTC", reject_cost_mismatch=True)
    tenant.used(150, cost=cost("0.0004", "0.000002"))
    assert tenant.one(UsageEventRejected).reason_code == "COST_MISMATCH"
    assert list(tenant.names("b|")) == []


@pytest.mark.parametrize(
    "wrong",
    [
        cost("-1", "1"),
        cost("1", "-1"),
        cost("NaN", "1"),
        cost("1", "Infinity"),
        cost("1E+15", "1"),
        cost("1", "1", ""),
    ],
)
def test_a_negative_absurd_or_nameless_cost_is_rejected(wrong: Any) -> None:
    tenant = Scenario()
    tenant.used(1, cost=wrong)
    assert tenant.one(UsageEventRejected).reason_code == "VALIDATION_FAILED"
    assert tenant.records == {}


def test_a_missing_cost_is_taken_from_the_price_table() -> None:
    tenant = Scenario()
    tenant.price("0.000002", model="gpt-4")
    tenant.used(150)
    assert tenant.one(UsageAggregateUpdated).costs == (UsageMoney(currency="USD", amount=Decimal("0.0003")),)


def test_a_stated_cost_comes_before_the_price_table() -> None:
    tenant = Scenario()
    tenant.price("1")
    tenant.used(150, cost=cost("0.0003", "0.000002"))
    assert costs(tenant) == {"USD": Decimal("0.0003")}


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("gpt-4", "gpt-4"),
        ("GPT-4", "gpt-4"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-4-2024-05-13", "gpt-4"),
        ("openai/gpt-4", "gpt-4"),
        ("claude-3-opus-20240229", "claude-3-opus"),
        ("claude-3-opus@20240229", "claude-3-opus"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("gpt-4-1106-preview", "gpt-4-1106-preview"),
        ("gpt-4-32k", "gpt-4-32k"),
        ("llama-3-8192", "llama-3-8192"),
    ],
)
def test_dated_names_are_the_same_model_and_other_names_are_not(raw: str, normal: str) -> None:
    assert normal_model(raw) == normal


def test_a_dated_model_has_the_price_of_its_model_and_keeps_its_raw_name() -> None:
    tenant = Scenario()
    tenant.price("0.000002", model="gpt-4")
    tenant.used(150, model="gpt-4-0613")
    update = tenant.one(UsageAggregateUpdated)
    assert (update.model, update.costs[0].amount) == ("gpt-4-0613", Decimal("0.0003"))


def test_a_price_of_the_exact_name_comes_before_that_of_the_model_and_any() -> None:
    tenant = Scenario()
    tenant.price("3", model="gpt-4-0613")
    tenant.price("2", model="gpt-4")
    tenant.price("1")
    tenant.used(1, model="gpt-4-0613")
    tenant.used(1, model="gpt-4-0125")
    tenant.used(1, model="other")
    tenant.used(1, model="")
    amounts = [update.costs[0].amount for update in tenant.of(UsageAggregateUpdated)]
    assert amounts == [Decimal(3), Decimal(2), Decimal(1), Decimal(1)]


def test_token_kinds_are_priced_separately() -> None:
    tenant = Scenario()
    rates = {"input": "2", "output": "6", "cache_read": "0.5", "cache_write": "3", "reasoning": "7"}
    for kind, rate in rates.items():
        tenant.price(rate, resource_type=f"tokens.{kind}")
    for kind in rates:
        tenant.used(1, resource_type=f"tokens.{kind}")
    amounts = {update.meter: update.costs[0].amount for update in tenant.of(UsageAggregateUpdated)}
    assert amounts == {f"tokens.{kind}": Decimal(rate) for kind, rate in rates.items()}


def test_a_price_of_another_unit_does_not_count() -> None:
    tenant = Scenario()
    tenant.price("2", unit="1k_tokens")
    tenant.used(1)
    assert costs(tenant) == {}


def test_the_price_in_force_at_the_events_time_counts() -> None:
    tenant = Scenario()
    tenant.price("1", NOON - timedelta(days=2))
    tenant.price("5", NOON - timedelta(hours=1))
    tenant.used(1, NOON - timedelta(hours=1, microseconds=1))
    tenant.used(1, NOON - timedelta(hours=1))
    tenant.used(1, NOON - timedelta(days=3))
    assert costs(tenant) == {"USD": Decimal(6)}


def test_a_price_without_a_time_holds_from_its_command_on() -> None:
    tenant = Scenario()
    tenant.price("1")
    assert tenant.one(UsagePriceSet).effective_from == NOON


def test_pricing_anew_publishes_what_each_bucket_changes_by() -> None:
    tenant = Scenario()
    tenant.used(100, time("2026-11-20T11:10"))
    tenant.used(50, time("2026-11-20T11:20"))
    facts = tenant.price("0.02", time("2026-11-20T11:00"))
    adjusted = tenant.one(UsageAggregateAdjusted, facts)
    assert (adjusted.reason, adjusted.delta, adjusted.delta_count) == ("REPRICE", Decimal(0), 0)
    assert adjusted.delta_costs == (UsageMoney(currency="USD", amount=Decimal(3)),)
    facts = tenant.price("0.03", time("2026-11-20T11:00"))
    assert tenant.one(UsageAggregateAdjusted, facts).delta_costs[0].amount == Decimal("1.5")
    assert costs(tenant) == {"USD": Decimal("4.5")}


def test_pricing_anew_into_another_currency_takes_the_old_one_away() -> None:
    tenant = Scenario()
    tenant.price("1", time("2026-11-20T11:00"))
    tenant.used(10, time("2026-11-20T11:30"))
    facts = tenant.price("2", time("2026-11-20T11:00"), currency="EUR")
    changes = {
        entry.currency: entry.amount for entry in tenant.one(UsageAggregateAdjusted, facts).delta_costs
    }
    assert changes == {"EUR": Decimal(20), "USD": Decimal(-10)}


def test_pricing_anew_leaves_stated_costs_and_other_times_alone() -> None:
    tenant = Scenario()
    tenant.used(1, time("2026-11-20T10:30"))
    tenant.used(1, time("2026-11-20T11:30"), cost=cost("9", "9"))
    assert tenant.of(UsageAggregateAdjusted, tenant.price("2", time("2026-11-20T11:00"))) == []
    assert costs(tenant) == {"USD": Decimal(9)}


def test_a_price_within_an_hour_leaves_what_the_hour_has_counted() -> None:
    tenant = Scenario(at=time("2026-11-20T12:30"))
    tenant.price("1", time("2026-11-20T12:00"))
    tenant.used(10, time("2026-11-20T12:10"))
    assert tenant.of(UsageAggregateAdjusted, tenant.price("3", time("2026-11-20T12:20"))) == []
    tenant.used(10, time("2026-11-20T12:25"))
    assert costs(tenant) == {"USD": Decimal(40)}
    assert tenant.of(UsageAggregateAdjusted, tenant.price("4", time("2026-11-20T12:20"))) == []


def test_a_price_that_ends_within_an_hour_leaves_what_the_hour_has_counted() -> None:
    tenant = Scenario(at=time("2026-11-20T12:30"))
    tenant.price("1", time("2026-11-20T09:00"))
    tenant.price("5", time("2026-11-20T12:20"))
    tenant.used(1, time("2026-11-20T12:10"))
    tenant.used(1, time("2026-11-20T12:25"))
    assert tenant.of(UsageAggregateAdjusted, tenant.price("2", time("2026-11-20T09:00"))) == []
    assert costs(tenant) == {"USD": Decimal(6)}


def test_a_price_before_another_reaches_only_to_it() -> None:
    tenant = Scenario()
    tenant.used(1, time("2026-11-20T09:30"))
    tenant.used(1, time("2026-11-20T11:30"))
    tenant.price("5", time("2026-11-20T11:00"))
    tenant.price("1", time("2026-11-20T09:00"))
    assert costs(tenant) == {"USD": Decimal(6)}


@pytest.mark.parametrize("wrong", [{"resource_type": ""}, {"currency": ""}, {"rate": "-1"}, {"rate": "NaN"}])
def test_a_price_that_makes_no_sense_is_rejected(wrong: dict[str, str]) -> None:
    tenant = Scenario()
    tenant.price(wrong.pop("rate", "1"), **wrong)  # type: ignore[arg-type]
    assert tenant.one(UsageEventRejected).reason_code == "VALIDATION_FAILED"
    assert tenant.records == {}


def test_a_defined_meter_prices_each_resource_it_counts() -> None:
    tenant = Scenario()
    tenant.meter("inference", "tokens", event_type="model_inference")
    tenant.price("1", time("2026-11-20T12:00"))
    tenant.price("3", time("2026-11-20T12:00"), resource_type="tokens.output")
    tenant.used(10)
    tenant.used(10, resource_type="tokens.output")
    assert bucket(tenant).sum == Decimal(20)
    assert costs(tenant) == {"USD": Decimal(40)}
    tenant.price("2", time("2026-11-20T12:00"))
    assert costs(tenant) == {"USD": Decimal(50)}
