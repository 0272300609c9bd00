"""What each row of the shop's file makes happen. Pure: the same rows always give the same steps.

Before the first row the goods come in: what the file will take out of a product, half of it (rounded up) in a lot
that expires and the rest in one that does not. Then, in file order, a sold line is allocated and leaves, a returned
one comes back into a lot of its own, and with the last line of an invoice its customer earns points, or has points
of an earlier purchase reversed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ops.retail import Row


@dataclass(frozen=True, slots=True)
class Entry:
    """Goods come in before the first row; ``perishable`` ones expire 30 days after it."""

    product: str
    lot: str
    quantity: int
    perishable: bool


@dataclass(frozen=True, slots=True)
class Sale:
    """Goods are allocated, whichever expire first, and leave."""

    row: int
    invoice: str
    product: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Return:
    """Goods come back."""

    row: int
    invoice: str
    product: str
    lot: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Earn:
    """A customer earns points with a purchase."""

    row: int
    invoice: str
    customer: str
    points: int


@dataclass(frozen=True, slots=True)
class Reversal:
    """Points that were earned with ``purchase`` are taken back for a cancellation."""

    row: int
    invoice: str
    customer: str
    points: int
    purchase: str


Step = Entry | Sale | Return | Earn | Reversal


def entries(rows: Sequence[Row]) -> list[tuple[Step, ...]]:
    """Return the lots of each product in the order of their first rows; none for what is only ever returned."""
    sold = Counter({row.product: 0 for row in rows})
    for row in rows:
        sold[row.product] += max(0, row.quantity)
    return [_lots(product, quantity) for product, quantity in sold.items() if quantity]


def _lots(product: str, quantity: int) -> tuple[Step, ...]:
    first = (quantity + 1) // 2
    lots = (
        Entry(product, f"{product}-A", first, perishable=True),
        Entry(product, f"{product}-B", quantity - first, perishable=False),
    )
    return tuple(lot for lot in lots if lot.quantity)


def row_steps(rows: Sequence[Row]) -> list[tuple[Step, ...]]:
    """Return what each row does, in file order."""
    last_rows = {(row.invoice, row.customer): number for number, row in enumerate(rows)}
    amounts: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    ledger = _Ledger()
    steps: list[tuple[Step, ...]] = []
    for number, row in enumerate(rows):
        invoice = (row.invoice, row.customer)
        amounts[invoice] += row.quantity * row.price
        points: Step | None = None
        if row.customer and last_rows[invoice] == number:
            points = ledger.settle(number, row, amounts[invoice])
        steps.append((_moved(number, row), points) if points else (_moved(number, row),))
    return steps


def _moved(number: int, row: Row) -> Step:
    if row.quantity > 0:
        return Sale(number, row.invoice, row.product, row.quantity)
    return Return(number, row.invoice, row.product, f"{row.product}-R", -row.quantity)


@dataclass(slots=True)
class _Purchase:
    invoice: str
    left: int


@dataclass(slots=True)
class _Ledger:
    """Which purchases of each customer have points that are not reversed, oldest first."""

    purchases: dict[str, list[_Purchase]] = field(default_factory=lambda: defaultdict(list))

    def settle(self, number: int, row: Row, amount: Decimal) -> Step | None:
        """Return what a whole invoice of ``amount`` does to its customer's points; None where it does nothing."""
        points = math.floor(-amount if row.cancels else amount)
        if points < 1:
            return None
        if not row.cancels:
            self.purchases[row.customer].append(_Purchase(row.invoice, points))
            return Earn(number, row.invoice, row.customer, points)
        for purchase in reversed(self.purchases[row.customer]):
            if purchase.left >= points:
                purchase.left -= points
                return Reversal(number, row.invoice, row.customer, points, purchase.invoice)
        return None
