"""How allocations end: released, expired, overtaken by their release, forgotten (contracts 3.1)."""

from __future__ import annotations

from datetime import timedelta

from streams.events import (
    StockAllocationConsumed,
    StockAllocationExpired,
    StockAllocationExpireRequested,
    StockAllocationInvalidated,
    StockAllocationReleased,
    StockAllocationReleaseRequested,
    StockLotExpired,
    StockReleaseTombstone,
)
from streams.keys import key_of
from tables.stock import on_due
from tables.stock_names import of_stock
from tests.unit.tables.scenario import NOON
from tests.unit.tables.stock_scenario import DAY, TENANT, Stock, date

END = NOON + timedelta(seconds=900)


def reserved(quantity: int = 4) -> Stock:
    """Return stock of 10 with an allocation o1 that lives for 15 minutes."""
    stock = Stock()
    stock.enter(6, "A", date(30))
    stock.enter(4, "B")
    stock.allocate(quantity, "o1", order_id="order-1")
    return stock


def test_a_release_gives_back_what_has_not_left() -> None:
    stock = reserved(8)
    stock.exit(7, "o1")
    fact = stock.one(StockAllocationReleased, stock.release("o1", reason="customer left"))
    assert (fact.quantity, fact.result, fact.repeated) == (1, "RELEASED", False)
    assert [(line.lot_id, line.quantity) for line in fact.lines] == [("B", 1)]
    assert (fact.on_hand, fact.reserved, fact.available) == (3, 0, 3)
    assert fact.order_id == "order-1"


def test_a_second_release_changes_nothing_and_tells_the_first_result() -> None:
    stock = reserved()
    first = stock.one(StockAllocationReleased, stock.release("o1", reason="no money"))
    before = dict(stock.records)
    again = stock.one(StockAllocationReleased, stock.release("o1", reason="other", at=NOON + DAY / 2))
    assert stock.records == before
    assert again.repeated
    assert (again.quantity, again.lines, again.reason) == (first.quantity, first.lines, "no money")
    assert again.released_at == first.released_at == NOON


def test_an_allocation_ends_by_its_timer_alone() -> None:
    stock = reserved()
    assert stock.run_timers(END - timedelta(milliseconds=1)) == []
    fact = stock.one(StockAllocationExpired, stock.run_timers(END))
    assert (fact.quantity, fact.expired_at, fact.available) == (4, END, 10)
    assert stock.allocation("o1").status == "EXPIRED"


def test_a_reservation_that_ended_before_its_lot_did_is_not_invalidated_by_timers_that_come_late() -> None:
    stock = reserved()
    late = stock.send(on_due(stock.key, "a|o1", stock.allocation("o1")), NOON + 31 * DAY)
    kinds = [type(fact) for fact in late]
    assert kinds.index(StockAllocationExpired) < kinds.index(StockLotExpired)
    assert StockAllocationInvalidated not in kinds


def test_a_release_after_the_end_is_answered_with_the_end() -> None:
    stock = reserved()
    stock.run_timers(END)
    expired = stock.one(StockAllocationExpired, stock.release("o1"))
    assert (expired.repeated, expired.expired_at, expired.quantity) == (True, END, 4)
    stock.allocate(3, "o2")
    stock.exit(3, "o2")
    consumed = stock.one(StockAllocationConsumed, stock.release("o2"))
    assert (consumed.repeated, consumed.quantity) == (True, 3)
    assert stock.head.available == 7


def test_a_release_after_an_invalidation_is_answered_with_it() -> None:
    stock = reserved(6)
    stock.move("ADJUSTMENT", -6, "A", force=True)
    fact = stock.one(StockAllocationInvalidated, stock.release("o1"))
    assert (fact.repeated, fact.cause, fact.status) == (True, "ADJUSTMENT", "INVALIDATED")


def test_an_extended_allocation_ignores_the_timer_of_before() -> None:
    stock = reserved()
    stale = on_due(stock.key, "a|o1", stock.allocation("o1"))
    stock.extend("o1", 900, at=END - timedelta(seconds=1))
    assert stock.send(stale, END) == []
    assert stock.allocation("o1").status == "ACTIVE"
    stock.one(StockAllocationExpired, stock.run_timers(END + timedelta(seconds=899)))


def test_an_exit_that_is_first_in_the_partition_wins_over_the_timer() -> None:
    stock = reserved()
    timer = on_due(stock.key, "a|o1", stock.allocation("o1"))
    stock.exit(4, "o1", at=END)
    assert stock.send(timer, END) == []
    assert stock.allocation("o1").status == "CONSUMED"


