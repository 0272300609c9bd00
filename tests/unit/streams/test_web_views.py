"""What the views of usage and alerts answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streams.events import Alert, UsageCost, UsageEvent, UsageQuotaSetRequested, UsageTenantSetRequested
from streams.topics import key_of
from tests.unit.streams.web_world import PARTITIONS, World, a_world

NOW = datetime.now(UTC)
NOON = NOW.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with a_world(tmp_path, monkeypatch) as world:
        await world.assign(range(PARTITIONS))
        yield world


def use(
    world: World, quantity: str, *, meter: str = "tokens.input", user: str = "u1", **options: Any
) -> None:
    at = options.pop("at", NOON)
    model = options.pop("model", "gpt-4")
    event = UsageEvent(
        timestamp=at,
        event_type="model_inference",
        quantity=Decimal(quantity),
        tenant_id="acme",
        user_id=user,
        resource_type=meter,
        unit="tokens",
        service_name="gateway",
        metadata={"model_name": model},
        **options,
    )
    world.apply("usage", "acme", event, at)


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


async def test_usage_without_a_window_is_one_item_per_meter(world: World) -> None:
    use(world, "100")
    use(world, "0.000002", at=NOON + timedelta(hours=1))
    use(world, "7", meter="tokens.output")
    answer = (await world.get("/usage/acme")).json
    assert answer["items"] == [
        {"meter": "tokens.input", "unit": "tokens", "count": 2, "sum": "100.000002", "max": "100"},
        {"meter": "tokens.output", "unit": "tokens", "count": 1, "sum": "7", "max": "7"},
    ]
    assert {name: answer[name] for name in ("tenant", "total", "page", "per_page", "has_next")} == {
        "tenant": "acme",
        "total": 2,
        "page": 1,
        "per_page": 20,
        "has_next": False,
    }
    assert answer["watermark"] == iso(NOON + timedelta(hours=1))
    assert answer["late_adjustments"] == 0


async def test_usage_is_divided_by_window_and_group_and_paged(world: World) -> None:
    for hour in range(3):
        for user in ("u1", "u2"):
            use(world, str(hour + 1), user=user, at=NOON + timedelta(hours=hour))
    path = "/usage/acme?meter=tokens.input&window=hour&group_by=user&per_page=4"
    first, second = [(await world.get(f"{path}&page={page}")).json for page in (1, 2)]
    assert (first["total"], first["has_next"], second["has_next"]) == (6, True, False)
    assert [(item["start"], item["user"], item["sum"]) for item in first["items"] + second["items"]] == [
        (iso(NOON + timedelta(hours=hour)), user, str(hour + 1)) for hour in range(3) for user in ("u1", "u2")
    ]


async def test_from_is_included_and_to_is_not(world: World) -> None:
    for hour in range(3):
        use(world, "1", at=NOON + timedelta(hours=hour))
    path = f"/usage/acme?from={iso(NOON + timedelta(hours=1))}&to={iso(NOON + timedelta(hours=2))}"
    assert [item["count"] for item in (await world.get(path)).json["items"]] == [1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("window=week", "window"),
        ("group_by=colour", "group_by"),
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("per_page=201", "per_page"),
        ("currency=EUR", "currency"),
        ("from=", "from"),
        ("meter=", "meter"),
        ("from=2026-11-20&to=2026-11-19", "to"),
    ],
)
async def test_a_parameter_that_usage_cannot_use_is_named(world: World, query: str, field: str) -> None:
    use(world, "1")
    answer = await world.get(f"/usage/acme?{query}")
    assert (answer.status, answer.code) == (400, "VALIDATION_FAILED")
    assert [detail["field"] for detail in answer.json["error"]["details"]] == [field]


async def test_a_date_begins_in_the_tenants_time_zone(world: World) -> None:
    zone = UsageTenantSetRequested(timestamp=NOW, tenant_id="acme", time_zone="Asia/Kolkata")
    world.apply("usage", "acme", zone, NOW)
    use(world, "1", at=datetime(2026, 11, 19, 19, tzinfo=UTC))
    inside = "from=2026-11-20&to=2026-11-19T20:00:00Z"  # midnight in Kolkata is 18:30 UTC
    assert [item["count"] for item in (await world.get(f"/usage/acme?{inside}")).json["items"]] == [1]
    assert (await world.get("/usage/acme?from=2026-11-20&to=2026-11-19T18:00:00Z")).status == 400


async def test_a_users_usage_holds_nothing_of_others(world: World) -> None:
    cost = UsageCost(amount=Decimal("0.02"), currency="USD", rate=Decimal("0.002"))
    use(world, "10", cost=cost)
    use(world, "99", user="u/2")
    first = (await world.get("/usage/acme/users/u1")).json
    assert [item["sum"] for item in first["items"]] == ["10"]
    assert [(item["currency"], item["amount"]) for item in first["cost"]] == [("USD", "0.02")]
    second = (await world.get("/usage/acme/users/u%2F2")).json
    assert (second["user"], [item["sum"] for item in second["items"]]) == ("u/2", ["99"])
    assert (await world.get("/usage/acme/users/u")).code == "NOT_FOUND"


async def test_cost_is_one_item_per_currency_with_exact_decimals(world: World) -> None:
    for _ in range(150):
        use(world, "1", cost=UsageCost(amount=Decimal("0.000002"), currency="USD", rate=Decimal("0.000002")))
    use(world, "1", cost=UsageCost(amount=Decimal(1), currency="EUR", rate=Decimal(1)))
    use(world, "5", meter="tokens.output")
    answer = (await world.get("/usage/acme/cost")).json
    assert [(item["currency"], item["amount"]) for item in answer["items"]] == [
        ("EUR", "1"),
        ("USD", "0.0003"),
    ]
    assert answer["unpriced"] == [{"meter": "tokens.output", "unit": "tokens", "quantity": "5"}]
    only = (await world.get("/usage/acme/cost?currency=USD")).json
    assert [item["currency"] for item in only["items"]] == ["USD"]


async def test_quotas_show_usage_of_the_current_period_and_what_fired(world: World) -> None:
    quota = UsageQuotaSetRequested(
        timestamp=NOW,
        tenant_id="acme",
        quota_id="monthly/tokens",
        meter="tokens.input",
        limit=Decimal(100),
        thresholds=(80, 100),
    )
    world.apply("usage", "acme", quota, NOW)
    use(world, "85", at=NOW)
    [item] = (await world.get("/usage/acme/quotas")).json["items"]
    assert {
        name: item[name] for name in ("quota_id", "limit", "value", "percent", "thresholds", "fired")
    } == {
        "quota_id": "monthly/tokens",
        "limit": "100",
        "value": "85",
        "percent": "85",
        "thresholds": ["80%", "100%"],
        "fired": [{"threshold": "80%", "value": "85"}],
    }


async def test_a_large_state_is_read_beside_the_event_loop_with_the_same_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in range(40):
        use(world, "1", user=f"u{user}")
    expected = (await world.get("/usage/acme?group_by=user")).json
    monkeypatch.setattr("streams.reading.INLINE_RECORDS", 0)
    assert (await world.get("/usage/acme?group_by=user")).json == expected
    assert expected["total"] == 40


async def test_an_alert_has_its_state_and_the_list_filters_by_status(world: World) -> None:
    def alert(status: Any, minutes: int) -> Alert:
        return Alert(
            timestamp=NOON + timedelta(minutes=minutes),
            tenant_id="acme",
            event_type="alerts.quota_exceeded",
            alert_type="quota_exceeded",
            subject="q",
            started_at=NOON,
            status=status,
            severity="critical",
            value=Decimal("1E+3"),
            alert_id="i1",
        )

    fingerprint = key_of("acme", "quota_exceeded", "q")
    world.apply("alerts", fingerprint, alert("firing", 0), NOON)
    assert (await world.get("/alerts?status=firing")).json["total"] == 1
    world.apply("alerts", fingerprint, alert("resolved", 5), NOON)
    assert (await world.get("/alerts?status=firing")).json["total"] == 0
    found = (await world.get("/alerts/acme%7Cquota_exceeded%7Cq")).json
    assert (found["status"], found["value"], found["ended_at"]) == (
        "resolved",
        "1000",
        iso(NOON + timedelta(minutes=5)),
    )
    assert (await world.get("/alerts/acme%7Cquota_exceeded%7Cother")).code == "NOT_FOUND"


async def test_reading_sees_what_is_stored_and_nothing_of_the_unit_under_way(world: World) -> None:
    use(world, "1")
    partitions = world.workers[0].app.pipelines["usage"].partitions.values()
    assert all(not partition.outputs for partition in partitions)
    before = (await world.get("/usage/acme")).json
    use(world, "1")
    after = (await world.get("/usage/acme")).json
    assert [answer["items"][0]["count"] for answer in (before, after)] == [1, 2]
