"""The age of the oldest record that waits for its state: what lag in seconds is made of."""

from __future__ import annotations

from faust.types import TP

from streams.arrivals import Arrivals
from tests.unit.streams.core_world import Raw

HERE, THERE = TP("orders", 0), TP("orders", 1)


def poll(first: int, last: int, at_ms: int) -> list[Raw]:
    return [Raw(offset, b"k", b"v", at_ms + offset) for offset in range(first, last + 1)]


def test_the_oldest_record_is_that_of_the_first_poll_that_is_not_stored_whole() -> None:
    arrivals = Arrivals()
    assert arrivals.oldest_ms(HERE) is None
    arrivals.add(HERE, poll(0, 9, 1000))
    arrivals.add(HERE, poll(10, 19, 1000))
    arrivals.add(THERE, poll(0, 0, 5000))
    assert arrivals.oldest_ms(HERE) == 1000
    arrivals.stored(HERE, 5)
    assert arrivals.oldest_ms(HERE) == 1000
    arrivals.stored(HERE, 10)
    assert arrivals.oldest_ms(HERE) == 1010
    arrivals.stored(HERE, 20)
    assert arrivals.oldest_ms(HERE) is None
    assert arrivals.oldest_ms(THERE) == 5000


def test_records_that_were_read_twice_wait_once() -> None:
    arrivals = Arrivals()
    arrivals.add(HERE, poll(0, 9, 1000))
    arrivals.add(HERE, poll(0, 9, 1000))
    arrivals.stored(HERE, 10)
    assert arrivals.oldest_ms(HERE) is None


def test_a_new_assignment_begins_with_nothing() -> None:
    arrivals = Arrivals()
    arrivals.add(HERE, poll(0, 9, 1000))
    arrivals.clear()
    assert arrivals.oldest_ms(HERE) is None
