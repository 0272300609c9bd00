"""Records are let through in the sequence of their offsets and cut into units that keep it."""

from __future__ import annotations

from collections.abc import Sequence

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.transport import Fetched, Hollows, PartitionBatch
from streams.units import Order, Unit, chunks, halves
from tests.unit.streams.core_world import Raw

TPS = [TP("t", 0), TP("t", 1), TP("u", 0)]


def batch(tp: TP, *offsets: int, begin: int | None = None, end: int | None = None) -> PartitionBatch:
    return PartitionBatch(tp, [Raw(offset, b"k", b"v") for offset in offsets], 1, begin, end)


def offsets(part: PartitionBatch | None) -> list[int] | None:
    return [record.offset for record in part.records] if part is not None else None


def flat(units: Sequence[Sequence[PartitionBatch]]) -> dict[TP, list[int]]:
    """Return all offsets by partition in the order of the units."""
    found: dict[TP, list[int]] = {}
    for unit in units:
        for part in unit:
            found.setdefault(part.tp, []).extend(record.offset for record in part.records)
    return found


batches = st.lists(st.tuples(st.sampled_from(TPS), st.integers(1, 12)), max_size=10)


def numbered(sizes: Sequence[tuple[TP, int]]) -> list[PartitionBatch]:
    """Return batches of the given sizes with rising offsets per partition."""
    ends: dict[TP, int] = {}
    made = []
    for tp, size in sizes:
        start = ends.get(tp, 0)
        ends[tp] = start + size
        made.append(batch(tp, *range(start, start + size)))
    return made


@given(batches, st.integers(1, 10))
def test_chunks_hold_every_record_once_in_order_and_never_too_many(
    sizes: list[tuple[TP, int]], most: int
) -> None:
    given_batches = numbered(sizes)
    cut = chunks(given_batches, most)
    assert flat(cut) == flat([given_batches])
    sums = [sum(len(part.records) for part in unit) for unit in cut]
    assert all(size == most for size in sums[:-1])
    assert all(0 < size <= most for size in sums[-1:])


@given(batches.filter(lambda sizes: sum(size for _, size in sizes) >= 2))
def test_halves_hold_every_record_once_in_order_and_are_smaller(sizes: list[tuple[TP, int]]) -> None:
    given_batches = numbered(sizes)
    cut = halves(given_batches)
    assert flat(cut) == flat([given_batches])
    assert len(cut) == 2
    assert all(any(part.records for part in half) for half in cut)


def test_nothing_is_let_through_of_a_partition_without_a_start() -> None:
    order, rewinds = Order(), dict[TP, int]()
    assert order.next(batch(TPS[0], 0, 1), rewinds) is None
    order.start_at(TPS[0], 0)
    order.clear()
    assert order.next(batch(TPS[0], 0, 1), rewinds) is None
    assert rewinds == {}


def test_what_was_processed_before_is_left_out() -> None:
    order, rewinds = Order(), dict[TP, int]()
    order.start_at(TPS[0], 5)
    assert order.next(batch(TPS[0], 3, 4), rewinds) is None
    assert offsets(order.next(batch(TPS[0], 4, 5, 6), rewinds)) == [5, 6]
    assert offsets(order.next(batch(TPS[0], 6, 7), rewinds)) == [7]
    assert rewinds == {}


def test_a_hole_is_read_again_once_and_then_believed() -> None:
    order, rewinds = Order(), dict[TP, int]()
    order.start_at(TPS[0], 5)
    assert order.next(batch(TPS[0], 7, 8), rewinds) is None
    assert rewinds == {TPS[0]: 5}
    assert (
        order.next(batch(TPS[0], 9), rewinds) is None
    )  # what was queued behind it waits for the second reading
    assert offsets(order.next(batch(TPS[0], 7, 8), {})) == [7, 8]
    assert offsets(order.next(batch(TPS[0], 9), {})) == [9]


def test_what_fetches_went_over_is_no_hole() -> None:
    order, rewinds = Order(), dict[TP, int]()
    order.start_at(TPS[0], 5)
    assert offsets(order.next(batch(TPS[0], 7, 9, begin=5, end=11), rewinds)) == [7, 9]
    assert order.expected(TPS[0]) == 11
    assert offsets(order.next(batch(TPS[0], 12, begin=11, end=13), rewinds)) == [12]
    assert offsets(order.next(batch(TPS[0], 14, begin=12, end=15), rewinds)) == [14]
    assert rewinds == {}


