"""Products and their prices (contracts 3.2).

A price holds for a time span, on one list and in one currency; spans of the same list and currency never overlap. A
price is told from the others by its beginning: setting one with the same beginning replaces it, which is how a price
is ended. Nothing is ended by another price silently.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from streams.events import (
    CatalogPrice,
    CatalogPriceChanged,
    CatalogPriceKept,
    CatalogPriceSetRequested,
    CatalogProduct,
    CatalogProductChanged,
    CatalogProductSnapshot,
    CatalogProductUpsertRequested,
)
from tables.catalog_facts import (
    CONFLICT,
    NOT_FOUND,
    VALIDATION_FAILED,
    Assigned,
    Problem,
    id_problem,
    rejected,
    version_problem,
    window_problem,
)
from tables.catalog_money import MAX_AMOUNT, is_currency
from tables.catalog_names import PRICES, PRODUCT, price_name, prices_prefix
from tables.facts import caused_by, changed
from tables.state import Record, State

SHOWN_AFTER_END = timedelta(days=1)
"""Ended prices stay in the snapshot for this long: requests may have waited for a while."""
MAX_PRICES = 500
"""Prices in force or to come: they travel together, in one snapshot."""
MAX_ATTRIBUTES = 500
LONGEST_ATTRIBUTES = 50_000
"""Characters of all attributes together."""


def upsert_product(state: State, event: CatalogProductUpsertRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a product's definition: it replaces the one before, and prices stay."""
    known: CatalogProduct | None = state.get(PRODUCT)
    version = 0 if known is None else known.version
    problem = _unfit(event) or version_problem(event.expected_version, version)
    if problem is not None:
        return (rejected(event, at, *problem),)
    product = CatalogProduct(
        name=event.name,
        status=event.status,
        attributes=event.attributes,
        stock_managed=event.stock_managed,
        version=version + 1,
    )
    fact = CatalogProductChanged(
        timestamp=at,
        tenant_id=event.tenant_id,
        product_id=event.product_id,
        name=product.name,
        status=product.status,
        attributes=product.attributes,
        stock_managed=product.stock_managed,
        version=product.version,
        envelope=caused_by(event),
    )
    return Assigned({PRODUCT: product}), fact, _snapshot(event, at, product, _prices(state, at))


def _unfit(event: CatalogProductUpsertRequested) -> Problem | None:
    if event.status == "UNKNOWN":
        return Problem(VALIDATION_FAILED, "status is ACTIVE or INACTIVE")
    length = sum(len(name) + len(value) for name, value in event.attributes.items())
    if len(event.attributes) > MAX_ATTRIBUTES or length > LONGEST_ATTRIBUTES:
        limits = f"{MAX_ATTRIBUTES} attributes with {LONGEST_ATTRIBUTES} characters"
        return Problem(VALIDATION_FAILED, f"a product has at most {limits}; leave some out")
    return id_problem(product_id=event.product_id)


def set_price(state: State, event: CatalogPriceSetRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a price: set, replaced, or taken back."""
    known: CatalogProduct | None = state.get(PRODUCT)
    if known is None:
        return (rejected(event, at, NOT_FOUND, "there is no such product; define it first"),)
    start = at if event.effective_from is None else event.effective_from
    problem = _price_unfit(event, start) or version_problem(event.expected_version, known.version)
    if problem is not None:
        return (rejected(event, at, *problem),)
    name = price_name(event.price_list, event.currency, start)
    product = changed(known, version=known.version + 1)
    if event.remove:
        kept: CatalogPriceKept | None = state.get(name)
        if kept is None:
            message = "no price of this list and currency begins at effective_from; name one that does"
            return (rejected(event, at, NOT_FOUND, message),)
        return _price_set(state, event, at, product, name, kept.price)
    price = CatalogPrice(
        price_list=event.price_list,
        currency=event.currency,
        amount=event.amount,
        effective_from=start,
        effective_to=event.effective_to,
        version=product.version,
    )
    clash = _overlapped(state, name, price) or _too_many(state, name, at)
    if clash is not None:
        return (rejected(event, at, *clash),)
    return _price_set(state, event, at, product, name, price)


def _price_unfit(event: CatalogPriceSetRequested, start: datetime) -> Problem | None:
    if not is_currency(event.currency):
        return Problem(VALIDATION_FAILED, "currency is an ISO 4217 code, three capital letters")
    if len(event.price_list) > 100:
        return Problem(VALIDATION_FAILED, "price_list has at most 100 characters")
    if event.remove:
        return None
    if not event.amount.is_finite() or not 0 <= event.amount < MAX_AMOUNT:
        return Problem(VALIDATION_FAILED, "amount is a number from 0 to below 10^12")
    return window_problem(start, event.effective_to)


def _overlapped(state: State, name: str, price: CatalogPrice) -> Problem | None:
    start, end = price.effective_from, price.effective_to
    for other in state.names(prices_prefix(price.price_list, price.currency)):
        kept: CatalogPriceKept | None = state.get(other)
        if other == name or kept is None:
            continue
        first, last = kept.price.effective_from, kept.price.effective_to
        if (last is None or start < last) and (end is None or first < end):
            until = "further notice" if last is None else last.isoformat()
            return Problem(
                CONFLICT,
                f"the price from {first.isoformat()} until {until} holds at the same time; set that one again, with "
                "an effective_to, or take it back",
            )
    return None


def _too_many(state: State, name: str, at: datetime) -> Problem | None:
    if state.get(name) is None and len(_prices(state, at)) >= MAX_PRICES:
        message = f"a product has at most {MAX_PRICES} prices in force or to come; take some back"
        return Problem(VALIDATION_FAILED, message)
    return None


def _price_set(
    state: State,
    event: CatalogPriceSetRequested,
    at: datetime,
    product: CatalogProduct,
    name: str,
    price: CatalogPrice,
) -> tuple[Any, ...]:
    kept = None if event.remove else CatalogPriceKept(price=price)
    records: dict[str, Record | None] = {PRODUCT: product, name: kept}
    fact = CatalogPriceChanged(
        timestamp=at,
        tenant_id=event.tenant_id,
        product_id=event.product_id,
        price=price,
        removed=event.remove,
        version=product.version,
        envelope=caused_by(event),
    )
    prices = _prices(state, at, except_for=name)
    if kept is not None and _shown(price, at):
        prices.append(price)
    return Assigned(records), fact, _snapshot(event, at, product, prices)


def _shown(price: CatalogPrice, at: datetime) -> bool:
    return price.effective_to is None or at - price.effective_to < SHOWN_AFTER_END


def _prices(state: State, at: datetime, except_for: str = "") -> list[CatalogPrice]:
    found = []
    for name in state.names(PRICES):
        kept: CatalogPriceKept | None = state.get(name)
        if kept is not None and name != except_for and _shown(kept.price, at):
            found.append(kept.price)
    return found


def _snapshot(
    event: Any, at: datetime, product: CatalogProduct, prices: list[CatalogPrice]
) -> CatalogProductSnapshot:
    return CatalogProductSnapshot(
        timestamp=at,
        tenant_id=event.tenant_id,
        product_id=event.product_id,
        name=product.name,
        status=product.status,
        attributes=product.attributes,
        stock_managed=product.stock_managed,
        prices=tuple(
            sorted(prices, key=lambda price: (price.price_list, price.currency, price.effective_from))
        ),
        version=product.version,
        envelope=caused_by(event),
    )
