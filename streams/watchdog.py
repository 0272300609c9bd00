"""A worker that stands still starts itself again (contracts 3.13).

``/health/live`` fails once a partition with work has not moved for ``SLUICE_STALL_TIMEOUT_S``; while the event loop is
held up it does not answer at all. A quarter of that time later, so that whoever asks sees it fail, the same program
takes the place of the process: same pid, same name in the consumer group, no supervisor needed. To the brokers that is
a kill -9: nothing more is committed, and what was not stored is done again, with the same ids.

A process that does this for the fourth time within an hour ends with exit code 72 instead. Whoever supervises it then
decides how long to wait; one that nobody supervises stays down, and its log says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import inspect
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from streams.app import SluiceApp

log = logging.getLogger(__name__)

EXIT_STALLED: Final = 72
PATIENCE: Final = 1.25
"""Times the stall timeout: the time between is for a health check to see that the worker is not live."""

FROZEN: Final = 2.0
"""Times the stall timeout: so much CPU time without any thread of Python's, and the kernel ends the process."""

MOST_RESTARTS: Final = 3
WITHIN_S: Final = 3600.0
RESTARTS: Final = "_SLUICE_RESTARTS"
"""Variable by which the process tells its successor when it restarted, in seconds of the monotonic clock."""
COUNT: Final = "_SLUICE_RESTART_COUNT"
"""Variable by which it tells how often, since somebody started it."""

TICK_S: Final = 1.0


class Watchdog:
    """Looks after one worker from a thread of its own, because it has to get on when the event loop does not."""

    def __init__(self, app: SluiceApp, loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
        """Prepare to call ``act``, from a thread, when the worker that runs on ``loop`` stands still."""
        self._app = app
        self._loop = loop
        self._act = act
        self._limit = PATIENCE * app.settings.stall_timeout_s
        self._tick = min(TICK_S, app.settings.stall_timeout_s / 10)
        self._silent_s = 0.0
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer: the worker stops, and may take its time."""
        self._stopped.set()

    def _run(self) -> None:
        # Code that keeps the interpreter's lock (a regular expression that backtracks) stops this thread too. Then
        # only the kernel can end the process. It counts CPU time, so that a process may be paused for as long as
        # somebody wants; the stack goes to standard error first.
        faulthandler.register(signal.SIGPROF, chain=True)
        try:
            self._watch()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._stopped.wait(self._tick):
            signal.setitimer(signal.ITIMER_PROF, FROZEN * self._app.settings.stall_timeout_s)
            now = time.monotonic()
            # A process that was paused, or starved, did not stand still all that time.
            self._silent_s += min(now - before, 2 * self._tick)
            before = now
            try:
                self._loop.call_soon_threadsafe(self._beat)
            except RuntimeError:
                return  # it is closed
            if self._stands_still():
                self._act()
                return

    def _beat(self) -> None:
        self._silent_s = 0.0

    def _stands_still(self) -> bool:
        """Return whether it is time to act, having logged why."""
        if self._silent_s >= self._limit:
            place = self._app.hang.place()
            log.critical(
                "the event loop does not answer for %.0f s%s; the worker starts again",
                self._silent_s,
                f", in {place}" if place else "",
                extra={"stood_at": stack_of_main_thread()},
            )
            return True
        watch = self._app.watch
        stalled = {} if watch.broker else watch.stalled(self._limit)
        for tp, progress in sorted(stalled.items()):
            log.critical(
                "%s[%d] has %d records to process and does not move for %.0f s; the worker starts again",
                tp.topic,
                tp.partition,
                progress.lag,
                progress.still_s,
                extra={
                    "topic": tp.topic,
                    "partition": tp.partition,
                    "offset": progress.stored,
                    "stood_at": " | ".join(self._waiting()),
                },
            )
        return bool(stalled)

    def _waiting(self) -> list[str]:
        """Return where the pipelines' tasks wait, as file and line of each coroutine, outermost first."""
        chains = [" > ".join(_awaited(task.get_coro())) for task in asyncio.all_tasks(self._loop)]
        return sorted({chain for chain in chains if "pipeline.py" in chain})


def _awaited(coroutine: Any) -> Iterator[str]:
    while coroutine is not None:
        if (frame := getattr(coroutine, "cr_frame", None)) is not None:
            yield _place(frame)
            coroutine = coroutine.cr_await
        else:
            # An object's own ``__await__`` shows nothing of the coroutine that it waits for, and holds it.
            held = gc.get_referents(coroutine)
            coroutine = next((each for each in held if inspect.iscoroutine(each)), None)


def stack_of_main_thread() -> str:
    """Return where the main thread is: file and line of its frames, outermost first."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001 - documented
    places = []
    while frame is not None:
        places.append(_place(frame))
        frame = frame.f_back
    return " > ".join(reversed(places))


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {frame.f_code.co_name}"


def earlier_restarts() -> list[float]:
    """Return when this process started itself again within the last hour, in seconds of the monotonic clock."""
    since = time.monotonic() - WITHIN_S
    with contextlib.suppress(ValueError):  # somebody else's variable
        return [at for at in map(float, os.environ.get(RESTARTS, "").split()) if at > since]
    return []


def restarts() -> int:
    """Return how often this process started itself again since somebody else started it."""
    told = os.environ.get(COUNT, "")
    return int(told) if told.isdecimal() else 0  # else it is somebody else's variable


def start_again() -> NoReturn:
    """Let the program take the process's place anew, or end with EXIT_STALLED where that was done too often."""
    earlier = earlier_restarts()
    if len(earlier) >= MOST_RESTARTS:
        log.critical(
            "the worker started itself again %d times within an hour, and still stands still: it ends (exit %d). What "
            "it stood at is logged; see also `sluice doctor`",
            len(earlier),
            EXIT_STALLED,
        )
    logging.shutdown()
    sys.stderr.flush()
    if len(earlier) < MOST_RESTARTS:
        os.environ[RESTARTS] = " ".join(f"{at:.0f}" for at in (*earlier, time.monotonic()))
        os.environ[COUNT] = str(restarts() + 1)
        for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)  # it outlives exec, and would end a program without a handler
        _keep_no_files()
        with contextlib.suppress(OSError):
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - what runs already
    os._exit(EXIT_STALLED)


def _keep_no_files() -> None:
    """Let every file but the standard ones close with exec: sockets of C libraries, and with them locks, would stay."""
    for name in os.listdir("/dev/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), False)
