"""The views of the catalogue over HTTP. Every worker answers them: each holds the whole catalogue.

in     GET /catalog/products, /catalog/products/{product_id}, /catalog/benefits   tables/catalog_views.py
out    the models below, or the error body of contracts 3.0
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from agents.answers import Amount
from agents.tenants import TenantPageQuery, TenantQuery, tenant_of
from streams.events import CatalogBenefitSnapshot, CatalogProductSnapshot
from streams.web_errors import NotFound
from streams.web_views import Call, PaginatedResult, View, page_of
from tables import catalog_views
from tables.catalog_names import benefit_key, product_key

InfoType = Literal["BASIC", "PRICING", "STOCK", "FULL"]


class ProductQuery(TenantQuery):
    """What of a product."""

    info_type: InfoType = Field("BASIC", description="PRICING: prices in force; FULL: those to come too.")


class PriceItem(BaseModel):
    """A price of a product."""

    price_list: str = Field(description="Empty: the standard list.")
    currency: str
    amount: Amount
    effective_from: datetime
    effective_to: datetime | None = Field(description="End, not included; null: until further notice.")
    version: int


class _Held(BaseModel):
    as_of: datetime | None = Field(description="When this worker last knew that it held everything.")


class ProductItem(BaseModel):
    """A product in a list."""

    product_id: str
    name: str
    status: str
    version: int


class Product(ProductItem, _Held):
    """A product."""

    tenant: str
    info_type: InfoType
    attributes: dict[str, str] | None = Field(description="With BASIC and FULL.")
    prices: list[PriceItem] | None = Field(description="With PRICING and FULL.")
    stock_managed: bool | None = Field(description="With STOCK and FULL.")


class Products(PaginatedResult[ProductItem], _Held):
    """A tenant's products, by id."""

    tenant: str


class TierItem(BaseModel):
    """What a benefit gives from a quantity on."""

    min_quantity: Amount
    value: Amount


class BenefitItem(BaseModel):
    """A benefit."""

    benefit_id: str
    name: str
    kind: str
    active: bool
    exhausted: bool = Field(description="All redemptions are reserved.")
    priority: int
    stackable: bool
    percent: Amount | None
    amount: Amount | None
    currency: str | None
    buy_quantity: int | None
    get_quantity: int | None
    tiers: list[TierItem]
    product_ids: list[str] = Field(description="Empty: all products.")
    customer_tiers: list[str] = Field(description="Empty: all customers.")
    min_subtotal: Amount | None
    effective_from: datetime
    effective_to: datetime | None
    max_redemptions: int | None
    version: int


class Benefits(PaginatedResult[BenefitItem], _Held):
    """A tenant's benefits, by id."""

    tenant: str


def _head(call: Call, tenant: str) -> dict[str, Any]:
    fresh = call.reader.shared.fresh_at
    return {"tenant": tenant, "as_of": None if fresh is None else datetime.fromtimestamp(fresh, UTC)}


def _page(call: Call, kind: type, prefix: str, item: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of a page of what the worker holds of a kind."""
    shared = call.reader.shared
    page = page_of(list(shared.keys(kind, prefix)), call.query)
    # Nothing changes between the keys and the records: both are read without giving way.
    return {**page, "items": [item(shared.get(kind, key)) for key in page["items"]]}


async def product(call: Call) -> BaseModel:
    """Return a product of the catalogue."""
    tenant = tenant_of(call)
    asked: ProductQuery = call.query
    found = call.reader.shared.get(CatalogProductSnapshot, product_key(tenant, call.path["product_id"]))
    if found is None:
        raise NotFound("the catalogue has no such product")
    model = catalog_views.product(found, asked.info_type, datetime.now(UTC))
    return Product.model_validate({**model, **_head(call, tenant)})


async def products(call: Call) -> BaseModel:
    """Return the products of the catalogue."""
    tenant = tenant_of(call)
    page = _page(call, CatalogProductSnapshot, product_key(tenant, ""), catalog_views.summary)
    return Products.model_validate({**page, **_head(call, tenant)})


async def benefits(call: Call) -> BaseModel:
    """Return the benefits of the catalogue."""
    tenant = tenant_of(call)
    page = _page(call, CatalogBenefitSnapshot, benefit_key(tenant, ""), catalog_views.benefit)
    return Benefits.model_validate({**page, **_head(call, tenant)})


# fmt: off
VIEWS: Final = (
    #    path                             handler   answer    query            table      failures
    View("/catalog/products",              products, Products, TenantPageQuery, "catalog", (400,)),
    View("/catalog/products/{product_id}", product,  Product,  ProductQuery,    "catalog", (400, 404)),
    View("/catalog/benefits",              benefits, Benefits, TenantPageQuery, "catalog", (400,)),
)
# fmt: on
