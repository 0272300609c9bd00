"""The views of customers over HTTP.

in     GET /customers/{customer_id} and its loyalty     tables/customer_views.py
out    the models below, or the error body of contracts 3.0
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel, Field

from agents.tenants import TenantPageQuery, TenantQuery, tenant_of
from streams.keys import key_of
from streams.reading import StoredState
from streams.web_errors import NotFound
from streams.web_views import Call, PaginatedResult, View, page_of
from tables import customer_views
from tables.loyalty_names import (
    ACTIVATION,
    ACTIVE,
    EXPIRY,
    HEAD,
    LINE_PREFIX,
    LINKS_PREFIX,
    PENDING,
    PREFERENCES,
    PROFILE,
    hold_name,
    transaction_name,
)

TABLE: Final = "customer"
UNKNOWN: Final = "there is no such customer"

WHO: Final = (HEAD, PROFILE, PREFERENCES)
POINTS: Final = (HEAD, ACTIVATION, EXPIRY, ACTIVE.name, PENDING.name, transaction_name(""))
LEDGER: Final = (HEAD, LINE_PREFIX)


class ProfileQuery(TenantQuery):
    """What of a customer."""

    include_preferences: bool = Field(False, description="With the preferences.")


class CustomerItem(BaseModel):
    """Who a customer is."""

    customer_id: str
    status: str = Field(description="ACTIVE, BLOCKED or DELETED.")
    name: str
    email: str
    phone: str
    locale: str
    attributes: dict[str, str]
    preferences: dict[str, str] | None = Field(description="Null where they are not asked for.")
    created_at: datetime
    updated_at: datetime
    version: int


class Loyalty(BaseModel):
    """A customer's points and tier.

    earned - redeemed - expired - reversed + restored = balance + pending + held
    """

    tenant_id: str
    customer_id: str
    balance: int = Field(description="What can be spent now; never negative.")
    pending: int = Field(description="Earned, and not active yet.")
    held: int = Field(description="Set aside for a redemption that may come.")
    debt: int = Field(description="Reversed after it was spent, and recovered from what is earned next.")
    earned: int
    redeemed: int
    reversed: int = Field(description="Really taken back; debt counts once it is recovered.")
    expired: int
    restored: int = Field(description="Given back by reversals of redemptions.")
    tier: str
    tier_since: datetime | None
    qualifying_points: int = Field(description="Earned in the last twelve calendar months.")
    review_at: datetime | None = Field(description="When the tier is looked at again.")
    next_expiration_date: datetime | None
    next_expiration_points: int
    version: int


class LedgerLine(BaseModel):
    """A line of the ledger."""

    number: int = Field(description="From 0, without a gap.")
    at: datetime
    kind: str
    transaction_id: str = Field(description="The transaction, the lot or the hold.")
    change: int = Field(description="Of the balance.")
    pending_change: int
    held_change: int
    balance: int = Field(description="After it.")
    reason: str


class Ledger(PaginatedResult[LedgerLine]):
    """A customer's last 500 ledger lines, the latest first."""


class TransactionLot(BaseModel):
    """What a redemption took from a lot."""

    lot_id: str
    points: int
    restored: int = Field(description="Of the points, those given back.")


class Transaction(BaseModel):
    """An earn with its lot, a redemption or a reversal. What its kind does not have is left out."""

    transaction_id: str
    kind: Literal["EARN", "REDEMPTION", "REVERSAL"]
    points: int
    at: datetime
    reason: str
    reference: str | None = None
    reversed: int | None = Field(None, description="Points that reversals took back or gave back.")
    status: str | None = Field(None, description="Earn: PENDING, ACTIVE, EXPIRED or REVERSED.")
    remaining: int | None = Field(None, description="Earn: points left.")
    expired: int | None = Field(
        None, description="Earn: points that expired. Reversal: those it met expired."
    )
    activates_at: datetime | None = None
    expires_at: datetime | None = None
    hold_id: str | None = Field(None, description="Redemption: the hold it captured.")
    lots: list[TransactionLot] | None = Field(None, description="Redemption: what came from which lot.")
    original_transaction_id: str | None = Field(None, description="Reversal: of which transaction.")
    original_kind: str | None = Field(None, description="Reversal: of an EARN or a REDEMPTION.")
    taken: int | None = Field(None, description="Reversal of an earn: points its lot still had.")
    shortfall: int | None = Field(None, description="Reversal of an earn: points that were spent.")


