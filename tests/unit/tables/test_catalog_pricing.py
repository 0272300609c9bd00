"""What items cost: prices at a time, in a currency, rounded per line (contracts 3.2)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from streams.events import (
    CatalogBenefitsRejected,
    CatalogItem,
    CatalogPricingCompleted,
    CatalogPricingRejected,
)
from tests.unit.tables.catalog_world import Shop, items
from tests.unit.tables.scenario import NOON, TENANT

DAY = timedelta(days=1)


def priced(shop: Shop, *lines: tuple[str, str], **more: Any) -> CatalogPricingCompleted:
    return shop.one(shop.pricing(*lines, **more), CatalogPricingCompleted)


def refused(shop: Shop, *lines: tuple[str, str], **more: Any) -> CatalogPricingRejected:
    fact = shop.one(shop.pricing(*lines, **more), CatalogPricingRejected)
    assert fact.message
    return fact


def reasons(fact: CatalogPricingRejected) -> list[tuple[str, str]]:
    return [(line.product_id, line.reason_code) for line in fact.lines]


def test_a_quote_is_the_sum_of_its_rounded_lines() -> None:
    shop = Shop()
    shop.sell(("tea", "0.335"), ("cup", "9.99"))
    found = priced(shop, ("tea", "3"), ("cup", "2"), request_id="r1", currency="EUR")
    assert [(line.product_id, line.subtotal, line.total) for line in found.lines] == [
        ("cup", Decimal("19.98"), Decimal("19.98")),
        ("tea", Decimal("1.00"), Decimal("1.00")),
    ]
    assert (found.subtotal, found.discount, found.total, found.currency) == (
        Decimal("20.98"),
        Decimal(0),
        Decimal("20.98"),
        "EUR",
    )
    assert (found.quote_id, found.valid_until) == ("quote-r1", NOON + timedelta(seconds=900))
    assert (found.applied, found.skipped, found.benefit_version) == ((), (), "")


@pytest.mark.parametrize(
    ("currency", "amount", "quantity", "total"),
    [
        ("EUR", "0.125", "1", "0.12"),
        ("EUR", "0.135", "1", "0.14"),
        ("JPY", "100.5", "1", "100"),
        ("JPY", "101.5", "1", "102"),
        ("KWD", "0.0005", "1", "0.000"),
        ("KWD", "0.0015", "1", "0.002"),
        ("CLF", "0.00005", "3", "0.0002"),
        ("EUR", "19.99", "0.333333", "6.66"),
    ],
)
def test_lines_are_rounded_half_even_to_the_minor_unit(
    currency: str, amount: str, quantity: str, total: str
) -> None:
    shop = Shop()
    shop.sell(("tea", amount), currency=currency)
    assert str(priced(shop, ("tea", quantity)).total) == total


def test_an_empty_list_costs_nothing() -> None:
    found = priced(Shop())
    assert (found.total, len(found.lines), found.currency) == (Decimal(0), 0, "")
    assert priced(Shop(), currency="EUR").currency == "EUR"


def test_the_price_is_that_of_the_time_of_the_request() -> None:
    shop = Shop()
    shop.define("tea")
    shop.price("3", effective_from=NOON, effective_to=NOON + DAY)
    shop.price("4", effective_from=NOON + DAY)
    assert priced(shop, ("tea", "1")).total == Decimal(3)
    shop.at = NOON + DAY
    assert priced(shop, ("tea", "1")).total == Decimal(4), "the end is not part of the span"
    shop.at = NOON - timedelta(microseconds=1)
    assert reasons(refused(shop, ("tea", "1"))) == [("tea", "NO_PRICE")]


def test_lines_of_one_product_are_merged() -> None:
    shop = Shop()
    shop.sell(("tea", "0.125"))
    found = priced(shop, ("tea", "1"), ("tea", "1"))
    assert [(line.quantity, line.total) for line in found.lines] == [(Decimal(2), Decimal("0.25"))]


def test_unknown_and_inactive_products_are_refused_line_by_line() -> None:
    shop = Shop()
    shop.sell(("tea", "1"), ("cup", "1"))
    shop.define("cup", status="INACTIVE")
    shop.define("pot")
    fact = refused(shop, ("tea", "1"), ("cup", "1"), ("pot", "1"), ("nothing", "1"))
    assert fact.reason_code == "NOT_FOUND"
    assert reasons(fact) == [
        ("cup", "INACTIVE_PRODUCT"),
        ("nothing", "UNKNOWN_PRODUCT"),
        ("pot", "NO_PRICE"),
    ]


def test_a_message_names_some_of_the_products_and_the_lines_name_all() -> None:
    fact = refused(Shop(), *((f"p{number}", "1") for number in range(7)))
    assert "and 2 more" in fact.message
    assert len(fact.lines) == 7


def test_another_tenants_products_are_unknown() -> None:
    shop = Shop()
    shop.sell(("tea", "1"))
    request = shop.pricing(("tea", "1"))
    foreign = type(request)(timestamp=shop.at, tenant_id="other", request_id="r1", items=request.items)
    assert reasons(shop.one(foreign, CatalogPricingRejected)) == [("tea", "UNKNOWN_PRODUCT")]


def test_mixed_currencies_are_refused() -> None:
    shop = Shop()
    shop.sell(("tea", "1"))
    shop.sell(("cup", "1"), currency="USD")
    for currency in ("", "EUR"):
        fact = refused(shop, ("tea", "1"), ("cup", "1"), currency=currency)
        assert fact.reason_code == "VALIDATION_FAILED"
        assert ("cup", "CURRENCY_MISMATCH") in reasons(fact)
    stated = shop.pricing(("tea", "1"), currency="EUR")
    item = CatalogItem(product_id="tea", quantity=Decimal(1), currency="USD")
    mixed = type(stated)(timestamp=shop.at, tenant_id=TENANT, request_id="r", currency="EUR", items=(item,))
    fact = shop.one(mixed, CatalogPricingRejected)
    assert (fact.reason_code, fact.lines) == ("VALIDATION_FAILED", ())
    assert "mixed currencies: EUR, USD" in fact.message


def test_without_a_currency_it_is_the_only_one_that_all_have() -> None:
    shop = Shop()
    shop.sell(("tea", "1"), ("cup", "2"))
    shop.price("1.10", "tea", "USD")
    assert priced(shop, ("tea", "1"), ("cup", "1")).currency == "EUR"
    assert refused(shop, ("tea", "1")).reason_code == "VALIDATION_FAILED", "EUR or USD?"
    assert priced(shop, ("tea", "1"), currency="USD").total == Decimal("1.10")
    item = CatalogItem(product_id="tea", quantity=Decimal(1), currency="USD")
    request = type(shop.pricing())(timestamp=shop.at, tenant_id=TENANT, request_id="r", items=(item,))
    assert shop.one(request, CatalogPricingCompleted).currency == "USD"


def test_a_price_list_has_prices_of_its_own() -> None:
    shop = Shop()
    shop.sell(("tea", "3"))
    shop.price("2", price_list="wholesale")
    assert priced(shop, ("tea", "1")).total == Decimal(3)
    assert priced(shop, ("tea", "1"), price_list="wholesale").total == Decimal(2)
    assert reasons(refused(shop, ("tea", "1"), price_list="staff")) == [("tea", "NO_PRICE")]


@pytest.mark.parametrize("quantity", ["0", "-1", "1000000000"])
def test_quantities_must_be_sensible(quantity: str) -> None:
    shop = Shop()
    shop.sell(("tea", "1"))
    fact = refused(shop, ("tea", "1"), ("tea", quantity))
    assert (fact.reason_code, reasons(fact)) == ("VALIDATION_FAILED", [("tea", "QUANTITY")])


def test_merged_quantities_must_be_sensible_too() -> None:
    shop = Shop()
    shop.sell(("tea", "1"))
    assert reasons(refused(shop, ("tea", "999999999"), ("tea", "1"))) == [("tea", "QUANTITY")]


def test_the_largest_request_fits_its_contract() -> None:
    shop = Shop()
    names = [f"p{number}" for number in range(1000)]
    shop.define("p0")
    shop.price("999999999999.999999999999", "p0")
    template = next(iter(shop.catalogue.values()))
    for name in names:
        shop.catalogue[type(template), f"{TENANT}|{name}"] = template
    found = priced(shop, *((name, "999999999.999999") for name in names))
    assert found.total > Decimal("1E+23")


@pytest.mark.parametrize(
    "fields",
    [
        {"request_id": ""},
        {"currency": "euro"},
        {"items": items(*[("tea", "1")] * 1001)},
    ],
)
def test_a_request_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    shop = Shop()
    shop.sell(("tea", "1"))
    request = shop.pricing(("tea", "1"))
    whole = {name: getattr(request, name) for name in request.__struct_fields__}
    fact = shop.one(type(request)(**{**whole, **fields}), CatalogPricingRejected)
    assert (fact.reason_code, fact.lines) == ("VALIDATION_FAILED", ())


def test_a_changed_price_changes_the_version_and_nothing_else_does() -> None:
    shop = Shop()
    shop.sell(("tea", "3"), ("cup", "4"))
    first = priced(shop, ("tea", "1"), ("cup", "2"))
    shop.define("tea", name="Green tea")
    shop.price("2", "tea", "USD")
    shop.later(hours=1)
    assert priced(shop, ("cup", "1"), ("tea", "5"), currency="EUR").price_version == first.price_version
    shop.price("3", "tea", effective_from=NOON)
    assert priced(shop, ("tea", "1"), ("cup", "2"), currency="EUR").price_version != first.price_version


def test_an_unknown_customer_is_refused_and_none_is_no_customer() -> None:
    shop = Shop()
    shop.sell(("tea", "3"))
    shop.grant("spring", "PERCENT", percent="10")
    assert priced(shop, ("tea", "1")).total == Decimal(3)
    assert priced(shop, ("tea", "1"), customer_id="", customer_known=False).applied == ()
    assert priced(shop, ("tea", "1"), customer_id="c1").total == Decimal("2.70")
    assert priced(shop, ("tea", "1"), customer_id="c1", customer_known=True).total == Decimal("2.70")
    fact = refused(shop, ("tea", "1"), customer_id="c1", customer_known=False)
    assert (fact.reason_code, fact.customer_id) == ("NOT_FOUND", "c1")


@pytest.mark.parametrize("fields", [{"customer_id": ""}, {"customer_known": False}])
def test_benefits_need_a_known_customer(fields: dict[str, Any]) -> None:
    shop = Shop()
    shop.sell(("tea", "3"))
    fact = shop.one(shop.benefits(("tea", "1"), **fields), CatalogBenefitsRejected)
    assert fact.reason_code == "NOT_FOUND"


def test_benefits_of_what_cannot_be_priced_are_refused_line_by_line() -> None:
    fact = shop_refusal()
    assert [(line.product_id, line.reason_code) for line in fact.lines] == [("tea", "UNKNOWN_PRODUCT")]


def shop_refusal() -> CatalogBenefitsRejected:
    shop = Shop()
    return shop.one(shop.benefits(("tea", "1")), CatalogBenefitsRejected)
