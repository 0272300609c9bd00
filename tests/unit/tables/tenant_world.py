"""A tenant with stock, a catalogue, customers and notifications: every command goes to its rules by its route."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from streams import events as e
from streams.routes import INDEX
from streams.routing import is_refusal
from streams.topics import CATALOG_COMMANDS, CUSTOMER_COMMANDS, NOTIFICATION_COMMANDS, STOCK_COMMANDS
from tables.state import Record
from tests.unit.tables.scenario import NOON, check_encodes
from tests.unit.tables.tables_world import Tables

COMMANDS = {
    event: route
    for topic in (STOCK_COMMANDS, CATALOG_COMMANDS, CUSTOMER_COMMANDS, NOTIFICATION_COMMANDS)
    for event, route in INDEX.on(topic.name).items()
}
OWN = {
    event
    for event in COMMANDS
    if "due_at" in event.__struct_fields__  # type: ignore[attr-defined]
    or event
    in (e.CatalogReservationExpireRequested, e.StockTransferSettleRequested, e.NotificationDeliveryReported)
}
"""What the workers send themselves: timers, how transfers end, what senders report."""

TENANT = "acme"
PLACE: dict[str, Any] = {"product_id": "tea", "warehouse_id": "w1"}
ALLOCATION = "tea~w1~held"
ENDED = "tea~w1~ended"


@dataclass
class Tenant:
    """What the four domains know of a tenant, and when the next command comes."""

    at: datetime = NOON
    tables: Tables = field(default_factory=Tables)
    sent: int = 0

    def copy(self) -> Tenant:
        """Return the same tenant, to go another way."""
        return Tenant(self.at, self.tables.copy(), self.sent)

    def command(self, record: type, **fields: Any) -> Any:
        """Return a command of now."""
        self.sent += 1
        return record(**{"event_id": f"e{self.sent}", "timestamp": self.at, "tenant_id": TENANT, **fields})

    def send(self, command: Any) -> list[Any]:
        """Let the rules answer; return what is published."""
        check_encodes(command)
        return self.tables.take(command, self.at)[0]

    def records(self) -> dict[tuple[str, str], dict[str, Record]]:
        """Return everything that is remembered, by table and key."""
        return {place: dict(state.records) for place, state in self.tables.states.items()}

    def pass_time(self, by: timedelta) -> None:
        """Let time pass, and everything happen that falls due."""
        self.at += by
        for (table, key), state in list(self.tables.states.items()):
            [aggregate] = [each for each in INDEX.aggregates if each.name == table]
            for name, record in state.records.items():
                when = aggregate.due(name, record)
                if when is not None and when <= self.at:
                    self.send(aggregate.on_due(key, name, record))


def _prepare(tenant: Tenant, record: type, **fields: Any) -> None:
    facts = tenant.send(tenant.command(record, **fields))
    assert facts
    assert not any(is_refusal(type(fact)) for fact in facts), facts


@cache
def _prepared() -> Tenant:
    tenant = Tenant()
    for product, currency in (("tea", "EUR"), ("cup", "USD")):
        _prepare(tenant, e.CatalogProductUpsertRequested, product_id=product)
        _prepare(
            tenant, e.CatalogPriceSetRequested, product_id=product, currency=currency, amount=Decimal("1.5")
        )
    _prepare(
        tenant,
        e.CatalogBenefitUpsertRequested,
        benefit_id="ten",
        kind="PERCENT",
        percent=Decimal(10),
        max_redemptions=3,
    )
    for reservation, ttl in (("held", None), ("ended", 60)):
        _prepare(
            tenant,
            e.CatalogBenefitReserveRequested,
            benefit_id="ten",
            reservation_id=reservation,
            ttl_seconds=ttl,
        )
    _prepare(tenant, e.StockEntryRequested, lot_id="A", quantity=Decimal(10), uom="pc", **PLACE)
    _prepare(tenant, e.StockEntryRequested, lot_id="Q", quantity=Decimal(1), **PLACE)
    _prepare(tenant, e.StockLotQuarantineRequested, lot_id="Q", **PLACE)
    for allocation, seconds in ((ALLOCATION, 3600), (ENDED, 60)):
        _prepare(
            tenant,
            e.StockAllocationRequested,
            allocation_id=allocation,
            quantity=Decimal(3),
            ttl_seconds=seconds,
            **PLACE,
        )
    for customer in ("ann", "eve"):
        _prepare(tenant, e.CustomerProfileUpsertRequested, customer_id=customer, name=customer)
    _prepare(
        tenant,
        e.LoyaltyPointsUpdateRequested,
        customer_id="ann",
        transaction_id="earn",
        points_change=100,
    )
    for hold, seconds in (("held", 3600), ("ended", 60)):
        _prepare(
            tenant,
            e.LoyaltyPointsHoldRequested,
            customer_id="ann",
            hold_id=hold,
            points=10,
            ttl_seconds=seconds,
        )
    _prepare(tenant, e.CustomerProfileUpsertRequested, customer_id="eve", status="BLOCKED")
    _prepare(
        tenant,
        e.NotificationSendRequested,
        notification_id="later",
        channel="LOG",
        recipient="ann",
        template="Hello",
        send_at=NOON + timedelta(days=1),
    )
    tenant.pass_time(timedelta(minutes=2))
    return tenant


def prepared() -> Tenant:
    """Return a tenant with some of everything; what is called ``ended`` has expired."""
    return _prepared().copy()
