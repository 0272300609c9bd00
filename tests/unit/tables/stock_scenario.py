"""A product in a warehouse in tests: commands in few words, and the invariants of contracts 3.1 after every one."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from streams.events import (
    Alert,
    StockAllocation,
    StockAllocationAllocated,
    StockAllocationExtendRequested,
    StockAllocationPartiallyAllocated,
    StockAllocationReleaseRequested,
    StockAllocationRequested,
    StockAvailabilityCheckRequested,
    StockClaim,
    StockEntryRequested,
    StockExitRequested,
    StockHead,
    StockLot,
    StockLotQuarantineRequested,
    StockLotReleaseRequested,
    StockMovement,
    StockMovementRecordRequested,
    StockPolicySetRequested,
    StockProductValidationRequested,
    StockTransit,
)
from streams.keys import key_of
from tables.stock import STOCK
from tables.stock_names import BY_ARRIVAL, BY_DATE, EXPECTED, KEPT_MOVEMENTS, allocation_of
from tests.unit.tables.scenario import NOON, Scenario

PRODUCT, WAREHOUSE, TENANT = "milk", "WH1", "tenant-01"
DAY = timedelta(days=1)


def date(days: float) -> datetime:
    """Return noon of a day, counted from the day of the tests."""
    return NOON + timedelta(days=days)


class Stock(Scenario):
    """The stock of one product in one warehouse over time."""

    def __init__(self, at: datetime = NOON, product: str = PRODUCT, warehouse: str = WAREHOUSE) -> None:
        super().__init__(STOCK, key_of(TENANT, product, warehouse), at)
        self.product, self.warehouse = product, warehouse

    def send(self, event: Any, at: datetime | None = None) -> list[Any]:
        """Decide and fold, and check what must always hold."""
        before = dict(self.records)
        facts = super().send(event, at)
        if any(type(fact).__name__.endswith("Rejected") for fact in facts):
            assert self.records == before, "a refusal leaves the state as it was"
        check_invariants(self)
        return facts

    # --- commands -----------------------------------------------------------------------------------------------

    def _common(self, timestamp: datetime) -> dict[str, Any]:
        return {
            "event_id": self._id(None),
            "timestamp": timestamp,
            "tenant_id": TENANT,
            "product_id": self.product,
            "warehouse_id": self.warehouse,
        }

    def command(self, kind: type, at: datetime | None, **fields: Any) -> list[Any]:
        """Send a command to this stock."""
        return self.send(kind(**{**self._common(at or self.at), **fields}), at)

    def enter(
        self, quantity: str | int | Decimal, lot_id: str = "A", expires: datetime | None = None, **more: Any
    ) -> list[Any]:
        """Enter goods into a lot."""
        return self.command(
            StockEntryRequested,
            more.pop("at", None),
            **{"lot_id": lot_id, "quantity": Decimal(quantity), "expiration_date": expires, **more},
        )

    def allocate(self, quantity: str | int | Decimal, suffix: str = "", **more: Any) -> list[Any]:
        """Allocate; ``suffix`` is the last part of the allocation's id."""
        name = f"{self.product}~{self.warehouse}~{suffix}" if suffix else ""
        return self.command(
            StockAllocationRequested,
            more.pop("at", None),
            **{"allocation_id": name, "quantity": Decimal(quantity), **more},
        )

    def exit(self, quantity: str | int | Decimal, suffix: str = "", **more: Any) -> list[Any]:
        """Let goods leave, of an allocation where ``suffix`` names one."""
        name = f"{self.product}~{self.warehouse}~{suffix}" if suffix else ""
        return self.command(
            StockExitRequested,
            more.pop("at", None),
            **{"allocation_id": name, "quantity": Decimal(quantity), **more},
        )

    def release(self, suffix: str, **more: Any) -> list[Any]:
        """Release an allocation."""
        name = f"{self.product}~{self.warehouse}~{suffix}"
        return self.command(StockAllocationReleaseRequested, more.pop("at", None), allocation_id=name, **more)

    def extend(self, suffix: str, seconds: int = 900, **more: Any) -> list[Any]:
        """Extend an allocation."""
        name = f"{self.product}~{self.warehouse}~{suffix}"
        return self.command(
            StockAllocationExtendRequested,
            more.pop("at", None),
            **{"allocation_id": name, "ttl_seconds": seconds, **more},
        )

    def move(
        self, kind: str, quantity: str | int | Decimal | None, lot_id: str = "A", **more: Any
    ) -> list[Any]:
        """Record a movement."""
        amount = None if quantity is None else Decimal(quantity)
        return self.command(
            StockMovementRecordRequested,
            more.pop("at", None),
            **{"type": kind, "quantity": amount, "lot_id": lot_id, **more},
        )

    def quarantine(self, lot_id: str = "A", **more: Any) -> list[Any]:
        """Hold a lot back."""
        return self.command(StockLotQuarantineRequested, more.pop("at", None), **{"lot_id": lot_id, **more})

    def let_out(self, lot_id: str = "A", **more: Any) -> list[Any]:
        """Let a lot out of quarantine."""
        return self.command(StockLotReleaseRequested, more.pop("at", None), **{"lot_id": lot_id, **more})

    def policy(self, **more: Any) -> list[Any]:
        """Set the policy."""
        return self.command(StockPolicySetRequested, more.pop("at", None), **more)

    def check(self, quantity: str | int | Decimal = 0, **more: Any) -> list[Any]:
        """Ask what is available."""
        return self.command(
            StockAvailabilityCheckRequested, more.pop("at", None), quantity=Decimal(quantity), **more
        )

    def validate(self, **more: Any) -> list[Any]:
        """Ask whether the product exists."""
        return self.command(StockProductValidationRequested, more.pop("at", None), **more)

    def one(self, kind: type, facts: list[Any] | None = None) -> Any:
        """Return the only published fact of a kind; untyped, so that decimals may be compared with integers."""
        return super().one(kind, facts)

    def of(self, kind: type, facts: list[Any] | None = None) -> list[Any]:
        """Return the published facts of a kind."""
        return super().of(kind, facts)

    # --- what is there ------------------------------------------------------------------------------------------

    @property
    def head(self) -> Any:
        """The sums."""
        return self.records.get("h") or StockHead()

    def lot(self, lot_id: str = "A") -> StockLot:
        """Return a lot."""
        found: StockLot = self.records["l|" + lot_id]
        return found

    def lots(self) -> dict[str, StockLot]:
        """Return the lots by id."""
        return {name[2:]: record for name, record in self.records.items() if type(record) is StockLot}

    def allocation(self, suffix: str) -> StockAllocation:
        """Return an allocation."""
        found: StockAllocation = self.records["a|" + suffix]
        return found

    def lines(self, suffix: str) -> dict[str, Any]:
        """Return the lines of an allocation: by lot, quantity and what of it has left."""
        return {line.lot_id: (line.quantity, line.consumed) for line in self.allocation(suffix).lines}

    def allocations(self) -> dict[str, StockAllocation]:
        """Return the allocations by the last part of their ids."""
        return {name[2:]: record for name, record in self.records.items() if type(record) is StockAllocation}

    def code(self, facts: list[Any]) -> str:
        """Return the reason code of a command's refusal, its only fact."""
        [fact] = facts
        assert type(fact).__name__.endswith("Rejected"), fact
        assert fact.message
        return str(fact.reason_code)

    def alerts(self) -> list[str]:
        """Return the statuses of the alerts so far."""
        return [alert.status for alert in self.of(Alert)]


