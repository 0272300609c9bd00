"""What follows from a lot's record alone."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from streams.events import StockLot
from tables.stock_facts import ZERO, subtract


def free(lot: StockLot) -> Decimal:
    """Return what of a lot can be allocated."""
    return subtract(lot.on_hand, lot.reserved) if lot.status == "AVAILABLE" else ZERO


def effective(lot: StockLot) -> datetime | None:
    """Return when a lot has to be gone: its removal date, else its expiration date (contracts 3.1)."""
    return lot.expiration_date if lot.removal_date is None else lot.removal_date


def is_over(lot: StockLot, at: datetime) -> bool:
    """Return whether a lot's date has come; the instant itself counts as expired."""
    date = effective(lot)
    return date is not None and date <= at


def with_sums(lot: StockLot, on_hand: Decimal, reserved: Decimal) -> StockLot:
    """Return a lot with other quantities."""
    return StockLot(
        on_hand=on_hand,
        received_at=lot.received_at,
        reserved=reserved,
        status=lot.status,
        expiration_date=lot.expiration_date,
        removal_date=lot.removal_date,
        due_at=lot.due_at,
        warned=lot.warned,
        expired=lot.expired,
        told=lot.told,
        asks=lot.asks,
    )