def test_what_was_fetched_and_not_handed_on_is_a_hole_even_behind_a_marker() -> None:
    order, rewinds = Order(), dict[TP, int]()
    order.start_at(TPS[0], 5)
    order.next(batch(TPS[0], 5, 6, begin=5, end=8), rewinds)
    # A rebalance lost the fetch of 8 to 10, whose records are missing.
    assert order.next(batch(TPS[0], 11, begin=11, end=12), rewinds) is None
    assert rewinds == {TPS[0]: 8}
    assert offsets(order.next(batch(TPS[0], 8, 10, 11, begin=8, end=12), {})) == [8, 10, 11]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.data())
def test_whatever_fetches_get_lost_every_record_is_let_through_once_and_in_order(
    spans: list[int], data: st.DataObject
) -> None:
    """Fetches over a log with hollows, some of which a rebalance loses before they are delivered."""
    edges = [0]
    for span in spans:
        edges.append(edges[-1] + span)
    log = [offset for offset in range(edges[-1]) if data.draw(st.booleans())] or [0]
    order, hollows, seen, position = Order(), Hollows(), list[int](), 0
    order.start_at(TPS[0], 0)
    losses = data.draw(st.lists(st.booleans(), max_size=20))
    rewinds: dict[TP, int] = {}
    while position < edges[-1]:
        begin, end = position, next(edge for edge in edges if edge > position)
        records = [offset for offset in log if begin <= offset < end]
        position = end
        lost = bool(losses) and losses.pop() and not rewinds  # a second reading comes through
        fetched = Fetched(records, begin, end)
        hollows.join(TPS[0], fetched)
        if not records or lost:
            continue
        rewinds = {}
        part = order.next(batch(TPS[0], *records, begin=fetched.begin, end=end), rewinds)
        seen += offsets(part) or []
        position = rewinds.get(TPS[0], position)
    assert seen == log[: len(seen)]


def test_a_hole_that_is_filled_by_reading_again_was_none() -> None:
    order, rewinds = Order(), dict[TP, int]()
    order.start_at(TPS[0], 5)
    order.next(batch(TPS[0], 7), rewinds)
    assert offsets(order.next(batch(TPS[0], 5, 6, 7), {})) == [5, 6, 7]


def test_a_hole_in_another_place_is_read_again_too() -> None:
    order = Order()
    order.start_at(TPS[0], 5)
    order.next(batch(TPS[0], 7), {})
    rewinds: dict[TP, int] = {}
    assert order.next(batch(TPS[0], 9), rewinds) is None
    assert rewinds == {TPS[0]: 5}


def test_partitions_do_not_wait_for_each_other() -> None:
    order, rewinds = Order(), dict[TP, int]()
    for tp in TPS:
        order.start_at(tp, 0)
    assert order.next(batch(TPS[0], 3), rewinds) is None
    assert offsets(order.next(batch(TPS[1], 0, 1), rewinds)) == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=30))
def test_whatever_is_delivered_each_offset_is_let_through_once_and_in_order(
    deliveries: list[tuple[int, int]],
) -> None:
    """The log has no holes, so whatever starts behind one is read again from where it was expected."""
    order, rewinds = Order(), dict[TP, int]()
    order.start_at(TPS[0], 0)
    seen: list[int] = []
    for start, size in deliveries:
        begin = rewinds.pop(TPS[0], start)
        part = order.next(batch(TPS[0], *range(begin, begin + size)), rewinds)
        seen += offsets(part) or []
    assert seen == list(range(len(seen)))


class Event:
    """An event as Faust delivers it."""

    def __init__(self, value: PartitionBatch) -> None:
        self.value = value
        self.message = object()


def test_a_unit_counts_its_records_and_holds_its_messages() -> None:
    unit = Unit()
    assert len(unit) == 0
    events = [Event(batch(TPS[0], 1, 2)), Event(batch(TPS[1], 1))]
    for event in events:
        unit.add(event)
    assert len(unit) == 3
    assert unit.messages[1:] == [event.message for event in events]
    assert len(unit.messages) == 3  # one more, so that a rebalance waits for a unit without messages as well
