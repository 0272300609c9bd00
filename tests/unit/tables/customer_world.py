"""One customer over time, in few words, and what must hold of the customer's points after every command."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from streams.events import (
    CustomerHead,
    CustomerProfileRequested,
    CustomerProfileUpsertRequested,
    CustomerValidationRequested,
    LoyaltyHold,
    LoyaltyInfoProvided,
    LoyaltyInfoRequested,
    LoyaltyLine,
    LoyaltyLink,
    LoyaltyLot,
    LoyaltyPointsCaptureRequested,
    LoyaltyPointsHoldRequested,
    LoyaltyPointsRejected,
    LoyaltyPointsReleaseRequested,
    LoyaltyPointsReverseRequested,
    LoyaltyPointsUpdateRequested,
    LoyaltyRedemption,
    LoyaltyReversal,
)
from streams.routes import INDEX
from streams.routing import is_refusal
from tables.customer import CUSTOMER
from tables.loyalty_names import (
    ACTIVE,
    HEAD,
    LINES,
    PENDING,
    hold_name,
    line_name,
    links_name,
    transaction_name,
)
from tests.unit.tables.scenario import NOON, TENANT, Scenario

CUSTOMER_ID = "customer-1"
ROUTES = INDEX.on("customer.commands")
DAY = timedelta(days=1)
FAR = datetime.max.replace(tzinfo=UTC)


class Customer(Scenario):
    """A customer who exists, unless said otherwise."""

    def __init__(self, *, exists: bool = True, at: datetime = NOON) -> None:
        super().__init__(CUSTOMER, f"{TENANT}|{CUSTOMER_ID}", at)
        if exists:
            self.upsert()
            self.published.clear()

    def _ask(self, command: type, **fields: Any) -> list[Any]:
        at = fields.pop("at", None)
        return self.send(self.command(command, at=at, **fields), at)

    def command(self, command: type, at: datetime | None = None, **fields: Any) -> Any:
        """Return a command about this customer."""
        common = {
            "event_id": self._id(fields.pop("event_id", None)),
            "timestamp": at or self.at,
            "tenant_id": TENANT,
            "customer_id": CUSTOMER_ID,
        }
        return command(**{**common, **fields})

    def upsert(self, **fields: Any) -> list[Any]:
        """Make or change the customer."""
        return self._ask(CustomerProfileUpsertRequested, **fields)

    def profile(self, **fields: Any) -> list[Any]:
        """Ask for the profile."""
        return self._ask(CustomerProfileRequested, **fields)

    def validate(self) -> list[Any]:
        """Ask whether the customer is active."""
        return self._ask(CustomerValidationRequested)

    def earn(self, points: int, transaction_id: str, **fields: Any) -> list[Any]:
        """Earn points; ``days`` says in how many they expire, ``pending_days`` in how many they become active."""
        now = fields.get("at") or self.at
        for name, days in (
            ("expires_at", fields.pop("days", None)),
            ("activates_at", fields.pop("pending_days", None)),
        ):
            if days is not None:
                fields[name] = now + days * DAY
        return self._ask(
            LoyaltyPointsUpdateRequested, transaction_id=transaction_id, points_change=points, **fields
        )

    def redeem(self, points: int, transaction_id: str, **fields: Any) -> list[Any]:
        """Redeem points."""
        return self.earn(-points, transaction_id, **fields)

    def reverse(
        self, original: str, transaction_id: str, points: int | None = None, **fields: Any
    ) -> list[Any]:
        """Reverse a transaction."""
        return self._ask(
            LoyaltyPointsReverseRequested,
            transaction_id=transaction_id,
            original_transaction_id=original,
            points=points,
            **fields,
        )

    def hold(self, points: int, hold_id: str, **fields: Any) -> list[Any]:
        """Hold points."""
        return self._ask(LoyaltyPointsHoldRequested, hold_id=hold_id, points=points, **fields)

    def capture(
        self, hold_id: str, transaction_id: str, points: int | None = None, **fields: Any
    ) -> list[Any]:
        """Capture a hold."""
        return self._ask(
            LoyaltyPointsCaptureRequested,
            hold_id=hold_id,
            transaction_id=transaction_id,
            points=points,
            **fields,
        )

    def release(self, hold_id: str, **fields: Any) -> list[Any]:
        """Release a hold."""
        return self._ask(LoyaltyPointsReleaseRequested, hold_id=hold_id, **fields)

    def info(self, at: datetime | None = None) -> LoyaltyInfoProvided:
        """Return what the customer has, as asked for."""
        return self.one(LoyaltyInfoProvided, self._ask(LoyaltyInfoRequested, at=at))

    def send(self, event: Any, at: datetime | None = None) -> list[Any]:
        """Send an event, and check that the ledger adds up after it and that a refusal changed nothing.

        What is published is what the command's row in the routes allows.
        """
        before = dict(self.records)
        out = super().send(event, at)
        assert {type(fact) for fact in out} <= set(ROUTES[type(event)].emits)
        if [is_refusal(type(fact)) for fact in out] == [True] and not event.event_id.startswith("due|"):
            assert self.records == before, "a refusal leaves the state as it was"
        check(self)
        return out

    def refusal(self, facts: list[Any]) -> str:
        """Return the reason code of the only fact, a refusal."""
        [fact] = facts
        assert type(fact) is LoyaltyPointsRejected, fact
        assert fact.message
        return fact.reason_code

    @property
    def head(self) -> CustomerHead:
        """The customer's numbers."""
        head: CustomerHead = self.records[HEAD]
        return head

    def lot(self, transaction_id: str) -> LoyaltyLot:
        """Return a lot."""
        lot: LoyaltyLot = self.records[transaction_name(transaction_id)]
        return lot

    def left(self) -> dict[str, int]:
        """Return what active lots have left, in the order in which they are spent."""
        ids = [ACTIVE.lot_id(key) for key in ACTIVE.walk(Reading(self))]
        return {lot_id: self.lot(lot_id).remaining for lot_id in ids}

    def lines(self) -> list[LoyaltyLine]:
        """Return the ledger lines that are kept, oldest first."""
        lines = [record for name, record in self.records.items() if name.startswith("g|")]
        return sorted(lines, key=lambda line: line.number)


