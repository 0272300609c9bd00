"""Low stock: one alert for every time, by whatever it became low; policies and questions (contracts 3.1, 3.9)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from streams.events import (
    Alert,
    CatalogProductSnapshot,
    StockAvailabilityChecked,
    StockLevelLow,
    StockLevelRecovered,
    StockPolicySet,
    StockProductValidated,
)
from streams.keys import key_of
from tests.unit.tables.scenario import NOON
from tests.unit.tables.stock_scenario import TENANT, Stock, date


def watched(quantity: int = 20, point: int = 10, hysteresis: int = 2) -> Stock:
    stock = Stock()
    stock.policy(reorder_point=Decimal(point), hysteresis=Decimal(hysteresis))
    stock.enter(quantity, "A", date(30))
    return stock


def test_stock_is_low_at_the_reorder_point() -> None:
    stock = watched()
    assert stock.of(StockLevelLow, stock.allocate(9, "o1")) == []
    facts = stock.allocate(1, "o2")
    low = stock.one(StockLevelLow, facts)
    assert (low.available, low.reorder_point, low.on_hand, low.reserved) == (10, 10, 20, 10)
    alert = stock.one(Alert, facts)
    assert (alert.event_type, alert.alert_type, alert.subject) == (
        "alerts.low_stock",
        "low_stock",
        "milk/WH1",
    )
    assert (alert.status, alert.severity, alert.value, alert.threshold) == ("firing", "warning", 10, 10)
    assert alert.description == "Stock of milk in WH1 is low: 10 available, reorder point 10."
    assert stock.head.low_since == NOON


def test_stock_recovers_above_the_hysteresis_under_the_same_alert() -> None:
    stock = watched()
    stock.allocate(10, "o1")
    assert stock.of(Alert, stock.enter(2, "B")) == []
    facts = stock.enter(1, "B", at=NOON + timedelta(hours=1))
    recovered = stock.one(StockLevelRecovered, facts)
    assert (recovered.available, recovered.low_since) == (13, NOON)
    first, last = stock.of(Alert)
    assert (last.status, last.alert_id, last.ended_at) == (
        "resolved",
        first.alert_id,
        NOON + timedelta(hours=1),
    )
    assert stock.head.low_since is None


def test_stock_that_goes_up_and_down_near_the_point_alerts_once_per_crossing() -> None:
    stock = watched(quantity=12)
    for number in range(100):
        stock.allocate(2, f"o{number}")
        stock.release(f"o{number}")
    assert stock.alerts() == ["firing"]
    stock.enter(1)
    assert stock.alerts() == ["firing", "resolved"]
    stock.allocate(3, "last")
    assert stock.alerts() == ["firing", "resolved", "firing"]


def test_a_lot_that_expires_can_make_stock_low() -> None:
    stock = watched(quantity=11)
    stock.enter(5, "B", date(1))
    stock.exit(1, lot_id="A")
    assert stock.alerts() == []
    stock.run_timers(date(1))
    assert stock.alerts() == ["firing"]


def test_a_lot_that_is_held_back_can_make_stock_low_and_an_end_can_restore_it() -> None:
    stock = watched()
    stock.quarantine()
    assert stock.of(Alert)[-1].severity == "critical"
    stock.let_out()
    stock.allocate(15, "o1", ttl_seconds=60)
    stock.run_timers(NOON + timedelta(seconds=60))
    assert stock.alerts() == ["firing", "resolved", "firing", "resolved"]


def test_stock_that_never_was_above_the_point_has_not_fallen_to_it() -> None:
    stock = watched(quantity=3)
    stock.exit(1)
    assert stock.alerts() == []


def test_a_reorder_point_that_is_raised_to_what_is_there_makes_stock_low() -> None:
    stock = watched()
    facts = stock.policy(reorder_point=Decimal(20))
    stock.one(StockLevelLow, facts)
    assert stock.of(Alert, stock.policy(reorder_point=Decimal(30))) == []
    stock.one(StockLevelRecovered, stock.policy(reorder_point=Decimal(5)))


def test_without_a_reorder_point_stock_is_never_low() -> None:
    stock = watched()
    stock.allocate(15, "o1")
    recovered = stock.one(StockLevelRecovered, stock.policy())
    assert recovered.reorder_point is None
    stock.exit(5)
    assert stock.alerts() == ["firing", "resolved"]


def test_a_policy_is_told_with_its_version() -> None:
    stock = Stock()
    fact = stock.one(StockPolicySet, stock.policy(uom="kg", uom_scale=3, max_extensions=2))
    assert (fact.uom, fact.uom_scale, fact.max_extensions, fact.version) == ("kg", 3, 2, 1)
    assert (fact.on_reserved_lot_expiry, fact.expiring_soon_days) == ("NOTIFY", 7)
    assert stock.head.uom == "kg"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"reorder_point": Decimal(-1)}, "VALIDATION_FAILED"),
        ({"hysteresis": Decimal(-1)}, "VALIDATION_FAILED"),
        ({"uom_scale": 7}, "VALIDATION_FAILED"),
        ({"uom_scale": -1}, "VALIDATION_FAILED"),
        ({"uom": "a\nb"}, "VALIDATION_FAILED"),
        ({"on_reserved_lot_expiry": "UNKNOWN"}, "VALIDATION_FAILED"),
        ({"expiring_soon_days": -1}, "VALIDATION_FAILED"),
        ({"max_extensions": -1}, "VALIDATION_FAILED"),
        ({"uom": "litre"}, "CONFLICT"),
        ({"uom_scale": 0}, "CONFLICT"),
        ({"expected_version": 0}, "VERSION_CONFLICT"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(more: dict[str, Any], code: str) -> None:
    stock = Stock()
    stock.enter("1.5", uom="kg")
    assert stock.code(stock.policy(**more)) == code


def snapshot(**more: Any) -> CatalogProductSnapshot:
    return CatalogProductSnapshot(timestamp=NOON, tenant_id=TENANT, product_id="milk", version=1, **more)


@pytest.mark.parametrize(
    ("known", "valid", "message"),
    [
        (snapshot(), True, ""),
        (snapshot(status="INACTIVE"), False, "the product is not active"),
        (snapshot(stock_managed=False), False, "the product's stock is not managed"),
        (None, False, "the catalogue does not have this product, and no stock of it was kept"),
    ],
)
def test_a_product_is_valid_as_the_catalogue_says(
    known: CatalogProductSnapshot | None, valid: bool, message: str
) -> None:
    stock = Stock()
    if known is not None:
        stock.catalogue[CatalogProductSnapshot, key_of(TENANT, "milk")] = known
    fact = stock.one(StockProductValidated, stock.validate())
    assert (fact.valid, fact.known, fact.message) == (valid, known is not None, message)


def test_a_product_that_the_catalogue_lacks_is_valid_where_stock_was_kept() -> None:
    stock = Stock()
    stock.enter(1)
    stock.exit(1)
    fact = stock.one(StockProductValidated, stock.validate())
    assert (fact.valid, fact.known, fact.stock_managed) == (True, False, True)


def test_a_product_without_an_id_cannot_be_asked_for() -> None:
    assert Stock(product="").code(Stock(product="").validate()) == "VALIDATION_FAILED"
    fact = Stock(warehouse="").validate()[0]
    assert not fact.valid, "the warehouse may be left out"


def test_availability_of_an_unknown_product_is_refused_unless_the_catalogue_has_it() -> None:
    stock = Stock()
    assert stock.code(stock.check(1)) == "NOT_FOUND"
    stock.catalogue[CatalogProductSnapshot, key_of(TENANT, "milk")] = snapshot()
    fact = stock.one(StockAvailabilityChecked, stock.check(1))
    assert (fact.available, fact.sufficient, fact.as_of_version) == (0, False, 0)


@pytest.mark.parametrize(
    ("more", "code"), [({"quantity": -1}, "VALIDATION_FAILED"), ({"uom": "kg"}, "UNKNOWN_UNIT")]
)
def test_a_question_that_cannot_be_meant_is_refused(more: dict[str, Any], code: str) -> None:
    stock = Stock()
    stock.enter(1, uom="pc")
    given = dict(more)
    assert stock.code(stock.check(given.pop("quantity", 0), **given)) == code
