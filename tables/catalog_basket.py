"""From the items of a request to lines at their prices in one currency, or to why that cannot be (contracts 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from streams.events import (
    BenefitsApplicationRequested,
    CatalogPrice,
    CatalogProductSnapshot,
    CatalogRefusedLine,
    PricingCalculationRequested,
)
from tables.catalog_apply import CURRENCY_MISMATCH, Line
from tables.catalog_facts import NOT_FOUND, VALIDATION_FAILED, Problem, holds, id_problem
from tables.catalog_money import MAX_QUANTITY, ZERO, is_currency, rounded
from tables.catalog_names import product_key
from tables.exact import EXACT
from tables.state import State

MAX_ITEMS = 1000

UNKNOWN_PRODUCT = "UNKNOWN_PRODUCT"
INACTIVE_PRODUCT = "INACTIVE_PRODUCT"
NO_PRICE = "NO_PRICE"
QUANTITY = "QUANTITY"

NAMED = 5
"""Products that a message names."""

Asked = PricingCalculationRequested | BenefitsApplicationRequested
"""What comes with items."""


class Refused(NamedTuple):
    """Why there is no answer."""

    problem: Problem
    lines: tuple[CatalogRefusedLine, ...] = ()


class Basket(NamedTuple):
    """Items at their prices, in one currency."""

    lines: tuple[Line, ...]
    currency: str


def basket_of(state: State, event: Asked, at: datetime) -> Basket | Refused:
    """Return the items at their prices, or why they have none."""
    problem = id_problem(request_id=event.request_id)
    if problem is None and len(event.items) > MAX_ITEMS:
        problem = Problem(VALIDATION_FAILED, f"a request has at most {MAX_ITEMS} items; divide it")
    if problem is not None:
        return Refused(problem)
    currency = _stated_currency(event)
    if isinstance(currency, Refused):
        return currency
    quantities = _merged(event)
    if isinstance(quantities, Refused):
        return quantities
    return _priced(state, event, at, quantities, currency)


def _stated_currency(event: Asked) -> str | Refused:
    """Return the currency that the request or its items name, "" where none does."""
    stated = {item.currency for item in event.items if item.currency} | ({event.currency} - {""})
    if len(stated) > 1:
        return Refused(
            Problem(
                VALIDATION_FAILED,
                f"mixed currencies: {', '.join(sorted(stated)[:NAMED])}; ask for each of them apart",
            )
        )
    if not all(is_currency(each) for each in stated):
        return Refused(Problem(VALIDATION_FAILED, "currency is an ISO 4217 code, three capital letters"))
    return next(iter(stated), "")


def _merged(event: Asked) -> dict[str, Decimal] | Refused:
    """Return the quantity of each product: items of one product count together before anything looks at them."""
    quantities: dict[str, Decimal] = {}
    wrong: dict[str, CatalogRefusedLine] = {}
    for item in event.items:
        name, quantity = item.product_id, item.quantity
        if quantity.is_finite() and 0 < quantity < MAX_QUANTITY:
            quantity = EXACT.add(quantities.get(name, ZERO), quantity)
            quantities[name] = quantity
        if not quantity.is_finite() or not 0 < quantity < MAX_QUANTITY:
            wrong[name] = _line(name, QUANTITY, "the quantity is more than 0 and below 10^9")
    if wrong:
        return _refused(VALIDATION_FAILED, "quantities are wrong", wrong)
    return quantities


def _priced(
    state: State, event: Asked, at: datetime, quantities: dict[str, Decimal], stated: str
) -> Basket | Refused:
    prices: dict[str, dict[str, CatalogPrice]] = {}
    wrong: dict[str, CatalogRefusedLine] = {}
    for name in sorted(quantities):
        found = _prices(state, event, at, name)
        if isinstance(found, CatalogRefusedLine):
            wrong[name] = found
        else:
            prices[name] = found
    if wrong:
        return _refused(NOT_FOUND, "some products cannot be priced", wrong)
    currency = stated or _common_currency(prices)
    for name, of in prices.items():
        if currency not in of:
            known = ", ".join(sorted(of))
            wrong[name] = _line(name, CURRENCY_MISMATCH, f"it is priced in {known}; ask for that currency")
    if wrong:
        problem = "mixed currencies" if not stated else f"some products are not priced in {stated}"
        return _refused(VALIDATION_FAILED, problem, wrong)
    lines = (_priced_line(name, quantities[name], prices[name][currency]) for name in prices)
    return Basket(tuple(lines), currency)


def _prices(
    state: State, event: Asked, at: datetime, product_id: str
) -> dict[str, CatalogPrice] | CatalogRefusedLine:
    """Return a product's prices in force on the list, by currency."""
    product: CatalogProductSnapshot | None = state.shared(
        CatalogProductSnapshot, product_key(event.tenant_id, product_id)
    )
    if product is None:
        return _line(product_id, UNKNOWN_PRODUCT, "there is no such product")
    if product.status != "ACTIVE":
        return _line(product_id, INACTIVE_PRODUCT, "the product is not for sale")
    found = {
        price.currency: price
        for price in prices_in_force(product, at)
        if price.price_list == event.price_list
    }
    return found or _line(product_id, NO_PRICE, "the list has no price for it now; set one")


def prices_in_force(product: CatalogProductSnapshot, at: datetime) -> tuple[CatalogPrice, ...]:
    """Return the prices of a product that hold at a time."""
    return tuple(price for price in product.prices if holds(price.effective_from, price.effective_to, at))


def _common_currency(prices: Mapping[str, Mapping[str, CatalogPrice]]) -> str:
    """Return the only currency in which everything has a price, "" where there is none or more than one."""
    common = set.intersection(*(set(of) for of in prices.values())) if prices else set()
    return common.pop() if len(common) == 1 else ""


def _priced_line(product_id: str, quantity: Decimal, price: CatalogPrice) -> Line:
    subtotal = rounded(EXACT.multiply(quantity, price.amount), price.currency)
    return Line(product_id, quantity, price.amount, subtotal, price.version)


def _line(product_id: str, code: str, message: str) -> CatalogRefusedLine:
    return CatalogRefusedLine(product_id=product_id, reason_code=code, message=message)


def _refused(code: str, what: str, wrong: Mapping[str, CatalogRefusedLine]) -> Refused:
    lines = tuple(wrong[name] for name in sorted(wrong))
    shown = "; ".join(f"{line.product_id}: {line.message}" for line in lines[:NAMED])
    more = f"; and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
    return Refused(Problem(code, f"{what} ({shown}{more})"), lines)
