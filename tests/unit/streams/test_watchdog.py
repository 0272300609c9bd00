"""When a worker counts as standing still, what it says then, and how often it starts itself again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP

from streams.app import create_app
from streams.settings import Settings
from streams.watchdog import (
    COUNT,
    EXIT_STALLED,
    MOST_RESTARTS,
    RESTARTS,
    Watchdog,
    earlier_restarts,
    restarts,
)
from streams.web_progress import Progress

STALL_S = 0.2
METERED = TP("usage.metered", 3)


@pytest.fixture
def app(tmp_path: Path) -> Any:
    return create_app(Settings.read(stall_timeout_s=STALL_S, data_dir=tmp_path), agents=())


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def acted() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watchdog(
    app: Any, loop: asyncio.AbstractEventLoop, acted: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watchdog]:
    monkeypatch.setattr("streams.watchdog.FROZEN", 1e6)  # it would be the test runner that is ended
    watchdog = Watchdog(app, loop, acted.set)
    yield watchdog
    watchdog.stop()


def test_a_partition_that_does_not_move_is_named(
    app: Any, watchdog: Watchdog, acted: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    app.watch.broker = ""
    app.watch.progress = {METERED: Progress(end=10, stored=4, still_s=2 * STALL_S)}
    watchdog.start()
    assert acted.wait(10)
    [line] = [line for line in caplog.records if line.name == "streams.watchdog"]
    assert (line.topic, line.partition, line.offset) == (*METERED, 4)  # type: ignore[attr-defined]
    assert "usage.metered[3] has 6 records to process" in line.getMessage()


def test_a_partition_that_has_just_become_not_live_is_given_time_to_be_seen(
    app: Any, watchdog: Watchdog, acted: threading.Event
) -> None:
    app.watch.broker = ""
    app.watch.progress = {METERED: Progress(end=10, stored=4, still_s=1.1 * STALL_S)}
    assert app.watch.stalled()
    watchdog.start()
    assert not acted.wait(5 * STALL_S)


def test_nothing_is_restarted_while_the_broker_is_away(
    app: Any, watchdog: Watchdog, acted: threading.Event
) -> None:
    app.watch.broker = "no answer"
    app.watch.progress = {METERED: Progress(end=10, stored=4, still_s=1000)}
    watchdog.start()
    assert not acted.wait(5 * STALL_S)


def test_an_event_loop_that_is_held_up_is_noticed_from_beside_it(
    watchdog: Watchdog,
    loop: asyncio.AbstractEventLoop,
    acted: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    watchdog.start()
    loop.call_soon_threadsafe(acted.wait, 30)
    assert acted.wait(10)
    [line] = [line for line in caplog.records if line.name == "streams.watchdog"]
    assert (line.levelno, "the event loop does not answer" in line.getMessage()) == (logging.CRITICAL, True)
    assert "test_watchdog.py" in line.stood_at  # type: ignore[attr-defined]


def test_an_event_loop_that_answers_is_left_alone(watchdog: Watchdog, acted: threading.Event) -> None:
    watchdog.start()
    assert not acted.wait(10 * STALL_S)


def test_a_watchdog_that_was_stopped_does_nothing(
    watchdog: Watchdog, loop: asyncio.AbstractEventLoop, acted: threading.Event
) -> None:
    watchdog.start()
    watchdog.stop()
    loop.call_soon_threadsafe(acted.wait, 3 * STALL_S)
    assert not acted.wait(5 * STALL_S)


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    own = (RESTARTS, COUNT)
    environment = {name: value for name, value in os.environ.items() if name not in own} | variables
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


AGAIN = """
import os, signal, socket, sys
from streams.watchdog import earlier_restarts, restarts, start_again
held = socket.socket()
held.set_inheritable(True)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.signal(signal.SIGPROF, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.5)
signal.setitimer(signal.ITIMER_PROF, 0.5)
print(os.getpid(), len(earlier_restarts()), restarts(), len(os.listdir("/dev/fd")), flush=True)
start_again()
"""


def test_a_process_takes_its_own_place_three_times_and_then_ends() -> None:
    ended = run(AGAIN)
    assert ended.returncode == EXIT_STALLED
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert len({pid for pid, _, _, _ in lines}) == 1
    assert [int(within_the_hour) for _, within_the_hour, _, _ in lines] == [0, 1, 2, 3]
    assert [int(in_all) for _, _, in_all, _ in lines] == [0, 1, 2, 3]
    assert len({files for _, _, _, files in lines}) == 1, "sockets do not pile up"
    assert f"started itself again {MOST_RESTARTS} times" in ended.stderr


def test_restarts_of_an_hour_ago_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setenv(RESTARTS, f"{now - 3700:.0f} {now - 10:.0f}")
    assert len(earlier_restarts()) == 1
    monkeypatch.setenv(RESTARTS, "nonsense")
    assert earlier_restarts() == []


def test_the_count_of_restarts_goes_on_after_the_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RESTARTS, f"{time.monotonic() - 3700:.0f}")
    monkeypatch.setenv(COUNT, "7")
    assert (earlier_restarts(), restarts()) == ([], 7)
    for wrong in ("", "nonsense", "-1"):
        monkeypatch.setenv(COUNT, wrong)
        assert restarts() == 0


FROZEN = """
import asyncio, re, sys
from pathlib import Path
from streams.app import create_app
from streams.settings import Settings
from streams.watchdog import Watchdog
async def main():
    app = create_app(Settings.read(stall_timeout_s=0.3, data_dir=Path(sys.argv[0] or ".")), agents=())
    Watchdog(app, asyncio.get_running_loop(), lambda: None).start()
    await asyncio.sleep(0.1)
    re.match(r"(x+x+)+y", "x" * 60)  # keeps the interpreter's lock for longer than anybody waits
asyncio.run(main())
"""


def test_code_that_lets_no_thread_of_pythons_run_is_ended_all_the_same() -> None:
    ended = run(FROZEN)
    assert ended.returncode == -signal.SIGPROF
    assert "in main" in ended.stderr


def test_an_alarm_that_was_set_does_not_end_the_process_that_follows() -> None:
    assert run(AGAIN).returncode not in (-signal.SIGALRM, -signal.SIGPROF)
