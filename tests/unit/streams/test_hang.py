"""A rule that does not return is interrupted, and nothing else is."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from streams.hang import HangGuard
from tests.unit.streams.core_world import ACME, BETA, World, added

TIMEOUT_S = 0.2


class Work:
    """Something whose rules are watched."""

    def __init__(self) -> None:
        self.deciding: Any = None

    def place(self) -> str:
        return "work[1]"


@pytest.fixture(autouse=True)
def _alarm_clock_of_the_test_runner() -> Iterator[None]:
    handler, timer = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    yield
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *timer)


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_rule_that_does_not_return_is_interrupted_after_the_timeout() -> None:
    work = Work()
    started = time.monotonic()
    with HangGuard(TIMEOUT_S).watch(work), pytest.raises(TimeoutError):
        work.deciding = object()
        spin(30)
    assert TIMEOUT_S <= time.monotonic() - started < TIMEOUT_S * 5


def test_many_rules_that_return_are_not_interrupted_however_long_they_take_together() -> None:
    work = Work()
    with HangGuard(TIMEOUT_S).watch(work):
        for _ in range(20):
            work.deciding = object()
            spin(TIMEOUT_S / 8)
            work.deciding = None


def test_whose_rule_runs_is_told_and_that_none_does() -> None:
    guard, work = HangGuard(TIMEOUT_S), Work()
    assert guard.place() == ""
    with guard.watch(work):
        assert guard.place() == ""
        work.deciding = added(7)
        assert guard.place() == "work[1], offset 7"
    assert guard.place() == ""


def test_the_work_between_rules_is_not_interrupted() -> None:
    work = Work()
    with HangGuard(TIMEOUT_S).watch(work):
        spin(TIMEOUT_S * 2)


def test_nothing_is_interrupted_after_the_block() -> None:
    work = Work()
    with HangGuard(TIMEOUT_S).watch(work):
        work.deciding = object()
    spin(TIMEOUT_S * 2)


def test_each_of_two_guards_watches_its_own_work() -> None:
    guards = [HangGuard(TIMEOUT_S), HangGuard(TIMEOUT_S)]
    for guard in guards:
        work = Work()
        with guard.watch(work), pytest.raises(TimeoutError):
            work.deciding = object()
            spin(30)


def test_outside_of_the_main_thread_nothing_is_watched() -> None:
    failures: list[BaseException] = []

    def run() -> None:
        work = Work()
        try:
            with HangGuard(0.01).watch(work):
                work.deciding = object()
                spin(0.1)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failures == []


def test_the_event_of_a_hanging_rule_is_parked_and_the_other_keys_go_on() -> None:
    world = World()
    world.tally.hang_s = 30
    with HangGuard(TIMEOUT_S).watch(world.partition):
        outcomes = world.unit(added(0, kind="hang"), added(1), added(2, BETA))
    assert outcomes == {"parked": 2, "done": 1}
    assert world.partition.parked.head(ACME.encode()).parked.code == "TIMEOUT"
    assert world.sum_of(ACME) is None
    assert world.sum_of(BETA) == 1
