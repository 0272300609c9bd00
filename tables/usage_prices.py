"""Cost of usage: stated by its producer or taken from the tenant's price table (contracts 3.5).

Inside a bucket, cost is held in *lines*: one per currency for stated cost; one per currency and rate with the
units behind it for what the table priced, so that amounts are rounded once and never drift; and one without a
currency for units that have no price yet. A price set later for a past time turns such lines into others.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from streams.events import (
    UsageAggregateAdjusted,
    UsageBucket,
    UsageCost,
    UsageCostLine,
    UsagePrice,
    UsagePrices,
    UsagePriceSet,
    UsagePriceSetRequested,
    UsageTenant,
)
from tables.facts import caused_by, changed
from tables.state import State
from tables.usage_facts import (
    VALIDATION_FAILED,
    ZERO,
    Assigned,
    Draft,
    add,
    adjusted,
    money,
    multiply,
    present,
    rejected,
    subtract,
)
from tables.usage_names import TENANT, BucketId, bucket_id, bucket_start, price_name
from tables.usage_windows import HOUR, moment

TOLERANCE = Decimal("1E-9")
"""Relative difference between a stated cost and quantity x rate that is no mismatch (contracts 3.5)."""
HALF_STEP = Decimal("5E-13")
"""Half of the last digit an amount has: a correctly rounded amount is no mismatch either."""
MAX_AMOUNT = Decimal("1E+15")
"""Stated amounts and rates stay below; so no sum of real ones leaves the 38 digits of the contracts."""

_DATED = re.compile(
    r"(?:[-@]20\d{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
    r"|-(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    r"|[-:@]latest)$"
)


@lru_cache(maxsize=4096)
def plain_model(name: str) -> str:
    """Return a model's name in lower case: the name a price is kept under."""
    return name.strip().lower()


@lru_cache(maxsize=4096)
def normal_model(name: str) -> str:
    """Return a model's name as prices and quotas know it.

    ``openai/GPT-4-0613`` and ``gpt-4-2024-05-13`` are ``gpt-4``: lower case, without the provider's prefix, a
    dated suffix or ``latest``. The raw name stays in buckets.
    """
    return _DATED.sub("", plain_model(name).rpartition("/")[2])


def price_for(state: State | Draft, resource: str, unit: str, model: str, at: datetime) -> UsagePrice | None:
    """Return the price of a resource in force at ``at``, or None.

    A price of the model's own name comes before that of its normalised name, and that before any model's.
    """
    for name in _price_names(resource, unit, model):
        prices: UsagePrices | None = state.get(name)
        if prices is not None:
            for price in reversed(prices.prices):
                if price.effective_from <= at:
                    return price
    return None


@lru_cache(maxsize=4096)
def _price_names(resource: str, unit: str, model: str) -> tuple[str, ...]:
    """Return the names of the price lists of a resource, each once, in the order in which they are asked."""
    models = dict.fromkeys((plain_model(model), normal_model(model), "") if model else ("",))
    return tuple(price_name(resource, unit, name) for name in models)


def cost_problem(cost: UsageCost) -> str:
    """Return why a stated cost cannot be counted, or an empty string."""
    amount, rate = cost.amount, cost.rate
    if not amount.is_finite() or not rate.is_finite():
        return "cost is not a number; send finite decimals"
    if amount < ZERO or rate < ZERO:
        return "cost is negative; void the original event instead"
    if amount >= MAX_AMOUNT or rate >= MAX_AMOUNT:
        return "cost is 10^15 or more; check its unit"
    if not cost.currency:
        return "cost has no currency; send its ISO 4217 code"
    return ""


def mismatch(cost: UsageCost, quantity: Decimal) -> Decimal | None:
    """Return quantity x rate where the stated amount is something else, or None where it is right."""
    expected = multiply(quantity, cost.rate)
    if cost.amount == expected:
        return None
    allowed = max(multiply(expected, TOLERANCE), HALF_STEP)
    return None if abs(subtract(cost.amount, expected)) <= allowed else expected


def _equal(one: Decimal | None, other: Decimal | None) -> bool:
    # A decimal takes 0.6 us to find out that it is not None.
    return one is other if one is None or other is None else one == other


def _order(line: UsageCostLine) -> tuple[str, Decimal, str]:
    return line.currency, Decimal(-1) if line.rate is None else line.rate, line.resource_type


