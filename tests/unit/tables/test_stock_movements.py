"""Movements of every type, and transfers between warehouses (contracts 3.1)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from streams.events import (
    StockAllocationConsumed,
    StockAllocationInvalidated,
    StockCommandRejected,
    StockEntryRecorded,
    StockEntryRequested,
    StockMovement,
    StockMovementRecorded,
    StockTransferLanded,
    StockTransferReturned,
    StockTransferSettleRequested,
)
from tables.stock_names import KEPT_MOVEMENTS
from tests.unit.tables.scenario import NOON
from tests.unit.tables.stock_scenario import Stock, date


def stocked(quantity: int = 10) -> Stock:
    stock = Stock()
    stock.enter(quantity, "A", date(30), uom="pc")
    return stock


@pytest.mark.parametrize("kind", ["ENTRY", "RETURN", "TRANSFER_IN"])
def test_goods_come_in_by_a_movement(kind: str) -> None:
    stock = stocked()
    fact = stock.one(StockMovementRecorded, stock.move(kind, 3, "R", reason="C536379"))
    assert (fact.type, fact.quantity, fact.on_hand, fact.reason) == (kind, 3, 13, "C536379")
    assert [(line.lot_id, line.quantity) for line in fact.lines] == [("R", 3)]
    assert stock.head.sum_in == 13


def test_goods_leave_by_a_movement() -> None:
    stock = stocked()
    stock.allocate(4, "o1")
    fact = stock.one(StockMovementRecorded, stock.move("EXIT", 2))
    assert (fact.quantity, fact.on_hand, stock.head.sum_out) == (2, 8, 2)
    facts = stock.move("EXIT", 4, "", allocation_id="milk~WH1~o1")
    stock.one(StockAllocationConsumed, facts)
    assert stock.one(StockMovementRecorded, facts).allocation_id == "milk~WH1~o1"
    assert (stock.head.on_hand, stock.head.reserved) == (4, 0)


def test_an_adjustment_is_a_difference_or_what_was_counted() -> None:
    stock = stocked()
    assert stock.one(StockMovementRecorded, stock.move("ADJUSTMENT", -3)).on_hand == 7
    assert stock.one(StockMovementRecorded, stock.move("ADJUSTMENT", 2)).on_hand == 9
    fact = stock.one(StockMovementRecorded, stock.move("ADJUSTMENT", None, counted=Decimal(4)))
    assert (fact.quantity, fact.on_hand) == (-5, 4)
    stock.move("ADJUSTMENT", None, "B", counted=Decimal(3))
    assert (stock.head.on_hand, stock.head.sum_in, stock.head.sum_out) == (7, 15, 8)
    stock.move("ADJUSTMENT", None, counted=Decimal(0))
    assert set(stock.lots()) == {"B"}


def test_an_adjustment_below_what_is_reserved_is_a_conflict() -> None:
    stock = stocked()
    stock.allocate(6, "o1")
    assert stock.code(stock.move("ADJUSTMENT", -5)) == "CONFLICT"
    assert stock.code(stock.move("ADJUSTMENT", None, counted=Decimal(5))) == "CONFLICT"
    assert stock.code(stock.move("ADJUSTMENT", -11, force=True)) == "CONFLICT"
    stock.move("ADJUSTMENT", -4)


def test_a_forced_adjustment_invalidates_the_newest_allocations_first() -> None:
    stock = stocked()
    for number in (1, 2, 3):
        stock.allocate(3, f"o{number}")
    facts = stock.move("ADJUSTMENT", None, counted=Decimal(5), force=True)
    lost = stock.of(StockAllocationInvalidated, facts)
    assert [fact.allocation_id for fact in lost] == ["milk~WH1~o3", "milk~WH1~o2"]
    assert {(fact.cause, fact.status, fact.quantity) for fact in lost} == {("ADJUSTMENT", "INVALIDATED", 3)}
    assert stock.allocation("o1").status == "ACTIVE"
    assert (stock.head.on_hand, stock.head.reserved, stock.head.available) == (5, 3, 2)


def test_goods_are_thrown_away_whatever_their_status() -> None:
    stock = stocked()
    stock.enter(5, "B", NOON)
    stock.quarantine("A")
    assert stock.one(StockMovementRecorded, stock.move("SCRAP", 5, "B")).on_hand == 10
    assert stock.one(StockMovementRecorded, stock.move("SCRAP", 4, "A")).on_hand == 6
    stock.let_out("A")
    assert stock.one(StockMovementRecorded, stock.move("SCRAP", 1, "")).on_hand == 5


def test_what_is_reserved_is_thrown_away_by_force_only() -> None:
    stock = stocked()
    stock.allocate(8, "o1")
    stock.allocate(1, "o2")
    assert stock.code(stock.move("SCRAP", 5)) == "INSUFFICIENT_STOCK"
    facts = stock.move("SCRAP", 2, force=True)
    assert stock.one(StockAllocationInvalidated, facts).cause == "SCRAP"
    assert (stock.head.on_hand, stock.head.reserved) == (8, 8)
    assert stock.code(stock.move("SCRAP", 9, force=True)) == "INSUFFICIENT_STOCK"


@pytest.mark.parametrize(
    ("kind", "more", "code"),
    [
        ("UNKNOWN", {}, "VALIDATION_FAILED"),
        ("ENTRY", {"quantity": None}, "VALIDATION_FAILED"),
        ("ENTRY", {"quantity": Decimal(-1)}, "VALIDATION_FAILED"),
        ("ENTRY", {"counted": Decimal(1)}, "VALIDATION_FAILED"),
        ("ENTRY", {"uom": "kg"}, "UNKNOWN_UNIT"),
        ("ENTRY", {"expiration_date": date(1)}, "CONFLICT"),
        ("RETURN", {"lot_id": "\n"}, "VALIDATION_FAILED"),
        ("EXIT", {"quantity": Decimal(0)}, "VALIDATION_FAILED"),
        ("EXIT", {"quantity": Decimal(11)}, "INSUFFICIENT_STOCK"),
        ("EXIT", {"expected_version": 9}, "VERSION_CONFLICT"),
        ("EXIT", {"movement_id": "\x00"}, "VALIDATION_FAILED"),
        ("SCRAP", {"lot_id": "Z"}, "NOT_FOUND"),
        ("ADJUSTMENT", {"lot_id": ""}, "VALIDATION_FAILED"),
        ("ADJUSTMENT", {"counted": Decimal(3)}, "VALIDATION_FAILED"),
        ("ADJUSTMENT", {"quantity": None}, "VALIDATION_FAILED"),
        ("ADJUSTMENT", {"quantity": None, "counted": Decimal(-3)}, "VALIDATION_FAILED"),
        ("ADJUSTMENT", {"quantity": None, "counted": Decimal(10)}, "VALIDATION_FAILED"),
        ("ADJUSTMENT", {"quantity": Decimal(-1), "lot_id": "Z"}, "NOT_FOUND"),
        ("TRANSFER_OUT", {}, "VALIDATION_FAILED"),
        ("TRANSFER_OUT", {"to_warehouse_id": "WH1"}, "VALIDATION_FAILED"),
        ("TRANSFER_OUT", {"to_warehouse_id": "WH2", "quantity": Decimal(11)}, "INSUFFICIENT_STOCK"),
    ],
)
def test_a_movement_that_cannot_be_meant_is_refused(kind: str, more: dict[str, Any], code: str) -> None:
    stock = stocked()
    given = dict(more)
    facts = stock.move(kind, given.pop("quantity", 1), given.pop("lot_id", "A"), **given)
    assert stock.code(facts) == code
    refusal = stock.one(StockCommandRejected, facts)
    assert refusal.rejected_type == "stock.movement.record_requested"
    assert refusal.movement_id


def test_movements_of_an_unknown_product_are_refused() -> None:
    for kind in ("EXIT", "SCRAP", "TRANSFER_OUT"):
        assert Stock().code(Stock().move(kind, 1, to_warehouse_id="WH2")) == "NOT_FOUND"


def test_the_latest_movements_are_kept() -> None:
    stock = Stock()
    for number in range(KEPT_MOVEMENTS + 20):
        stock.enter(1, movement_id=f"m{number}")
    kept = [record for record in stock.records.values() if type(record) is StockMovement]
    assert {movement.movement_id for movement in kept} == {
        f"m{number}" for number in range(20, KEPT_MOVEMENTS + 20)
    }
    assert stock.head.movements == KEPT_MOVEMENTS + 20
    last = next(movement for movement in kept if movement.movement_id == f"m{KEPT_MOVEMENTS + 19}")
    assert (last.type, last.on_hand) == ("ENTRY", Decimal(KEPT_MOVEMENTS + 20))


def test_a_transfer_is_on_its_way_until_it_lands() -> None:
    here, there = stocked(), Stock(warehouse="WH2")
    here.enter(5, "B", received_at=date(-3))
    facts = here.move("TRANSFER_OUT", 12, "", to_warehouse_id="WH2", movement_id="t1", reference="truck 9")
    assert here.one(StockMovementRecorded, facts).to_warehouse_id == "WH2"
    assert (here.head.on_hand, here.head.in_transit) == (3, 12)
    first, second = here.of(StockEntryRequested, facts)
    assert (first.warehouse_id, first.lot_id, first.quantity) == ("WH2", "A", 10)
    assert (first.expiration_date, first.received_at, first.uom) == (date(30), NOON, "pc")
    assert first.movement_id != second.movement_id

    landed = there.send(second)
    entry = there.one(StockEntryRecorded, landed)
    assert (entry.type, entry.from_warehouse_id, entry.reference) == ("TRANSFER_IN", "WH1", "truck 9")
    assert there.lot("B").received_at == date(-3), "it keeps its place among the others"
    settle = there.one(StockTransferSettleRequested, landed)
    fact = here.one(StockTransferLanded, here.send(settle))
    assert (fact.lot_id, fact.quantity, fact.in_transit, fact.to_warehouse_id) == ("B", 2, 10, "WH2")
    assert here.send(settle) == [], "it lands once"
    here.send(there.one(StockTransferSettleRequested, there.send(first)))
    assert here.head.in_transit == 0
    assert there.head.on_hand == 12


def test_goods_that_the_other_warehouse_refuses_come_back() -> None:
    here, there = stocked(), Stock(warehouse="WH2")
    there.enter(1, "A", uom="kg")
    facts = here.move("TRANSFER_OUT", 10, to_warehouse_id="WH2")
    answer = there.send(here.one(StockEntryRequested, facts))
    assert there.one(StockCommandRejected, answer).reason_code == "UNKNOWN_UNIT"
    back = here.send(there.one(StockTransferSettleRequested, answer))
    fact = here.one(StockTransferReturned, back)
    assert (fact.quantity, fact.on_hand, fact.in_transit, fact.reason_code) == (10, 10, 0, "UNKNOWN_UNIT")
    assert here.lot().expiration_date == date(30)


def test_goods_land_in_a_lot_of_their_own_where_theirs_has_other_dates() -> None:
    here, there = stocked(), Stock(warehouse="WH2")
    there.enter(1, "A", date(3))
    there.send(here.one(StockEntryRequested, here.move("TRANSFER_OUT", 4, to_warehouse_id="WH2")))
    [other] = set(there.lots()) - {"A"}
    assert other.startswith("A~transfer/WH1/")
    assert there.lot(other).expiration_date == date(30)


def test_a_transfer_with_the_longest_ids_lands() -> None:
    here, there = Stock(warehouse="W" * 200), Stock(warehouse="WH2")
    here.enter(1)
    facts = here.move("TRANSFER_OUT", 1, to_warehouse_id="WH2", movement_id="m" * 200)
    there.one(StockEntryRecorded, there.send(here.one(StockEntryRequested, facts)))


def test_expired_goods_do_not_travel() -> None:
    stock = stocked()
    assert stock.code(stock.move("TRANSFER_OUT", 4, to_warehouse_id="WH2", at=date(30))) == "LOT_EXPIRED"
    facts = stock.move("TRANSFER_OUT", 4, to_warehouse_id="vendor", reason="RETURN_TO_VENDOR")
    assert stock.one(StockEntryRequested, facts).quantity == 4
