"""The latest movements of a product in a warehouse, in as many slots as are kept (contracts 3.1)."""

from __future__ import annotations

from decimal import Decimal

from streams.events import StockLine, StockMovement, StockMovementType
from tables.stock_draft import Draft
from tables.stock_names import movement_name


def keep(
    draft: Draft,
    kind: StockMovementType,
    movement_id: str,
    quantity: Decimal,
    lines: tuple[StockLine, ...],
    *,
    allocation_id: str = "",
    reason: str = "",
    reference: str = "",
) -> None:
    """Keep a movement that the lots have made already, in the slot of the oldest one."""
    movement = StockMovement(
        movement_id=movement_id,
        type=kind,
        quantity=quantity,
        lines=lines,
        recorded_at=draft.at,
        allocation_id=allocation_id,
        reason=reason,
        reference=reference,
        on_hand=draft.on_hand,
        version=draft.version,
    )
    draft.put(movement_name(draft.movements), movement)
    draft.movements += 1