class HeldLot(BaseModel):
    """What a hold took from a lot."""

    lot_id: str
    points: int


class Hold(BaseModel):
    """Points that are set aside."""

    hold_id: str
    status: str = Field(description="HELD, CAPTURED, RELEASED or EXPIRED.")
    points: int
    at: datetime
    expires_at: datetime = Field(description="When the points return by themselves.")
    reason: str
    reference: str | None
    lots: list[HeldLot] = Field(description="Where they come from; none once it has ended.")


def _state(call: Call, prefixes: tuple[str, ...]) -> StoredState:
    """Return what is stored of the customer of the path, as far as the names begin with ``prefixes``.

    Raises:
        Forbidden, NotFound, and what ``Reader.state`` raises.
    """
    key = key_of(tenant_of(call), call.path["customer_id"])
    state = call.reader.state(TABLE, key, prefixes)
    if state is None:
        raise NotFound(UNKNOWN)
    return state


async def customer(call: Call) -> BaseModel:
    """Return who a customer is."""
    asked: ProfileQuery = call.query
    found = customer_views.profile(
        _state(call, WHO), call.path["customer_id"], include_preferences=asked.include_preferences
    )
    if found is None:
        raise NotFound(UNKNOWN)
    return CustomerItem.model_validate(found)


async def loyalty(call: Call) -> BaseModel:
    """Return a customer's points and tier."""
    tenant, customer_id, now = tenant_of(call), call.path["customer_id"], datetime.now(UTC)
    state = _state(call, POINTS)
    found = await call.reader.compute(
        len(state), lambda: customer_views.loyalty(state, tenant, customer_id, now)
    )
    if found is None:
        raise NotFound(UNKNOWN)
    return Loyalty.model_validate(found)


async def ledger(call: Call) -> BaseModel:
    """Return a customer's last ledger lines."""
    found = customer_views.ledger(_state(call, LEDGER))
    if found is None:
        raise NotFound(UNKNOWN)
    return Ledger.model_validate(page_of(found, call.query))


async def transaction(call: Call) -> BaseModel:
    """Return an earn, a redemption or a reversal."""
    transaction_id = call.path["transaction_id"]
    # Links that a redemption's own record does not take have names of their own.
    state = _state(call, (HEAD, transaction_name(transaction_id), LINKS_PREFIX))
    found = customer_views.transaction(state, transaction_id)
    if found is None:
        raise NotFound("there is no such transaction of this customer")
    return Transaction.model_validate(found)


async def hold(call: Call) -> BaseModel:
    """Return a hold."""
    hold_id = call.path["hold_id"]
    found = customer_views.hold(_state(call, (HEAD, hold_name(hold_id), LINKS_PREFIX)), hold_id)
    if found is None:
        raise NotFound("there is no such hold of this customer")
    return Hold.model_validate(found)


KEYED: Final = (400, 404, 503)
POINTS_PATH: Final = "/customers/{customer_id}/loyalty"

# fmt: off
VIEWS: Final = (
    #    path                                              handler      answer        query            table  failures
    View("/customers/{customer_id}",                       customer,    CustomerItem, ProfileQuery,    TABLE, KEYED),
    View(POINTS_PATH,                                      loyalty,     Loyalty,      TenantQuery,     TABLE, KEYED),
    View(POINTS_PATH + "/ledger",                          ledger,      Ledger,       TenantPageQuery, TABLE, KEYED),
    View(POINTS_PATH + "/transactions/{transaction_id}",   transaction, Transaction,  TenantQuery,     TABLE, KEYED),
    View(POINTS_PATH + "/holds/{hold_id}",                 hold,        Hold,         TenantQuery,     TABLE, KEYED),
)
# fmt: on
