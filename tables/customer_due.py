"""When a customer's records want a command, and which (contracts 3.3).

A command's id holds what is due and when, so that however often a timer asks it is one command, and the next due time
is another one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from streams.events import (
    LoyaltyPointsActivateRequested,
    LoyaltyPointsExpireRequested,
    LoyaltyPointsHoldExpireRequested,
    LoyaltyPointsNoticeRequested,
    LoyaltyPointsReversalExpireRequested,
    LoyaltyTierReviewRequested,
)
from streams.keys import parts_of
from tables.loyalty_names import ACTIVATION, EXPIRY, HEAD, NOTICE, hold_name, waiting_name
from tables.readable import iso
from tables.state import Record

LOT_TIMERS: Final[dict[str, Callable[..., Any]]] = {
    ACTIVATION: LoyaltyPointsActivateRequested,
    EXPIRY: LoyaltyPointsExpireRequested,
    NOTICE: LoyaltyPointsNoticeRequested,
}
WITH_DUE: Final = frozenset({*LOT_TIMERS, hold_name("")[0], waiting_name("")[0]})
"""First characters of the names of records that have a ``due_at``."""


def due(name: str, record: Record) -> datetime | None:
    """Return when a record wants a command, or None."""
    kind = name[0]
    time: datetime | None = None
    if kind in WITH_DUE:
        time = record.due_at
    elif kind == HEAD:
        time = record.review_at
    return time


def on_due(key: str, name: str, record: Record) -> Any:
    """Return the command that a record wants.

    Args:
        key: the customer's key: tenant and customer, percent-encoded.
        name: the record's.
        record: the record, which is due.
    """
    when = due(name, record)
    tenant_id, customer_id = parts_of(key)
    common: dict[str, Any] = {
        "event_id": f"due|{key}|{name}|{iso(when)}",
        "timestamp": when,
        "tenant_id": tenant_id,
        "customer_id": customer_id,
        "due_at": when,
    }
    kind, _, subject = name.partition("|")
    if kind == HEAD:
        return LoyaltyTierReviewRequested(**common)
    if kind == hold_name("")[0]:
        return LoyaltyPointsHoldExpireRequested(**common, hold_id=subject)
    if kind == waiting_name("")[0]:
        return LoyaltyPointsReversalExpireRequested(**common, original_transaction_id=subject)
    common["event_id"] += f"|{record.version}|{record.lot_id}"
    return LOT_TIMERS[kind](**common, lot_id=record.lot_id)
