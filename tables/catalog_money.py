"""Amounts of the catalogue: exact until they are rounded, and rounded half even to the currency's minor unit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import ROUND_FLOOR, Decimal

from tables.exact import EXACT

ZERO = Decimal(0)
HUNDRED = Decimal(100)

MAX_AMOUNT = Decimal("1E+12")
"""Prices and discounts stay below, and so does no total leave the 26 digits that the contracts have for units."""
MAX_QUANTITY = Decimal("1E+9")

MINOR_UNITS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}
"""Decimal places of the currencies that do not have two (ISO 4217)."""

is_currency = re.compile(r"[A-Z]{3}", re.ASCII).fullmatch


def step_of(currency: str) -> Decimal:
    """Return the smallest amount of a currency."""
    return Decimal(1).scaleb(-MINOR_UNITS.get(currency, 2))


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Return an amount at the currency's minor unit, half even."""
    return amount.quantize(step_of(currency), context=EXACT)


def sum_of(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    total = ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def part_of(amount: Decimal, percent: Decimal, currency: str) -> Decimal:
    """Return so many percent of an amount, rounded."""
    return rounded(EXACT.divide(EXACT.multiply(amount, percent), HUNDRED), currency)


def spread(amount: Decimal, over: dict[str, Decimal], currency: str) -> dict[str, Decimal]:
    """Divide an amount in proportion to others, so that the parts add up to it and none exceeds its own.

    Args:
        amount: what is divided; of more than ``over`` adds up to, only so much.
        over: amounts at the minor unit, by name.
        currency: of all of them.

    Returns:
        The parts by name. The last minor units go to the largest remainders, and of equal ones to the smaller name.
    """
    whole = sum_of(over.values())
    if whole <= 0:
        return dict.fromkeys(over, ZERO)
    amount, step = min(amount, whole), step_of(currency)
    parts, remainders = {}, []
    for name in sorted(over):
        exact = EXACT.divide(EXACT.multiply(amount, over[name]), whole)
        parts[name] = exact.quantize(step, rounding=ROUND_FLOOR, context=EXACT)
        remainders.append((EXACT.subtract(parts[name], exact), name))
    left = EXACT.subtract(amount, sum_of(parts.values()))
    for _, name in sorted(remainders)[: int(left / step)]:
        parts[name] = EXACT.add(parts[name], step)
    return parts
