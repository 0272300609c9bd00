"""What every stock command is checked for. Each check raises ``Refusal`` with its reason code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tables.exact import EXACT
from tables.lots import LATEST
from tables.stock_draft import Draft
from tables.stock_facts import (
    MAX_QUANTITY,
    NOT_FOUND,
    STEPS,
    UNKNOWN_UNIT,
    VALIDATION_FAILED,
    VERSION_CONFLICT,
    ZERO,
    Refusal,
)
from tables.stock_names import LONGEST_ID, allocation_prefix

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
MAX_TTL = timedelta(days=366).days * 86_400


def check_place(draft: Draft) -> None:
    """Check the ids of product and warehouse, and the version where the command expects one."""
    check_ids(draft)
    expected = draft.event.expected_version
    if expected is not None and expected != draft.head.version:
        message = f"the version is {draft.head.version}, not {expected}; read the stock again and decide anew"
        raise Refusal(VERSION_CONFLICT, message)


def check_ids(draft: Draft) -> None:
    """Check the ids of product and warehouse; where something is kept of them, its first command's were checked."""
    if not draft.head.version:
        check_id("product_id", draft.product)
        check_id("warehouse_id", draft.warehouse)


def check_id(field: str, value: str) -> None:
    """Check an id that becomes a part of keys and names."""
    if not value or len(value) > LONGEST_ID or not value.isprintable():
        message = f"{field} is empty, longer than {LONGEST_ID} characters or not printable; name it properly"
        raise Refusal(VALIDATION_FAILED, message)


def check_known(draft: Draft) -> None:
    """Check that there ever was stock of the product in the warehouse."""
    if not draft.head.sum_in:
        message = (
            "there never was stock of this product in this warehouse; check both ids, or enter stock first"
        )
        raise Refusal(NOT_FOUND, message)


def check_quantity(draft: Draft, quantity: Decimal, *, signed: bool = False) -> None:
    """Check a quantity: positive, or with ``signed`` not zero, and within the decimals of the unit."""
    scale = draft.policy.uom_scale
    size = quantity.copy_abs() if signed else quantity
    if not quantity.is_finite() or not ZERO < size < MAX_QUANTITY:
        raise Refusal(
            VALIDATION_FAILED,
            "quantity is a number above 0 and below 10^18; correct the quantity or its sign",
        )
    if quantity.quantize(STEPS[scale], None, EXACT) != quantity:  # by keyword it takes three times as long
        raise Refusal(VALIDATION_FAILED, f"quantity has more than {scale} decimals; round it to the unit")


def check_unit(draft: Draft, uom: str) -> None:
    """Check the unit of measure where the command names one."""
    if uom and draft.uom and uom != draft.uom:
        raise Refusal(UNKNOWN_UNIT, f"stock is kept in {draft.uom!r}, not in {uom!r}; convert the quantity")


def check_date(field: str, date: datetime | None) -> None:
    """Check a date that a command gives."""
    if date is not None and not EARLIEST <= date < LATEST:
        raise Refusal(VALIDATION_FAILED, f"{field} is not between the years 1900 and 9000; correct it")


def check_ttl(seconds: int) -> None:
    """Check how long an allocation is to live."""
    if not 0 < seconds <= MAX_TTL:
        raise Refusal(VALIDATION_FAILED, "ttl_seconds is above 0 and at most 366 days; correct it")


def id_of(event: Any) -> str:
    """Return the id of a movement: as the command gives it, else the command's own."""
    movement_id: str = event.movement_id or event.event_id
    check_id("movement_id", movement_id)
    return movement_id


def suffix_of(draft: Draft, allocation_id: str) -> str:
    """Return the last part of an allocation's id, which must be one of this product and warehouse."""
    prefix = allocation_prefix(draft.product, draft.warehouse)
    # Spelled as it is spelled here, too: what is told of an allocation names it by one id.
    if not allocation_id.startswith(prefix) or allocation_id == prefix:
        raise Refusal(VALIDATION_FAILED, f"allocation_id is not of this stock; it has the form {prefix}<id>")
    suffix = allocation_id[len(prefix) :]
    check_id("allocation_id", suffix)
    return suffix
