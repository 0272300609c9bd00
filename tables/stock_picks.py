"""Which lots serve a demand, in which order, and how much of each (contracts 3.1).

A demand that one lot cannot serve is split over lots in one decision. Lots that are expired, held back, expected, or
too short-lived for the demand do not serve it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from streams.events import StockLine, StockLot
from tables.lots import MICROSECOND, stamp
from tables.stock_draft import Draft
from tables.stock_facts import INSUFFICIENT_STOCK, ZERO, Refusal, add, subtract
from tables.stock_names import BY_ARRIVAL, BY_DATE
from tables.stock_values import effective, free

STRATEGIES = frozenset({"FEFO", "FIFO", "LIFO", "LOT"})


class Demand(NamedTuple):
    """What lots are to serve.

    Attributes:
        quantity: how much.
        strategy: FEFO, FIFO, LIFO or LOT.
        lot_id: the only lot that may serve, or empty.
        good_until: lots must be good until then; None: whichever can serve now.
    """

    quantity: Decimal
    strategy: str = "FEFO"
    lot_id: str = ""
    good_until: datetime | None = None


class Pick(NamedTuple):
    """How much one lot serves."""

    lot_id: str
    lot: StockLot
    quantity: Decimal


def good_until(at: datetime, needed_at: datetime | None, days: int | None) -> datetime | None:
    """Return until when lots must be good: that instant itself counts as expired when it is the time of need.

    A lot with exactly the least number of days left serves.
    """
    if needed_at is None and not days:
        return None
    need = at if needed_at is None else max(at, needed_at)
    return max(need + MICROSECOND, need + timedelta(days=days or 0))


def pick(draft: Draft, demand: Demand, *, partial: bool = False) -> list[Pick]:
    """Return what serves a demand: all of it, or with ``partial`` as much as there is.

    The draft must be settled.

    Raises:
        Refusal: INSUFFICIENT_STOCK: there is not enough of it, or with ``partial`` nothing.
    """
    anything = not demand.lot_id and demand.good_until is None
    if anything and demand.quantity > draft.available and not (partial and draft.available):
        raise _insufficient(draft.available)
    picks: list[Pick] = []
    rest = demand.quantity
    for lot_id in _in_order(draft, demand):
        lot = draft.lot(lot_id)
        if lot is not None and _serves(lot, demand.good_until) and (there := free(lot)):
            taken = min(there, rest)
            picks.append(Pick(lot_id, lot, taken))
            rest = subtract(rest, taken)
            if not rest:
                return picks
    if rest == demand.quantity or not partial:
        raise _insufficient(subtract(demand.quantity, rest))
    return picks


def _insufficient(available: Decimal) -> Refusal:
    message = (
        "not enough stock can serve the demand; take less, wait for an entry, or allow another lot or date"
    )
    return Refusal(INSUFFICIENT_STOCK, message, available)


def _in_order(draft: Draft, demand: Demand) -> Iterable[str]:
    if demand.lot_id:
        return (demand.lot_id,)
    if demand.strategy == "FEFO":
        # What is too short-lived stands in front, and is not even read.
        return BY_DATE.ids(draft, "" if demand.good_until is None else stamp(demand.good_until))
    return BY_ARRIVAL.ids(draft, reverse=demand.strategy == "LIFO")


def _serves(lot: StockLot, until: datetime | None) -> bool:
    if until is None:
        return True
    date = effective(lot)
    return date is None or date >= until


def lines_of(picks: list[Pick]) -> tuple[StockLine, ...]:
    """Return picks as facts name them."""
    return tuple([StockLine(lot_id=each.lot_id, quantity=each.quantity) for each in picks])


def total_of(lines: Any) -> Decimal:
    """Return the sum of the quantities of lines or picks."""
    total = ZERO
    for line in lines:
        total = add(total, line.quantity)
    return total