class Reading:
    """A state as books read it."""

    def __init__(self, state: Scenario) -> None:
        self._state = state

    def get(self, name: str) -> Any:
        return self._state.records.get(name)

    def put(self, name: str, record: Any) -> None:
        raise AssertionError(f"reading changes {name}")


def check(customer: Customer) -> None:
    """Fail where the points do not add up (contracts 3.3)."""
    head: CustomerHead | None = customer.records.get(HEAD)
    if head is None:
        return
    lots = {name[2:]: each for name, each in customer.records.items() if type(each) is LoyaltyLot}
    check_numbers(head, lots, [each for each in customer.records.values() if type(each) is LoyaltyReversal])
    check_books(customer, lots)
    check_links(customer, head, lots)
    lines = customer.lines()
    assert [line.number for line in lines] == list(range(max(0, head.lines - LINES), head.lines))
    assert all(line_name(line.number) in customer.records for line in lines)
    if lines:
        assert lines[-1].balance == head.balance
    if 0 < head.lines <= LINES:
        assert sum(line.change for line in lines) == head.balance
        assert sum(line.pending_change for line in lines) == head.pending
        assert sum(line.held_change for line in lines) == head.held


def check_numbers(head: CustomerHead, lots: dict[str, LoyaltyLot], reversals: list[LoyaltyReversal]) -> None:
    """Fail where the totals do not add up."""
    balance = sum(lot.remaining for lot in lots.values() if lot.status == "ACTIVE")
    pending = sum(lot.remaining for lot in lots.values() if lot.status == "PENDING")
    assert (head.balance, head.pending) == (balance, pending)
    numbers = [head.balance, head.pending, head.held, head.debt, head.earned, head.redeemed, head.reversed]
    assert all(type(number) is int and number >= 0 for number in numbers)
    assert not (head.debt and head.balance), "nobody spends while in debt"
    left = head.earned - head.redeemed - head.expired - head.reversed + head.restored
    assert left == head.balance + head.pending + head.held
    earns = [each for each in reversals if each.kind == "EARN"]
    assert sum(each.points for each in earns) == head.reversed + head.debt + sum(
        each.expired for each in earns
    )
    assert head.earned == sum(lot.points for lot in lots.values())
    assert all(lot.remaining == 0 for lot in lots.values() if lot.status in ("EXPIRED", "REVERSED"))
    assert all(0 <= lot.reversed <= lot.points and 0 <= lot.remaining <= lot.points for lot in lots.values())


def check_books(customer: Customer, lots: dict[str, LoyaltyLot]) -> None:
    """Fail where a book does not name the lots with points left, in their order."""
    for book, status, first in ((ACTIVE, "ACTIVE", "expires_at"), (PENDING, "PENDING", "activates_at")):
        named = [book.lot_id(key) for key in book.walk(Reading(customer))]
        order = [(getattr(lots[id_], first) or FAR, lots[id_].earned_at, id_) for id_ in named]
        assert order == sorted(order)
        assert len(named) == len(set(named))
        assert set(named) == {id_ for id_, lot in lots.items() if lot.status == status and lot.remaining}


def check_links(customer: Customer, head: CustomerHead, lots: dict[str, LoyaltyLot]) -> None:
    """Fail where the links of a redemption are not its points, or those of a hold."""
    redeemed = restored = held = 0
    for name, record in list(customer.records.items()):
        if type(record) is LoyaltyRedemption:
            owner = name if record.hold_id is None else hold_name(record.hold_id)
            links = list(links_of(customer, owner, record))
            assert sum(link.points for link in links) == record.points
            assert sum(link.restored for link in links) == record.reversed <= record.points
            assert all(0 <= link.restored <= link.points for link in links)
            redeemed, restored = redeemed + record.points, restored + record.reversed
        elif type(record) is LoyaltyHold and record.status == "HELD":
            links = list(links_of(customer, name, record))
            assert sum(link.points for link in links) == record.points
            held += record.points
        else:
            continue
        assert all(link.lot_id in lots for link in links)
    assert (head.redeemed, head.restored, head.held) == (redeemed, restored, held)


def links_of(customer: Customer, owner: str, record: Any) -> Iterator[LoyaltyLink]:
    """Yield the links of a redemption or a hold."""
    yield from record.links
    for page in range(1, record.pages + 1):
        yield from customer.records[links_name(owner, page)].links
