"""Names of the records of a product in a warehouse, and the ids of allocations, which tell whose they are."""

from __future__ import annotations

from typing import Any, NamedTuple

from streams.events import StockBook, StockBookEntry, StockBookPage
from streams.keys import key_of
from tables.lots import Book

HEAD = "h"
POLICY = "p"
LOTS = "l|"
ALLOCATIONS = "a|"
TOMBSTONES = "t|"
MOVEMENTS = "m|"
TRANSITS = "v|"
KEPT_MOVEMENTS = 200
"""Movements that are kept; the next one takes the slot of the oldest."""
SLOTS = tuple([f"{MOVEMENTS}{number}" for number in range(KEPT_MOVEMENTS)])
"""Names of their records."""

DEFAULT_LOT = "DEFAULT"
"""The lot of goods that came without one."""

BY_DATE = Book("f", 2, StockBookPage, StockBook, StockBookEntry)
"""Lots that can serve, those that go off first in front (FEFO): by effective date, then by arrival."""
BY_ARRIVAL = Book("i", 1, StockBookPage, StockBook, StockBookEntry)
"""The same lots by arrival (FIFO; LIFO backwards)."""
EXPECTED = Book("w", 1, StockBookPage, StockBook, StockBookEntry)
"""Lots that have not arrived, by the time when they will have."""

SEQUENCE_DIGITS = 12
LONGEST_ID = 200


class AllocationId(NamedTuple):
    """What an allocation's id tells: ``release_allocation(allocation_id)`` gets nothing else (contracts 3.1).

    Attributes:
        product_id, warehouse_id: whose it is.
        suffix: tells it from the product's other allocations in the warehouse; the name of its record.
    """

    product_id: str
    warehouse_id: str
    suffix: str

    def __str__(self) -> str:
        return allocation_prefix(self.product_id, self.warehouse_id) + self.suffix


def allocation_prefix(product: str, warehouse: str) -> str:
    """Return what the ids of all allocations of a product in a warehouse begin with; their suffix follows."""
    prefix = f"{product}~{warehouse}~"
    if "%" in prefix or prefix.count("~") > 2:
        return f"{_escaped(product)}~{_escaped(warehouse)}~"
    return prefix


def allocation_of(allocation_id: str) -> AllocationId | None:
    """Return what an id tells, or None where it is no ``<product>~<warehouse>~<id>``."""
    parts = allocation_id.split("~", 2)
    if len(parts) != 3 or not all(parts):
        return None
    return AllocationId(_plain(parts[0]), _plain(parts[1]), parts[2])


def _escaped(part: str) -> str:
    return part.replace("%", "%25").replace("~", "%7E")


def _plain(part: str) -> str:
    return part.replace("%7E", "~").replace("%25", "%") if "%" in part else part


def place_of(event: Any) -> tuple[str, str]:
    """Return the product and the warehouse that a command or fact is about.

    Commands about an allocation may leave them to its id; both are empty where neither tells.
    """
    if event.product_id:
        return event.product_id, event.warehouse_id
    found = allocation_of(getattr(event, "allocation_id", ""))
    return ("", "") if found is None else (found.product_id, found.warehouse_id)


def of_stock(record: Any) -> str:
    """Return the key of a command or fact of stock (contracts 3.1)."""
    return key_of(record.tenant_id, *place_of(record))


def moving(command: Any) -> str:
    """Return by which id a movement is known, whatever its type; empty where only by its event's."""
    return f"movement|{command.movement_id}" if command.movement_id else ""


def reserving(command: Any) -> str:
    """Return by which id a request for an allocation is known; empty where only by its event's."""
    if command.request_id:
        return f"request|{command.request_id}"
    return f"allocation|{command.allocation_id}" if command.allocation_id else ""


def lot_name(lot_id: str) -> str:
    """Return the name of a lot's record."""
    return LOTS + lot_id


def allocation_name(suffix: str) -> str:
    """Return the name of an allocation's record."""
    return ALLOCATIONS + suffix


def tombstone_name(suffix: str) -> str:
    """Return the name of the record of an allocation that was released before it was made."""
    return TOMBSTONES + suffix


def movement_name(number: int) -> str:
    """Return the name of the slot of a movement, counted from 0."""
    return SLOTS[number % KEPT_MOVEMENTS]


def transit_name(transfer_id: str) -> str:
    """Return the name of the record of goods on their way."""
    return TRANSITS + transfer_id


def claim_name(lot_id: str, sequence: int) -> str:
    """Return the name of the record which says that an allocation holds something of a lot."""
    return f"x|{lot_id}|{str(sequence).zfill(SEQUENCE_DIGITS)}"


def claims_of(state: Any, lot_id: str) -> list[int]:
    """Return the sequences of the allocations that hold something of a lot, oldest first.

    It reads the names of all claims on the lot: for the rare rules that take a lot away.
    """
    prefix = f"x|{lot_id}|"
    length = len(prefix) + SEQUENCE_DIGITS  # a lot id may hold a bar
    return sorted(int(name[-SEQUENCE_DIGITS:]) for name in state.names(prefix) if len(name) == length)
