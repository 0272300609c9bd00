"""What must hold for any events in any order (contracts 3.5, N31)."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import UsageBucket, UsageEvent, UsageQuotaThresholdReached
from tables.usage_names import bucket_id, bucket_name, rollup_id
from tables.usage_quotas import bucket_totals
from tests.unit.tables.scenario import NOON, TENANT, Scenario, cost, seconds

QUANTITIES = st.decimals("0", "1000000", places=6)
RATES = st.sampled_from(["0.000002", "0.000000000001", "1.5", "0"])
OFFSETS = st.integers(-3 * 86_400, 240)


@st.composite
def usage_events(draw: st.DrawFn) -> list[UsageEvent]:
    rows = draw(
        st.lists(
            st.tuples(
                OFFSETS,
                QUANTITIES,
                st.sampled_from(["ann", "bob"]),
                st.sampled_from(["gpt-4", "gpt-4-0613", ""]),
                st.sampled_from(["USD", "EUR", None]),
                RATES,
            ),
            min_size=1,
            max_size=25,
        )
    )
    return [event(number, *row) for number, row in enumerate(rows)]


def event(
    number: int, offset: int, quantity: Decimal, user: str, model: str, currency: str | None, rate: str
) -> UsageEvent:
    amount = quantity * Decimal(rate)
    stated = None if currency is None else cost(str(round(amount, 12)), rate, currency)
    return UsageEvent(
        event_id=f"event-{number}",
        timestamp=NOON + seconds(offset),
        tenant_id=TENANT,
        user_id=user,
        event_type="model_inference",
        resource_type="tokens.input",
        quantity=quantity,
        unit="tokens",
        cost=stated,
        metadata={"model_name": model},
    )


def tenant_with_quotas() -> Scenario:
    tenant = Scenario()
    tenant.price("0.000003", NOON - timedelta(days=30))
    tenant.quota("1000000", quota_id="month")
    tenant.quota("500000", quota_id="day", period="DAY", thresholds=(10, 50, 100))
    tenant.quota("300000", quota_id="each", scope="USER", period="DAY")
    tenant.quota("100000", quota_id="model", scope="MODEL", subject="gpt-4")
    return tenant


def values(records: dict[str, Any]) -> dict[str, Any]:
    """What buckets and roll-ups hold, without what depends on when it was published."""
    out: dict[str, Any] = {}
    for name, record in records.items():
        if isinstance(record, UsageBucket):
            out[name] = (record.count, record.sum, record.max, record.last_event_at, record.costs)
        elif name.startswith("r|"):
            out[name] = (record.total, sorted(record.fired), record.next)
    return out


def check_rollups(tenant: Scenario) -> None:
    for name in tenant.names("r|"):
        quota_id, _, subject = rollup_id(name)
        rollup = tenant.records[name]
        quota = tenant.records[f"d|{quota_id}"]
        bounds = (int(rollup.start.timestamp()), int(rollup.end.timestamp()))
        found = bucket_totals(tenant, quota, tenant.records[f"m|{quota.meter}"], bounds)
        assert rollup.total == found.get(subject, 0)


@settings(max_examples=40, deadline=None)
@given(usage_events())
def test_a_rollup_is_the_sum_of_its_hour_buckets(events: list[UsageEvent]) -> None:
    tenant = tenant_with_quotas()
    for each in events:
        tenant.send(each)
    check_rollups(tenant)


@settings(max_examples=40, deadline=None)
@given(usage_events(), st.randoms(use_true_random=False))
def test_sums_costs_and_rollups_do_not_depend_on_the_order(events: list[UsageEvent], random: Any) -> None:
    first, second = tenant_with_quotas(), tenant_with_quotas()
    for each in events:
        first.send(each)
    shuffled = list(events)
    random.shuffle(shuffled)
    for each in shuffled:
        second.send(each)
    assert values(first.records) == values(second.records)


@settings(max_examples=40, deadline=None)
@given(usage_events(), st.integers(0, 25))
def test_folding_in_two_parts_equals_folding_the_whole(events: list[UsageEvent], cut: int) -> None:
    whole = tenant_with_quotas()
    for each in events:
        whole.send(each)
    begun = tenant_with_quotas()
    for each in events[:cut]:
        begun.send(each)
    resumed = Scenario()
    resumed.records = dict(begun.records)
    for each in events[cut:]:
        resumed.send(each)
    assert resumed.records == whole.records


def left(tenant: Scenario) -> dict[str, Any]:
    """What buckets that are not empty hold: count, sum and the cost lines that are not zero."""
    return {
        name: (record.count, record.sum, [line for line in record.costs if line.amount or line.quantity])
        for name, record in tenant.records.items()
        if isinstance(record, UsageBucket) and record.count
    }


@settings(max_examples=40, deadline=None)
@given(usage_events(), st.sets(st.integers(0, 24)))
def test_voiding_events_leaves_what_the_others_amount_to(events: list[UsageEvent], chosen: set[int]) -> None:
    voided = {f"event-{number}" for number in chosen}
    tenant, others = tenant_with_quotas(), tenant_with_quotas()
    for each in events:
        tenant.send(each)
        if each.event_id not in voided:
            others.send(each)
    for each in events:
        if each.event_id in voided:
            tenant.void(each.event_id)
    assert left(tenant) == left(others)
    check_rollups(tenant)


@settings(max_examples=40, deadline=None)
@given(usage_events())
def test_each_threshold_fires_once_per_period_when_usage_only_grows(events: list[UsageEvent]) -> None:
    tenant = tenant_with_quotas()
    for each in events:
        tenant.send(each)
    fired: Counter[Any] = Counter()
    reached: dict[Any, set[int]] = defaultdict(set)
    for fact in tenant.of(UsageQuotaThresholdReached):
        for threshold in fact.thresholds:
            fired[fact.quota_id, fact.subject, fact.period_start, threshold] += 1
            reached[fact.quota_id, fact.subject, fact.period_start].add(threshold)
    assert set(fired.values()) <= {1}
    assert len(tenant.firing()) == len(tenant.of(UsageQuotaThresholdReached))
    for name in tenant.names("r|"):
        quota_id, _, subject = rollup_id(name)
        rollup, quota = tenant.records[name], tenant.records[f"d|{quota_id}"]
        due = {percent for percent in quota.thresholds if rollup.total * 100 >= quota.limit * percent}
        assert reached[quota_id, subject or quota.subject, rollup.start] == due


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(60)), st.sampled_from(["2500000", "0.000001", "123456.789012"]))
def test_a_cost_of_millions_of_tokens_is_exact_in_every_order(order: list[int], quantity: str) -> None:
    tenant = Scenario()
    tenant.price("0.000002", NOON - timedelta(days=30))
    for number in order:
        part = Decimal(quantity) * (number + 1)
        stated = cost(str(part * Decimal("0.000002")), "0.000002") if number % 2 else None
        tenant.used(str(part), cost=stated)
    total = Decimal(quantity) * sum(range(1, 61)) * Decimal("0.000002")
    [name] = tenant.names("b|")
    assert sum(line.amount for line in tenant.records[name].costs) == total


def test_150_million_tokens_cost_300_dollars_however_they_are_batched() -> None:
    for parts in (1, 3, 150):
        tenant = Scenario()
        tenant.price("0.000002", NOON - timedelta(days=30))
        for _ in range(parts):
            tenant.used(150_000_000 // parts)
        [name] = tenant.names("b|")
        assert [line.amount for line in tenant.records[name].costs] == [Decimal(300)]


PARTS = st.text(max_size=8)


@settings(deadline=None)
@given(st.integers(0, 2**33), PARTS, PARTS, PARTS, PARTS, PARTS)
def test_a_buckets_name_gives_back_what_it_counts(
    start: int, meter: str, service: str, user: str, model: str, unit: str
) -> None:
    name = bucket_name(start, meter, service, user, model, unit)
    assert tuple(bucket_id(name)) == (start, meter, service, user, model, unit)
