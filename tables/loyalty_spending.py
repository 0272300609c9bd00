"""Taking points from lots, and giving them back to the same lots (contracts 3.3).

Points are taken from the lot that expires soonest first. What was taken from which lot is kept as links with the
redemption or the hold: the first ones in its record, the others in pages of their own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

from streams.events import LoyaltyLink, LoyaltyLinks
from tables.facts import changed
from tables.loyalty_account import Account
from tables.loyalty_checks import (
    INSUFFICIENT_POINTS,
    TOO_MANY_LOTS,
    Refused,
)
from tables.loyalty_lots import enter, lot_of
from tables.loyalty_names import ACTIVE, links_name, transaction_name

MAX_LOTS: Final = 2_000
"""Lots that one command takes from at most, so that what it stores and publishes stays bounded."""
LINKS: Final = 50
"""Links of a page."""

Links = tuple[LoyaltyLink, ...]


class Kept(NamedTuple):
    """Links of a redemption or a hold.

    Attributes:
        owner: name of its record.
        first: the links in that record.
        pages: how many records hold further ones.
    """

    owner: str
    first: Links
    pages: int


class Returned(NamedTuple):
    """What became of points that were given back.

    Attributes:
        kept: the links that are left.
        lots: what went to which lot.
        recovered: points that paid debt, and so did not come back.
        expired: points that expired at once.
    """

    kept: Kept
    lots: Links
    recovered: int
    expired: int

    def write_off(self, account: Account, subject: str) -> None:
        """Write the ledger lines of what did not come back."""
        if self.recovered:
            account.line("RECOVERED", subject, -self.recovered)
        if self.expired:
            account.line("EXPIRED", subject, -self.expired)


def take(account: Account, points: int) -> list[LoyaltyLink]:
    """Take points out of the active lots, soonest to expire first.

    The account's balance stays as it is: the caller writes the ledger line.

    Args:
        account: the customer's.
        points: how many; the balance has as many.

    Returns:
        What was taken from which lot, of at most ``MAX_LOTS`` lots.
    """
    links: list[LoyaltyLink] = []
    empty: list[str] = []
    for key in ACTIVE.walk(account):
        lot_id = ACTIVE.lot_id(key)
        lot = lot_of(account, lot_id)
        part = min(points, lot.remaining)
        account.put(transaction_name(lot_id), changed(lot, remaining=lot.remaining - part))
        links.append(LoyaltyLink(lot_id=lot_id, points=part))
        if part == lot.remaining:
            empty.append(key)
        points -= part
        if not points or len(links) == MAX_LOTS:
            break
    for key in empty:
        ACTIVE.remove(account, key)
    return links


def spend(account: Account, points: int, owner: str) -> tuple[Kept, Links]:
    """Take points for a redemption or a hold and keep its links. Return what its record keeps, and all links.

    The account's balance stays as it is: the caller writes the ledger line.

    Raises:
        Refused: the balance does not have as many, or they lie in too many lots.
    """
    spendable = max(account.balance - account.debt, 0)
    if points > spendable:
        message = f"{spendable} points can be spent; ask for no more than that"
        raise Refused(INSUFFICIENT_POINTS, message, spendable, points - spendable)
    links = tuple(take(account, points))
    if sum(link.points for link in links) < points:
        raise Refused(TOO_MANY_LOTS, f"the points lie in more than {MAX_LOTS} lots; ask for fewer at a time")
    pages = 0
    for start in range(LINKS, len(links), LINKS):
        pages += 1
        account.put(links_name(owner, pages), LoyaltyLinks(links=links[start : start + LINKS]))
    return Kept(owner, links[:LINKS], pages), links


def recover(account: Account, subject: str) -> int:
    """Pay debt with the points that can be spent. Return how many did.

    Args:
        account: the customer's.
        subject: id of the transaction, the lot or the hold that made it possible.
    """
    wanted = min(account.debt, account.balance)
    if not wanted:
        return 0
    paid = sum(link.points for link in take(account, wanted))
    account.debt -= paid
    account.reversed += paid
    account.line("RECOVERED", subject, -paid)
    return paid


def give_back(
    account: Account, kept: Kept, points: int, *, grace: timedelta = timedelta(0), undo: bool = False
) -> Returned:
    """Give points back to the lots they came from, the last taken first: the links a smaller redemption would have.

    Debt is paid before anything comes back, even with points whose lot has expired: where a purchase and its redemption
    are both taken back, the customer owes nothing. The account's balance and what it holds stay as they are: the caller
    writes the ledger lines.

    Args:
        account: the customer's.
        kept: the links; they have as many points that are not restored.
        points: how many.
        grace: how much longer points live whose lot has expired; nothing: they expire at once.
        undo: the points were only held, so their links go. Otherwise links remember what was restored.
    """
    lots: list[LoyaltyLink] = []
    first, pages = kept.first, kept.pages
    for page in range(kept.pages, -1, -1):
        links, back = _give(_page(account, kept, page), points, undo)
        lots += back
        points -= sum(link.points for link in back)
        if not page:
            first = links
        else:
            account.put(links_name(kept.owner, page), LoyaltyLinks(links=links) if links else None)
            pages = pages if links else page - 1
        if not points:
            break
    recovered, expired = 0, 0
    for link in lots:
        paid = min(link.points, account.debt)
        account.debt -= paid
        account.reversed += paid
        recovered += paid
        expired += _fill(account, link.lot_id, link.points - paid, grace)
    account.expired += expired
    return Returned(Kept(kept.owner, first, pages), tuple(lots), recovered, expired)


def all_links(account: Account, kept: Kept) -> Links:
    """Return all links of a redemption or a hold."""
    pages = (_page(account, kept, page) for page in range(kept.pages + 1))
    return tuple(link for page in pages for link in page)


def _page(account: Account, kept: Kept, page: int) -> Links:
    if not page:
        return kept.first
    record = account.get(links_name(kept.owner, page))
    if record is None:
        raise LookupError("a page of links is not there; rebuild the table from its changelog")
    links: Links = record.links
    return links


def _give(links: Links, points: int, undo: bool) -> tuple[Links, list[LoyaltyLink]]:
    """Return the links that are left of a page, and what is given back, the last taken first."""
    left: list[LoyaltyLink] = []
    back: list[LoyaltyLink] = []
    for link in reversed(links):
        part = min(points, link.points - link.restored)
        points -= part
        if part:
            back.append(LoyaltyLink(lot_id=link.lot_id, points=part))
        if not undo:
            left.append(changed(link, restored=link.restored + part))
        elif part < link.points:
            left.append(changed(link, points=link.points - part))
    return tuple(reversed(left)), back


def _fill(account: Account, lot_id: str, points: int, grace: timedelta) -> int:
    """Put points back into a lot. Return how many of them expired at once."""
    if not points:
        return 0
    lot = lot_of(account, lot_id)
    late = lot.expires_at is not None and lot.expires_at <= account.at
    if late and not grace:
        account.put(transaction_name(lot_id), changed(lot, status="EXPIRED", expired=lot.expired + points))
        return points
    filled = changed(lot, status="ACTIVE", remaining=lot.remaining + points)
    if late:
        filled = changed(filled, expires_at=account.at + grace, announced=True)
    account.put(transaction_name(lot_id), filled)
    if not lot.remaining:
        enter(account, lot_id, filled)
    return 0