def test_a_timer_that_is_first_in_the_partition_wins_over_the_exit() -> None:
    stock = reserved()
    stock.run_timers(END)
    assert stock.code(stock.exit(4, "o1", at=END)) == "ALLOCATION_EXPIRED"


def test_the_timer_of_a_worker_whose_clock_is_fast_ends_nothing_and_asks_again() -> None:
    stock = reserved()
    early = on_due(stock.key, "a|o1", stock.allocation("o1"))
    assert stock.send(early, END - timedelta(hours=1)) == []
    again = on_due(stock.key, "a|o1", stock.allocation("o1"))
    assert again.event_id != early.event_id, "the first one would be dropped as a duplicate"
    assert stock.allocation("o1").status == "ACTIVE"
    stock.one(StockAllocationExpired, stock.send(again, END))


def test_clocks_may_differ_by_less_than_a_second() -> None:
    stock = reserved()
    timer = on_due(stock.key, "a|o1", stock.allocation("o1"))
    fact = stock.one(StockAllocationExpired, stock.send(timer, END - timedelta(milliseconds=3)))
    assert fact.expired_at == END


def test_a_release_that_overtakes_its_allocation_wins() -> None:
    stock = Stock()
    stock.enter(10)
    fact = stock.one(StockAllocationReleased, stock.release("o1", reason="compensation"))
    assert (fact.result, fact.quantity) == ("NOT_FOUND", 0)
    again = stock.one(StockAllocationReleased, stock.release("o1"))
    assert (again.result, again.repeated, again.reason) == ("NOT_FOUND", True, "compensation")
    assert stock.code(stock.allocate(4, "o1", at=NOON + DAY)) == "CANCELLED_BEFORE_ALLOCATION"
    assert stock.head.reserved == 0


def test_a_release_of_an_unknown_product_is_remembered_too() -> None:
    stock = Stock()
    assert stock.one(StockAllocationReleased, stock.release("o1")).result == "NOT_FOUND"
    stock.enter(10)
    assert stock.code(stock.allocate(4, "o1")) == "CANCELLED_BEFORE_ALLOCATION"


def test_what_ended_is_forgotten_after_a_day() -> None:
    stock = reserved()
    stock.release("o1")
    stock.release("o2")
    stock.run_timers(NOON + DAY - timedelta(milliseconds=1))
    assert isinstance(stock.records["t|o2"], StockReleaseTombstone)
    assert stock.allocation("o1").status == "RELEASED"
    version = stock.head.version
    assert stock.run_timers(NOON + DAY) == []
    assert not {"t|o2", "a|o1"} & set(stock.records)
    assert stock.head.version == version, "nothing happened that anybody would see"
    stock.allocate(1, "o2")


def test_forgetting_waits_for_the_clock_too() -> None:
    stock = Stock()
    stock.release("o2")
    early = on_due(stock.key, "t|o2", stock.records["t|o2"])
    stock.send(early, NOON)
    again = on_due(stock.key, "t|o2", stock.records["t|o2"])
    assert again.event_id != early.event_id
    stock.send(early, NOON + DAY)
    assert "t|o2" not in stock.records
    assert stock.send(again, NOON + DAY) == []


def test_an_active_allocation_is_not_forgotten() -> None:
    stock = reserved()
    expire = on_due(stock.key, "a|o1", stock.allocation("o1"))
    assert isinstance(expire, StockAllocationExpireRequested)
    stock.run_timers(END)
    forget = on_due(stock.key, "a|o1", stock.allocation("o1"))
    assert forget.due_at == END + DAY
    assert stock.send(expire, END + DAY) == []


def test_the_id_alone_tells_whose_allocation_a_release_is_about() -> None:
    stock = reserved()
    command = StockAllocationReleaseRequested(
        event_id="x1", timestamp=NOON, tenant_id=TENANT, allocation_id="milk~WH1~o1"
    )
    assert of_stock(command) == key_of(TENANT, "milk", "WH1")
    assert stock.one(StockAllocationReleased, stock.send(command)).product_id == "milk"


def test_a_release_of_what_is_no_allocation_is_refused() -> None:
    stock = reserved()
    for allocation_id in ("o1", "bread~WH1~o1", "milk~WH1~a\x7f"):
        facts = stock.command(StockAllocationReleaseRequested, None, allocation_id=allocation_id)
        assert stock.code(facts) == "VALIDATION_FAILED"
    command = StockAllocationReleaseRequested(
        event_id="x1", timestamp=NOON, tenant_id=TENANT, allocation_id="o1"
    )
    assert stock.code(stock.send(command)) == "VALIDATION_FAILED"
    assert stock.code(stock.release("o1", expected_version=1)) == "VERSION_CONFLICT"
