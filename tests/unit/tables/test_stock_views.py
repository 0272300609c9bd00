"""What the views show of stock (contracts 3.1)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from tables.stock_names import KEPT_MOVEMENTS
from tables.stock_views import allocation, availability, lots, movements, stock, stocks, summary
from tests.unit.tables.scenario import NOON
from tests.unit.tables.stock_scenario import Stock, date


def filled() -> Stock:
    found = Stock()
    found.policy(uom="kg", reorder_point=Decimal(10))
    found.enter(5, "never", received_at=date(-1))
    found.enter("7.5", "soon", date(2))
    found.enter(4, "coming", date(20), received_at=date(3))
    found.enter(1, "held", date(9))
    found.quarantine("held")
    found.allocate(6, "o1", order_id="order-1")
    return found


def test_stock_shows_its_sums_and_its_lots_in_the_order_they_go_off() -> None:
    here = filled()
    found = stock(here.key, here)
    assert found is not None
    assert {name: found[name] for name in found if name != "lots"} == {
        "product_id": "milk",
        "warehouse_id": "WH1",
        "uom": "kg",
        "on_hand": "17.5",
        "reserved": "6",
        "available": "6.5",
        "in_transit": "0",
        "sum_in": "17.5",
        "sum_out": "0",
        "reorder_point": "10",
        "low": True,
        "low_since": "2026-11-20T12:00:00Z",
        "version": 7,
    }
    assert [lot["lot_id"] for lot in found["lots"]] == ["soon", "held", "coming", "never"]
    assert found["lots"][0] == {
        "lot_id": "soon",
        "status": "AVAILABLE",
        "on_hand": "7.5",
        "reserved": "6",
        "available": "1.5",
        "expiration_date": "2026-11-22T12:00:00Z",
        "removal_date": None,
        "received_at": "2026-11-20T12:00:00Z",
    }
    assert [lot["available"] for lot in found["lots"][1:]] == ["0", "0", "5"]


def test_lots_of_one_status_can_be_asked_for() -> None:
    assert [lot["lot_id"] for lot in lots(filled(), "QUARANTINED")] == ["held"]
    assert [lot["lot_id"] for lot in lots(filled(), "EXPECTED")] == ["coming"]


def test_availability_is_of_a_time() -> None:
    here = filled()
    now = availability(here, Decimal(7), NOON)
    assert now is not None
    assert (now["available"], now["sufficient"], now["as_of_version"]) == ("6.5", False, 7)
    assert now["next_expiry"] == "2026-11-22T12:00:00Z"
    at_expiry = availability(here, Decimal(5), date(2))
    assert at_expiry is not None
    assert (at_expiry["available"], at_expiry["sufficient"], at_expiry["next_expiry"]) == ("5", True, None)
    later = availability(here, None, date(3))
    assert later is not None
    assert (later["available"], later["sufficient"]) == ("9", None)
    assert later["next_expiry"] == "2026-12-10T12:00:00Z"


def test_movements_are_shown_newest_first() -> None:
    here = Stock()
    for number in range(KEPT_MOVEMENTS + 5):
        here.enter(1, "A", movement_id=f"m{number}", at=NOON + timedelta(seconds=number))
    here.allocate(2, "o1")
    here.exit(2, "o1", reason="SALE", reference="parcel")
    found = movements(here)
    assert len(found) == KEPT_MOVEMENTS
    assert [movement["movement_id"] for movement in found[1:4]] == ["m204", "m203", "m202"]
    assert found[0] | {"movement_id": "", "recorded_at": ""} == {
        "movement_id": "",
        "type": "EXIT",
        "quantity": "2",
        "lines": [{"lot_id": "A", "quantity": "2"}],
        "recorded_at": "",
        "allocation_id": "milk~WH1~o1",
        "reason": "SALE",
        "reference": "parcel",
        "on_hand": "203",
        "version": 207,
    }


def test_an_allocation_shows_what_it_holds_and_how_it_ended() -> None:
    here = filled()
    here.exit(1, "o1")
    found = allocation(here, "milk~WH1~o1", "o1")
    assert found == {
        "allocation_id": "milk~WH1~o1",
        "status": "ACTIVE",
        "requested": "6",
        "allocated": "6",
        "consumed": "1",
        "lines": [{"lot_id": "soon", "quantity": "6", "consumed": "1"}],
        "strategy": "FEFO",
        "request_id": None,
        "order_id": "order-1",
        "created_at": "2026-11-20T12:00:00Z",
        "expires_at": "2026-11-20T12:15:00Z",
        "ended_at": None,
        "extensions": 0,
        "reason": None,
    }
    here.release("o1", reason="no money")
    found = allocation(here, "milk~WH1~o1", "o1")
    assert found is not None
    assert (found["status"], found["expires_at"], found["reason"]) == ("RELEASED", None, "no money")
    assert found["ended_at"] == "2026-11-20T12:00:00Z"
    assert allocation(here, "milk~WH1~o2", "o2") is None


def test_lists_leave_out_what_was_only_asked_about() -> None:
    here, there, empty = filled(), Stock(warehouse="A 1"), Stock(warehouse="B")
    there.enter(3)
    states = [(each.key, each) for each in (here, there, empty)]
    assert [item["warehouse_id"] for item in stocks(states)] == ["WH1", "A 1"]
    assert [item["warehouse_id"] for item in stocks(states, low=True)] == ["WH1"]
    assert [item["warehouse_id"] for item in stocks(states, low=False)] == ["A 1"]
    assert [item["on_hand"] for item in stocks(states, "A 1")] == ["3"]
    assert summary(empty.key, empty) is None
    assert stock(empty.key, empty) is None
    assert availability(empty, None, NOON) is None
