"""Customers and their loyalty points: the aggregate of one customer (contracts 3.3, 001-35 to 001-38).

The rules are in the modules beside this one: ``customer_profile`` (who it is), ``loyalty_points`` (earning and
redeeming), ``loyalty_reversals`` and ``loyalty_undo``, ``loyalty_holds``, ``loyalty_settle`` (activation and expiry),
``loyalty_tiers`` and ``loyalty_info``. What they share: ``loyalty_account`` (numbers, ledger, and how they add up),
``loyalty_lots`` and ``loyalty_spending`` (lots, and taking points from them), ``loyalty_names`` (of records).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from streams.events import (
    CustomerHead,
    CustomerPreferences,
    CustomerProfile,
    CustomerProfileRequested,
    CustomerProfileUpsertRequested,
    CustomerRequestRejected,
    CustomerValidationRequested,
    LoyaltyBook,
    LoyaltyBookPage,
    LoyaltyHold,
    LoyaltyInfoRequested,
    LoyaltyLine,
    LoyaltyLinks,
    LoyaltyLot,
    LoyaltyPointsActivateRequested,
    LoyaltyPointsCaptureRequested,
    LoyaltyPointsExpireRequested,
    LoyaltyPointsHoldExpireRequested,
    LoyaltyPointsHoldRequested,
    LoyaltyPointsNoticeRequested,
    LoyaltyPointsRejected,
    LoyaltyPointsReleaseRequested,
    LoyaltyPointsReversalExpireRequested,
    LoyaltyPointsReverseRequested,
    LoyaltyPointsUpdateRequested,
    LoyaltyRedemption,
    LoyaltyReversal,
    LoyaltyTierReviewRequested,
    LoyaltyTimer,
    LoyaltyWaiting,
)
from tables.customer_due import due, on_due
from tables.customer_profile import provide, upsert, validate
from tables.facts import caused_by
from tables.loyalty_account import Assigned
from tables.loyalty_checks import (
    VALIDATION_FAILED,
    Refused,
)
from tables.loyalty_holds import capture, end_hold, hold, release
from tables.loyalty_info import provide_info
from tables.loyalty_names import HEAD
from tables.loyalty_points import update
from tables.loyalty_reversals import give_up, reverse
from tables.loyalty_settle import announce, on_time
from tables.loyalty_tiers import review
from tables.state import Aggregate, Changes, State

NOTHING: Final[Changes] = {}

RULES: Final[dict[type, Callable[[Any, Any, datetime], tuple[Any, ...]]]] = {
    LoyaltyPointsUpdateRequested: update,
    LoyaltyPointsReverseRequested: reverse,
    LoyaltyPointsHoldRequested: hold,
    LoyaltyPointsCaptureRequested: capture,
    LoyaltyPointsReleaseRequested: release,
    LoyaltyInfoRequested: provide_info,
    CustomerProfileRequested: provide,
    CustomerProfileUpsertRequested: upsert,
    CustomerValidationRequested: validate,
    LoyaltyPointsActivateRequested: on_time,
    LoyaltyPointsExpireRequested: on_time,
    LoyaltyPointsNoticeRequested: announce,
    LoyaltyPointsHoldExpireRequested: end_hold,
    LoyaltyPointsReversalExpireRequested: give_up,
    LoyaltyTierReviewRequested: review,
}
"""The rule of each command."""

ABOUT_CUSTOMERS: Final = (
    CustomerProfileRequested,
    CustomerProfileUpsertRequested,
    CustomerValidationRequested,
    LoyaltyInfoRequested,
)
"""Commands whose refusal is no matter of points."""


def decide(state: State, event: Any, at: datetime) -> tuple[Any, ...]:
    """Answer a command about a customer with facts; ``at`` is its append time.

    Raises:
        LookupError: the event is none of this aggregate's.
    """
    rule = RULES.get(type(event))
    if rule is None:
        raise LookupError(
            f"{type(event).__name__} is no command about customers; correct its row in the routes"
        )
    try:
        if not event.customer_id:
            raise Refused(VALIDATION_FAILED, "customer_id is empty; name the customer")
        return rule(state, event, at)
    except Refused as refused:
        return (_rejected(state, event, at, refused),)


def _rejected(
    state: State, event: Any, at: datetime, refused: Refused
) -> CustomerRequestRejected | LoyaltyPointsRejected:
    common: dict[str, Any] = {
        "timestamp": at,
        "tenant_id": event.tenant_id,
        "customer_id": event.customer_id,
        "rejected_event_id": event.event_id,
        "rejected_type": type(event).TYPE,
        "reason_code": refused.code,
        "message": refused.message,
        "envelope": caused_by(event),
    }
    if isinstance(event, ABOUT_CUSTOMERS):
        return CustomerRequestRejected(**common)
    head: CustomerHead | None = state.get(HEAD)
    balance = refused.balance if refused.balance is not None else 0 if head is None else head.balance
    update = isinstance(event, LoyaltyPointsUpdateRequested)
    return LoyaltyPointsRejected(
        **common,
        transaction_id=getattr(event, "transaction_id", "") or getattr(event, "hold_id", ""),
        points=event.points_change if update else getattr(event, "points", None) or 0,
        balance=balance,
        shortfall=refused.shortfall,
    )


def fold(state: State, fact: Any) -> Changes:
    """Return the records a fact replaces.

    Published facts replace none: the values travel in the folded ones.
    """
    return fact.records if type(fact) is Assigned else NOTHING


CUSTOMER: Final = Aggregate(
    name="customer",
    decide=decide,
    fold=fold,
    records=(
        CustomerHead,
        CustomerProfile,
        CustomerPreferences,
        LoyaltyLot,
        LoyaltyRedemption,
        LoyaltyReversal,
        LoyaltyHold,
        LoyaltyLinks,
        LoyaltyLine,
        LoyaltyTimer,
        LoyaltyWaiting,
        LoyaltyBook,
        LoyaltyBookPage,
    ),
    due=due,
    on_due=on_due,
)
