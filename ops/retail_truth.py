"""What must have come of the shop's rows, computed from the file alone.

It shares no line with the rules in ``tables/`` nor with the steps that are sent: plain dictionaries, one pass over the
rows, as somebody with a spreadsheet would do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ops.retail import Row


@dataclass(slots=True)
class Account:
    """A customer's points.

    Attributes:
        earned: by purchases.
        reversed: taken back for cancellations. Nobody redeems, and no points expire, so the balance is what is left.
    """

    earned: int = 0
    reversed: int = 0

    @property
    def totals(self) -> dict[str, int]:
        """What the view has to show, by name."""
        return {
            "balance": self.earned - self.reversed,
            "pending": 0,
            "debt": 0,
            "earned": self.earned,
            "reversed": self.reversed,
            "redeemed": 0,
            "expired": 0,
        }


@dataclass(frozen=True, slots=True)
class Truth:
    """What the tables must hold.

    Attributes:
        lots: pieces on hand by product and lot, of every product that was ever in stock.
        accounts: by customer; only customers who ever had points.
    """

    lots: dict[str, dict[str, int]]
    accounts: dict[str, Account]


def truth(rows: Sequence[Row], end: int | None = None) -> Truth:
    """Return what must have come of the rows before ``end``, or of all.

    The lots that came in at first are always those of the whole file.
    """
    return Truth(_lots(rows, end), _accounts(rows, end))


def _lots(rows: Sequence[Row], end: int | None) -> dict[str, dict[str, int]]:
    demand: dict[str, int] = {}
    for row in rows:
        demand.setdefault(row.product, 0)
        if row.quantity > 0:
            demand[row.product] += row.quantity
    lots: dict[str, dict[str, int]] = {}
    for product, quantity in demand.items():
        lots[product] = {"A": quantity - quantity // 2, "B": quantity // 2, "R": 0}
    for row in rows[:end]:
        lot = lots[row.product]
        if row.quantity < 0:
            lot["R"] -= row.quantity
            continue
        of_a = min(row.quantity, lot["A"])  # A expires, B never does: A goes first
        lot["A"] -= of_a
        lot["B"] -= row.quantity - of_a
    return {
        product: {f"{product}-{name}": quantity for name, quantity in found.items()}
        for product, found in lots.items()
        if demand[product] or found["R"]
    }


def _accounts(rows: Sequence[Row], end: int | None) -> dict[str, Account]:
    whole: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        if row.customer:
            whole.setdefault((row.invoice, row.customer), []).append(number)
    # An invoice counts when its last line is in; invoices count in the order in which they end.
    limit = len(rows) if end is None else end
    closed = sorted((numbers[-1], *names, numbers) for names, numbers in whole.items() if numbers[-1] < limit)
    unreversed: dict[str, list[int]] = {}
    accounts: dict[str, Account] = {}
    for _, invoice, customer, numbers in closed:
        amount = sum((rows[number].quantity * rows[number].price for number in numbers), Decimal(0))
        if invoice[0] != "C":
            points = int(amount // 1) if amount > 0 else 0
            if points:
                unreversed.setdefault(customer, []).append(points)
                accounts.setdefault(customer, Account()).earned += points
            continue
        points = int(-amount // 1) if amount < 0 else 0
        latest = unreversed.get(customer, [])
        fitting = [place for place, left in enumerate(latest) if left >= points]
        if points and fitting:
            latest[fitting[-1]] -= points
            accounts[customer].reversed += points
    return accounts
