"""What the domains count: real events through real partitions, read from the worker's ``/metrics``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agents.usage_metrics import share_of
from streams.events import (
    Alert,
    LoyaltyPointsReverseRequested,
    LoyaltyPointsUpdateRequested,
    StockEntryRequested,
    StockPolicySetRequested,
    UsageEvent,
    UsageEventVoidRequested,
    UsageQuotaSetRequested,
)
from streams.topics import ALERTS, CUSTOMER_COMMANDS, STOCK_COMMANDS, USAGE_COMMANDS, USAGE_METERED
from tests.unit.agents.metered_world import Metered, Samples, metered

TENANTS = 10_000


@pytest.fixture
async def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Metered]:
    async with metered(tmp_path, monkeypatch) as worker:
        yield worker


def now() -> datetime:
    return datetime.now(UTC)


def now_ms() -> int:
    return int(now().timestamp() * 1000)


def used(tenant: str, quantity: int, meter: str = "tokens.input", **fields: Any) -> tuple[str, UsageEvent]:
    event = {"timestamp": now(), "event_type": "call", "unit": "tokens", **fields}
    return tenant, UsageEvent(tenant_id=tenant, resource_type=meter, quantity=Decimal(quantity), **event)


def quota(tenant: str, limit: int, meter: str = "tokens.input") -> tuple[str, UsageQuotaSetRequested]:
    return tenant, UsageQuotaSetRequested(
        timestamp=now(), tenant_id=tenant, quota_id="q", meter=meter, limit=Decimal(limit), period="MONTH"
    )


async def until(worker: Metered, name: str, expected: dict[tuple[str, ...], float]) -> None:
    """Return when a gauge of the census has the values expected."""
    async with asyncio.timeout(20):
        while (await worker.scraped()).get(name) != expected:
            await asyncio.sleep(0.01)


async def test_usage_is_counted_by_meter_and_what_tenants_name_themselves_is_other(worker: Metered) -> None:
    for meter, times in (("tokens.input", 3), ("tokens.output", 1), ("the-secret-project", 2)):
        for _ in range(times):
            worker.send(USAGE_METERED.name, used("acme", 10, meter), used("beta", 5, meter), at_ms=now_ms())
    found = await worker.scraped()
    assert found["sluice_usage_events_total"] == {("tokens.input",): 6, ("tokens.output",): 2, ("other",): 4}
    assert found["sluice_usage_quantity_total"] == {
        ("tokens.input",): 45,
        ("tokens.output",): 15,
        ("other",): 30,
    }


async def test_the_operator_may_show_more_meters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with metered(tmp_path, monkeypatch, metrics_meters="seats, disk") as worker:
        for meter in ("seats", "disk", "rooms"):
            worker.send(USAGE_METERED.name, used("acme", 1, meter), at_ms=now_ms())
        found = await worker.scraped()
        assert found["sluice_usage_events_total"] == {("seats",): 1, ("disk",): 1, ("other",): 1}


async def test_a_voided_event_takes_nothing_back_from_a_counter(worker: Metered) -> None:
    worker.send(USAGE_METERED.name, used("acme", 10, event_id="e1"), used("acme", 1), at_ms=now_ms())
    void = UsageEventVoidRequested(timestamp=now(), tenant_id="acme", voided_event_id="e1", reason="test")
    worker.send(USAGE_COMMANDS.name, ("acme", void), at_ms=now_ms())
    found = await worker.scraped()
    assert found["sluice_facts_total"]["usage", "usage.event.voided"] == 1
    assert found["sluice_usage_events_total"] == {("tokens.input",): 2}
    assert found["sluice_usage_quantity_total"] == {("tokens.input",): 11}


async def test_late_usage_is_told_from_usage_that_is_too_old_to_count(worker: Metered) -> None:
    hours, weeks = timedelta(hours=30), timedelta(weeks=6)
    worker.send(
        USAGE_METERED.name,
        used("acme", 1),
        used("acme", 1, timestamp=now() - hours),
        used("acme", 1, timestamp=now() - hours),
        used("acme", 1, timestamp=now() - weeks),
        at_ms=now_ms(),
    )
    found = await worker.scraped()
    assert found["sluice_usage_late_events_total"] == {("counted",): 2, ("refused",): 1}
    assert found["sluice_events_refused_total"] == {("usage", "LATE_EVENT"): 1}
    assert found["sluice_dead_letters_total"] == {("LATE_EVENT", "usage.metered"): 1}
    assert found["sluice_events_published_total"]["usage", "usage.metered.dlq"] == 1


async def test_quotas_are_counted_by_the_share_that_is_used(worker: Metered) -> None:
    totals = {"a": 0, "b": 49, "c": 50, "d": 79, "e": 80, "f": 100, "g": 250, "h": 99}
    for tenant in totals:
        worker.send(USAGE_COMMANDS.name, quota(tenant, 100), at_ms=now_ms())
    worker.send(
        USAGE_METERED.name, *(used(tenant, total) for tenant, total in totals.items()), at_ms=now_ms()
    )
    await until(worker, "sluice_usage_quotas", {("0-50",): 2, ("50-80",): 2, ("80-100",): 2, ("100+",): 2})
    worker.send(USAGE_COMMANDS.name, quota("g", 1000), at_ms=now_ms())
    await until(worker, "sluice_usage_quotas", {("0-50",): 3, ("50-80",): 2, ("80-100",): 2, ("100+",): 1})


@pytest.mark.parametrize(("total", "limit", "share"), [(0, 10, "0-50"), (5, 10, "50-80"), (0, 0, "100+")])
def test_the_lower_end_belongs_to_a_share(total: int, limit: int, share: str) -> None:
    assert share_of(Decimal(total), Decimal(limit)) == share


async def test_a_product_is_low_until_it_has_recovered(worker: Metered) -> None:
    def entered(key: str, quantity: int, movement: str) -> tuple[str, Any]:
        product = key.split("|")[1]
        return key, StockEntryRequested(
            timestamp=now(),
            tenant_id="shop",
            product_id=product,
            warehouse_id="WH1",
            movement_id=movement,
            quantity=Decimal(quantity),
        )

    for product in ("tea", "milk"):
        worker.send(
            STOCK_COMMANDS.name, entered(f"shop|{product}|WH1", 3, f"first-{product}"), at_ms=now_ms()
        )
        policy = StockPolicySetRequested(
            timestamp=now(),
            tenant_id="shop",
            product_id=product,
            warehouse_id="WH1",
            reorder_point=Decimal(5),
        )
        worker.send(STOCK_COMMANDS.name, (f"shop|{product}|WH1", policy), at_ms=now_ms())
    await until(worker, "sluice_stock_low_products", {(): 2})
    worker.send(STOCK_COMMANDS.name, entered("shop|tea|WH1", 20, "m1"), at_ms=now_ms())
    await until(worker, "sluice_stock_low_products", {(): 1})


async def test_points_are_counted_by_how_they_moved(worker: Metered) -> None:
    def moved(points: int, transaction: str) -> tuple[str, Any]:
        return "shop|ann", LoyaltyPointsUpdateRequested(
            timestamp=now(),
            tenant_id="shop",
            customer_id="ann",
            transaction_id=transaction,
            points_change=points,
            auto_create=True,
            reason="test",
        )

    taken = LoyaltyPointsReverseRequested(
        timestamp=now(),
        tenant_id="shop",
        customer_id="ann",
        transaction_id="r1",
        original_transaction_id="t1",
        reason="test",
    )
    sent = (moved(100, "t1"), moved(50, "t2"), moved(-30, "t3"), ("shop|ann", taken))
    worker.send(CUSTOMER_COMMANDS.name, *sent, at_ms=now_ms())
    found = await worker.scraped()
    assert found["sluice_loyalty_points_total"] == {
        ("issued",): 150,
        ("redeemed",): 30,
        ("expired",): 0,
        ("taken_back",): 100,
        ("given_back",): 0,
    }


async def test_firing_alerts_are_counted_by_severity(worker: Metered) -> None:
    def alert(subject: str, severity: Any, status: Any = "firing") -> tuple[str, Alert]:
        return f"acme|disk|{subject}", Alert(
            timestamp=now(),
            tenant_id="acme",
            event_type="alerts.disk",
            alert_type="disk",
            subject=subject,
            started_at=now(),
            severity=severity,
            status=status,
        )

    fired = [alert("a", "warning"), alert("b", "critical"), alert("c", "critical")]
    worker.send(ALERTS.name, *fired, at_ms=now_ms())
    await until(worker, "sluice_alerts_firing", {("info",): 0, ("warning",): 1, ("critical",): 2})
    worker.send(ALERTS.name, alert("b", "critical", "resolved"), at_ms=now_ms())
    await until(worker, "sluice_alerts_firing", {("info",): 0, ("warning",): 1, ("critical",): 1})


async def test_partitions_that_are_given_away_are_no_longer_in_the_census(worker: Metered) -> None:
    tenants = [f"t{number}" for number in range(20)]
    worker.send(USAGE_COMMANDS.name, *(quota(tenant, 100) for tenant in tenants), at_ms=now_ms())
    worker.send(USAGE_METERED.name, *(used(tenant, 1) for tenant in tenants), at_ms=now_ms())
    nothing: dict[tuple[str, ...], float] = {("50-80",): 0, ("80-100",): 0, ("100+",): 0}
    await until(worker, "sluice_usage_quotas", {("0-50",): 20, **nothing})
    for pipeline in worker.app.pipelines.values():
        pipeline.disown()
    assert (await worker.scraped())["sluice_usage_quotas"] == {("0-50",): 0, **nothing}


async def test_a_census_that_cannot_read_a_record_says_so_and_is_taken_again(
    worker: Metered, caplog: pytest.LogCaptureFixture
) -> None:
    store = worker.app.pipelines["alerts"].partitions[0].changelog.store
    store.write([(b"acme|disk|secret-name\x00alert", b"no frame")], 1)
    async with asyncio.timeout(20):
        while caplog.text.count("census of alerts[0] failed (Unreadable)") < 2:
            await asyncio.sleep(0.01)
    assert "secret-name" not in caplog.text
    store.write([(b"acme|disk|secret-name\x00alert", None)], 2)
    fired = Alert(
        timestamp=now(),
        tenant_id="acme",
        event_type="alerts.disk",
        alert_type="disk",
        subject="a",
        started_at=now(),
    )
    worker.send(ALERTS.name, ("acme|disk|a", fired), at_ms=now_ms())
    await until(worker, "sluice_alerts_firing", {("info",): 0, ("warning",): 1, ("critical",): 0})


async def test_a_census_rests_after_each_slice_of_its_walk(
    worker: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker.app.census.stop()
    worker.send(USAGE_COMMANDS.name, *(quota(f"t{number}", 100) for number in range(20)), at_ms=now_ms())
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr("streams.metrics_census.SLICE_S", 0.0)
    monkeypatch.setattr("streams.metrics_census.REST_S", 77.0)
    monkeypatch.setattr("streams.metrics_census.asyncio.sleep", rest)
    [question] = [each for each in worker.app.census.questions if each.table == "usage"]
    for partition in worker.app.pipelines["usage"].partitions.values():
        assert await worker.app.census._count(question, partition) is not None
    assert rests == [77.0] * 20


async def test_a_store_can_be_closed_and_opened_again_in_the_middle_of_a_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with metered(tmp_path, monkeypatch, store="rocksdict") as worker:
        await worker.app.census.stop()
        monkeypatch.setattr("streams.metrics_census.SLICE_S", 0.0)
        monkeypatch.setattr("streams.metrics_census.REST_S", 3600.0)
        worker.send(USAGE_COMMANDS.name, *(quota(f"t{number}", 100) for number in range(50)), at_ms=now_ms())
        worker.app.census.start()
        async with asyncio.timeout(20):
            while worker.app.census._walk is None:
                await asyncio.sleep(0)
        await worker.app._disown()
        store = worker.app._store("usage")
        partitions = set(store.partitions)
        store.release(set())
        assert sum(len(store.open(number)) for number in partitions) > 50


async def test_ten_thousand_tenants_add_no_series(worker: Metered) -> None:
    def series(found: Samples) -> int:
        return sum(map(len, found.values()))

    async def fed(*tenants: str) -> Samples:
        worker.send(USAGE_COMMANDS.name, *(quota(tenant, 100) for tenant in tenants), at_ms=now_ms())
        events = [
            used(tenant, 120, meter) for tenant in tenants for meter in ("tokens.input", f"of-{tenant}")
        ]
        worker.send(USAGE_METERED.name, *events, at_ms=now_ms())
        return await worker.scraped()

    await worker.scraped()  # its own request is a series too
    before = await fed("first")
    await fed(*(f"tenant-{number}" for number in range(TENANTS)))
    await until(
        worker, "sluice_usage_quotas", {("0-50",): 0, ("50-80",): 0, ("80-100",): 0, ("100+",): TENANTS + 1}
    )
    after = await worker.scraped()
    assert after["sluice_usage_events_total"] == {("tokens.input",): TENANTS + 1, ("other",): TENANTS + 1}
    assert series(after) == series(before)
    text = (await worker.world.get("/metrics")).body.decode()
    assert "tenant-" not in text
    assert "of-" not in text


async def test_a_worker_that_is_not_to_count_counts_nothing_and_works_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """001-68."""
    async with metered(tmp_path, monkeypatch, metrics=False) as worker:
        worker.send(USAGE_COMMANDS.name, quota("acme", 100), at_ms=now_ms())
        worker.send(USAGE_METERED.name, used("acme", 10), used("acme", 5), at_ms=now_ms())
        answer = await worker.world.get("/metrics")
        assert (answer.status, answer.code) == (404, "NOT_FOUND")
        assert "SLUICE_METRICS" in answer.json["error"]["message"]
        worker.app.metrics.dead_letter("usage.metered", "NOT_FRAMED")
        worker.app.metrics.published("senders", {("usage.events", 0): [b"record"]})
        worker.app.metrics.unit_done("usage", [], 1.0)
        found = {family.name: family.samples for family in worker.app.metrics.collect()}
        counted = [name for name in found if name.startswith(("sluice_event", "sluice_dead", "sluice_unit"))]
        assert counted
        assert [name for name in (*counted, "sluice_usage_events", "sluice_facts") if found[name]] == []
        assert sum(sample.value for sample in found["sluice_usage_quotas"]) == 0, "there is no census"
        assert sum(sample.value for sample in found["sluice_table_keys"]) > 0, "what is looked up is there"
        [total] = (await worker.world.get("/usage/acme")).json["items"]
        assert Decimal(total["sum"]) == 15
