"""Questions about products (contracts 3.2)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from streams.events import (
    CatalogCommandRejected,
    CatalogInfoType,
    CatalogProductInfoProvided,
    CatalogProductInfoRejected,
    CatalogProductsValidated,
    CatalogProductsValidationRequested,
    ProductInfoRequested,
)
from tests.unit.tables.catalog_world import Shop
from tests.unit.tables.scenario import NOON, TENANT

DAY = timedelta(days=1)


@pytest.fixture
def shop() -> Shop:
    shop = Shop()
    shop.define("tea", name="Tea", attributes={"leaf": "green"})
    shop.price("3", effective_from=NOON - DAY, effective_to=NOON)
    shop.price("4", effective_from=NOON, effective_to=NOON + DAY)
    shop.price("5", effective_from=NOON + DAY)
    shop.define("cup", status="INACTIVE")
    return shop


def asked(
    product_id: str, info_type: CatalogInfoType = "BASIC", request_id: str = "r1"
) -> ProductInfoRequested:
    return ProductInfoRequested(
        timestamp=NOON, tenant_id=TENANT, request_id=request_id, product_id=product_id, info_type=info_type
    )


@pytest.mark.parametrize(
    ("info_type", "attributes", "amounts", "stock_managed"),
    [
        ("BASIC", {"leaf": "green"}, [], None),
        ("PRICING", {}, [4], None),
        ("STOCK", {}, [], True),
        ("FULL", {"leaf": "green"}, [3, 4, 5], True),
    ],
)
def test_each_type_of_information_has_its_part(
    shop: Shop, info_type: Any, attributes: dict[str, str], amounts: list[int], stock_managed: bool | None
) -> None:
    fact = shop.one(asked("tea", info_type), CatalogProductInfoProvided)
    assert (fact.request_id, fact.product_id, fact.info_type) == ("r1", "tea", info_type)
    assert (fact.name, fact.status, fact.version) == ("Tea", "ACTIVE", 4)
    assert fact.attributes == attributes
    assert [price.amount for price in fact.prices] == [Decimal(amount) for amount in amounts]
    assert fact.stock_managed is stock_managed


def test_an_inactive_product_is_known(shop: Shop) -> None:
    assert shop.one(asked("cup"), CatalogProductInfoProvided).status == "INACTIVE"


def test_an_unknown_product_is_not_found(shop: Shop) -> None:
    fact = shop.one(asked("pot"), CatalogProductInfoRejected)
    assert (fact.reason_code, fact.TYPE) == ("NOT_FOUND", "catalog.product_info.not_found")


def test_an_unknown_type_of_information_and_a_request_without_id_are_refused(shop: Shop) -> None:
    fact = shop.one(asked("tea", "UNKNOWN"), CatalogCommandRejected)
    assert (fact.reason_code, fact.request_id, fact.product_id) == ("VALIDATION_FAILED", "r1", "")
    assert "BASIC, PRICING, STOCK or FULL" in fact.message
    command = ProductInfoRequested(timestamp=NOON, tenant_id=TENANT, request_id="", product_id="")
    assert shop.one(command, CatalogCommandRejected).reason_code == "VALIDATION_FAILED"


def validation(*product_ids: str, request_id: str = "r1") -> CatalogProductsValidationRequested:
    return CatalogProductsValidationRequested(
        timestamp=NOON, tenant_id=TENANT, request_id=request_id, product_ids=product_ids
    )


def test_products_are_valid_when_they_exist_and_are_active(shop: Shop) -> None:
    fact = shop.one(validation("tea", "cup", "pot", "tea"), CatalogProductsValidated)
    assert fact.products == {"tea": True, "cup": False, "pot": False}


def test_no_products_are_no_error(shop: Shop) -> None:
    assert shop.one(validation(), CatalogProductsValidated).products == {}


@pytest.mark.parametrize(
    "request_",
    [validation("tea", request_id=""), validation(*map(str, range(1001)))],
    ids=["no id", "too many"],
)
def test_a_validation_that_cannot_be_is_refused(
    shop: Shop, request_: CatalogProductsValidationRequested
) -> None:
    assert shop.one(request_, CatalogCommandRejected).reason_code == "VALIDATION_FAILED"
