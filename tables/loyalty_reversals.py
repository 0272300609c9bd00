"""Reversals, and those that come before their original (contracts 3.3).

A reversal whose original is not there waits for it for a day, and is then refused.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from streams.events import (
    CustomerHead,
    Envelope,
    LoyaltyEarlyReversal,
    LoyaltyPointsRejected,
    LoyaltyPointsReversalDeferred,
    LoyaltyPointsReversalExpireRequested,
    LoyaltyPointsReverseRequested,
    LoyaltyReversal,
    LoyaltyWaiting,
)
from tables.facts import caused_by, changed
from tables.loyalty_account import Account, Assigned
from tables.loyalty_checks import (
    CONFLICT,
    DUPLICATE_CONFLICT,
    NOT_FOUND,
    REPEATED,
    VALIDATION_FAILED,
    Refused,
    check_id,
    check_points,
    check_text,
    check_version,
)
from tables.loyalty_names import HEAD, transaction_name, waiting_name
from tables.loyalty_settle import MILLISECOND, SECOND, settle
from tables.loyalty_undo import refusal_of, undo
from tables.state import Record, State

WAITS: Final = timedelta(hours=24)
MAX_WAITING: Final = 1_000
"""Transactions of a customer that reversals may wait for."""
MAX_REVERSALS: Final = 20
"""Reversals that may wait for one transaction."""
MAX_GRACE: Final = 3_650
TOO_LATE: Final = Refused(
    NOT_FOUND, "the original did not arrive within 24 hours; reverse it when it is there, under a new id"
)


def reverse(state: State, event: LoyaltyPointsReverseRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a reversal: done, or left to wait for its original.

    Raises:
        Refused: it is not possible.
    """
    _check(event)
    known = state.get(transaction_name(event.transaction_id))
    if known is not None:
        if _is_same(known, event):
            return ()
        raise Refused(DUPLICATE_CONFLICT, REPEATED)
    head: CustomerHead | None = state.get(HEAD)
    check_version(head, event)
    original_id = event.original_transaction_id
    if head is None or state.get(transaction_name(original_id)) is None:
        return _defer(state, head, event, at)
    account = Account(state, head, event, at)
    settle(account)
    undo(account, original_id, _request(event, at))
    return account.done()


def apply_waiting(account: Account, original_id: str) -> None:
    """Do the reversals that waited for a transaction which has just come. The timer refuses what is not possible."""
    name = waiting_name(original_id)
    waiting: LoyaltyWaiting | None = account.get(name)
    if waiting is None:
        return
    left: list[LoyaltyEarlyReversal] = []
    for request in waiting.reversals:
        original = account.get(transaction_name(original_id))
        if request.until <= account.at or refusal_of(account, original, request) is not None:
            left.append(request)
        else:
            undo(account, original_id, request)
    if left:
        account.put(name, LoyaltyWaiting(reversals=tuple(left), due_at=account.at + MILLISECOND))
    else:
        account.put(name, None)
        account.head = changed(account.head, waiting=account.head.waiting - 1)


def give_up(state: State, event: LoyaltyPointsReversalExpireRequested, at: datetime) -> tuple[Any, ...]:
    """Answer a timer: refuse the reversals that waited long enough, or in vain. A stale command changes nothing."""
    name = waiting_name(event.original_transaction_id)
    waiting: LoyaltyWaiting | None = state.get(name)
    if waiting is None or waiting.due_at != event.due_at:
        return ()
    original = state.get(transaction_name(event.original_transaction_id))
    left: list[LoyaltyEarlyReversal] = []
    facts: list[Any] = []
    for request in waiting.reversals:
        refusal = None if original is None else refusal_of(state, original, request)
        if refusal is None and original is None and request.until > at:
            left.append(request)
        else:
            facts.append(_refused(event, at, request, refusal or TOO_LATE))
    records: dict[str, Record | None] = {name: None}
    head: CustomerHead | None = state.get(HEAD)
    if left:
        due = min(request.until for request in left)
        due = due if facts else max(due, waiting.due_at + SECOND)
        records[name] = LoyaltyWaiting(reversals=tuple(left), due_at=due)
    elif head is not None:
        records[HEAD] = changed(head, waiting=head.waiting - 1)
    return (Assigned(records), *facts)


