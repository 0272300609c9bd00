"""Stock at full load: entries, allocations and exits over many products, and over one with very much in it.

Every sold piece comes in, is allocated by FEFO and leaves some commands later, so stock neither grows nor runs out.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

from streams.events import StockAllocationRequested, StockEntryRequested, StockExitRequested
from streams.topics import STOCK_COMMANDS, STOCK_EVENTS, key_of
from tests.bench.pipeline_job import Frames, Ids, Job, Load, writer

PRODUCTS = 5_000
LOTS = 5
MANY_LOTS = 1_000
MANY_OPEN = 10_000
FILLED = 100
"""Pieces that a lot begins with."""
PIECES = 3
"""Of an order."""
APART = 50
"""Orders between an allocation and its exit."""
TENANT, WAREHOUSE = "bench", "WH1"
SMALL = "one small product"
WEEK_SECONDS = 7 * 86_400
RECEIVED, EXPIRES = datetime(2026, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""The same in every entry of a lot, for a lot has one date."""
QUICK_COMMITS = (("SLUICE_COMMIT_INTERVAL_S", "0.1"),)
"""A run of seconds then has enough commits to take its rate from."""

RECORDS = (StockEntryRequested, StockAllocationRequested, StockExitRequested)


def stock_job(count: int) -> Job:
    """Return the job of about ``count`` commands over products that begin empty, each with five lots to come in."""
    products = min(PRODUCTS, max(1, count // 20))

    def frames(ids: Ids) -> Frames:
        commands = Commands(ids)
        goods = commands.fill(range(products), LOTS)
        pick = random.Random(1).randrange
        orders = ((pick(products), pick(LOTS)) for _ in range((count - products * LOTS) // 3))
        return chain(goods, commands.trade(orders))

    return Job("stock", None, Load(STOCK_COMMANDS.name, RECORDS, frames), (STOCK_EVENTS.name,))


@dataclass(frozen=True, slots=True)
class Size:
    """What one product holds before the clock starts: so many lots, and so many allocations that stay open."""

    name: str
    lots: int = LOTS
    open: int = 0


def product_sizes(share: float) -> tuple[Size, ...]:
    """Return a small product, one with many open allocations and one with many lots, at a share of full size."""
    return (
        Size(SMALL),
        Size("one with many open allocations", open=max(LOTS, int(MANY_OPEN * share))),
        Size("one with many lots", lots=max(LOTS, int(MANY_LOTS * share))),
    )


def product_job(size: Size, count: int) -> Job:
    """Return the job of about ``count`` commands to one product of a size."""

    def prepare(ids: Ids) -> Frames:
        commands = Commands(ids)
        pieces = FILLED + size.open // size.lots + 1
        held = (commands.allocate(0, f"held-{number}", 1) for number in range(size.open))
        return chain(commands.fill([0], size.lots, pieces), held)

    def frames(ids: Ids) -> Frames:
        pick = random.Random(1).randrange
        return Commands(ids).trade((0, pick(size.lots)) for _ in range(count // 3))

    return Job(
        size.name.replace(" ", "-"),
        Load(STOCK_COMMANDS.name, RECORDS, prepare),
        Load(STOCK_COMMANDS.name, RECORDS, frames),
        (STOCK_EVENTS.name,),
        QUICK_COMMITS,
    )


class Commands:
    """Makes commands to products, which are numbers here."""

    def __init__(self, ids: Ids) -> None:
        self._write: dict[type, Callable[[dict[str, Any]], bytes]] = {
            record: writer(record, ids[record]) for record in RECORDS
        }
        self._now = datetime.now(UTC)

    def fill(self, products: Any, lots: int, pieces: int = FILLED) -> Frames:
        """Yield an entry for every lot of some products."""
        for product in products:
            for lot in range(lots):
                yield self.enter(product, lot, f"in-{product}-{lot}", pieces)

    def trade(self, orders: Iterator[tuple[int, int]]) -> Frames:
        """Yield for every (product, lot) an entry, an allocation, and later its exit."""
        waiting: deque[tuple[int, str]] = deque()
        for number, (product, lot) in enumerate(orders):
            yield self.enter(product, lot, f"entry-{number}", PIECES)
            yield self.allocate(product, f"order-{number}", PIECES)
            waiting.append((product, f"order-{number}"))
            if len(waiting) > APART:
                yield self.leave(*waiting.popleft())
        for product, order in waiting:
            yield self.leave(product, order)

    def enter(self, product: int, lot: int, movement: str, pieces: int) -> tuple[str, bytes]:
        """Return an entry; the lots of a product expire one after the other, far from now, but for one."""
        value = self._base(product, movement) | {
            "movement_id": movement,
            "lot_id": f"lot-{lot}",
            "quantity": Decimal(pieces),
            "expiration_date": None if lot == LOTS - 1 else EXPIRES + timedelta(days=lot),
            "received_at": RECEIVED,
        }
        return self._framed(StockEntryRequested, product, value)

    def allocate(self, product: int, order: str, pieces: int) -> tuple[str, bytes]:
        """Return an allocation that lives longer than any run."""
        value = self._base(product, f"allocate-{order}") | {
            "request_id": f"allocate-{order}",
            "allocation_id": self._allocation(product, order),
            "quantity": Decimal(pieces),
            "ttl_seconds": WEEK_SECONDS,
            "order_id": order,
        }
        return self._framed(StockAllocationRequested, product, value)

    def leave(self, product: int, order: str) -> tuple[str, bytes]:
        """Return the exit of an allocation."""
        value = self._base(product, f"exit-{order}") | {
            "movement_id": f"exit-{order}",
            "allocation_id": self._allocation(product, order),
            "quantity": Decimal(PIECES),
        }
        return self._framed(StockExitRequested, product, value)

    def _base(self, product: int, event_id: str) -> dict[str, Any]:
        return {
            "event_id": f"{event_id}-{product}",
            "timestamp": self._now,
            "tenant_id": TENANT,
            "product_id": f"product-{product}",
            "warehouse_id": WAREHOUSE,
        }

    def _allocation(self, product: int, order: str) -> str:
        return f"product-{product}~{WAREHOUSE}~{order}"

    def _framed(self, record: type, product: int, value: dict[str, Any]) -> tuple[str, bytes]:
        return key_of(TENANT, f"product-{product}", WAREHOUSE), self._write[record](value)
