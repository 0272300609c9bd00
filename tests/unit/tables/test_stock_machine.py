"""Any commands in any order: the invariants of contracts 3.1 hold after every one, and lots are picked as they say."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streams.events import (
    Alert,
    StockAllocationAllocated,
    StockAllocationPartiallyAllocated,
    StockAllocationRejected,
    StockEntryRecorded,
    StockEntryRequested,
    StockExitRecorded,
    StockLot,
    StockMovementRecorded,
    StockTransferReturned,
    StockTransferSettleRequested,
)
from tests.unit.tables.scenario import NOON
from tests.unit.tables.stock_scenario import Stock, free_of, taken

DATES = {"A": (3, None), "B": (6, None), "C": (None, None), "D|1": (9, 4), "E": (None, None)}
"""Days to the expiration and the removal of each lot, so that most entries suit their lot."""
LOTS = st.sampled_from(sorted(DATES))
WHICH = st.integers(0, 20)
AMOUNTS = st.integers(1, 30) | st.integers(1, 9) | st.decimals("0.001", "20", places=3)
QUANTITIES = st.one_of(*[AMOUNTS] * 9, st.sampled_from([0, -3, Decimal("0.0001")])).map(Decimal)
OFTEN = st.sampled_from([True] * 5 + [False])
DAYS = st.none() | st.integers(-1, 12)
STRATEGIES = st.sampled_from(["FEFO", "FEFO", "FIFO", "LIFO"])
SITES = st.integers(0, 1)
HYSTERESIS = Decimal(3)
INSTANT = timedelta(microseconds=1)


def days(start: datetime, count: int | None) -> datetime | None:
    """Return a day from ``start`` on."""
    return None if count is None else start + timedelta(days=count)


def served(stock: Stock, strategy: str, at: datetime, until: datetime) -> list[tuple[str, Decimal]]:
    """Return the lots that may serve, in the order of a strategy, computed in the plainest way."""
    found = []
    for lot_id, lot in stock.lots().items():
        date = lot.expiration_date if lot.removal_date is None else lot.removal_date
        if lot.received_at > at or lot.status in ("QUARANTINED", "EXPIRED"):
            continue
        if date is not None and (date <= at or date < until):
            continue
        if lot.on_hand > lot.reserved:
            found.append((date is None, date or at, lot.received_at, lot_id, lot.on_hand - lot.reserved))
    if strategy != "FEFO":
        found.sort(key=lambda lot: (lot[2], lot[3]), reverse=strategy == "LIFO")
    else:
        found.sort()
    return [(lot_id, there) for *_, lot_id, there in found]


class StockMachine(RuleBasedStateMachine):
    """Two warehouses, goods in transit between them, time that passes, and every command."""

    def __init__(self) -> None:
        super().__init__()
        self.at = NOON
        self.sites = [Stock(), Stock(warehouse="WH2")]
        self.onward: deque[Any] = deque()
        self.balance = Decimal(0)

    def take(self, facts: list[Any]) -> list[Any]:
        """Note what facts say of goods that came or left, and which commands they pass on."""
        for fact in facts:
            if isinstance(fact, StockEntryRequested | StockTransferSettleRequested):
                self.onward.append(fact)
            elif isinstance(fact, StockEntryRecorded) and not fact.transfer_id:
                self.balance += fact.quantity
            elif isinstance(fact, StockExitRecorded):
                self.balance -= fact.quantity
            elif isinstance(fact, StockMovementRecorded):
                signs = {"EXIT": -1, "SCRAP": -1, "TRANSFER_OUT": 0}
                self.balance += fact.quantity * signs.get(fact.type, 1)
            elif isinstance(fact, StockTransferReturned):
                assert fact.quantity > 0
        return facts

    @initialize(
        policy=st.sampled_from(["NOTIFY", "REALLOCATE", "RELEASE"]),
        point=st.none() | st.integers(0, 20),
        expired_exit=st.booleans(),
    )
    def look_after(self, policy: str, point: int | None, expired_exit: bool) -> None:
        for site in self.sites:
            site.policy(
                on_reserved_lot_expiry=policy,
                reorder_point=None if point is None else Decimal(point),
                hysteresis=HYSTERESIS,
                uom_scale=3,
                allow_expired_exit=expired_exit,
            )
        for lot in DATES:
            self.enter(0, lot, Decimal(10))

    @rule(site=SITES, lot=LOTS, quantity=QUANTITIES)
    def enter(self, site: int, lot: str, quantity: Decimal) -> None:
        expires, removal = DATES[lot]
        self.take(
            self.sites[site].enter(
                quantity, lot, days(NOON, expires), at=self.at, removal_date=days(NOON, removal)
            )
        )

    @rule(site=SITES, lot=LOTS, expires=DAYS, removal=DAYS, arrives=st.none() | st.integers(-2, 3))
    def enter_other_dates(
        self, site: int, lot: str, expires: int | None, removal: int | None, arrives: int | None
    ) -> None:
        self.take(
            self.sites[site].enter(
                5,
                lot,
                days(NOON, expires),
                at=self.at,
                removal_date=days(NOON, removal),
                received_at=days(self.at, arrives),
            )
        )

    @rule(
        site=SITES,
        number=st.integers(0, 60),
        quantity=QUANTITIES,
        strategy=STRATEGIES,
        partial=st.booleans(),
        least=st.none() | st.integers(0, 5),
        needed=st.none() | st.integers(-1, 6),
        lot=st.one_of(*[st.just("")] * 4, LOTS),
    )
    def allocate(
        self,
        site: int,
        number: int,
        quantity: Decimal,
        strategy: str,
        partial: bool,
        least: int | None,
        needed: int | None,
        lot: str,
    ) -> None:
        stock = self.sites[site]
        until = self.at + timedelta(days=least or 0)
        if (
            needed is not None
        ):  # an instant at which a lot expires is too late, also for who needs it just then
            until = self.at + timedelta(days=max(needed, 0)) + max(timedelta(days=least or 0), INSTANT)
        expected = [each for each in served(stock, strategy, self.at, until) if lot in ("", each[0])]
        facts = stock.allocate(
            quantity,
            f"o{number}",
            at=self.at,
            strategy="LOT" if lot else strategy,
            lot_id=lot,
            allow_partial=partial,
            min_remaining_days=least,
            needed_at=days(self.at, needed),
            ttl_seconds=3600 if number % 2 else 400_000,
        )
        made = stock.of(StockAllocationAllocated, facts) or stock.of(StockAllocationPartiallyAllocated, facts)
        if made:
            rest, lines = quantity, {}
            for lot_id, there in expected:
                if rest:
                    lines[lot_id] = min(rest, there)
                    rest -= lines[lot_id]
            assert taken(facts) == lines
            assert not rest or partial
        elif stock.code(facts) == "INSUFFICIENT_STOCK":
            refusal = stock.one(StockAllocationRejected, facts)
            total = sum(there for _, there in expected)
            assert refusal.available == total
            assert total < quantity
            assert not (partial and total)

    def some_allocation(self, site: int, which: int, live: bool) -> str:
        """Return the last part of the id of an allocation, of an active one where ``live`` and there is one."""
        known = self.sites[site].allocations()
        active = sorted(suffix for suffix, each in known.items() if each.status == "ACTIVE")
        found = (active if live else []) or [*sorted(known), "unknown"]
        return found[which % len(found)]

    @rule(
        site=SITES, which=WHICH, live=OFTEN, quantity=QUANTITIES, lot=st.just("") | LOTS, scrap=st.booleans()
    )
    def leave_of_allocation(
        self, site: int, which: int, live: bool, quantity: Decimal, lot: str, scrap: bool
    ) -> None:
        suffix = self.some_allocation(site, which, live)
        reason = "SCRAP" if scrap else "SALE"
        self.take(self.sites[site].exit(quantity, suffix, at=self.at, lot_id=lot, reason=reason))

    @rule(site=SITES, quantity=QUANTITIES, lot=st.just("") | LOTS)
    def leave(self, site: int, quantity: Decimal, lot: str) -> None:
        self.take(self.sites[site].exit(quantity, at=self.at, lot_id=lot))

    @rule(site=SITES, which=WHICH, live=OFTEN)
    def release(self, site: int, which: int, live: bool) -> None:
        stock = self.sites[site]
        suffix = self.some_allocation(site, which, live)
        stock.release(suffix, at=self.at)
        before = dict(stock.records)
        stock.release(suffix, at=self.at)
        assert stock.records == before, "a release is idempotent"

    @rule(site=SITES, which=WHICH, live=OFTEN, seconds=st.integers(-1, 7200))
    def extend(self, site: int, which: int, live: bool, seconds: int) -> None:
        self.sites[site].extend(self.some_allocation(site, which, live), seconds, at=self.at)

    @rule(
        site=SITES,
        kind=st.sampled_from(["ENTRY", "EXIT", "ADJUSTMENT", "RETURN", "SCRAP", "UNKNOWN"]),
        quantity=QUANTITIES,
        lot=LOTS,
        force=st.booleans(),
    )
    def move(self, site: int, kind: str, quantity: Decimal, lot: str, force: bool) -> None:
        self.take(self.sites[site].move(kind, str(quantity), lot, at=self.at, force=force))

    @rule(site=SITES, counted=st.integers(0, 20), lot=LOTS, force=st.booleans())
    def count(self, site: int, counted: int, lot: str, force: bool) -> None:
        stock = self.sites[site]
        facts = stock.move("ADJUSTMENT", None, lot, counted=Decimal(counted), force=force, at=self.at)
        if stock.of(StockMovementRecorded, self.take(facts)):
            assert (stock.lots()[lot].on_hand if lot in stock.lots() else 0) == counted

    @rule(site=SITES, quantity=QUANTITIES, lot=st.just("") | LOTS)
    def transfer(self, site: int, quantity: Decimal, lot: str) -> None:
        other = self.sites[1 - site].warehouse
        self.take(
            self.sites[site].move("TRANSFER_OUT", str(quantity), lot, at=self.at, to_warehouse_id=other)
        )

    @rule()
    def deliver(self) -> None:
        if self.onward:
            command = self.onward.popleft()
            [stock] = [site for site in self.sites if site.warehouse == command.warehouse_id]
            self.take(stock.send(command, self.at))

    @rule(site=SITES, lot=LOTS, out=st.booleans())
    def hold_back(self, site: int, lot: str, out: bool) -> None:
        stock = self.sites[site]
        (stock.let_out if out else stock.quarantine)(lot, at=self.at)

    @rule(seconds=st.sampled_from([0.001, 60, 60, 600, 3601, 43_200, 86_400]), timely=st.booleans())
    def pass_time(self, seconds: float, timely: bool) -> None:
        self.at += timedelta(seconds=seconds)
        for site in self.sites:
            if timely:
                self.take(site.run_timers(self.at))
            site.at = self.at

    @invariant()
    def nothing_is_lost_between_the_warehouses(self) -> None:
        there = sum(site.head.on_hand for site in self.sites)
        travelling = sum(
            command.quantity for command in self.onward if isinstance(command, StockEntryRequested)
        ) + sum(self._waiting(command) for command in self.onward)
        assert there + travelling == self.balance

    def _waiting(self, command: Any) -> Decimal:
        """Return what a refused transfer brings back."""
        if not isinstance(command, StockTransferSettleRequested) or command.landed:
            return Decimal(0)
        [stock] = [site for site in self.sites if site.warehouse == command.warehouse_id]
        quantity: Decimal = stock.records[f"v|{command.transfer_id}"].quantity
        return quantity

    @invariant()
    def what_is_over_serves_nobody(self) -> None:
        for site in self.sites:
            for lot in site.lots().values():
                self._check_lot(lot)

    @invariant()
    def stock_is_low_once_at_a_time(self) -> None:
        for site in self.sites:
            alerts = site.of(Alert)
            turns = ["firing", "resolved"] * len(alerts)
            assert [alert.status for alert in alerts] == turns[: len(alerts)]
            assert (site.head.low_since is not None) == (len(alerts) % 2 == 1)
            for fires, resolved in zip(alerts[::2], alerts[1::2], strict=False):
                assert fires.value <= fires.threshold < resolved.value - HYSTERESIS
                assert fires.alert_id == resolved.alert_id

    def _check_lot(self, lot: StockLot) -> None:
        if lot.status in ("QUARANTINED", "EXPIRED", "EXPECTED"):
            assert free_of(lot) == 0

    def teardown(self) -> None:
        while self.onward:
            self.deliver()
        for site in self.sites:
            site.run_timers(self.at + timedelta(days=60))
            assert site.head.reserved == 0
            assert not site.head.in_transit
            assert not [name for name in site.records if name[0] in "ax" or name.startswith("t|")]


TestStockMachine = StockMachine.TestCase
TestStockMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
