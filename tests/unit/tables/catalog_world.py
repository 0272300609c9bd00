"""A shop for the catalogue's tests: its products and benefits as aggregates, and what every worker holds of them.

Whatever is sent goes the way its row in the routes says, and may publish only what that row allows. A refusal leaves
the state as it was, and so does every request.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from streams.events import (
    BenefitsApplicationRequested,
    CatalogBenefitSnapshot,
    CatalogBenefitTier,
    CatalogBenefitUpsertRequested,
    CatalogItem,
    CatalogPriceSetRequested,
    CatalogProductSnapshot,
    CatalogProductUpsertRequested,
    PricingCalculationRequested,
)
from streams.routes import INDEX
from streams.topics import CATALOG_COMMANDS, CATALOG_EVENTS
from tables.catalog import CATALOG
from tests.unit.tables.scenario import NOON, TENANT, Scenario, check_encodes

Fact = TypeVar("Fact")

SNAPSHOTS = (CatalogProductSnapshot, CatalogBenefitSnapshot)


class Shop:
    """The aggregates of a catalogue by key.

    Attributes:
        at: append time of what is sent next.
        catalogue: what every worker holds, as the snapshots published so far say.
    """

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at
        self.catalogue: dict[tuple[type, str], Any] = {}
        self.aggregates: dict[str, Scenario] = {}
        self.sent = 0

    def of(self, key: str) -> Scenario:
        """Return the aggregate with a key."""
        if key not in self.aggregates:
            self.aggregates[key] = Scenario(CATALOG, key)
            self.aggregates[key].catalogue = self.catalogue
        return self.aggregates[key]

    def send(self, event: Any) -> list[Any]:
        """Send a command or request; return what it published but for the snapshots, which are taken in."""
        route = INDEX.on(CATALOG_COMMANDS.name)[type(event)]
        key = route.key(event)
        aggregate = self.of(key)
        before = dict(aggregate.records)
        check_encodes(event)
        out = aggregate.send(event, self.at)
        if any(type(fact).__name__.endswith("Rejected") for fact in out):
            assert len(out) == 1
            assert aggregate.records == before, "a refusal leaves the state as it was"
        assert aggregate.records == before or not hasattr(event, "request_id"), "a request has no state"
        for fact in out:
            assert type(fact) in route.emits
            output = INDEX.outputs[type(fact)]
            assert output.topic is not CATALOG_EVENTS or output.key(fact) == key
            if isinstance(fact, SNAPSHOTS):
                self.catalogue[type(fact), output.key(fact)] = fact
        return [fact for fact in out if not isinstance(fact, SNAPSHOTS)]

    def one(self, event: Any, kind: type[Fact]) -> Fact:
        """Send a command or request and return the only thing that it published."""
        (fact,) = self.send(event)
        assert isinstance(fact, kind), fact
        return fact

    def later(self, **by: float) -> None:
        """Let time pass."""
        self.at += timedelta(**by)

    def common(self) -> dict[str, Any]:
        """Return what every command has."""
        self.sent += 1
        return {"event_id": f"e{self.sent}", "timestamp": self.at, "tenant_id": TENANT}

    def define(self, product_id: str = "tea", **more: Any) -> list[Any]:
        """Define a product."""
        return self.send(CatalogProductUpsertRequested(**self.common(), product_id=product_id, **more))

    def price(self, amount: str, product_id: str = "tea", currency: str = "EUR", **more: Any) -> list[Any]:
        """Set a price of a product, from now on unless told."""
        command = CatalogPriceSetRequested(
            **self.common(), product_id=product_id, currency=currency, amount=Decimal(amount), **more
        )
        return self.send(command)

    def sell(self, *prices: tuple[str, str], currency: str = "EUR") -> None:
        """Define products at prices in one currency."""
        for product_id, amount in prices:
            self.define(product_id)
            self.price(amount, product_id, currency)

    def grant(self, benefit_id: str, kind: Any, **more: Any) -> list[Any]:
        """Define a benefit; decimals may be given as text, tiers as pairs of text."""
        for name in ("percent", "amount", "min_subtotal"):
            if isinstance(more.get(name), str):
                more[name] = Decimal(more[name])
        if "tiers" in more:
            more["tiers"] = tuple(
                CatalogBenefitTier(min_quantity=Decimal(least), value=Decimal(value))
                for least, value in more["tiers"]
            )
        command = CatalogBenefitUpsertRequested(**self.common(), benefit_id=benefit_id, kind=kind, **more)
        return self.send(command)

    def pricing(self, *lines: tuple[str, str], **more: Any) -> PricingCalculationRequested:
        """Return a request for what lines (product, quantity) cost."""
        self.sent += 1
        more.setdefault("request_id", f"r{self.sent}")
        return PricingCalculationRequested(timestamp=self.at, tenant_id=TENANT, items=items(*lines), **more)

    def benefits(
        self, *lines: tuple[str, str], customer_id: str = "c1", **more: Any
    ) -> BenefitsApplicationRequested:
        """Return a request for the benefits of a customer on lines (product, quantity)."""
        self.sent += 1
        more.setdefault("request_id", f"r{self.sent}")
        return BenefitsApplicationRequested(
            timestamp=self.at, tenant_id=TENANT, items=items(*lines), customer_id=customer_id, **more
        )


def items(*lines: tuple[str, str]) -> tuple[CatalogItem, ...]:
    """Return items of (product, quantity)."""
    return tuple(CatalogItem(product_id=name, quantity=Decimal(quantity)) for name, quantity in lines)
