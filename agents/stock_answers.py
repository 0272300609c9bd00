"""What the views of stock are asked and what they answer (contracts 3.1)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field

from agents.answers import Amount, Text
from agents.tenants import TenantPageQuery, TenantQuery
from streams.web_views import PaginatedResult

Status = Literal["AVAILABLE", "QUARANTINED", "EXPIRED", "EXPECTED"]
Quantity = Annotated[Decimal, Field(ge=0, max_digits=24, decimal_places=6)]


class AvailabilityQuery(TenantQuery):
    """How much is needed, and when."""

    quantity: Quantity | None = Field(None, description="Tell whether there is as much.")
    at: AwareDatetime | None = Field(None, description="When it is needed; now where it is left out.")


class StockQuery(TenantPageQuery):
    """Which stock."""

    product: Text | None = Field(None, description="Only of this product.")
    warehouse: Text | None = Field(None, description="Only in this warehouse.")
    low: bool | None = Field(None, description="Only what is low, or only what is not.")


class LotsQuery(TenantPageQuery):
    """Which lots."""

    status: Status | None = None


class LotItem(BaseModel):
    """A lot."""

    lot_id: str
    status: str
    on_hand: Amount
    reserved: Amount
    available: Amount
    expiration_date: datetime | None
    removal_date: datetime | None = Field(description="Where it has one, it counts and not the expiration.")
    received_at: datetime


class StockItem(BaseModel):
    """A product in a warehouse, in sum."""

    product_id: str
    warehouse_id: str
    uom: str | None
    on_hand: Amount
    reserved: Amount
    available: Amount = Field(description="In lots that can serve, and not reserved.")
    in_transit: Amount = Field(description="On its way to other warehouses.")
    sum_in: Amount = Field(description="All that ever came.")
    sum_out: Amount = Field(description="All that ever left.")
    reorder_point: Amount | None
    low: bool
    low_since: datetime | None
    version: int


class Stock(StockItem):
    """A product in a warehouse, with its lots."""

    lots: list[LotItem] = Field(description="Those that go off first in front.")


class Lots(PaginatedResult[LotItem]):
    """Lots, those that go off first in front."""

    version: int


class Availability(BaseModel):
    """What can be allocated at a time. It is a hint: only an allocation decides."""

    at: datetime
    quantity: Amount | None
    sufficient: bool | None = Field(description="Null where no quantity was asked for.")
    available: Amount
    on_hand: Amount
    reserved: Amount
    uom: str | None
    next_expiry: datetime | None = Field(description="Of the lots that can serve then.")
    as_of_version: int


class Line(BaseModel):
    """A quantity of one lot."""

    lot_id: str
    quantity: Amount


class MovementItem(BaseModel):
    """A movement."""

    movement_id: str
    type: str
    quantity: Amount
    lines: list[Line]
    recorded_at: datetime
    allocation_id: str | None
    reason: str | None
    reference: str | None
    on_hand: Amount = Field(description="After it.")
    version: int


class Movements(PaginatedResult[MovementItem]):
    """The latest movements, the newest first."""


class AllocationLine(Line):
    """What an allocation holds of one lot."""

    consumed: Amount = Field(description="Of the quantity, what has left.")


class Allocation(BaseModel):
    """An allocation; for a day after its end, what is remembered of it."""

    allocation_id: str
    status: str
    requested: Amount
    allocated: Amount
    consumed: Amount
    lines: list[AllocationLine]
    strategy: str
    request_id: str | None
    order_id: str | None
    created_at: datetime
    expires_at: datetime | None = Field(description="While it is active.")
    ended_at: datetime | None
    extensions: int
    reason: str | None


class StockItems(PaginatedResult[StockItem]):
    """Products in warehouses, in sum."""
