"""Benefits: what may be defined, and how a definition changes (contracts 3.2)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.events import (
    CatalogBenefit,
    CatalogBenefitChanged,
    CatalogBenefitSnapshot,
    CatalogBenefitTerms,
    CatalogBenefitUpsertRequested,
)
from tables.catalog_facts import (
    VALIDATION_FAILED,
    Assigned,
    Problem,
    id_problem,
    rejected,
    version_problem,
    window_problem,
)
from tables.catalog_money import HUNDRED, MAX_AMOUNT, MAX_QUANTITY, is_currency, rounded
from tables.catalog_names import BENEFIT
from tables.facts import caused_by
from tables.state import State

MAX_PRODUCTS = 1000
MAX_TIERS = 100
MAX_COUNT = 10**6


def upsert_benefit(state: State, event: CatalogBenefitUpsertRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a benefit's definition: it replaces the one before, and what is reserved stays counted."""
    known: CatalogBenefit | None = state.get(BENEFIT)
    version, reserved = (0, 0) if known is None else (known.version, known.reserved)
    terms = _terms(event, at if known is None else known.terms.effective_from)
    problem = id_problem(benefit_id=event.benefit_id) or _unfit(terms)
    problem = problem or version_problem(event.expected_version, version)
    if problem is not None:
        return (rejected(event, at, *problem),)
    benefit = CatalogBenefit(terms=terms, version=version + 1, reserved=reserved)
    return Assigned({BENEFIT: benefit}), *told(event, at, benefit)


def is_exhausted(benefit: CatalogBenefit) -> bool:
    """Return whether all redemptions of a benefit are reserved."""
    most = benefit.terms.max_redemptions
    return most is not None and benefit.reserved >= most


def told(
    event: Any, at: datetime, benefit: CatalogBenefit
) -> tuple[CatalogBenefitChanged, CatalogBenefitSnapshot]:
    """Return what is published of a benefit that ``event`` changed."""
    common: dict[str, Any] = {
        "timestamp": at,
        "tenant_id": event.tenant_id,
        "benefit_id": event.benefit_id,
        "terms": benefit.terms,
        "exhausted": is_exhausted(benefit),
        "version": benefit.version,
        "envelope": caused_by(event),
    }
    return CatalogBenefitChanged(**common), CatalogBenefitSnapshot(**common)


def _terms(event: CatalogBenefitUpsertRequested, start: datetime) -> CatalogBenefitTerms:
    return CatalogBenefitTerms(
        name=event.name,
        kind=event.kind,
        active=event.active,
        priority=event.priority,
        stackable=event.stackable,
        percent=event.percent,
        amount=event.amount,
        currency=event.currency,
        buy_quantity=event.buy_quantity,
        get_quantity=event.get_quantity,
        tiers=tuple(sorted(event.tiers, key=lambda tier: tier.min_quantity)),
        product_ids=tuple(sorted(set(event.product_ids))),
        customer_tiers=tuple(sorted(set(event.customer_tiers))),
        min_subtotal=event.min_subtotal,
        effective_from=start if event.effective_from is None else event.effective_from,
        effective_to=event.effective_to,
        max_redemptions=event.max_redemptions,
    )


def _unfit(terms: CatalogBenefitTerms) -> Problem | None:
    message = _unfit_kind(terms) or _unfit_tiers(terms) or _unfit_limits(terms)
    if message:
        return Problem(VALIDATION_FAILED, message)
    return window_problem(terms.effective_from, terms.effective_to)


def _unfit_kind(terms: CatalogBenefitTerms) -> str:
    if terms.kind == "PERCENT" and terms.percent is None and not terms.tiers:
        return "a PERCENT benefit needs percent or tiers"
    if terms.kind == "FIXED" and terms.amount is None and not terms.tiers:
        return "a FIXED benefit needs amount or tiers"
    if terms.kind == "BUY_X_GET_Y":
        for count in (terms.buy_quantity, terms.get_quantity):
            if count is None or not 1 <= count <= MAX_COUNT:
                return f"a BUY_X_GET_Y benefit needs buy_quantity and get_quantity, 1 to {MAX_COUNT}"
    if terms.kind == "UNKNOWN":
        return "kind is PERCENT, FIXED, BUY_X_GET_Y or FREE_SHIPPING"
    if terms.percent is not None and not (terms.percent.is_finite() and 0 < terms.percent <= HUNDRED):
        return "percent is more than 0 and at most 100"
    return _unfit_money(terms)


def _unfit_money(terms: CatalogBenefitTerms) -> str:
    amounts = [amount for amount in (terms.amount, terms.min_subtotal) if amount is not None]
    if terms.kind == "FIXED":
        amounts += [tier.value for tier in terms.tiers]
    if (amounts or terms.currency is not None) and not is_currency(terms.currency or ""):
        return "amounts need a currency, an ISO 4217 code of three capital letters"
    for amount in amounts:
        if not amount.is_finite() or not 0 < amount < MAX_AMOUNT:
            return "amounts are more than 0 and below 10^12"
        if amount != rounded(amount, terms.currency or ""):
            return f"amounts have no more decimal places than {terms.currency} has"
    return ""


def _unfit_tiers(terms: CatalogBenefitTerms) -> str:
    if not terms.tiers:
        return ""
    if terms.kind not in ("PERCENT", "FIXED"):
        return "tiers are for PERCENT and FIXED benefits; leave them out"
    if terms.percent is not None or terms.amount is not None:
        return "tiers stand in place of percent and amount; leave one out"
    quantities = {tier.min_quantity for tier in terms.tiers}
    if len(quantities) < len(terms.tiers) or len(quantities) > MAX_TIERS:
        return f"tiers are at most {MAX_TIERS}, each with another min_quantity"
    if not all(quantity.is_finite() and 0 < quantity < MAX_QUANTITY for quantity in quantities):
        return "min_quantity is more than 0 and below 10^9"
    if terms.kind == "PERCENT" and not all(0 < tier.value <= HUNDRED for tier in terms.tiers):
        return "the value of a PERCENT tier is more than 0 and at most 100"
    return ""


def _unfit_limits(terms: CatalogBenefitTerms) -> str:
    if len(terms.product_ids) > MAX_PRODUCTS or len(terms.customer_tiers) > MAX_TIERS:
        return f"a benefit names at most {MAX_PRODUCTS} products and {MAX_TIERS} tiers of customers"
    if terms.max_redemptions is not None and terms.max_redemptions < 1:
        return "max_redemptions is at least 1; make the benefit inactive instead"
    return ""
