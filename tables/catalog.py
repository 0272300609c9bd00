"""The catalogue (contracts 3.2): products, their prices, benefits, their reservations, and what is asked of them.

A product and a benefit are aggregates of their own, and change by commands. Requests have a key of their own and no
state: they are answered from the snapshots of products and benefits that every worker holds (``streams.replica``).
The rules are in the modules beside this one: ``catalog_products``, ``catalog_benefits``, ``catalog_reservations``,
``catalog_requests`` and ``catalog_pricing`` with ``catalog_basket`` and ``catalog_apply``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from streams.events import (
    BenefitsApplicationRequested,
    CatalogBenefit,
    CatalogBenefitRedeemRequested,
    CatalogBenefitReleaseRequested,
    CatalogBenefitReserveRequested,
    CatalogBenefitUpsertRequested,
    CatalogPriceKept,
    CatalogPriceSetRequested,
    CatalogProduct,
    CatalogProductsValidationRequested,
    CatalogProductUpsertRequested,
    CatalogReservation,
    CatalogReservationExpireRequested,
    PricingCalculationRequested,
    ProductInfoRequested,
)
from tables.catalog_benefits import upsert_benefit
from tables.catalog_facts import Assigned
from tables.catalog_names import RESERVATIONS
from tables.catalog_pricing import apply_benefits, calculate_pricing
from tables.catalog_products import set_price, upsert_product
from tables.catalog_requests import provide_info, validate_products
from tables.catalog_reservations import expire, expiry_of, redeem, release, reserve
from tables.state import Aggregate, Changes, Record, State

NOTHING: Changes = {}

RULES: dict[type, Callable[[Any, Any, datetime], tuple[Any, ...]]] = {
    CatalogProductUpsertRequested: upsert_product,
    CatalogPriceSetRequested: set_price,
    CatalogBenefitUpsertRequested: upsert_benefit,
    CatalogBenefitReserveRequested: reserve,
    CatalogBenefitRedeemRequested: redeem,
    CatalogBenefitReleaseRequested: release,
    CatalogReservationExpireRequested: expire,
    ProductInfoRequested: provide_info,
    PricingCalculationRequested: calculate_pricing,
    BenefitsApplicationRequested: apply_benefits,
    CatalogProductsValidationRequested: validate_products,
}
"""The rule of each command and request."""


def decide(state: State, event: Any, at: datetime) -> tuple[Any, ...]:
    """Answer a command or request with facts; ``at`` is its append time.

    Raises:
        LookupError: it is none of this aggregate's.
    """
    rule = RULES.get(type(event))
    if rule is None:
        raise LookupError(
            f"{type(event).__name__} is no command of the catalogue; correct its row in the routes"
        )
    return rule(state, event, at)


def fold(state: State, fact: Any) -> Changes:
    """Return the records a fact replaces; published facts replace none."""
    return fact.records if type(fact) is Assigned else NOTHING


def due(name: str, record: Record) -> datetime | None:
    """Return when a reservation expires."""
    if name.startswith(RESERVATIONS):
        time: datetime | None = record.expires_at
        return time
    return None


CATALOG = Aggregate(
    name="catalog",
    decide=decide,
    fold=fold,
    records=(CatalogProduct, CatalogPriceKept, CatalogBenefit, CatalogReservation),
    due=due,
    on_due=expiry_of,
)
