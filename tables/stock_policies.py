"""How stock of a product in a warehouse is looked after (contracts 3.1)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.events import StockPolicy, StockPolicySet, StockPolicySetRequested
from tables.exact import EXACT
from tables.state import State
from tables.stock_checks import check_id, check_place
from tables.stock_draft import Draft
from tables.stock_facts import CONFLICT, MAX_QUANTITY, STEPS, VALIDATION_FAILED, Refusal
from tables.stock_levels import finish
from tables.stock_names import POLICY

MAX_DAYS = 3650


def set_policy(state: State, event: StockPolicySetRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a policy, which replaces the one before. Stock may be low by the new reorder point at once."""
    draft = Draft(state, event, at)
    check_place(draft)
    _check(draft, event)
    draft.settle()
    point = draft.policy.reorder_point
    moved = bool(draft.head.sum_in) and (point is None or draft.head.available > point)
    draft.uom = event.uom or draft.uom
    fields = {name: getattr(event, name) for name in StockPolicy.__struct_fields__}
    draft.policy = StockPolicy(**fields)
    draft.put(POLICY, draft.policy)
    draft.facts.append(
        StockPolicySet(
            timestamp=at,
            tenant_id=event.tenant_id,
            product_id=draft.product,
            warehouse_id=draft.warehouse,
            uom=draft.uom,
            version=draft.version,
            envelope=draft.envelope,
            **fields,
        )
    )
    return finish(draft, new_point=moved)


def _check(draft: Draft, event: StockPolicySetRequested) -> None:
    if event.uom:
        check_id("uom", event.uom)
    if not 0 <= event.uom_scale < len(STEPS):
        raise Refusal(VALIDATION_FAILED, f"uom_scale is from 0 to {len(STEPS) - 1}; correct it")
    for field in ("reorder_point", "hysteresis"):
        number = getattr(event, field)
        if number is not None and not (number.is_finite() and 0 <= number < MAX_QUANTITY):
            raise Refusal(VALIDATION_FAILED, f"{field} is a number from 0 to below 10^18; correct it")
    if event.on_reserved_lot_expiry == "UNKNOWN":
        raise Refusal(VALIDATION_FAILED, "on_reserved_lot_expiry is NOTIFY, REALLOCATE or RELEASE; use one")
    if not 0 <= event.expiring_soon_days <= MAX_DAYS:
        raise Refusal(VALIDATION_FAILED, f"expiring_soon_days is from 0 to {MAX_DAYS}; correct it")
    if event.max_extensions is not None and event.max_extensions < 0:
        raise Refusal(VALIDATION_FAILED, "max_extensions is a number from 0, or null for one; correct it")
    if draft.head.sum_in:
        _check_unit_stays(draft, event)


def _check_unit_stays(draft: Draft, event: StockPolicySetRequested) -> None:
    if event.uom and draft.uom and event.uom != draft.uom:
        message = f"stock is kept in {draft.uom!r} already; use another warehouse or product for another unit"
        raise Refusal(CONFLICT, message)
    if draft.on_hand.quantize(STEPS[event.uom_scale], context=EXACT) != draft.on_hand:
        raise Refusal(CONFLICT, "there is stock of more decimals than that; adjust it first")
