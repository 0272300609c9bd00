"""What the demo shows of the shop: the goods that sell best and the customers who buy most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ops.retail import WAREHOUSE
from ops.retail_steps import Earn, Entry
from ops.retail_trace import RetailTrace
from streams.topics import CUSTOMER_COMMANDS, STOCK_COMMANDS

BEST = 4
Ask = Callable[[str], dict[str, Any] | None]
"""From a view's path to its answer, or None where it has none."""


@dataclass(slots=True)
class Shop:
    """The best of one shop, and what the views show of it.

    Attributes:
        tenant: whose shop it is.
        goods: pieces that come in, of the products that sell best.
        customers: who earn most points in the whole week.
        on_hand: pieces left of the goods.
        points: balances of the customers.
    """

    tenant: str
    goods: dict[str, int]
    customers: list[str]
    on_hand: dict[str, Decimal] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, trace: RetailTrace) -> Shop:
        """Return the best of a week."""
        goods, earned = Counter[str](), Counter[str]()
        for step in trace.steps():
            match step:
                case Entry():
                    goods[step.product] += step.quantity
                case Earn():
                    earned[step.customer] += step.points
        best = [customer for customer, _ in earned.most_common(BEST)]
        return cls(trace.tenant, dict(goods.most_common(BEST)), best)

    def read(self, ask: Ask) -> None:
        """Read the views; what they do not know yet is left out."""
        stock = {product: ask(self.stock_path(product)) for product in self.goods}
        loyalty = {customer: ask(self.loyalty_path(customer)) for customer in self.customers}
        self.on_hand = {name: Decimal(found["on_hand"]) for name, found in stock.items() if found}
        self.points = {name: int(found["balance"]) for name, found in loyalty.items() if found}

    def stock_path(self, product: str) -> str:
        """Return the view of a product."""
        return f"/stock/{product}/{WAREHOUSE}?tenant={self.tenant}"

    def loyalty_path(self, customer: str) -> str:
        """Return the view of a customer's points."""
        return f"/customers/{customer}/loyalty?tenant={self.tenant}"

    def told(self) -> str:
        """Return the best in one line."""
        left = [f"{name} {pieces:,.0f} of {self.goods[name]:,}" for name, pieces in self.on_hand.items()]
        points = [f"{name} {balance:,}" for name, balance in self.points.items()]
        return f"left of {', '.join(left) or '-'}; points of {', '.join(points) or '-'}"


def commands(topics: dict[str, float]) -> dict[str, int]:
    """Return the commands that were taken in, of events by topic."""
    return {
        "stock": int(topics.get(STOCK_COMMANDS.name, 0)),
        "loyalty": int(topics.get(CUSTOMER_COMMANDS.name, 0)),
    }
