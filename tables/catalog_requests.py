"""Questions about products (contracts 3.2): what is known of one, and which of many exist and are active."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.events import (
    CatalogPrice,
    CatalogProductInfoProvided,
    CatalogProductInfoRejected,
    CatalogProductSnapshot,
    CatalogProductsValidated,
    CatalogProductsValidationRequested,
    ProductInfoRequested,
)
from tables.catalog_basket import MAX_ITEMS, prices_in_force
from tables.catalog_facts import NOT_FOUND, VALIDATION_FAILED, Problem, id_problem, rejected
from tables.catalog_names import product_key
from tables.facts import caused_by
from tables.state import State


def provide_info(state: State, event: ProductInfoRequested, at: datetime) -> tuple[Any, ...]:
    """Answer what the catalogue knows of a product, inactive ones included."""
    problem = id_problem(request_id=event.request_id)
    if problem is None and event.info_type == "UNKNOWN":
        problem = Problem(VALIDATION_FAILED, "info_type is BASIC, PRICING, STOCK or FULL")
    if problem is not None:
        return (rejected(event, at, *problem),)
    product = product_of(state, event.tenant_id, event.product_id)
    if product is None:
        refusal = CatalogProductInfoRejected(
            timestamp=at,
            tenant_id=event.tenant_id,
            request_id=event.request_id,
            product_id=event.product_id,
            reason_code=NOT_FOUND,
            message="there is no such product; check the id, or define it",
            envelope=caused_by(event),
        )
        return (refusal,)
    return (_provided(event, at, product),)


def _provided(
    event: ProductInfoRequested, at: datetime, product: CatalogProductSnapshot
) -> CatalogProductInfoProvided:
    attributes, prices, stock_managed = shown(product, event.info_type, at)
    return CatalogProductInfoProvided(
        timestamp=at,
        tenant_id=event.tenant_id,
        request_id=event.request_id,
        product_id=event.product_id,
        info_type=event.info_type,
        name=product.name,
        status=product.status,
        attributes=attributes or {},
        prices=prices or (),
        stock_managed=stock_managed,
        version=product.version,
        envelope=caused_by(event),
    )


def shown(
    product: CatalogProductSnapshot, info_type: str, at: datetime
) -> tuple[dict[str, str] | None, tuple[CatalogPrice, ...] | None, bool | None]:
    """Return attributes, prices and stock management of a product; None for what the type of information leaves out."""
    prices = product.prices if info_type == "FULL" else None
    return (
        product.attributes if info_type in ("BASIC", "FULL") else None,
        prices_in_force(product, at) if info_type == "PRICING" else prices,
        product.stock_managed if info_type in ("STOCK", "FULL") else None,
    )


def product_of(state: State, tenant: str, product_id: str) -> CatalogProductSnapshot | None:
    """Return a product as this worker knows it, or None."""
    found: CatalogProductSnapshot | None = state.shared(
        CatalogProductSnapshot, product_key(tenant, product_id)
    )
    return found


def validate_products(
    state: State, event: CatalogProductsValidationRequested, at: datetime
) -> tuple[Any, ...]:
    """Answer which products exist and are active; those that do not are no error."""
    problem = id_problem(request_id=event.request_id)
    if problem is None and len(event.product_ids) > MAX_ITEMS:
        problem = Problem(VALIDATION_FAILED, f"a request has at most {MAX_ITEMS} products; divide it")
    if problem is not None:
        return (rejected(event, at, *problem),)
    found = {}
    for product_id in sorted(set(event.product_ids)):
        product = product_of(state, event.tenant_id, product_id)
        found[product_id] = product is not None and product.status == "ACTIVE"
    answer = CatalogProductsValidated(
        timestamp=at,
        tenant_id=event.tenant_id,
        request_id=event.request_id,
        products=found,
        envelope=caused_by(event),
    )
    return (answer,)
