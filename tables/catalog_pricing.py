"""What items cost, and which benefits a customer gets on them (contracts 3.2).

Both are pure functions of the items, the prices, the benefits, the customer's tier and the time. Nothing is counted or
remembered: whoever orders later asks again and compares ``price_version`` and ``benefit_version``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from streams.events import (
    BenefitsApplicationRequested,
    CatalogBenefitsCompleted,
    CatalogBenefitSnapshot,
    CatalogBenefitsRejected,
    CatalogLine,
    CatalogPricingCompleted,
    CatalogPricingRejected,
    PricingCalculationRequested,
)
from tables.catalog_apply import Line, Outcome, apply
from tables.catalog_basket import Asked, Basket, Refused, basket_of
from tables.catalog_facts import NOT_FOUND, Problem, holds, name_of
from tables.catalog_money import sum_of
from tables.catalog_names import benefit_key
from tables.exact import EXACT
from tables.facts import caused_by
from tables.state import State

VALID_FOR = timedelta(seconds=900)
"""How long a quote is meant to hold (contracts 3.2)."""


def calculate_pricing(state: State, event: PricingCalculationRequested, at: datetime) -> tuple[Any, ...]:
    """Answer what items cost; without a customer there are no benefits."""
    unknown = _unknown_customer(event.customer_known) if event.customer_id else None
    quote = {"quote_id": f"quote-{event.request_id}", "valid_until": at + VALID_FOR}
    return _answer(state, event, at, unknown, CatalogPricingRejected, CatalogPricingCompleted, quote)


def apply_benefits(state: State, event: BenefitsApplicationRequested, at: datetime) -> tuple[Any, ...]:
    """Answer which benefits a customer gets on items."""
    unknown = _unknown_customer(event.customer_known if event.customer_id else False)
    return _answer(state, event, at, unknown, CatalogBenefitsRejected, CatalogBenefitsCompleted, {})


def _answer(
    state: State,
    event: Asked,
    at: datetime,
    unknown: Refused | None,
    refusal: type,
    completed: type,
    further: dict[str, Any],
) -> tuple[Any, ...]:
    """Return a refusal, or what items cost with their benefits.

    Args:
        unknown: why there is no answer whatever the items are.
        refusal, completed: the facts' types.
        further: fields of the latter that the other answer does not have.
    """
    common: dict[str, Any] = {
        "timestamp": at,
        "tenant_id": event.tenant_id,
        "request_id": event.request_id,
        "customer_id": event.customer_id,
        "envelope": caused_by(event),
    }
    basket = unknown or basket_of(state, event, at)
    if isinstance(basket, Refused):
        code, message = basket.problem
        return (refusal(reason_code=code, message=message, lines=basket.lines, **common),)
    return (completed(**common, **further, **_result(state, event, at, basket)),)


def _unknown_customer(known: bool | None) -> Refused | None:
    if known is False:
        return Refused(
            Problem(NOT_FOUND, "there is no such customer; leave it out for prices without benefits")
        )
    return None


def _result(state: State, event: Asked, at: datetime, basket: Basket) -> dict[str, Any]:
    """Return the fields that both answers have."""
    benefit_version = ""
    if event.customer_id:
        benefits = benefits_in_force(state, event.tenant_id, at)
        benefit_version = name_of(f"{each.benefit_id}:{each.version}:{each.exhausted}" for each in benefits)
        outcome = apply(benefits, basket.lines, basket.currency, event.customer_tier)
    else:
        outcome = Outcome({line.product_id: line.subtotal for line in basket.lines})
    lines = tuple(_finished(line, outcome.left[line.product_id]) for line in basket.lines)
    return {
        "currency": basket.currency,
        "lines": lines,
        "subtotal": sum_of(line.subtotal for line in lines),
        "discount": sum_of(line.discount for line in lines),
        "total": sum_of(line.total for line in lines),
        "price_version": name_of(f"{line.product_id}:{line.price_version}" for line in lines),
        "benefit_version": benefit_version,
        "applied": outcome.applied,
        "skipped": outcome.skipped,
        "free_shipping": outcome.free_shipping,
    }


def _finished(line: Line, left: Decimal) -> CatalogLine:
    return CatalogLine(
        product_id=line.product_id,
        quantity=line.quantity,
        unit_price=line.unit_price,
        subtotal=line.subtotal,
        discount=EXACT.subtract(line.subtotal, left),
        total=left,
        price_version=line.price_version,
    )


def benefits_in_force(state: State, tenant: str, at: datetime) -> list[CatalogBenefitSnapshot]:
    """Return a tenant's benefits that hold at a time, in the order of their ids."""
    found = []
    for key in state.shared_keys(CatalogBenefitSnapshot, benefit_key(tenant, "")):
        benefit: CatalogBenefitSnapshot | None = state.shared(CatalogBenefitSnapshot, key)
        if benefit is not None and benefit.terms.active:
            if holds(benefit.terms.effective_from, benefit.terms.effective_to, at):
                found.append(benefit)
    return sorted(found, key=lambda each: each.benefit_id)
