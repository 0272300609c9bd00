"""Read models of stock: what the HTTP views answer (contracts 3.1).

All are pure functions of a state and parameters, and return what JSON can hold: decimals as strings without exponent,
times as ISO 8601 in UTC. Lists are whole, the web layer pages them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from streams.events import StockAllocation, StockHead, StockLot, StockMovement, StockPolicy
from streams.keys import parts_of
from tables.readable import iso, text
from tables.state import State
from tables.stock_facts import ZERO, add, subtract
from tables.stock_names import (
    BY_DATE,
    HEAD,
    LOTS,
    MOVEMENTS,
    POLICY,
    allocation_name,
)
from tables.stock_values import effective, free

Lots = list[tuple[str, StockLot]]

SUMS = (HEAD, POLICY)
"""The names that the records begin with which ``summary`` reads."""
SUMS_AND_LOTS = (HEAD, POLICY, LOTS)


def summary(key: str, state: State) -> dict[str, Any] | None:
    """Return the sums of a product in a warehouse, or None where nothing is known of it.

    Args:
        key: of the aggregate.
        state: its records that begin as ``SUMS`` says, at least.
    """
    head: StockHead | None = state.get(HEAD)
    if head is None:
        return None
    policy: StockPolicy = state.get(POLICY) or StockPolicy()
    _, product, warehouse = parts_of(key)
    return {
        "product_id": product,
        "warehouse_id": warehouse,
        "uom": head.uom or None,
        "on_hand": text(head.on_hand),
        "reserved": text(head.reserved),
        "available": text(head.available),
        "in_transit": text(head.in_transit),
        "sum_in": text(head.sum_in),
        "sum_out": text(head.sum_out),
        "reorder_point": _number(policy.reorder_point),
        "low": head.low_since is not None,
        "low_since": iso(head.low_since),
        "version": head.version,
    }


def stock(key: str, state: State) -> dict[str, Any] | None:
    """Return the sums and the lots of a product in a warehouse, or None where nothing is known of it."""
    found = summary(key, state)
    return None if found is None else {**found, "lots": lots(state)}


def lots(state: State, status: str | None = None) -> list[dict[str, Any]]:
    """Return lots, those that go off first in front: all, or those of one status."""
    return [
        {
            "lot_id": lot_id,
            "status": lot.status,
            "on_hand": text(lot.on_hand),
            "reserved": text(lot.reserved),
            "available": text(free(lot)),
            "expiration_date": iso(lot.expiration_date),
            "removal_date": iso(lot.removal_date),
            "received_at": iso(lot.received_at),
        }
        for lot_id, lot in _lots(state)
        if status in (None, lot.status)
    ]


def availability(state: State, quantity: Decimal | None, at: datetime) -> dict[str, Any] | None:
    """Return what can be allocated at a time, as far as is known now, or None where nothing is known.

    What is reserved now counts as reserved then. It is a hint: only an allocation decides (contracts 3.1).
    """
    head: StockHead | None = state.get(HEAD)
    if head is None:
        return None
    available, next_expiry = ZERO, None
    for _, lot in _lots(state):
        date = effective(lot)
        serves = lot.status in ("AVAILABLE", "EXPECTED") and lot.received_at <= at
        if serves and (date is None or date > at):
            available = add(available, subtract(lot.on_hand, lot.reserved))
            next_expiry = next_expiry or date
    return {
        "at": iso(at),
        "quantity": _number(quantity),
        "sufficient": None if quantity is None else available >= quantity,
        "available": text(available),
        "on_hand": text(head.on_hand),
        "reserved": text(head.reserved),
        "uom": head.uom or None,
        "next_expiry": iso(next_expiry),
        "as_of_version": head.version,
    }


def movements(state: State) -> list[dict[str, Any]]:
    """Return the latest movements that are kept, the newest first."""
    found: list[tuple[int, StockMovement]] = []
    for name in state.names(MOVEMENTS):
        record: StockMovement | None = state.get(name)
        if record is not None:
            found.append((record.version, record))
    found.sort(key=lambda each: each[0], reverse=True)
    return [
        {
            "movement_id": movement.movement_id,
            "type": movement.type,
            "quantity": text(movement.quantity),
            "lines": [{"lot_id": line.lot_id, "quantity": text(line.quantity)} for line in movement.lines],
            "recorded_at": iso(movement.recorded_at),
            "allocation_id": movement.allocation_id or None,
            "reason": movement.reason or None,
            "reference": movement.reference or None,
            "on_hand": text(movement.on_hand),
            "version": version,
        }
        for version, movement in found
    ]


def allocation(state: State, allocation_id: str, suffix: str) -> dict[str, Any] | None:
    """Return an allocation, or None where it is unknown or forgotten."""
    found: StockAllocation | None = state.get(allocation_name(suffix))
    if found is None:
        return None
    active = found.status == "ACTIVE"
    allocated = consumed = ZERO
    for line in found.lines:
        allocated, consumed = add(allocated, line.quantity), add(consumed, line.consumed)
    return {
        "allocation_id": allocation_id,
        "status": found.status,
        "requested": text(found.requested),
        "allocated": text(allocated),
        "consumed": text(consumed),
        "lines": [
            {
                "lot_id": line.lot_id,
                "quantity": text(line.quantity),
                "consumed": text(line.consumed),
            }
            for line in found.lines
        ],
        "strategy": found.strategy,
        "request_id": found.request_id or None,
        "order_id": found.order_id,
        "created_at": iso(found.created_at),
        "expires_at": iso(found.due_at) if active else None,
        "ended_at": iso(found.ended_at),
        "extensions": found.extensions,
        "reason": found.reason or None,
    }


def stocks(
    states: Iterable[tuple[str, State]], warehouse: str | None = None, low: bool | None = None
) -> list[dict[str, Any]]:
    """Return the sums of each product in each warehouse, in no particular order.

    Args:
        states: of products in warehouses, by key.
        warehouse: only this one.
        low: only what is low, or only what is not.
    """
    found = [item for key, state in states if (item := summary(key, state)) is not None]
    return [
        item for item in found if warehouse in (None, item["warehouse_id"]) and low in (None, item["low"])
    ]


def _lots(state: State) -> Lots:
    found: list[tuple[str, str, StockLot]] = []
    for name in state.names(LOTS):
        lot: StockLot | None = state.get(name)
        if lot is not None:
            lot_id = name[len(LOTS) :]
            found.append((BY_DATE.key(lot_id, effective(lot), lot.received_at), lot_id, lot))
    found.sort(key=lambda each: each[0])
    return [(lot_id, lot) for _, lot_id, lot in found]


def _number(number: Decimal | None) -> str | None:
    return None if number is None else text(number)
