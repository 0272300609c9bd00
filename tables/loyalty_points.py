"""Earning and redeeming points (contracts 3.3): one command, and its sign says which.

An earn makes a lot of its own. In the common case it writes four records: the customer's numbers, the lot, a page of
the book it stands in, and a ledger line.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from streams.events import (
    CustomerHead,
    LoyaltyLot,
    LoyaltyPointsEarned,
    LoyaltyPointsRedeemed,
    LoyaltyPointsUpdateRequested,
    LoyaltyRedemption,
)
from tables.customer_profile import newcomer
from tables.lots import LATEST
from tables.loyalty_account import Account
from tables.loyalty_checks import (
    DUPLICATE_CONFLICT,
    MAX_POINTS,
    MAX_TOTAL,
    NOT_FOUND,
    REPEATED,
    VALIDATION_FAILED,
    Refused,
    check_id,
    check_open,
    check_text,
    check_version,
)
from tables.loyalty_lots import enter, is_short
from tables.loyalty_names import HEAD, transaction_name
from tables.loyalty_reversals import apply_waiting
from tables.loyalty_settle import settle
from tables.loyalty_spending import recover, spend
from tables.loyalty_tiers import qualify
from tables.state import State


def update(state: State, event: LoyaltyPointsUpdateRequested, at: datetime) -> tuple[Any, ...]:
    """Decide an earn or a redemption.

    Raises:
        Refused: it is not possible.
    """
    _check(event, at)
    name = transaction_name(event.transaction_id)
    known = state.get(name)
    if known is not None:
        if _is_same(known, event):
            return ()
        raise Refused(DUPLICATE_CONFLICT, REPEATED)
    head: CustomerHead | None = state.get(HEAD)
    check_version(head, event)
    if head is None:
        if event.auto_create and event.points_change > 0:
            return _earn(newcomer(state, event, at), event, name)
        raise Refused(NOT_FOUND, "there is no such customer; make one, or say auto_create")
    check_open(head)
    account = Account(state, head, event, at)
    settle(account)
    return _earn(account, event, name) if event.points_change > 0 else _redeem(account, event, name)


def _check(event: LoyaltyPointsUpdateRequested, at: datetime) -> None:
    """Raise what is wrong with a command by itself."""
    points = event.points_change
    check_id("transaction_id", event.transaction_id)
    check_text(event.reason, event.reference)
    if not points or not -MAX_POINTS <= points <= MAX_POINTS:
        raise Refused(VALIDATION_FAILED, f"points_change is not 0, and at most {MAX_POINTS} either way")
    begins, ends = event.activates_at, event.expires_at
    if begins is None and ends is None:
        return
    if points < 0:
        raise Refused(
            VALIDATION_FAILED, "a redemption has neither activates_at nor expires_at; leave them out"
        )
    if (begins is not None and begins >= LATEST) or (ends is not None and ends >= LATEST):
        raise Refused(VALIDATION_FAILED, "activates_at and expires_at lie before the year 9000; correct them")
    if ends is not None and ends <= (at if begins is None or begins < at else begins):
        raise Refused(VALIDATION_FAILED, "expires_at must lie in the future, and after activates_at")


def _is_same(known: Any, event: LoyaltyPointsUpdateRequested) -> bool:
    """Return whether a transaction is what the command asks for: then it is repeated, long after its first time."""
    if type(known) is LoyaltyRedemption:
        points = 0 if known.hold_id is not None else -known.points
    elif type(known) is LoyaltyLot:
        points = known.points
    else:
        return False
    asked = (event.points_change, event.reason, event.reference)
    return asked == (points, known.reason, known.reference)


def _earn(account: Account, event: LoyaltyPointsUpdateRequested, name: str) -> tuple[Any, ...]:
    at, lot_id, points = account.at, event.transaction_id, event.points_change
    if account.earned + points > MAX_TOTAL:
        raise Refused(VALIDATION_FAILED, f"a customer can earn {MAX_TOTAL} points in all")
    begins = at if event.activates_at is None or event.activates_at < at else event.activates_at
    pending = begins > at
    lot = LoyaltyLot(
        points=points,
        remaining=points,
        status="PENDING" if pending else "ACTIVE",
        earned_at=at,
        activates_at=begins,
        expires_at=event.expires_at,
        qualifying=event.qualifying,
        announced=is_short(event.expires_at, begins),
        reason=event.reason,
        reference=event.reference,
    )
    account.records[name] = lot
    account.earned += points
    if pending:
        account.line("EARNED", lot_id, 0, pending=points, reason=event.reason)
    else:
        account.line("EARNED", lot_id, points, reason=event.reason)
    enter(account, lot_id, lot)
    recovered = recover(account, lot_id) if account.debt else 0
    account.tell(
        LoyaltyPointsEarned(
            timestamp=at,
            tenant_id=account.tenant_id,
            customer_id=account.customer_id,
            transaction_id=lot_id,
            points=points,
            status=lot.status,
            activates_at=begins,
            expires_at=event.expires_at,
            reason=event.reason,
            reference=event.reference,
            recovered=recovered,
            balance=account.balance,
        )
    )
    if event.qualifying:
        qualify(account, points)
    if account.head.waiting:
        apply_waiting(account, lot_id)
    return account.done()


def _redeem(account: Account, event: LoyaltyPointsUpdateRequested, name: str) -> tuple[Any, ...]:
    points = -event.points_change
    kept, links = spend(account, points, name)
    account.put(
        name,
        LoyaltyRedemption(
            points=points,
            at=account.at,
            links=kept.first,
            pages=kept.pages,
            reason=event.reason,
            reference=event.reference,
        ),
    )
    account.redeemed += points
    account.line("REDEEMED", event.transaction_id, -points, reason=event.reason)
    account.tell(
        LoyaltyPointsRedeemed(
            timestamp=account.at,
            tenant_id=account.tenant_id,
            customer_id=account.customer_id,
            transaction_id=event.transaction_id,
            points=points,
            reason=event.reason,
            reference=event.reference,
            lots=links,
            balance=account.balance,
        )
    )
    if account.head.waiting:
        apply_waiting(account, event.transaction_id)
    return account.done()