def with_cost(lines: tuple[UsageCostLine, ...], entry: UsageCostLine) -> tuple[UsageCostLine, ...]:
    """Return ``lines`` with an entry added, in an order that does not depend on who came first.

    Args:
        lines: the lines of a bucket, as this function returned them.
        entry: what is added. Its currency is empty when it has no price yet; its rate is there when it is priced from
            the table, and then its amount does not count; its resource type where that is not the meter's name; its
            quantity is zero where the cost is stated, and negative for a void; its amount is the stated cost or zero.
    """
    currency, rate, resource = entry.currency, entry.rate, entry.resource_type
    for place, line in enumerate(lines):
        if line.currency == currency and line.resource_type == resource and _equal(line.rate, rate):
            quantity = add(line.quantity, entry.quantity) if entry.quantity else line.quantity
            if rate is None:
                amount = add(line.amount, entry.amount) if entry.amount else line.amount
            else:
                amount = money(multiply(quantity, rate))
            joined = UsageCostLine(
                currency=currency, amount=amount, quantity=quantity, rate=rate, resource_type=resource
            )
            # The order is that of the fields which tell lines apart, so it stays as it was.
            return (*lines[:place], joined, *lines[place + 1 :])
    if rate is not None:
        amount = money(multiply(entry.quantity, rate))
        entry = UsageCostLine(
            currency=currency, amount=amount, quantity=entry.quantity, rate=rate, resource_type=resource
        )
    return tuple(sorted((*lines, entry), key=_order)) if lines else (entry,)


def set_price(state: State, event: UsagePriceSetRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a price: the fact, and an adjustment of every bucket that it prices anew."""
    problem = _problem(event)
    if problem:
        return (rejected(event, at, VALIDATION_FAILED, problem),)
    start = at if event.effective_from is None else event.effective_from
    model = plain_model(event.model) if event.model else ""
    name = price_name(event.resource_type, event.unit, model)
    draft = Draft(state)
    known: UsagePrices = draft.get(name) or UsagePrices(prices=())
    new = UsagePrice(effective_from=start, currency=event.currency, rate=event.rate)
    kept = [price for price in known.prices if price.effective_from != start]
    prices = tuple(sorted((*kept, new), key=lambda price: price.effective_from))
    draft.put(name, UsagePrices(prices=prices))
    draft.put(TENANT, changed(draft.get(TENANT) or UsageTenant(), priced=True))
    until = next((price.effective_from for price in prices if price.effective_from > start), None)
    adjusted = _reprice(draft, event, at, start, until)
    fact = UsagePriceSet(
        timestamp=at,
        tenant_id=event.tenant_id,
        resource_type=event.resource_type,
        model=model or None,
        unit=event.unit,
        currency=event.currency,
        rate=event.rate,
        effective_from=start,
        envelope=caused_by(event),
    )
    return (Assigned(draft.records), fact, *adjusted)


def _problem(event: UsagePriceSetRequested) -> str:
    if not event.resource_type or not event.currency:
        return "a price needs a resource_type and a currency"
    if not event.rate.is_finite() or not 0 <= event.rate < MAX_AMOUNT:
        return "a rate is a number from 0 to below 10^15"
    return ""


def _reprice(
    draft: Draft, event: UsagePriceSetRequested, at: datetime, start: datetime, until: datetime | None
) -> list[UsageAggregateAdjusted]:
    """Price anew every bucket whose whole hour lies under the new price.

    A bucket does not know which of its units came in which minute. So a price that begins or ends within an
    hour leaves alone what that hour has counted already, and holds for the events that follow.
    """
    facts = []
    for name in sorted(draft.names("b|")):
        first = bucket_start(name)
        if moment(first) < start or (until is not None and moment(first + HOUR) > until):
            continue
        which = bucket_id(name)
        if which.unit != event.unit:
            continue
        bucket: UsageBucket = present(draft, name)
        lines = _repriced(draft, which, bucket.costs, event.resource_type)
        if lines != bucket.costs:
            after = changed(bucket, costs=lines)
            draft.put(name, after)
            facts.append(adjusted("REPRICE", event, event.event_id, at, which, bucket, after))
    return facts


def _repriced(
    draft: Draft, which: BucketId, lines: tuple[UsageCostLine, ...], resource: str
) -> tuple[UsageCostLine, ...]:
    out: tuple[UsageCostLine, ...] = ()
    for line in lines:
        currency, rate, of = line.currency, line.rate, line.resource_type
        if (of or which.meter) == resource and (rate is not None or not currency):
            price = price_for(draft, resource, which.unit, which.model, moment(which.start))
            if price is not None:
                currency, rate = price.currency, price.rate
        out = with_cost(out, changed(line, currency=currency, rate=rate))
    return out
