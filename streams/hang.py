"""Interrupting a rule that does not return.

Rules are pure and take microseconds. One that hangs would hold back every partition of the worker, so after the handler
timeout (contracts 001-14: 30 s) it is interrupted and its event counts as failed with TIMEOUT, which is retryable.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

TICKS = 4
"""How often a rule is looked at before it is interrupted: it gets the timeout, and at most a quarter more."""


class Deciding(Protocol):
    deciding: Any
    """The record whose rule is running, or None between rules."""

    def place(self) -> str:
        """Return whose rules they are, for the log."""


class HangGuard:
    """Raises ``TimeoutError`` inside a rule that runs longer than ``seconds``. Works in the main thread only.

    A rule costs nothing to watch: a timer looks now and then which rule is running, and whether it is still the same.
    """

    def __init__(self, seconds: float) -> None:
        self._tick = seconds / TICKS
        self._watched: Deciding | None = None
        self._seen: Any = None
        self._times = 0

    @contextmanager
    def watch(self, work: Deciding) -> Iterator[None]:
        """Watch the rules that ``work`` runs inside the block. Only one block of a process watches at a time."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._watched, self._seen = work, None
        # Set here and not once, because a process has one handler and may hold more than one app (tests do).
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, self._tick, self._tick)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._watched = self._seen = None

    def place(self) -> str:
        """Return whose rule runs, and at which offset, or "" where none does."""
        work = self._watched
        running = work.deciding if work is not None else None
        return "" if work is None or running is None else f"{work.place()}, offset {running.offset}"

    def _look(self, signum: int, frame: Any) -> None:
        # Outside of a rule the exception would tear the pipeline's own bookkeeping.
        running = self._watched.deciding if self._watched is not None else None
        if running is None or running is not self._seen:
            self._seen, self._times = running, 0
            return
        self._times += 1
        if self._times >= TICKS:
            raise TimeoutError("the rule did not answer within the handler timeout")
