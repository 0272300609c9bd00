"""What must hold of points for any commands in any order (contracts 3.3).

After every command ``customer_world.check`` proves that the ledger adds up: the balance is what the active lots have
left and is never negative, links are the points of their redemption, and
earned - redeemed - expired - reversed + restored = balance + pending + held.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.events import (
    LoyaltyPointsEarned,
    LoyaltyPointsExpired,
    LoyaltyPointsHeld,
    LoyaltyPointsRedeemed,
    LoyaltyPointsRejected,
    LoyaltyPointsReversed,
)
from tests.unit.tables.customer_world import Customer
from tests.unit.tables.scenario import NOON

HOUR = timedelta(hours=1)
POINTS = st.integers(1, 200)
HOURS = st.one_of(st.none(), st.integers(1, 24 * 12))
PENDING = st.one_of(st.none(), st.integers(1, 72))
CALLS = st.lists(
    st.tuples(
        st.sampled_from(["earn", "redeem", "reverse", "wait"]),
        POINTS,
        HOURS,
        PENDING,
        st.integers(0, 12),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


class Points(RuleBasedStateMachine):
    """One customer and any commands, with timers that run late."""

    @initialize()
    def begin(self) -> None:
        self.customer = Customer()
        self.count = 0
        self.transactions: list[str] = []
        self.holds: list[str] = []

    def new(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    @rule(points=POINTS, hours=HOURS, pending=PENDING)
    def earn(self, points: int, hours: int | None, pending: int | None) -> None:
        name = self.new("e")
        begins = None if pending is None else self.customer.at + pending * HOUR
        ends = None if hours is None else (begins or self.customer.at) + hours * HOUR
        facts = self.customer.earn(points, name, activates_at=begins, expires_at=ends)
        if self.customer.of(LoyaltyPointsEarned, facts):
            self.transactions.append(name)

    @rule(points=POINTS)
    def redeem(self, points: int) -> None:
        name = self.new("r")
        balance = self.customer.info().balance
        facts = self.customer.redeem(points, name)
        done = self.customer.of(LoyaltyPointsRedeemed, facts)
        if done:
            self.transactions.append(name)
        if self.customer.head.status == "ACTIVE":
            assert bool(done) == (points <= balance)

    @precondition(lambda self: self.transactions)
    @rule(which=st.integers(0, 50), points=st.one_of(st.none(), POINTS), grace=st.sampled_from([0, 0, 3]))
    def reverse(self, which: int, points: int | None, grace: int) -> None:
        original = self.transactions[which % len(self.transactions)]
        facts = self.customer.reverse(original, self.new("v"), points, grace_days=grace)
        assert any(isinstance(fact, (LoyaltyPointsReversed, LoyaltyPointsRejected)) for fact in facts)

    @rule(ahead=st.integers(1, 4))
    def reverse_what_comes_later(self, ahead: int) -> None:
        self.customer.reverse(f"e{self.count + ahead + 1}", self.new("v"), 20)

    @rule(points=POINTS, hours=st.integers(1, 48))
    def hold(self, points: int, hours: int) -> None:
        name = self.new("h")
        facts = self.customer.hold(points, name, ttl_seconds=hours * 3_600)
        if self.customer.of(LoyaltyPointsHeld, facts):
            self.holds.append(name)

    @precondition(lambda self: self.holds)
    @rule(which=st.integers(0, 50), points=st.one_of(st.none(), POINTS))
    def capture(self, which: int, points: int | None) -> None:
        name = self.new("c")
        facts = self.customer.capture(self.holds[which % len(self.holds)], name, points)
        if self.customer.of(LoyaltyPointsRedeemed, facts):
            self.transactions.append(name)

    @precondition(lambda self: self.holds)
    @rule(which=st.integers(0, 50))
    def release(self, which: int) -> None:
        self.customer.release(self.holds[which % len(self.holds)])

    @rule(hours=st.integers(1, 100), timers=st.booleans())
    def wait(self, hours: int, timers: bool) -> None:
        self.customer.at += hours * HOUR
        if timers:
            self.customer.run_timers(self.customer.at)

    @rule(status=st.sampled_from(["ACTIVE", "ACTIVE", "BLOCKED", "DELETED"]))
    def set_status(self, status: str) -> None:
        self.customer.upsert(status=status)

    @invariant()
    def what_is_published_adds_up(self) -> None:
        if not hasattr(self, "customer"):
            return
        of, head = self.customer.of, self.customer.head
        assert sum(fact.points for fact in of(LoyaltyPointsEarned)) == head.earned
        assert sum(fact.points for fact in of(LoyaltyPointsRedeemed)) == head.redeemed
        restored = [fact for fact in of(LoyaltyPointsReversed) if fact.kind == "REDEMPTION"]
        assert sum(fact.points for fact in restored) == head.restored
        assert sum(fact.points for fact in of(LoyaltyPointsExpired)) <= head.expired

    def teardown(self) -> None:
        if hasattr(self, "customer"):
            self.customer.run_timers(self.customer.at + 60 * 24 * HOUR)
            assert (self.customer.head.held, self.customer.head.pending) == (0, 0)


Points.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestPoints = Points.TestCase


def apply(customer: Customer, number: int, call: tuple[Any, ...], *, timers: bool) -> None:
    kind, points, hours, pending, which, early = call
    if kind == "wait":
        customer.at += points * HOUR
        if timers:
            customer.run_timers(customer.at)
    elif kind == "reverse":
        customer.reverse(
            f"t{which if early else number - which}", f"t{number}", points if points % 2 else None
        )
    elif kind == "redeem":
        customer.redeem(points, f"t{number}")
    else:
        begins = customer.at if pending is None else customer.at + pending * HOUR
        ends = None if hours is None else begins + hours * HOUR
        customer.earn(points, f"t{number}", activates_at=begins, expires_at=ends)


def essence(customer: Customer) -> dict[str, Any]:
    """Return what does not depend on when timers ran: the numbers, and what became of each transaction."""
    head = customer.head
    out: dict[str, Any] = {
        name: getattr(head, name)
        for name in ("balance", "pending", "debt", "earned", "redeemed", "reversed", "expired", "restored")
    }
    for name, record in customer.records.items():
        if name.startswith("t|"):
            fields = ("points", "remaining", "status", "reversed", "expired", "links", "expires_at")
            out[name] = [getattr(record, field, None) for field in fields]
    return out


@settings(max_examples=60, deadline=None)
@given(CALLS)
def test_what_becomes_of_points_does_not_depend_on_when_timers_run(calls: list[tuple[Any, ...]]) -> None:
    prompt, late = Customer(), Customer()
    for number, call in enumerate(calls):
        apply(prompt, number, call, timers=True)
        apply(late, number, call, timers=False)
    for customer in (prompt, late):
        customer.run_timers(customer.at + 60 * 24 * HOUR)
    assert essence(prompt) == essence(late)


@settings(max_examples=40, deadline=None)
@given(CALLS, st.integers(0, 30))
def test_folding_in_two_parts_equals_folding_the_whole(calls: list[tuple[Any, ...]], cut: int) -> None:
    whole, begun = Customer(), Customer()
    for number, call in enumerate(calls):
        apply(whole, number, call, timers=True)
    for number, call in enumerate(calls[:cut]):
        apply(begun, number, call, timers=True)
    resumed = Customer(exists=False, at=begun.at)
    resumed.records = dict(begun.records)
    resumed.sent = begun.sent
    for number, call in enumerate(calls[cut:], start=cut):
        apply(resumed, number, call, timers=True)
    assert resumed.records == whole.records


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(POINTS, HOURS), min_size=1, max_size=20), st.integers(1, 4_000))
def test_what_is_spent_first_expires_first(earns: list[tuple[int, int | None]], wanted: int) -> None:
    customer = Customer()
    for number, (points, hours) in enumerate(earns):
        ends = None if hours is None else NOON + hours * HOUR
        customer.earn(points, f"e{number:02}", expires_at=ends, at=NOON + timedelta(minutes=number))
    total = sum(points for points, _ in earns)
    facts = customer.redeem(min(wanted, total), "r1")
    spent = [link.lot_id for link in customer.one(LoyaltyPointsRedeemed, facts).lots]
    order = sorted(range(len(earns)), key=lambda number: (earns[number][1] or 10**9, number))
    assert spent == [f"e{number:02}" for number in order][: len(spent)]