def waiting_count(state: State) -> int:
    """Return how many transactions reversals wait for, of a customer who is not known yet."""
    return sum(1 for _ in state.names(waiting_name("")))


def _check(event: LoyaltyPointsReverseRequested) -> None:
    """Raise what is wrong with a command by itself."""
    check_id("transaction_id", event.transaction_id)
    check_id("original_transaction_id", event.original_transaction_id)
    check_points(event.points)
    check_text(event.reason)
    if event.transaction_id == event.original_transaction_id:
        raise Refused(VALIDATION_FAILED, "a reversal has a transaction_id of its own")
    if not 0 <= event.grace_days <= MAX_GRACE:
        raise Refused(VALIDATION_FAILED, f"grace_days are 0 to {MAX_GRACE}")


def _is_same(known: Any, event: LoyaltyPointsReverseRequested) -> bool:
    """Return whether a transaction is what the command asks for: then it is repeated, long after its first time."""
    return type(known) is LoyaltyReversal and (known.original_transaction_id, known.asked, known.reason) == (
        event.original_transaction_id,
        event.points,
        event.reason,
    )


def _request(event: LoyaltyPointsReverseRequested, until: datetime) -> LoyaltyEarlyReversal:
    return LoyaltyEarlyReversal(
        transaction_id=event.transaction_id,
        points=event.points,
        reason=event.reason,
        grace_days=event.grace_days,
        event_id=event.event_id,
        correlation_id=None if event.envelope is None else event.envelope.correlation_id,
        until=until,
    )


def _defer(
    state: State, head: CustomerHead | None, event: LoyaltyPointsReverseRequested, at: datetime
) -> tuple[Any, ...]:
    name = waiting_name(event.original_transaction_id)
    waiting: LoyaltyWaiting | None = state.get(name)
    others = () if waiting is None else waiting.reversals
    request = _request(event, at + WAITS)
    for other in others:
        if other.transaction_id == event.transaction_id:
            if (other.points, other.reason, other.grace_days) == (
                event.points,
                event.reason,
                event.grace_days,
            ):
                return ()
            raise Refused(DUPLICATE_CONFLICT, REPEATED)
    if len(others) == MAX_REVERSALS:
        raise Refused(CONFLICT, f"{MAX_REVERSALS} reversals wait for this transaction already; send it first")
    records: dict[str, Record | None] = {}
    if waiting is None:
        count = waiting_count(state) if head is None else head.waiting
        if count >= MAX_WAITING:
            raise Refused(
                CONFLICT, f"reversals wait for {MAX_WAITING} transactions already; send those first"
            )
        if head is not None:
            records[HEAD] = changed(head, waiting=count + 1)
    due = request.until if waiting is None else waiting.due_at
    records[name] = LoyaltyWaiting(reversals=(*others, request), due_at=due)
    deferred = LoyaltyPointsReversalDeferred(
        timestamp=at,
        tenant_id=event.tenant_id,
        customer_id=event.customer_id,
        transaction_id=event.transaction_id,
        original_transaction_id=event.original_transaction_id,
        until=request.until,
        envelope=caused_by(event),
    )
    return (Assigned(records), deferred)


def _refused(
    event: LoyaltyPointsReversalExpireRequested,
    at: datetime,
    request: LoyaltyEarlyReversal,
    refusal: Refused,
) -> LoyaltyPointsRejected:
    return LoyaltyPointsRejected(
        timestamp=at,
        tenant_id=event.tenant_id,
        customer_id=event.customer_id,
        rejected_event_id=request.event_id,
        rejected_type=LoyaltyPointsReverseRequested.TYPE,
        reason_code=refusal.code,
        message=refusal.message,
        transaction_id=request.transaction_id,
        points=request.points or 0,
        envelope=Envelope(correlation_id=request.correlation_id, causation_id=request.event_id),
    )