def taken(facts: list[Any]) -> dict[str, Decimal]:
    """Return what an allocation that was made holds, by lot."""
    kinds = (StockAllocationAllocated, StockAllocationPartiallyAllocated)
    [fact] = [fact for fact in facts if isinstance(fact, kinds)]
    assert fact.allocated == sum(line.quantity for line in fact.lines) <= fact.requested
    assert allocation_of(fact.allocation_id) is not None
    return {line.lot_id: line.quantity for line in fact.lines}


def free_of(lot: StockLot) -> Decimal:
    """Return what of a lot can be allocated."""
    return lot.on_hand - lot.reserved if lot.status == "AVAILABLE" else Decimal(0)


def check_invariants(stock: Stock) -> None:
    """Check the invariants of contracts 3.1, and that sums and books are those of the lots."""
    head, lots = stock.head, stock.lots()
    for lot in lots.values():
        assert 0 <= lot.reserved <= lot.on_hand
        assert lot.on_hand > 0
    assert head.on_hand == sum(lot.on_hand for lot in lots.values()) == head.sum_in - head.sum_out
    assert head.reserved == sum(lot.reserved for lot in lots.values())
    assert head.available == sum(free_of(lot) for lot in lots.values())
    _check_allocations(stock, lots)
    _check_books(stock, lots)
    transits = [record for record in stock.records.values() if type(record) is StockTransit]
    assert head.in_transit == sum(transit.quantity for transit in transits)
    movements = [record for record in stock.records.values() if type(record) is StockMovement]
    assert len(movements) == min(head.movements, KEPT_MOVEMENTS)


def _check_allocations(stock: Stock, lots: dict[str, StockLot]) -> None:
    held: dict[str, Decimal] = defaultdict(Decimal)
    claims: set[str] = set()
    for suffix, allocation in stock.allocations().items():
        total = sum(line.quantity for line in allocation.lines)
        assert total <= allocation.requested
        assert len({line.lot_id for line in allocation.lines}) == len(allocation.lines)
        assert all(0 <= line.consumed <= line.quantity for line in allocation.lines)
        if allocation.status != "ACTIVE":
            continue
        assert total > sum(line.consumed for line in allocation.lines)
        for line in allocation.lines:
            if line.quantity > line.consumed:
                held[line.lot_id] += line.quantity - line.consumed
                name = f"x|{line.lot_id}|{allocation.sequence:012d}"
                assert stock.records[name] == StockClaim(allocation=suffix)
                claims.add(name)
    assert {name for name, record in stock.records.items() if type(record) is StockClaim} == claims
    assert {lot_id: lot.reserved for lot_id, lot in lots.items() if lot.reserved} == held


def _check_books(stock: Stock, lots: dict[str, StockLot]) -> None:
    by_date, by_arrival, expected = [], [], []
    next_at = stock.head.next_at
    for lot_id, lot in lots.items():
        if free_of(lot):
            date = lot.expiration_date if lot.removal_date is None else lot.removal_date
            assert date is None or (next_at is not None and next_at <= date)
            by_date.append(BY_DATE.key(lot_id, date, lot.received_at))
            by_arrival.append(BY_ARRIVAL.key(lot_id, lot.received_at))
        elif lot.status == "EXPECTED":
            assert next_at is not None
            assert next_at <= lot.received_at
            expected.append(EXPECTED.key(lot_id, lot.received_at))
    records: Any = stock
    assert list(BY_DATE.walk(records)) == sorted(by_date)
    assert list(BY_ARRIVAL.walk(records)) == sorted(by_arrival)
    assert list(EXPECTED.walk(records)) == sorted(expected)
