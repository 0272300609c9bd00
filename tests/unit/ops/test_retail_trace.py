"""The shop's commands: stable ids and times, their keys, and the order in which they are sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.errors import OpsError
from ops.journal import Journal, Stretch
from ops.replay import Outgoing, due_seconds
from ops.retail import RETAIL
from ops.retail_trace import RetailTrace
from streams.events import (
    LoyaltyPointsReverseRequested,
    LoyaltyPointsUpdateRequested,
    StockAllocationRequested,
    StockEntryRequested,
    StockExitRequested,
    StockMovementRecordRequested,
)
from streams.schemas import contracts

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEEK = "online-retail-2010-12-01_08.csv"


@pytest.fixture(scope="module")
def trace() -> RetailTrace:
    return RetailTrace(RETAIL)


def all_of(trace: RetailTrace, last_at: datetime = NOW) -> list[Outgoing]:
    return [outgoing for row in range(len(trace)) for outgoing in trace.events(row, last_at)]


@pytest.fixture(scope="module")
def sent(trace: RetailTrace) -> list[Outgoing]:
    return all_of(trace)


def of_type(sent: list[Outgoing], record: type) -> list[Any]:
    return [outgoing.event for outgoing in sent if type(outgoing.event) is record]


def test_the_same_file_gives_the_same_commands_under_ids_that_are_all_different(
    trace: RetailTrace, sent: list[Outgoing]
) -> None:
    assert sent == all_of(RetailTrace(RETAIL))
    assert len(sent) == trace.events_before(len(trace)) == 44_131
    assert len({outgoing.event.event_id for outgoing in sent}) == len(sent)
    later = next(iter(trace.events(0, NOW + timedelta(days=1)))).event
    assert later.event_id == sent[0].event.event_id


def test_business_ids_are_unique_too(sent: list[Outgoing]) -> None:
    movements = [
        event.movement_id
        for record in (StockEntryRequested, StockExitRequested, StockMovementRecordRequested)
        for event in of_type(sent, record)
    ]
    allocations = of_type(sent, StockAllocationRequested)
    points = [
        event.transaction_id
        for record in (LoyaltyPointsUpdateRequested, LoyaltyPointsReverseRequested)
        for event in of_type(sent, record)
    ]
    for ids in (
        movements,
        [event.request_id for event in allocations],
        [event.allocation_id for event in allocations],
        points,
    ):
        assert len(set(ids)) == len(ids)


def test_another_shop_is_another_tenant_with_ids_of_its_own(trace: RetailTrace) -> None:
    other = RetailTrace(RETAIL, "corner-shop")
    first, second = next(iter(trace.events(0, NOW))), next(iter(other.events(0, NOW)))
    assert (first.key, second.key) == ("shop|85123A|WH1", "corner-shop|85123A|WH1")
    assert first.event.event_id != second.event.event_id
    assert trace.name != other.name


def test_the_lots_come_first_and_the_last_row_falls_on_now(trace: RetailTrace) -> None:
    first, second = (outgoing.event for outgoing in trace.events(0, NOW))
    began = NOW - (trace.rows[-1].at - trace.rows[0].at)
    for entry in (first, second):
        assert isinstance(entry, StockEntryRequested)
        assert entry.timestamp == began
    assert (first.lot_id, first.expiration_date) == ("85123A-A", began + timedelta(days=30))
    assert (second.lot_id, second.expiration_date) == ("85123A-B", None)
    assert [outgoing.event.timestamp for outgoing in trace.events(len(trace) - 1, NOW)] == [NOW, NOW]


def test_a_sold_line_is_allocated_under_its_invoice_and_row_and_leaves_at_once(trace: RetailTrace) -> None:
    allocate, leave = trace.events(trace.lots, NOW)
    assert allocate.key == leave.key == "shop|85123A|WH1"
    assert allocate.event.allocation_id == leave.event.allocation_id == "85123A~WH1~536365-0"
    assert allocate.event.strategy == "FEFO"
    assert not allocate.event.allow_partial
    assert allocate.event.quantity == leave.event.quantity == 6


def test_a_cancellation_comes_back_and_reverses_the_points_of_its_purchase(sent: list[Outgoing]) -> None:
    returns = of_type(sent, StockMovementRecordRequested)
    assert len(returns) == 303
    assert {event.type for event in returns} == {"RETURN"}
    assert all(event.lot_id == f"{event.product_id}-R" and event.quantity > 0 for event in returns)
    earned = {event.transaction_id: event for event in of_type(sent, LoyaltyPointsUpdateRequested)}
    for event in of_type(sent, LoyaltyPointsReverseRequested):
        purchase = earned[event.original_transaction_id]
        assert purchase.customer_id == event.customer_id
        assert purchase.points_change >= event.points > 0
        assert event.reason == f"return:{event.transaction_id.removeprefix('return-')}"
    assert earned["purchase-536365"].reason == "purchase:536365"


def test_what_is_sent_is_declared_and_allowed_on_its_topic(trace: RetailTrace, sent: list[Outgoing]) -> None:
    from streams.topics import TOPICS

    assert {(outgoing.topic, type(outgoing.event)) for outgoing in sent} == set(trace.records)
    for topic, record in trace.records:
        assert record.RECORD in TOPICS[topic].records
        assert record.RECORD in contracts()


def test_rows_are_due_by_the_events_before_them_or_by_the_shop_s_own_clock(trace: RetailTrace) -> None:
    assert due_seconds(trace, 0, 100, None)(10) == trace.events_before(10) / 100
    week = (trace.rows[-1].at - trace.rows[0].at).total_seconds()
    assert due_seconds(trace, 0, None, 60)(len(trace) - 1) == week / 60
    assert due_seconds(trace, 0, None, 60)(trace.lots) == 0


def test_a_part_is_all_lots_and_the_first_rows_of_the_file(trace: RetailTrace) -> None:
    assert trace.end_of(None) == trace.end_of(10**9) == len(trace)
    assert trace.end_of(100) == trace.lots + 100
    assert [trace.file_rows(row) for row in (0, trace.lots, trace.lots + 100)] == [0, 0, 100]


def test_a_week_whose_goods_have_expired_is_not_gone_on_with(trace: RetailTrace) -> None:
    began = Journal(100, [Stretch(0, 100, NOW.isoformat())])
    trace.refuse_spoiled(began, NOW + timedelta(days=22))
    with pytest.raises(OpsError, match="expired") as refusal:
        trace.refuse_spoiled(began, NOW + timedelta(days=23))
    assert "--tenant" in refusal.value.remedy
    trace.refuse_spoiled(Journal(len(trace), began.stretches), NOW + timedelta(days=23))
    trace.refuse_spoiled(Journal(), NOW)


def test_ids_come_from_the_file_s_name(tmp_path: Path) -> None:
    copy = tmp_path / "another.csv"
    copy.write_bytes(RETAIL.read_bytes())
    assert RETAIL.name == WEEK
    first, second = (next(iter(RetailTrace(file).events(0, NOW))).event for file in (RETAIL, copy))
    assert first.movement_id == second.movement_id
    assert first.event_id != second.event_id
