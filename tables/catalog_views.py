"""Read models of the catalogue: what the HTTP views answer (contracts 3.2). Pure functions, JSON-able values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.events import CatalogBenefitSnapshot, CatalogPrice, CatalogProductSnapshot
from tables.catalog_requests import shown
from tables.readable import iso, text


def product(found: CatalogProductSnapshot, info_type: str, at: datetime) -> dict[str, Any]:
    """Return a product; ``info_type`` is BASIC, PRICING, STOCK or FULL, and ``at`` the time whose prices are shown."""
    attributes, prices, stock_managed = shown(found, info_type, at)
    return {
        **summary(found),
        "info_type": info_type,
        "attributes": attributes,
        "prices": None if prices is None else [_price(price) for price in prices],
        "stock_managed": stock_managed,
    }


def summary(found: CatalogProductSnapshot) -> dict[str, Any]:
    """Return what a list says of a product."""
    return {
        "product_id": found.product_id,
        "name": found.name,
        "status": found.status,
        "version": found.version,
    }


def _price(price: CatalogPrice) -> dict[str, Any]:
    return {
        "price_list": price.price_list,
        "currency": price.currency,
        "amount": text(price.amount),
        "effective_from": iso(price.effective_from),
        "effective_to": iso(price.effective_to),
        "version": price.version,
    }


def benefit(found: CatalogBenefitSnapshot) -> dict[str, Any]:
    """Return a benefit with its terms."""
    terms = found.terms
    return {
        "benefit_id": found.benefit_id,
        "name": terms.name,
        "kind": terms.kind,
        "active": terms.active,
        "exhausted": found.exhausted,
        "priority": terms.priority,
        "stackable": terms.stackable,
        "percent": None if terms.percent is None else text(terms.percent),
        "amount": None if terms.amount is None else text(terms.amount),
        "currency": terms.currency,
        "buy_quantity": terms.buy_quantity,
        "get_quantity": terms.get_quantity,
        "tiers": [
            {"min_quantity": text(tier.min_quantity), "value": text(tier.value)} for tier in terms.tiers
        ],
        "product_ids": list(terms.product_ids),
        "customer_tiers": list(terms.customer_tiers),
        "min_subtotal": None if terms.min_subtotal is None else text(terms.min_subtotal),
        "effective_from": iso(terms.effective_from),
        "effective_to": iso(terms.effective_to),
        "max_redemptions": terms.max_redemptions,
        "version": found.version,
    }
