"""What the tables of several workers come to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ops.console_tables import (
    ALERTS_SHOWN,
    SHOWN,
    AlertRow,
    Alerts,
    Customer,
    Domains,
    Loyalty,
    Quota,
    Stock,
    merged,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def quota(tenant: str, percent: float) -> Quota:
    fixed: dict[str, Any] = {
        "quota_id": "q",
        "meter": "m",
        "subject": "",
        "unit": None,
        "limit": "1",
        "period": "DAY",
    }
    return Quota(tenant=tenant, percent=percent, value="1", **fixed)


def stock(product: str, available: str, point: str | None, *, low: bool = False) -> Stock:
    fixed: dict[str, Any] = {"tenant": "t", "warehouse": "W", "uom": None}
    return Stock(
        product=product, on_hand=available, available=available, reorder_point=point, low=low, **fixed
    )


def alert(number: int) -> AlertRow:
    seen = (NOON + timedelta(seconds=number)).isoformat()
    fixed = {"tenant": "t", "alert_type": "a", "status": "firing", "severity": "info", "description": ""}
    return AlertRow(subject=f"s{number}", since=None, last_seen=seen, **fixed)


def test_of_all_workers_the_fullest_quotas_are_shown_and_every_tenant_counts() -> None:
    parts = [Domains(tenants=50, quotas=[quota(f"{half}{n}", n) for n in range(SHOWN)]) for half in "ab"]
    found = merged(parts)
    assert found.tenants == 100
    assert [row.percent for row in found.quotas] == [7, 7, 6, 6, 5, 5, 4, 4]


def test_stock_that_is_low_comes_first_then_what_is_nearest_to_its_reorder_point_then_the_rest() -> None:
    far, near, low = stock("far", "90", "10"), stock("near", "11", "10"), stock("low", "9", "10", low=True)
    little, much = stock("little", "1", None), stock("much", "1000", None)
    found = merged([Domains(stock=[little, far, much]), Domains(stock=[near, low])])
    assert [row.product for row in found.stock] == ["low", "near", "far", "much", "little"]


def test_tiers_and_points_are_summed_and_the_richest_are_shown() -> None:
    best = [Customer(tenant="t", customer=f"c{n}", tier="GOLD", balance=n) for n in range(20)]
    parts = [Loyalty(tiers={"GOLD": 10}, balance=n, best=best[n::2]) for n in (0, 1)]
    found = merged(Domains(customers=10, loyalty=part) for part in parts).loyalty
    assert (found.tiers["GOLD"], found.tiers["PLATINUM"], found.balance) == (20, 0, 1)
    assert [row.balance for row in found.best] == list(range(19, 19 - SHOWN, -1))


def test_the_latest_alerts_are_shown_and_all_are_counted() -> None:
    parts = [
        Domains(alerts=Alerts(statuses={"firing": 9}, latest=[alert(n + k) for n in range(0, 18, 2)]))
        for k in (0, 1)
    ]
    found = merged(parts).alerts
    assert found.statuses == {"firing": 18}
    assert [row.subject for row in found.latest] == [f"s{n}" for n in range(17, 17 - ALERTS_SHOWN, -1)]
