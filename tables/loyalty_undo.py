"""What a reversal does to its original (contracts 3.3).

An earn is taken out of its lot, as far as the lot still has the points. What had expired is gone anyway. What was spent
becomes debt, which the rest of the balance pays at once and later earns pay as they come. A redemption goes back to the
lots it came from.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

from streams.events import (
    Envelope,
    LoyaltyEarlyReversal,
    LoyaltyLot,
    LoyaltyPointsReversed,
    LoyaltyRedemption,
    LoyaltyReversal,
    LoyaltyReversed,
)
from tables.facts import changed
from tables.loyalty_account import Account
from tables.loyalty_checks import (
    ALREADY_REVERSED,
    DUPLICATE_CONFLICT,
    EXCEEDS_ORIGINAL,
    REPEATED,
    VALIDATION_FAILED,
    Refused,
)
from tables.loyalty_lots import leave
from tables.loyalty_names import hold_name, transaction_name
from tables.loyalty_spending import Kept, Links, give_back, recover
from tables.loyalty_tiers import disqualify
from tables.state import State


class Undone(NamedTuple):
    """What became of the points of a reversal.

    Attributes:
        kind: what was reversed.
        recovered: points that paid debt.
        expired: of an earn, points that had expired before; of a redemption, points that expired at once.
        taken: points that the lot still had.
        shortfall: points that were spent, and became debt.
        lots: what went back to which lot.
    """

    kind: LoyaltyReversed
    recovered: int
    expired: int
    taken: int = 0
    shortfall: int = 0
    lots: Links = ()


def refusal_of(state: State | Account, original: Any, request: LoyaltyEarlyReversal) -> Refused | None:
    """Return why a transaction cannot be reversed as asked for, or None."""
    if state.get(transaction_name(request.transaction_id)) is not None:
        return Refused(DUPLICATE_CONFLICT, REPEATED)
    if type(original) not in (LoyaltyLot, LoyaltyRedemption):
        return Refused(VALIDATION_FAILED, "a reversal is not reversed; send the original transaction anew")
    left = original.points - original.reversed
    if not left:
        return Refused(ALREADY_REVERSED, "the transaction is reversed already, all of it")
    if request.points is not None and request.points > left:
        return Refused(EXCEEDS_ORIGINAL, f"{left} points of the transaction are left to be reversed")
    return None


def undo(account: Account, original_id: str, request: LoyaltyEarlyReversal) -> None:
    """Reverse a transaction.

    Args:
        account: the customer's, settled.
        original_id: the transaction.
        request: what is asked for.

    Raises:
        Refused: it is not possible; the account is as it was.
    """
    original: Any = account.get(transaction_name(original_id))
    refusal = refusal_of(account, original, request)
    if refusal is not None:
        raise refusal
    points = original.points - original.reversed if request.points is None else request.points
    undoing = _take_back if type(original) is LoyaltyLot else _give_back
    undone = undoing(account, original_id, original, request, points)
    account.put(
        transaction_name(request.transaction_id),
        LoyaltyReversal(
            original_transaction_id=original_id,
            kind=undone.kind,
            points=points,
            asked=request.points,
            at=account.at,
            taken=undone.taken,
            shortfall=undone.shortfall,
            expired=undone.expired,
            reason=request.reason,
        ),
    )
    account.tell(
        LoyaltyPointsReversed(
            timestamp=account.at,
            tenant_id=account.tenant_id,
            customer_id=account.customer_id,
            transaction_id=request.transaction_id,
            original_transaction_id=original_id,
            kind=undone.kind,
            points=points,
            reason=request.reason,
            taken=undone.taken,
            shortfall=undone.shortfall,
            recovered=undone.recovered,
            expired=undone.expired,
            lots=undone.lots,
            balance=account.balance,
        ),
        Envelope(correlation_id=request.correlation_id, causation_id=request.event_id),
    )


def _take_back(
    account: Account, lot_id: str, lot: LoyaltyLot, request: LoyaltyEarlyReversal, points: int
) -> Undone:
    taken = min(points, lot.remaining)
    gone = min(points - taken, lot.expired)
    shortfall = points - taken - gone
    remaining, reversed_ = lot.remaining - taken, lot.reversed + points
    if lot.remaining and not remaining:
        leave(account, lot_id, lot)
    status = "REVERSED" if reversed_ == lot.points else lot.status
    after = changed(lot, remaining=remaining, reversed=reversed_, expired=lot.expired - gone, status=status)
    account.put(transaction_name(lot_id), after)
    account.reversed += taken
    account.debt += shortfall
    was_pending = lot.status == "PENDING"
    account.line(
        "REVERSED",
        request.transaction_id,
        0 if was_pending else -taken,
        pending=-taken if was_pending else 0,
        reason=request.reason,
    )
    recovered = recover(account, request.transaction_id)
    if lot.qualifying:
        disqualify(account, points, lot.earned_at)
    return Undone("EARN", recovered, gone, taken=taken, shortfall=shortfall)


def _give_back(
    account: Account,
    original_id: str,
    redemption: LoyaltyRedemption,
    request: LoyaltyEarlyReversal,
    points: int,
) -> Undone:
    name = transaction_name(original_id)
    owner = name if redemption.hold_id is None else hold_name(redemption.hold_id)
    kept = Kept(owner, redemption.links, redemption.pages)
    returned = give_back(account, kept, points, grace=timedelta(days=request.grace_days))
    account.put(name, changed(redemption, links=returned.kept.first, reversed=redemption.reversed + points))
    account.restored += points
    account.line("RESTORED", request.transaction_id, points, reason=request.reason)
    returned.write_off(account, request.transaction_id)
    return Undone("REDEMPTION", returned.recovered, returned.expired, lots=returned.lots)
