"""Which benefits a basket gets, and what they take off its lines (contracts 3.2).

Benefits apply by priority, the higher first, and by id among equals. Each takes its part of what the ones before it
have left, rounded per line, so that the discounts of a line and the line itself always add up. A benefit that is not
stackable applies alone: not after another one, and none after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from streams.events import (
    CatalogAppliedBenefit,
    CatalogBenefitSnapshot,
    CatalogBenefitTerms,
    CatalogBenefitTier,
    CatalogSkippedBenefit,
)
from tables.catalog_money import HUNDRED, part_of, spread, sum_of
from tables.exact import EXACT

CUSTOMER_TIER = "CUSTOMER_TIER"
EXHAUSTED = "EXHAUSTED"
NO_ELIGIBLE_ITEMS = "NO_ELIGIBLE_ITEMS"
CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
BELOW_MINIMUM = "BELOW_MINIMUM"
BELOW_QUANTITY = "BELOW_QUANTITY"
NOT_STACKABLE = "NOT_STACKABLE"
NOTHING_LEFT = "NOTHING_LEFT"

Discounts = dict[str, Decimal]
"""What comes off each product's line."""


class Line(NamedTuple):
    """A product of a basket, before any benefit.

    Attributes:
        subtotal: at the currency's minor unit.
        price_version: version of the price.
    """

    product_id: str
    quantity: Decimal
    unit_price: Decimal
    subtotal: Decimal
    price_version: int


class Outcome(NamedTuple):
    """A basket after its benefits.

    Attributes:
        left: what each product's line still costs.
        applied: in the order they were applied.
        skipped: benefits that give nothing here, in the same order.
        free_shipping: whether one of the applied ones gives it.
    """

    left: Discounts
    applied: tuple[CatalogAppliedBenefit, ...] = ()
    skipped: tuple[CatalogSkippedBenefit, ...] = ()
    free_shipping: bool = False


def apply(
    benefits: Iterable[CatalogBenefitSnapshot], lines: Iterable[Line], currency: str, tier: str | None
) -> Outcome:
    """Return what benefits make of a basket.

    Args:
        benefits: those in force, in any order.
        lines: one for each product, in any order.
        currency: of the lines.
        tier: of the customer, None where it has none.
    """
    basket = {line.product_id: line for line in lines}
    left = {name: basket[name].subtotal for name in sorted(basket)}
    applied: list[CatalogAppliedBenefit] = []
    skipped: list[CatalogSkippedBenefit] = []
    alone = False
    for benefit in sorted(benefits, key=lambda each: (-each.terms.priority, each.benefit_id)):
        found: Discounts | str
        if applied and (alone or not benefit.terms.stackable):
            found = NOT_STACKABLE
        else:
            found = _given(benefit, basket, left, currency, tier)
        if isinstance(found, str):
            skipped.append(CatalogSkippedBenefit(benefit_id=benefit.benefit_id, reason=found))
            continue
        for name, discount in found.items():
            left[name] = EXACT.subtract(left[name], discount)
        applied.append(_applied(benefit, found))
        alone = not benefit.terms.stackable
    free = any(each.kind == "FREE_SHIPPING" for each in applied)
    return Outcome(left, tuple(applied), tuple(skipped), free)


def _applied(benefit: CatalogBenefitSnapshot, found: Discounts) -> CatalogAppliedBenefit:
    return CatalogAppliedBenefit(
        benefit_id=benefit.benefit_id,
        kind=benefit.terms.kind,
        discount=sum_of(found.values()),
        product_ids=tuple(name for name in sorted(found) if found[name]),
        version=benefit.version,
        limited=benefit.terms.max_redemptions is not None,
    )


def _given(
    benefit: CatalogBenefitSnapshot,
    basket: dict[str, Line],
    left: Discounts,
    currency: str,
    tier: str | None,
) -> Discounts | str:
    """Return what a benefit takes off each line, or the reason why it gives nothing."""
    terms = benefit.terms
    if terms.customer_tiers and tier not in terms.customer_tiers:
        return CUSTOMER_TIER
    if benefit.exhausted:
        return EXHAUSTED
    wanted = frozenset(terms.product_ids)
    lines = [basket[name] for name in left if not wanted or name in wanted]
    if not lines:
        return NO_ELIGIBLE_ITEMS
    if terms.currency is not None and terms.currency != currency:
        return CURRENCY_MISMATCH
    if terms.min_subtotal is not None and sum_of(line.subtotal for line in lines) < terms.min_subtotal:
        return BELOW_MINIMUM
    if terms.kind == "FREE_SHIPPING":
        return {}
    found = _discounts(terms, lines, {line.product_id: left[line.product_id] for line in lines}, currency)
    if found is None:
        return BELOW_QUANTITY
    return found if any(found.values()) else NOTHING_LEFT


def _discounts(
    terms: CatalogBenefitTerms, lines: list[Line], left: Discounts, currency: str
) -> Discounts | None:
    """Return what comes off each line, or None where no quantity is large enough."""
    if terms.kind == "FIXED":
        amount = _tiered(terms.amount, terms.tiers, sum_of(line.quantity for line in lines))
        return None if amount is None else spread(amount, left, currency)
    if terms.kind == "BUY_X_GET_Y":
        return _gifts(terms, lines, left, currency)
    found: Discounts = {}
    for line in lines:
        percent = _tiered(terms.percent, terms.tiers, line.quantity)
        if percent is not None:
            found[line.product_id] = part_of(left[line.product_id], percent, currency)
    return found or None


def _tiered(
    value: Decimal | None, tiers: tuple[CatalogBenefitTier, ...], quantity: Decimal
) -> Decimal | None:
    """Return the value of the highest tier that a quantity reaches; without tiers, the benefit's own."""
    for tier in tiers:
        if quantity >= tier.min_quantity:
            value = tier.value
    return value


def _gifts(terms: CatalogBenefitTerms, lines: list[Line], left: Discounts, currency: str) -> Discounts | None:
    """Return the discounts of BUY_X_GET_Y: of each product, X whole units at its price and then Y reduced ones."""
    buy, get = terms.buy_quantity or 0, terms.get_quantity or 0
    percent = HUNDRED if terms.percent is None else terms.percent
    found: Discounts = {}
    for line in lines:
        rounds, rest = divmod(int(line.quantity), buy + get)
        gifts = rounds * get + max(0, rest - buy)
        if gifts:
            worth = part_of(EXACT.multiply(line.unit_price, Decimal(gifts)), percent, currency)
            found[line.product_id] = min(worth, left[line.product_id])
    return found or None
