"""What a command reads and stores does not grow with what an aggregate holds: lots, allocations, history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import pytest

from streams.events import (
    StockAllocationExtendRequested,
    StockAllocationReleaseRequested,
    StockAllocationRequested,
    StockEntryRequested,
    StockExitRequested,
    StockMovementRecordRequested,
)
from tables.stock import STOCK, decide, due, fold
from tests.unit.tables.scenario import NOON, PARSED, plain
from tests.unit.tables.stock_scenario import PRODUCT, TENANT, WAREHOUSE

LOTS, ALLOCATIONS = 1_000, 10_000


class Counted:
    """A state in a dict, which counts what a command reads and stores."""

    def __init__(self) -> None:
        self.records: dict[str, Any] = {}
        self.read: set[str] = set()
        self.sent = 0

    def get(self, name: str) -> Any:
        self.read.add(name)
        return self.records.get(name)

    def names(self, prefix: str = "") -> Iterator[str]:
        raise AssertionError("an ordinary command may not look at the names of all records")

    def recall(self, event_id: str) -> str | None:
        raise AssertionError

    def shared(self, kind: type, key: str) -> Any:
        raise AssertionError

    def shared_keys(self, kind: type, prefix: str) -> Iterator[str]:
        raise AssertionError

    def send(self, kind: type, **fields: Any) -> tuple[int, int, int]:
        """Send a command; return how many records it read and stored, and how many bytes those have."""
        self.sent += 1
        self.read.clear()
        event = kind(
            event_id=f"e{self.sent}",
            timestamp=NOON,
            tenant_id=TENANT,
            product_id=PRODUCT,
            warehouse_id=WAREHOUSE,
            **fields,
        )
        facts = decide(self, event, NOON)
        assert not any(type(fact).__name__.endswith("Rejected") for fact in facts), facts
        changes: dict[str, Any] = {}
        for fact in facts:
            changes |= fold(self, fact)
        for name, record in changes.items():
            if record is None:
                self.records.pop(name, None)
            else:
                self.records[name] = record
        return len(self.read), len(changes), sum(len(name) + size(record) for name, record in changes.items())


def size(record: Any) -> int:
    """Return how many bytes a record is stored as."""
    if record is None:
        return 0
    out = BytesIO()
    fastavro.schemaless_writer(out, PARSED[type(record).RECORD], plain(record))
    return len(out.getvalue())


def filled(lots: int, allocations: int) -> Counted:
    """Return stock of many lots, in another order than they go off, with many open allocations."""
    stock = Counted()
    for number in range(lots):
        lot = number * 7919 % 10_007
        date = NOON + timedelta(days=9 + number * 31 % 997)
        stock.send(StockEntryRequested, lot_id=f"L{lot:05d}", quantity=Decimal(10**6), expiration_date=date)
    for number in range(allocations):
        stock.send(StockAllocationRequested, request_id=f"old-{number:05d}", quantity=Decimal(1))
    return stock


@pytest.fixture(scope="module")
def small() -> Counted:
    return filled(3, 3)


@pytest.fixture(scope="module")
def large() -> Counted:
    return filled(LOTS, ALLOCATIONS)


def commands() -> Iterator[tuple[str, Callable[[Counted], tuple[int, int, int]]]]:
    """Yield the ordinary commands by name; each can be sent to any stock, in this order."""
    one, all_of_a_lot = Decimal(1), Decimal(7)
    name = f"{PRODUCT}~{WAREHOUSE}~"
    yield "entry", lambda stock: stock.send(StockEntryRequested, lot_id="L00000", quantity=one)
    yield (
        "new lot",
        lambda stock: stock.send(
            StockEntryRequested,
            lot_id="N",
            quantity=all_of_a_lot,
            expiration_date=NOON + timedelta(days=500),
        ),
    )
    yield "allocate", lambda stock: stock.send(StockAllocationRequested, request_id="r1", quantity=one)
    yield (
        "allocate the last of a lot",
        lambda stock: stock.send(
            StockAllocationRequested, request_id="r2", quantity=all_of_a_lot, lot_id="N"
        ),
    )
    for strategy in ("FIFO", "LIFO"):
        yield (
            strategy,
            lambda stock, strategy=strategy: stock.send(  # type: ignore[misc]
                StockAllocationRequested, request_id=strategy, quantity=one, strategy=strategy
            ),
        )
    yield (
        "allocate for a date",
        lambda stock: stock.send(
            StockAllocationRequested, request_id="r3", quantity=one, min_remaining_days=15
        ),
    )
    yield "extend", lambda stock: stock.send(StockAllocationExtendRequested, allocation_id=name + "r1")
    yield (
        "exit",
        lambda stock: stock.send(StockExitRequested, allocation_id=name + "r1", quantity=one),
    )
    yield "release", lambda stock: stock.send(StockAllocationReleaseRequested, allocation_id=name + "r2")
    yield "exit by FEFO", lambda stock: stock.send(StockExitRequested, quantity=one)
    yield (
        "adjust",
        lambda stock: stock.send(
            StockMovementRecordRequested, type="ADJUSTMENT", lot_id="L00000", quantity=Decimal(-1)
        ),
    )


def test_a_command_costs_the_same_with_three_lots_and_with_a_thousand(small: Counted, large: Counted) -> None:
    for name, send in commands():
        little, much = send(small), send(large)
        assert much[0] <= little[0] + 4, (name, "reads", little, much)
        # A lot that comes or goes may split a page of each book, which its directory notes. Pages are bounded.
        assert much[1] <= little[1] + 4, (name, "stores", little, much)
        assert much[2] <= little[2] + 5_000, (name, "bytes", little, much)


def test_commands_that_move_no_lot_in_its_order_store_a_few_hundred_bytes(large: Counted) -> None:
    for number in range(50):
        read, stored, size = large.send(
            StockAllocationRequested, request_id=f"x{number}", quantity=Decimal(1)
        )
        assert (read <= 12, stored, size <= 250) == (True, 4, True)
        _, stored, size = large.send(
            StockExitRequested, allocation_id=f"{PRODUCT}~{WAREHOUSE}~x{number}", quantity=Decimal(1)
        )
        assert (stored, size <= 350) == (5, True)


def test_only_timers_of_lots_allocations_and_releases_are_kept(small: Counted) -> None:
    timed = {name[0] for name, record in small.records.items() if due(name, record) is not None}
    assert timed <= {"a", "l", "t"}
    assert {type(record) for record in small.records.values()} <= set(STOCK.records)
