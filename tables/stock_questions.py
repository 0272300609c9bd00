"""Questions about stock, which change nothing (contracts 3.1)."""

from __future__ import annotations

from datetime import datetime

from streams.events import (
    CatalogProductSnapshot,
    StockAvailabilityChecked,
    StockAvailabilityCheckRequested,
    StockHead,
    StockProductValidated,
    StockProductValidationRequested,
)
from streams.keys import key_of
from tables.facts import caused_by
from tables.state import State
from tables.stock_checks import check_id, check_ids, check_known, check_quantity, check_unit
from tables.stock_draft import Draft
from tables.stock_names import BY_DATE, HEAD
from tables.stock_values import effective


def validate_product(
    state: State, event: StockProductValidationRequested, at: datetime
) -> tuple[StockProductValidated]:
    """Answer whether a product exists and its stock is managed: as the catalogue says, else as stock was kept here."""
    check_id("product_id", event.product_id)
    snapshot: CatalogProductSnapshot | None = catalogued(state, event.tenant_id, event.product_id)
    head: StockHead | None = state.get(HEAD)
    active = snapshot is not None and snapshot.status == "ACTIVE"
    managed = snapshot is not None and snapshot.stock_managed
    had_stock = head is not None and head.sum_in > 0
    valid = active and managed if snapshot is not None else had_stock
    message = ""
    if snapshot is None:
        message = "" if had_stock else "the catalogue does not have this product, and no stock of it was kept"
    elif not active:
        message = "the product is not active"
    elif not managed:
        message = "the product's stock is not managed"
    return (
        StockProductValidated(
            timestamp=at,
            tenant_id=event.tenant_id,
            product_id=event.product_id,
            warehouse_id=event.warehouse_id,
            valid=valid,
            known=snapshot is not None,
            active=active,
            stock_managed=managed if snapshot is not None else had_stock,
            message=message,
            envelope=caused_by(event),
        ),
    )


def catalogued(state: State, tenant: str, product: str) -> CatalogProductSnapshot | None:
    """Return what the catalogue says of a product as far as this worker knows; only answers may be made of it."""
    found: CatalogProductSnapshot | None = state.shared(CatalogProductSnapshot, key_of(tenant, product))
    return found


def check_availability(
    state: State, event: StockAvailabilityCheckRequested, at: datetime
) -> tuple[StockAvailabilityChecked]:
    """Answer what is available at a time. It is a hint: the next command may take it."""
    draft = Draft(state, event, at)
    check_ids(draft)
    if event.quantity:
        check_quantity(draft, event.quantity)
    check_unit(draft, event.uom)
    if catalogued(state, event.tenant_id, event.product_id) is None:
        check_known(draft)
    draft.settle()
    first = BY_DATE.first(draft)
    next_expiry = None if first is None else effective(draft.known_lot(BY_DATE.lot_id(first)))
    return (
        StockAvailabilityChecked(
            timestamp=at,
            tenant_id=event.tenant_id,
            product_id=event.product_id,
            warehouse_id=event.warehouse_id,
            quantity=event.quantity,
            sufficient=draft.available >= event.quantity,
            available=draft.available,
            on_hand=draft.on_hand,
            reserved=draft.reserved,
            uom=draft.uom,
            next_expiry=next_expiry,
            as_of_version=draft.head.version,
            envelope=draft.envelope,
        ),
    )
