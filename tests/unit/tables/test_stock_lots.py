"""What becomes of lots: they arrive, will expire soon, expire, are held back (contracts 3.1)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from streams.events import (
    StockAllocationInvalidated,
    StockAvailabilityChecked,
    StockEntryRecorded,
    StockLotExpired,
    StockLotExpiringSoon,
    StockLotQuarantined,
    StockLotReleased,
)
from tables.stock import on_due
from tables.stock_invalidations import AT_ONCE
from tests.unit.tables.scenario import NOON
from tests.unit.tables.stock_scenario import Stock, date

LONG = 60 * 86_400


def test_an_entry_tells_its_lot_and_the_sums() -> None:
    stock = Stock()
    stock.enter(5)
    facts = stock.enter(
        "2.5", expires=None, uom="kg", reference="delivery-7", received_at=NOON - timedelta(days=1)
    )
    fact = stock.one(StockEntryRecorded, facts)
    assert (fact.quantity, fact.lot_on_hand, fact.on_hand, fact.version) == (Decimal("2.5"), 7.5, 7.5, 2)
    assert (fact.uom, fact.reference, fact.type, fact.movement_id) == ("kg", "delivery-7", "ENTRY", "e2")
    assert stock.lot().received_at == NOON, "a lot arrived when its first goods did"


def test_goods_without_a_lot_have_one_of_their_own() -> None:
    stock = Stock()
    assert stock.one(StockEntryRecorded, stock.enter(5, "")).lot_id == "DEFAULT"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"quantity": 0}, "VALIDATION_FAILED"),
        ({"quantity": -5}, "VALIDATION_FAILED"),
        ({"uom": "kg"}, "UNKNOWN_UNIT"),
        ({"expires": date(7)}, "CONFLICT"),
        ({"removal_date": date(7)}, "CONFLICT"),
        ({"received_at": date(1)}, "CONFLICT"),
        ({"lot_id": "B", "expires": NOON.replace(year=1)}, "VALIDATION_FAILED"),
        ({"lot_id": "B", "received_at": NOON.replace(year=9999)}, "VALIDATION_FAILED"),
        ({"lot_id": "\t"}, "VALIDATION_FAILED"),
        ({"movement_id": "x" * 201}, "VALIDATION_FAILED"),
        ({"movement_id": "", "event_id": ""}, "VALIDATION_FAILED"),
        ({"expected_version": 2}, "VERSION_CONFLICT"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused(more: dict[str, Any], code: str) -> None:
    stock = Stock()
    stock.enter(5, "A", date(5), uom="pc")
    given = dict(more)
    facts = stock.enter(given.pop("quantity", 1), given.pop("lot_id", "A"), **given)
    assert stock.code(facts) == code
    assert facts[0].rejected_type == "stock.entry.requested"


def test_a_lot_is_announced_a_week_before_it_expires_and_once() -> None:
    stock = Stock()
    stock.enter(5, "A", date(30), removal_date=date(20))
    assert stock.run_timers(date(13) - timedelta(milliseconds=1)) == []
    soon = stock.one(StockLotExpiringSoon, stock.run_timers(date(13)))
    assert (soon.lot_id, soon.on_hand, soon.expires_at) == ("A", 5, date(20))
    assert stock.of(StockLotExpiringSoon, stock.run_timers(date(40))) == []


def test_the_policy_says_how_early_a_lot_is_announced() -> None:
    stock = Stock()
    stock.policy(expiring_soon_days=2)
    stock.enter(5, "A", date(30))
    stock.policy(expiring_soon_days=0)
    stock.enter(5, "B", date(30))
    facts = stock.run_timers(date(28))
    assert stock.one(StockLotExpiringSoon, facts).lot_id == "A"


def test_a_lot_that_arrives_late_in_its_life_is_announced_at_once() -> None:
    stock = Stock()
    stock.enter(5, "A", date(2))
    stock.one(StockLotExpiringSoon, stock.run_timers(NOON))


def test_a_lot_that_arrives_expired_serves_nobody() -> None:
    stock = Stock()
    fact = stock.one(StockEntryRecorded, stock.enter(5, "A", NOON))
    assert (fact.lot_status, fact.on_hand, fact.available) == ("EXPIRED", 5, 0)
    assert stock.run_timers(date(40)) == []


def test_a_lot_expires_by_its_timer() -> None:
    stock = Stock()
    stock.enter(5, "A", date(3))
    stock.run_timers(NOON)
    fact = stock.one(StockLotExpired, stock.run_timers(date(3)))
    assert (fact.lot_id, fact.on_hand, fact.expired_at) == ("A", 5, date(3))
    assert (stock.head.on_hand, stock.head.available, stock.lot().status) == (5, 0, "EXPIRED")


def test_an_expected_lot_arrives_by_its_timer() -> None:
    stock = Stock()
    stock.enter(5, "A", date(30), received_at=date(2))
    assert (stock.lot().status, stock.head.available) == ("EXPECTED", 0)
    assert stock.run_timers(date(2)) == []
    assert (stock.lot().status, stock.head.available) == ("AVAILABLE", 5)
    stock.one(StockLotExpiringSoon, stock.run_timers(date(23)))


def test_an_expected_lot_takes_more_of_the_same_delivery_only() -> None:
    stock = Stock()
    stock.enter(5, "A", received_at=date(2))
    stock.enter(3, "A", received_at=date(2))
    assert stock.lot().on_hand == 8
    assert stock.code(stock.enter(3, "A")) == "CONFLICT"
    assert stock.code(stock.enter(3, "A", received_at=date(3))) == "CONFLICT"


def test_an_expected_lot_may_have_expired_when_it_arrives() -> None:
    stock = Stock()
    stock.enter(5, "A", date(1), received_at=date(2))
    stock.enter(5, "B")
    facts = stock.allocate(5, at=date(2))
    assert stock.one(StockLotExpired, facts).lot_id == "A"


def reserved(policy: str, **more: Any) -> Stock:
    """Return stock where o1 and o2 hold what will expire tomorrow, and lots that could take its place."""
    stock = Stock()
    stock.policy(on_reserved_lot_expiry=policy)
    stock.enter(10, "A", date(1))
    stock.allocate(4, "o1", ttl_seconds=LONG, order_id="order-1", **more)
    stock.allocate(5, "o2", ttl_seconds=LONG, **more)
    stock.enter(3, "B", date(9))
    stock.enter(4, "C")
    return stock


def test_holders_of_an_expired_lot_are_told_and_hold_it_still() -> None:
    stock = reserved("NOTIFY")
    stock.exit(1, "o1")
    facts = stock.of(StockAllocationInvalidated, stock.run_timers(date(1)))
    assert [(fact.allocation_id[-2:], fact.quantity, fact.shortfall) for fact in facts] == [
        ("o1", 3, 0),
        ("o2", 5, 0),
    ]
    assert {fact.status for fact in facts} == {"ACTIVE"}
    assert (facts[0].order_id, facts[0].cause, facts[0].policy) == ("order-1", "LOT_EXPIRED", "NOTIFY")
    assert stock.lot().reserved == 8
    assert stock.code(stock.exit(3, "o1")) == "LOT_EXPIRED"
    stock.exit(3, "o1", reason="SCRAP")
    assert stock.of(StockAllocationInvalidated, stock.run_timers(date(30))) == []


def test_holders_of_an_expired_lot_get_others_in_the_order_of_their_requests() -> None:
    stock = reserved("REALLOCATE")
    first, second = stock.of(StockAllocationInvalidated, stock.run_timers(date(1)))
    assert {line.lot_id: line.quantity for line in first.replacements} == {"B": 3, "C": 1}
    assert {line.lot_id: line.quantity for line in second.replacements} == {"C": 3}
    assert (first.shortfall, second.shortfall) == (0, 2)
    assert stock.lines("o2") == {"C": (3, 0)}
    assert stock.head.available == 0
    assert stock.run_timers(date(1)) == []


def test_a_replacement_joins_what_the_allocation_holds_of_that_lot() -> None:
    stock = Stock()
    stock.policy(on_reserved_lot_expiry="REALLOCATE")
    stock.enter(4, "A", date(1))
    stock.enter(9, "B")
    stock.allocate(6, "o1", ttl_seconds=LONG)
    stock.exit(5, "o1")
    stock.enter(3, "A", date(1))
    stock.allocate(3, "o2", ttl_seconds=LONG)
    stock.allocate(4, "o3", ttl_seconds=LONG)
    stock.run_timers(date(1))
    assert stock.lines("o1") == {"A": (4, 4), "B": (2, 1)}
    assert stock.lines("o2") == {"B": (3, 0)}


def test_replacements_keep_to_what_was_asked_for() -> None:
    stock = reserved("REALLOCATE", needed_at=NOON, min_remaining_days=1)
    stock.enter(9, "D", date(2) - timedelta(seconds=1))
    first, _ = stock.of(StockAllocationInvalidated, stock.run_timers(date(1)))
    assert [line.lot_id for line in first.replacements] == ["B", "C"]


def test_a_named_lot_has_no_replacement() -> None:
    stock = reserved("REALLOCATE", strategy="LOT", lot_id="A")
    first, second = stock.of(StockAllocationInvalidated, stock.run_timers(date(1)))
    assert first.status == second.status == "INVALIDATED"
    assert stock.head.available == 7


def test_holders_of_an_expired_lot_may_lose_it() -> None:
    stock = reserved("RELEASE")
    stock.exit(1, "o1")
    first, _ = stock.of(StockAllocationInvalidated, stock.run_timers(date(1)))
    assert (first.quantity, first.shortfall, first.status) == (3, 3, "INVALIDATED")
    assert stock.lines("o1") == {"A": (1, 1)}
    assert stock.head.reserved == 0
    assert stock.code(stock.exit(1, "o2")) == "ALLOCATION_INVALIDATED"


def test_an_allocation_of_several_lots_goes_on_with_the_others() -> None:
    stock = Stock()
    stock.policy(on_reserved_lot_expiry="RELEASE")
    stock.enter(4, "A", date(1))
    stock.enter(4, "B", date(9))
    stock.allocate(6, "o1", ttl_seconds=LONG)
    fact = stock.one(StockAllocationInvalidated, stock.run_timers(date(1)))
    assert fact.status == "ACTIVE"
    assert stock.lines("o1") == {"B": (2, 0)}


def test_an_expiry_seen_by_another_command_first_reaches_the_holders_by_the_timer() -> None:
    stock = reserved("NOTIFY")
    stock.run_timers(NOON)
    facts = stock.allocate(1, "o3", at=date(1))
    assert len(stock.of(StockLotExpired, facts)) == 1
    assert stock.of(StockAllocationInvalidated, facts) == []
    told = stock.run_timers(date(1))
    assert len(stock.of(StockAllocationInvalidated, told)) == 2
    assert stock.of(StockLotExpired, told) == []


def test_many_holders_are_told_in_several_commands() -> None:
    stock = Stock()
    stock.enter(AT_ONCE + 50, "A", date(1))
    for number in range(AT_ONCE + 50):
        stock.allocate(1, f"o{number}", ttl_seconds=LONG)
    stock.run_timers(NOON)
    command = on_due(stock.key, "l|A", stock.lot())
    facts = stock.send(command, date(1))
    assert len(stock.of(StockAllocationInvalidated, facts)) == AT_ONCE
    more = stock.of(StockAllocationInvalidated, stock.run_timers(date(1)))
    assert [fact.allocation_id.rpartition("~")[2] for fact in more] == [
        f"o{AT_ONCE + number}" for number in range(50)
    ]
    assert stock.run_timers(date(2)) == []


def test_the_timer_of_a_worker_whose_clock_is_fast_expires_no_lot() -> None:
    stock = Stock()
    stock.enter(5, "A", date(30))
    early = on_due(stock.key, "l|A", stock.lot())
    assert stock.send(early, NOON) == []
    again = on_due(stock.key, "l|A", stock.lot())
    assert again.event_id != early.event_id
    stock.one(StockLotExpiringSoon, stock.send(again, date(23)))
    assert stock.send(again, date(23)) == [], "it is stale now"


def test_the_timer_of_a_lot_that_is_gone_does_nothing() -> None:
    stock = Stock()
    stock.enter(5, "A", date(30))
    command = on_due(stock.key, "l|A", stock.lot())
    stock.exit(5)
    assert stock.send(command, date(23)) == []


def test_a_lot_in_quarantine_expires_there() -> None:
    stock = Stock()
    stock.enter(5, "A", date(1))
    facts = stock.quarantine(reason="smells")
    fact = stock.one(StockLotQuarantined, facts)
    assert (fact.on_hand, fact.available, fact.reason) == (5, 0, "smells")
    assert len(stock.of(StockLotExpired, stock.run_timers(date(1)))) == 1
    assert stock.lot().status == "QUARANTINED"
    released = stock.one(StockLotReleased, stock.let_out())
    assert (released.status, released.available) == ("EXPIRED", 0)


def test_a_lot_let_out_after_its_date_is_expired_before_its_timer_says_so() -> None:
    stock = Stock()
    stock.enter(5, "A", date(1))
    stock.quarantine()
    assert stock.one(StockLotReleased, stock.let_out(at=date(1))).status == "EXPIRED"
    assert len(stock.of(StockLotExpired, stock.run_timers(date(1)))) == 1


def test_a_lot_that_has_not_arrived_may_be_held_back() -> None:
    stock = Stock()
    stock.enter(5, "A", date(30), received_at=date(2))
    stock.quarantine()
    stock.run_timers(date(1))
    assert stock.one(StockLotReleased, stock.let_out(at=date(1))).status == "EXPECTED"
    stock.quarantine()
    assert stock.one(StockLotReleased, stock.let_out(at=date(3))).status == "AVAILABLE"


def test_quarantine_twice_is_quarantine_once() -> None:
    stock = Stock()
    stock.enter(5)
    stock.quarantine()
    stock.one(StockLotQuarantined, stock.quarantine())
    stock.let_out()
    assert stock.code(stock.let_out()) == "CONFLICT"
    assert stock.code(stock.quarantine("B")) == "NOT_FOUND"
    assert stock.code(stock.let_out(expected_version=0)) == "VERSION_CONFLICT"


def test_availability_is_as_of_a_version_and_changes_nothing() -> None:
    stock = Stock()
    stock.enter(5, "A", date(1))
    stock.enter(5, "B", date(9))
    stock.allocate(2, "o1")
    before = dict(stock.records)
    now = stock.one(StockAvailabilityChecked, stock.check(8))
    assert (now.available, now.on_hand, now.reserved, now.sufficient) == (8, 10, 2, True)
    assert (now.next_expiry, now.as_of_version) == (date(1), 3)
    then = stock.one(StockAvailabilityChecked, stock.check(8, at=date(1)))
    assert (then.available, then.sufficient, then.next_expiry) == (5, False, date(9))
    assert stock.records == before
