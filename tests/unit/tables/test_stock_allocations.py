"""How stock is reserved: which lots, in which order, how much (contracts 3.1)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from streams.events import (
    StockAllocationAllocated,
    StockAllocationExtended,
    StockAllocationPartiallyAllocated,
    StockAllocationRejected,
    StockLotExpired,
    StockPolicySet,
)
from tables.stock_names import AllocationId, allocation_of
from tests.unit.tables.scenario import NOON
from tests.unit.tables.stock_scenario import DAY, Stock, date, taken


def amounts(**lots: int) -> dict[str, Decimal]:
    return {lot_id: Decimal(quantity) for lot_id, quantity in lots.items()}


def five_lots() -> Stock:
    """Return stock whose lots arrive in another order than they go off."""
    stock = Stock()
    stock.enter(10, "never")
    stock.enter(10, "late", date(9), at=NOON + timedelta(minutes=1))
    stock.enter(10, "soon", date(3), at=NOON + timedelta(minutes=2))
    stock.enter(10, "removed", date(30), removal_date=date(5), at=NOON + timedelta(minutes=3))
    stock.enter(10, "other", at=NOON + timedelta(minutes=4))
    return stock


@pytest.mark.parametrize(
    ("strategy", "order"),
    [
        ("FEFO", ["soon", "removed", "late", "never", "other"]),
        ("FIFO", ["never", "late", "soon", "removed", "other"]),
        ("LIFO", ["other", "removed", "soon", "late", "never"]),
    ],
)
def test_lots_serve_in_the_order_of_the_strategy(strategy: str, order: list[str]) -> None:
    assert list(taken(five_lots().allocate(50, strategy=strategy))) == order


def test_lots_of_one_date_serve_by_arrival_and_then_by_id() -> None:
    stock = Stock()
    stock.enter(1, "z", date(5))
    stock.enter(1, "b", date(5), at=NOON + timedelta(seconds=1))
    stock.enter(1, "a", date(5), at=NOON + timedelta(seconds=1))
    assert list(taken(stock.allocate(3))) == ["z", "a", "b"]


def test_a_demand_that_no_lot_can_serve_alone_is_split_in_one_decision() -> None:
    stock = five_lots()
    assert taken(stock.allocate(24)) == amounts(soon=10, removed=10, late=4)
    assert stock.head.available == 26
    assert taken(stock.allocate(8)) == amounts(late=6, never=2)


def test_a_lot_that_expires_at_the_very_instant_does_not_serve() -> None:
    stock = Stock()
    stock.enter(5, "now", date(1))
    stock.enter(5, "then", date(1) + timedelta(microseconds=1))
    facts = stock.allocate(5, at=date(1))
    assert taken(facts) == amounts(then=5)
    assert stock.one(StockLotExpired, facts).lot_id == "now"
    assert stock.head.available == 0


def test_a_named_lot_serves_alone() -> None:
    stock = five_lots()
    assert taken(stock.allocate(4, strategy="LOT", lot_id="never")) == amounts(never=4)
    facts = stock.allocate(7, strategy="LOT", lot_id="never")
    assert stock.code(facts) == "INSUFFICIENT_STOCK"
    assert stock.one(StockAllocationRejected, facts).available == 6
    assert taken(stock.allocate(7, lot_id="never", allow_partial=True)) == amounts(never=6)
    assert stock.code(stock.allocate(1, strategy="LOT", lot_id="nothing")) == "INSUFFICIENT_STOCK"


def test_all_or_nothing_is_refused_with_what_there_is_and_what_is_missing() -> None:
    stock = Stock()
    stock.enter(10)
    facts = stock.allocate(12, order_id="order-1")
    refusal = stock.one(StockAllocationRejected, facts)
    assert (refusal.reason_code, refusal.available, refusal.shortfall) == ("INSUFFICIENT_STOCK", 10, 2)
    assert (refusal.rejected_type, refusal.order_id) == ("stock.allocation.requested", "order-1")


def test_a_part_is_reserved_where_that_is_allowed_but_never_nothing() -> None:
    stock = Stock()
    stock.enter(10)
    part = stock.one(StockAllocationPartiallyAllocated, stock.allocate(12, "o1", allow_partial=True))
    assert (part.requested, part.allocated, part.shortfall) == (12, 10, 2)
    assert stock.code(stock.allocate(1, "o2", allow_partial=True)) == "INSUFFICIENT_STOCK"
    assert stock.one(StockAllocationRejected, stock.published[-1:]).shortfall == 1


def test_enough_is_no_partial_allocation() -> None:
    stock = Stock()
    stock.enter(10)
    stock.one(StockAllocationAllocated, stock.allocate(10, allow_partial=True))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"min_remaining_days": 3}, ["soon", "removed"]),
        ({"min_remaining_days": 4}, ["removed", "late"]),
        ({"needed_at": date(3)}, ["removed", "late"]),
        ({"needed_at": date(3) - timedelta(microseconds=1)}, ["soon", "removed"]),
        ({"needed_at": date(1), "min_remaining_days": 2}, ["soon", "removed"]),
        ({"needed_at": date(1), "min_remaining_days": 5}, ["late", "never"]),
        ({"needed_at": date(-5)}, ["soon", "removed"]),
        ({"min_remaining_days": 0}, ["soon", "removed"]),
        ({"min_remaining_days": 60, "strategy": "LIFO"}, ["other", "never"]),
        ({"min_remaining_days": 9, "strategy": "FIFO"}, ["never", "late"]),
    ],
)
def test_lots_that_are_too_short_lived_do_not_serve(more: dict[str, Any], expected: list[str]) -> None:
    assert list(taken(five_lots().allocate(20, at=NOON, **more))) == expected


def test_what_too_short_lived_lots_hold_is_not_offered() -> None:
    stock = five_lots()
    facts = stock.allocate(31, min_remaining_days=6)
    assert stock.one(StockAllocationRejected, facts).available == 30
    facts = stock.allocate(31, min_remaining_days=6, allow_partial=True)
    assert sum(taken(facts).values()) == 30


def test_goods_that_are_expected_are_not_reserved_before_they_arrive() -> None:
    stock = Stock()
    stock.enter(5, "here")
    stock.enter(5, "coming", received_at=date(1))
    assert (stock.head.on_hand, stock.head.available) == (10, 5)
    assert stock.code(stock.allocate(6, at=date(1) - timedelta(milliseconds=1))) == "INSUFFICIENT_STOCK"
    # Its timer may be late; the time counts.
    assert taken(stock.allocate(6, at=date(1))) == amounts(here=5, coming=1)


def test_lots_in_quarantine_do_not_serve() -> None:
    stock = Stock()
    stock.enter(5)
    stock.quarantine()
    assert stock.code(stock.allocate(1)) == "INSUFFICIENT_STOCK"
    stock.let_out()
    assert taken(stock.allocate(5)) == amounts(A=5)


def test_an_allocation_without_an_id_gets_one_that_tells_whose_it_is() -> None:
    stock = Stock(product="50%~off", warehouse="Lager 1|b")
    stock.enter(5)
    first = stock.one(StockAllocationAllocated, stock.allocate(1, request_id="r1"))
    assert first.allocation_id == "50%25%7Eoff~Lager 1|b~r1"
    assert allocation_of(first.allocation_id) == ("50%~off", "Lager 1|b", "r1")
    second = stock.one(StockAllocationAllocated, stock.allocate(1, event_id="event-9"))
    assert second.allocation_id.endswith("~event-9")


@pytest.mark.parametrize("text", ["", "a", "a~b", "a~~c", "~b~c", "a~b~"])
def test_texts_that_are_no_allocation_ids_tell_nothing(text: str) -> None:
    assert allocation_of(text) is None


def test_allocation_ids_come_back_whatever_their_parts_hold() -> None:
    for parts in (("a", "b", "c~d"), ("%7E", "~~", "%"), ("%25", "ü", " ")):
        assert allocation_of(str(AllocationId(*parts))) == parts


def test_an_allocation_has_one_spelling() -> None:
    stock = Stock(product="50%")
    stock.enter(5)
    assert stock.code(stock.allocate(1, allocation_id="50%~WH1~1")) == "VALIDATION_FAILED"
    stock.one(StockAllocationAllocated, stock.allocate(1, allocation_id="50%25~WH1~1"))


def test_what_is_no_command_of_stock_is_a_defect() -> None:
    with pytest.raises(LookupError, match="no command of stock"):
        Stock().send(StockPolicySet(timestamp=NOON, product_id="milk", warehouse_id="WH1", version=1))


def test_an_allocation_id_is_used_once() -> None:
    stock = Stock()
    stock.enter(5)
    stock.allocate(1, "o1")
    assert stock.code(stock.allocate(1, "o1")) == "CONFLICT"
    stock.release("o1")
    assert stock.code(stock.allocate(1, "o1")) == "CONFLICT"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"quantity": Decimal(0)}, "VALIDATION_FAILED"),
        ({"quantity": Decimal(-1)}, "VALIDATION_FAILED"),
        ({"quantity": Decimal(10) ** 18}, "VALIDATION_FAILED"),
        ({"strategy": "RANDOM"}, "VALIDATION_FAILED"),
        ({"strategy": "fefo"}, "VALIDATION_FAILED"),
        ({"strategy": "LOT"}, "VALIDATION_FAILED"),
        ({"ttl_seconds": 0}, "VALIDATION_FAILED"),
        ({"ttl_seconds": 400 * 86_400}, "VALIDATION_FAILED"),
        ({"min_remaining_days": -1}, "VALIDATION_FAILED"),
        ({"min_remaining_days": 2_000_000_000}, "VALIDATION_FAILED"),
        ({"needed_at": NOON.replace(year=9999)}, "VALIDATION_FAILED"),
        ({"allocation_id": "bread~WH1~1"}, "VALIDATION_FAILED"),
        ({"allocation_id": "milk~WH2~1"}, "VALIDATION_FAILED"),
        ({"allocation_id": "just-an-id"}, "VALIDATION_FAILED"),
        ({"request_id": "a\nb"}, "VALIDATION_FAILED"),
        ({"request_id": "", "event_id": ""}, "VALIDATION_FAILED"),
        ({"uom": "litre"}, "UNKNOWN_UNIT"),
        ({"expected_version": 0}, "VERSION_CONFLICT"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(more: dict[str, Any], code: str) -> None:
    stock = Stock()
    stock.enter(5, uom="pc")
    more = dict(more)
    quantity = more.pop("quantity", 1)
    assert stock.code(stock.allocate(quantity, **more)) == code


def test_a_request_for_an_unknown_product_is_refused() -> None:
    assert Stock().code(Stock().allocate(1)) == "NOT_FOUND"
    stock = Stock()
    stock.policy()
    assert stock.code(stock.allocate(1)) == "NOT_FOUND"


def test_ids_that_cannot_be_keys_are_refused() -> None:
    for product in ("", "a" * 201, "a\x00b"):
        stock = Stock(product=product)
        assert stock.code(stock.enter(1)) == "VALIDATION_FAILED"


def test_the_expected_version_is_that_of_the_state() -> None:
    stock = Stock()
    stock.enter(5)
    facts = stock.allocate(1, expected_version=1, uom="")
    assert stock.one(StockAllocationAllocated, facts).version == 2 == stock.head.version


def test_quantities_keep_to_the_decimals_of_the_unit() -> None:
    stock = Stock()
    stock.policy(uom="kg", uom_scale=2)
    stock.enter("1.25")
    assert stock.code(stock.allocate("0.125")) == "VALIDATION_FAILED"
    assert taken(stock.allocate("0.12", uom="kg")) == {"A": Decimal("0.12")}


def test_an_extension_counts_from_now_and_never_shortens() -> None:
    stock = Stock()
    stock.policy(max_extensions=2)
    stock.enter(5)
    stock.allocate(1, "o1", ttl_seconds=900)
    longer = stock.extend("o1", 900, at=NOON + timedelta(seconds=600))
    assert stock.one(StockAllocationExtended, longer).expires_at == NOON + timedelta(seconds=1500)
    same = stock.extend("o1", 1)
    assert stock.one(StockAllocationExtended, same).expires_at == NOON + timedelta(seconds=1500)
    assert stock.allocation("o1").extensions == 2


def test_an_extension_comes_in_time_or_not_at_all() -> None:
    stock = Stock()
    stock.enter(5)
    stock.allocate(1, "in-time", ttl_seconds=60)
    stock.allocate(1, "too-late", ttl_seconds=60)
    end = NOON + timedelta(seconds=60)
    stock.extend("in-time", at=end - timedelta(milliseconds=1))
    assert stock.code(stock.extend("too-late", at=end)) == "ALLOCATION_EXPIRED"
    stock.run_timers(end)
    assert stock.code(stock.extend("too-late", at=end + DAY / 2)) == "ALLOCATION_EXPIRED"
    assert stock.allocation("in-time").status == "ACTIVE"


@pytest.mark.parametrize(
    ("policy", "times"),
    [
        (None, 1),
        ({}, 1),
        ({"max_extensions": None}, 1),
        ({"max_extensions": 0}, 0),
        ({"max_extensions": 3}, 3),
    ],
    ids=["no policy", "a policy of other things", "null", "never", "more"],
)
def test_an_allocation_is_extended_once_or_as_often_as_the_policy_says(
    policy: dict[str, Any] | None, times: int
) -> None:
    stock = Stock()
    if policy is not None:
        stock.policy(**policy)
    stock.enter(5)
    stock.allocate(1, "o1")
    for number in range(1, times + 1):
        assert stock.one(StockAllocationExtended, stock.extend("o1")).extensions == number
    assert stock.code(stock.extend("o1")) == "EXTENSIONS_EXHAUSTED"
    assert stock.allocation("o1").extensions == times


def test_an_allocation_that_was_extended_more_often_than_is_allowed_now_stays_as_it_is() -> None:
    stock = Stock()
    stock.policy(max_extensions=3)
    stock.enter(5)
    stock.allocate(1, "o1", ttl_seconds=60)
    stock.extend("o1", 900)
    stock.extend("o1", 900)
    stock.policy()
    assert stock.code(stock.extend("o1")) == "EXTENSIONS_EXHAUSTED"
    assert stock.allocation("o1").due_at == NOON + timedelta(seconds=900)


def test_what_cannot_be_extended_is_refused() -> None:
    stock = Stock()
    stock.enter(5)
    assert stock.code(stock.extend("o1")) == "NOT_FOUND"
    stock.allocate(5, "o1")
    assert stock.code(stock.extend("o1", 0)) == "VALIDATION_FAILED"
    assert stock.code(stock.extend("o1", expected_version=1)) == "VERSION_CONFLICT"
    stock.exit(5, "o1")
    assert stock.code(stock.extend("o1")) == "ALLOCATION_CONSUMED"
