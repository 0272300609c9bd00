"""Read models of customers: what the HTTP views answer (contracts 3.3). Pure functions, JSON-able values.

All of them return None where the customer, or what is asked for, is not known.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.events import (
    CustomerHead,
    CustomerPreferences,
    CustomerProfile,
    LoyaltyHold,
    LoyaltyInfoProvided,
    LoyaltyInfoRequested,
    LoyaltyLine,
    LoyaltyLink,
    LoyaltyLot,
    LoyaltyRedemption,
    LoyaltyReversal,
)
from tables.loyalty_info import info
from tables.loyalty_names import (
    HEAD,
    LINES,
    PREFERENCES,
    PROFILE,
    hold_name,
    line_name,
    links_name,
    transaction_name,
)
from tables.readable import iso
from tables.state import State

NOT_SHOWN = ("event_id", "timestamp", "envelope")


def profile(state: State, customer_id: str, *, include_preferences: bool) -> dict[str, Any] | None:
    """Return who a customer is; preferences are None where they are not asked for."""
    head: CustomerHead | None = state.get(HEAD)
    known: CustomerProfile | None = state.get(PROFILE)
    if head is None or known is None:
        return None
    preferences: CustomerPreferences | None = state.get(PREFERENCES)
    values = {} if preferences is None else dict(preferences.values)
    return {
        "customer_id": customer_id,
        "status": head.status,
        "name": known.name,
        "email": known.email,
        "phone": known.phone,
        "locale": known.locale,
        "attributes": dict(known.attributes),
        "preferences": values if include_preferences else None,
        "created_at": iso(known.created_at),
        "updated_at": iso(known.updated_at),
        "version": head.version,
    }


def loyalty(state: State, tenant_id: str, customer_id: str, now: datetime) -> dict[str, Any] | None:
    """Return a customer's points and tier as they are at ``now``, even where a timer is late."""
    if state.get(HEAD) is None:
        return None
    asked = LoyaltyInfoRequested(timestamp=now, tenant_id=tenant_id, customer_id=customer_id)
    found: LoyaltyInfoProvided = info(state, asked, now)
    shown = {name: getattr(found, name) for name in found.__struct_fields__ if name not in NOT_SHOWN}
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in shown.items()}


def ledger(state: State) -> list[dict[str, Any]] | None:
    """Return the ledger lines that are kept, the latest first."""
    head: CustomerHead | None = state.get(HEAD)
    if head is None:
        return None
    numbers = range(head.lines - 1, max(head.lines - LINES, 0) - 1, -1)
    return [_line(line) for number in numbers if (line := state.get(line_name(number))) is not None]


def transaction(state: State, transaction_id: str) -> dict[str, Any] | None:
    """Return an earn with what became of its lot, a redemption with the lots it took from, or a reversal."""
    record = state.get(transaction_name(transaction_id))
    if type(record) is LoyaltyLot:
        return _earn(transaction_id, record)
    if type(record) is LoyaltyRedemption:
        return _redemption(state, transaction_id, record)
    if type(record) is LoyaltyReversal:
        return _reversal(transaction_id, record)
    return None


def hold(state: State, hold_id: str) -> dict[str, Any] | None:
    """Return a hold; while it is open, with the lots that its points came from."""
    held: LoyaltyHold | None = state.get(hold_name(hold_id))
    if held is None:
        return None
    links = _links(state, hold_name(hold_id), held)
    return {
        "hold_id": hold_id,
        "status": held.status,
        "points": held.points,
        "at": iso(held.at),
        "expires_at": iso(held.expires_at),
        "reason": held.reason,
        "reference": held.reference,
        "lots": [{"lot_id": link.lot_id, "points": link.points} for link in links],
    }


def _links(state: State, owner: str, kept: LoyaltyRedemption | LoyaltyHold) -> list[LoyaltyLink]:
    """Return all links of a redemption or a hold, which are kept under the name ``owner``."""
    links = list(kept.links)
    for page in range(1, kept.pages + 1):
        record = state.get(links_name(owner, page))
        links += () if record is None else record.links
    return links


def _line(line: LoyaltyLine) -> dict[str, Any]:
    return {
        "number": line.number,
        "at": iso(line.at),
        "kind": line.kind,
        "transaction_id": line.transaction_id,
        "change": line.change,
        "pending_change": line.pending_change,
        "held_change": line.held_change,
        "balance": line.balance,
        "reason": line.reason,
    }


def _earn(transaction_id: str, lot: LoyaltyLot) -> dict[str, Any]:
    return {
        "transaction_id": transaction_id,
        "kind": "EARN",
        "points": lot.points,
        "at": iso(lot.earned_at),
        "reason": lot.reason,
        "reference": lot.reference,
        "reversed": lot.reversed,
        "status": lot.status,
        "remaining": lot.remaining,
        "expired": lot.expired,
        "activates_at": iso(lot.activates_at),
        "expires_at": iso(lot.expires_at),
    }


def _redemption(state: State, transaction_id: str, redemption: LoyaltyRedemption) -> dict[str, Any]:
    owner = transaction_name(transaction_id)
    if redemption.hold_id is not None:
        owner = hold_name(redemption.hold_id)
    return {
        "transaction_id": transaction_id,
        "kind": "REDEMPTION",
        "points": redemption.points,
        "at": iso(redemption.at),
        "reason": redemption.reason,
        "reference": redemption.reference,
        "reversed": redemption.reversed,
        "hold_id": redemption.hold_id,
        "lots": [
            {"lot_id": link.lot_id, "points": link.points, "restored": link.restored}
            for link in _links(state, owner, redemption)
        ],
    }


def _reversal(transaction_id: str, reversal: LoyaltyReversal) -> dict[str, Any]:
    return {
        "transaction_id": transaction_id,
        "kind": "REVERSAL",
        "points": reversal.points,
        "at": iso(reversal.at),
        "reason": reversal.reason,
        "original_transaction_id": reversal.original_transaction_id,
        "original_kind": reversal.kind,
        "taken": reversal.taken,
        "shortfall": reversal.shortfall,
        "expired": reversal.expired,
    }
