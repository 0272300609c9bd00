"""A book of lots is a sorted list, whatever its pages look like, and a change of it stays small."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.events import StockBook, StockBookEntry, StockBookPage
from tables.lots import NEVER, PAGE, Book, stamp
from tests.unit.tables.scenario import check_encodes

BOOK = Book("f", 2, StockBookPage, StockBook, StockBookEntry)
DAY = datetime(2026, 11, 20, tzinfo=UTC)
TIMES = st.datetimes(timezones=st.just(UTC))


class Kept:
    """Records in a dict, which counts what is read and written."""

    def __init__(self) -> None:
        self.records: dict[str, Any] = {}
        self.read: list[str] = []
        self.written: list[str] = []

    def get(self, name: str) -> Any:
        self.read.append(name)
        return self.records.get(name)

    def put(self, name: str, record: Any) -> None:
        self.written.append(name)
        if record is None:
            del self.records[name]
        else:
            check_encodes(record)
            self.records[name] = record


def filled(count: int, key: Callable[[int], str] = lambda number: f"k{number:05d}") -> Kept:
    """Return records that hold a book of ``count`` keys, entered in order."""
    kept = Kept()
    for number in range(count):
        BOOK.insert(kept, key(number))
    kept.read.clear()
    kept.written.clear()
    return kept


@given(st.none() | TIMES, st.none() | TIMES)
def test_stamps_sort_as_times_do_and_never_comes_last(one: datetime | None, other: datetime | None) -> None:
    far = datetime.max.replace(tzinfo=UTC)
    by_time = (one is None, one or far) < (other is None, other or far)
    assert (stamp(one) < stamp(other)) == by_time
    assert len(stamp(one)) == len(NEVER)


@given(st.text(max_size=5), st.none() | TIMES, TIMES)
def test_a_key_tells_whose_it_is(lot_id: str, expires: datetime | None, received: datetime) -> None:
    assert BOOK.lot_id(BOOK.key(lot_id, expires, received)) == lot_id


def test_keys_sort_by_date_then_by_arrival_then_by_id_and_lots_without_a_date_come_last() -> None:
    later, never = DAY + timedelta(microseconds=1), None
    expected = [("z", DAY, DAY), ("y", DAY, later), ("a", later, DAY), ("b", later, DAY), ("0", never, DAY)]
    assert sorted(expected, key=lambda lot: BOOK.key(*lot)) == expected


def test_an_empty_book_leaves_no_record() -> None:
    kept = filled(200)
    for number in range(200):
        BOOK.remove(kept, f"k{number:05d}")
    assert kept.records == {}
    assert BOOK.first(kept) is None
    assert list(BOOK.walk(kept)) == []


def test_a_small_book_is_one_record() -> None:
    assert list(filled(PAGE).records) == ["f|0"]


def test_lots_that_arrive_in_order_fill_their_pages() -> None:
    kept = filled(10 * PAGE)
    assert [len(kept.records[f"f|{number}"].keys) for number in range(10)] == [PAGE] * 10


def test_a_thousand_lots_cost_a_change_no_more_records_than_ten() -> None:
    for count in (10, 1000):
        kept = filled(count, lambda number: f"k{number * 7919 % 10_007:05d}")
        BOOK.insert(kept, "k00000x")
        BOOK.remove(kept, "k00000x")
        assert len(set(kept.written)) <= 3
        assert len(set(kept.read)) <= 3
        kept.read.clear()
        BOOK.first(kept)
        next(BOOK.walk(kept))
        next(BOOK.walk(kept, reverse=True))
        assert len(set(kept.read)) <= 3


def test_a_walk_from_the_middle_reads_no_page_before_it() -> None:
    kept = filled(320)
    assert next(BOOK.walk(kept, "k00300")) == "k00300"
    assert set(kept.read) == {"f", "f|9"}


def test_pages_join_again_when_keys_leave() -> None:
    kept = filled(1000)
    for number in range(1000):
        if number % 100:
            BOOK.remove(kept, f"k{number:05d}")
    assert list(BOOK.walk(kept)) == [f"k{number:05d}" for number in range(0, 1000, 100)]
    assert len(kept.records) <= 3


def test_a_key_twice_or_one_that_is_not_there_is_a_defect() -> None:
    kept = filled(40)
    with pytest.raises(ValueError, match="already"):
        BOOK.insert(kept, "k00007")
    with pytest.raises(ValueError, match="not in the book"):
        BOOK.remove(kept, "k00007x")
    with pytest.raises(ValueError, match="not in the book"):
        BOOK.remove(Kept(), "k")


class BookIsASortedList(RuleBasedStateMachine):
    """Any changes, compared with a sorted list of the same keys."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = Kept()
        self.keys: set[str] = set()

    @rule(numbers=st.lists(st.integers(0, 400), min_size=1, max_size=60, unique=True))
    def enter(self, numbers: list[int]) -> None:
        for key in [f"{number:03d}" for number in numbers]:
            if key not in self.keys:
                self.keys.add(key)
                BOOK.insert(self.kept, key)

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), count=st.integers(1, 60))
    def leave(self, data: st.DataObject, count: int) -> None:
        begin = data.draw(st.integers(0, len(self.keys) - 1))
        for key in sorted(self.keys)[begin : begin + count]:
            self.keys.discard(key)
            BOOK.remove(self.kept, key)

    @rule(start=st.integers(0, 401))
    def walk(self, start: int) -> None:
        after = f"{start:03d}"
        assert list(BOOK.walk(self.kept, after)) == [key for key in sorted(self.keys) if key >= after]

    @invariant()
    def is_sorted(self) -> None:
        expected = sorted(self.keys)
        assert list(BOOK.walk(self.kept)) == expected
        assert list(BOOK.walk(self.kept, reverse=True)) == expected[::-1]
        assert BOOK.first(self.kept) == (expected[0] if expected else None)

    @invariant()
    def pages_are_neither_empty_nor_too_large(self) -> None:
        sizes = [len(record.keys) for record in self.kept.records.values() if type(record) is StockBookPage]
        assert all(0 < size <= PAGE for size in sizes)


TestBookIsASortedList = BookIsASortedList.TestCase
TestBookIsASortedList.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
