"""How goods leave: of allocations, in parts and over several lots, and of lots (contracts 3.1)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from streams.events import StockAllocationConsumed, StockExitRecorded, StockExitRejected
from tests.unit.tables.scenario import NOON
from tests.unit.tables.stock_scenario import Stock, date


def three_lots() -> Stock:
    """Return stock of three lots with an allocation o1 of 25 over all of them."""
    stock = Stock()
    stock.enter(10, "A", date(20))
    stock.enter(10, "B", date(21))
    stock.enter(10, "C")
    stock.allocate(25, "o1", order_id="order-1", ttl_seconds=30 * 86_400)
    return stock


def lines_of(stock: Stock, facts: list[Any]) -> dict[str, Decimal]:
    return {line.lot_id: line.quantity for line in stock.one(StockExitRecorded, facts).lines}


def test_an_exit_in_parts_updates_every_line_and_a_release_gives_back_the_rest() -> None:
    stock = three_lots()
    assert lines_of(stock, stock.exit(12, "o1")) == {"A": 10, "B": 2}
    assert stock.lines("o1") == {"A": (10, 10), "B": (10, 2), "C": (5, 0)}
    assert lines_of(stock, stock.exit(10, "o1")) == {"B": 8, "C": 2}
    assert stock.lines("o1") == {"A": (10, 10), "B": (10, 10), "C": (5, 2)}
    stock.release("o1")
    assert (stock.head.reserved, stock.head.on_hand, stock.head.sum_out) == (0, 8, 22)
    assert set(stock.lots()) == {"C"}, "what is empty is gone"


def test_an_exit_of_all_consumes_the_allocation() -> None:
    stock = three_lots()
    stock.exit(20, "o1")
    facts = stock.exit(5, "o1", reason="SALE", reference="parcel-1")
    fact = stock.one(StockExitRecorded, facts)
    assert (fact.order_id, fact.reason, fact.reference) == ("order-1", "SALE", "parcel-1")
    assert (fact.on_hand, fact.reserved, fact.available) == (5, 0, 5)
    consumed = stock.one(StockAllocationConsumed, facts)
    assert (consumed.quantity, len(consumed.lines)) == (25, 3)
    assert stock.code(stock.exit(1, "o1")) == "ALLOCATION_CONSUMED"


def test_more_than_is_allocated_leaves_nothing() -> None:
    stock = three_lots()
    stock.exit(20, "o1")
    facts = stock.exit(6, "o1")
    assert stock.code(facts) == "EXCEEDS_ALLOCATION"
    assert stock.one(StockExitRejected, facts).available == 5


def test_an_exit_may_name_the_lot_of_its_allocation() -> None:
    stock = three_lots()
    assert lines_of(stock, stock.exit(4, "o1", lot_id="B")) == {"B": 4}
    assert stock.code(stock.exit(7, "o1", lot_id="B")) == "EXCEEDS_ALLOCATION"
    assert stock.code(stock.exit(1, "o1", lot_id="D")) == "EXCEEDS_ALLOCATION"


def test_an_expired_lot_waits_while_the_others_leave() -> None:
    stock = three_lots()
    facts = stock.exit(16, "o1", at=date(20))
    assert stock.code(facts) == "LOT_EXPIRED"
    assert stock.one(StockExitRejected, facts).available == 15
    assert lines_of(stock, stock.exit(12, "o1", at=date(20))) == {"B": 10, "C": 2}


@pytest.mark.parametrize("reason", ["SCRAP", "RETURN_TO_VENDOR"])
def test_an_expired_lot_may_be_thrown_away_or_sent_back(reason: str) -> None:
    stock = three_lots()
    assert lines_of(stock, stock.exit(10, "o1", reason=reason, at=date(20))) == {"A": 10}
    stock.enter(3, "D", date(19))
    assert stock.code(stock.exit(3, lot_id="D")) == "LOT_EXPIRED"
    assert lines_of(stock, stock.exit(3, lot_id="D", reason=reason)) == {"D": 3}


def test_a_policy_may_let_expired_lots_leave() -> None:
    stock = three_lots()
    stock.policy(allow_expired_exit=True, at=date(20))
    assert lines_of(stock, stock.exit(16, "o1")) == {"A": 10, "B": 6}


def test_a_lot_in_quarantine_may_not_leave_even_when_it_is_reserved() -> None:
    stock = three_lots()
    stock.quarantine("A")
    assert stock.code(stock.exit(16, "o1")) == "LOT_QUARANTINED"
    assert stock.code(stock.exit(1, lot_id="A")) == "LOT_QUARANTINED"
    assert lines_of(stock, stock.exit(10, "o1", lot_id="A", reason="SCRAP")) == {"A": 10}


def test_goods_leave_a_lot_directly_as_far_as_nobody_reserved_them() -> None:
    stock = three_lots()
    facts = stock.exit(6, lot_id="C")
    assert stock.code(facts) == "INSUFFICIENT_STOCK"
    assert stock.one(StockExitRejected, facts).available == 5
    assert lines_of(stock, stock.exit(5, lot_id="C")) == {"C": 5}
    assert stock.head.available == 0


def test_goods_leave_by_fefo_where_neither_allocation_nor_lot_is_named() -> None:
    stock = Stock()
    stock.enter(5, "B")
    stock.enter(5, "A", date(3))
    assert lines_of(stock, stock.exit(7)) == {"A": 5, "B": 2}
    assert stock.code(stock.exit(4)) == "INSUFFICIENT_STOCK"


def test_goods_that_are_expected_may_not_leave() -> None:
    stock = Stock()
    stock.enter(5, "A", received_at=date(1))
    assert stock.code(stock.exit(1, lot_id="A", reason="SCRAP")) == "LOT_EXPECTED"
    assert stock.code(stock.exit(1)) == "INSUFFICIENT_STOCK"
    assert lines_of(stock, stock.exit(1, at=date(1))) == {"A": 1}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"quantity": 0}, "VALIDATION_FAILED"),
        ({"quantity": -2}, "VALIDATION_FAILED"),
        ({"uom": "litre"}, "UNKNOWN_UNIT"),
        ({"expected_version": 7}, "VERSION_CONFLICT"),
        ({"suffix": "o9"}, "NOT_FOUND"),
        ({"allocation_id": "bread~WH1~o1"}, "VALIDATION_FAILED"),
        ({"lot_id": "Z"}, "NOT_FOUND"),
        ({"movement_id": "\x00"}, "VALIDATION_FAILED"),
    ],
)
def test_an_exit_that_cannot_be_meant_is_refused(more: dict[str, Any], code: str) -> None:
    stock = three_lots()
    stock.policy(uom="pc")
    given = dict(more)
    assert stock.code(stock.exit(given.pop("quantity", 1), given.pop("suffix", ""), **given)) == code
    refusal = stock.of(StockExitRejected)[-1]
    assert refusal.rejected_type == "stock.exit.requested"


def test_an_exit_of_an_unknown_product_is_refused() -> None:
    assert Stock().code(Stock().exit(1)) == "NOT_FOUND"


def test_a_lot_whose_expiry_was_missed_by_its_timer_does_not_come_back_with_a_release() -> None:
    stock = Stock()
    stock.enter(5, "A", date(1))
    stock.allocate(5, "o1", ttl_seconds=30 * 86_400)
    stock.release("o1", at=date(1) + timedelta(seconds=1))
    assert stock.lot().status == "EXPIRED"
    assert stock.head.available == 0
    assert stock.code(stock.allocate(1)) == "INSUFFICIENT_STOCK"


def test_very_large_and_very_small_quantities_add_up_exactly() -> None:
    stock = Stock(at=NOON)
    for number in range(50):
        stock.enter(Decimal("999999999999999999.999999"), f"L{number}")
    stock.exit("0.000001", lot_id="L7")
    assert stock.head.on_hand == 50 * Decimal("999999999999999999.999999") - Decimal("0.000001")
