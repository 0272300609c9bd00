"""The demo's sources: each sends one trace from a thread of its own, from where its last run stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Generic, TypeVar

from ops.demo_screen import Progress
from ops.errors import OpsError
from ops.replay import Replay, Trace
from ops.retail import RETAIL, TENANT
from ops.retail_trace import RetailTrace
from ops.traces import LLM_TRACE, LlmTrace
from streams.settings import Settings

Sent = TypeVar("Sent", bound=Trace)


class Source(Generic[Sent]):
    """One trace on its way.

    Args:
        settings: where to.
        traces: the first one that is not through is sent.
        rate: events per second.
        failed: told when it cannot go on.

    Attributes:
        trace: the one that is sent.
        progress: how far it is.
    """

    def __init__(
        self,
        settings: Settings,
        traces: Iterator[Sent],
        rate: float,
        failed: Callable[[OpsError], None],
    ) -> None:
        self._stop = threading.Event()
        replays = ((trace, Replay(settings, trace, wait=self._stop.wait)) for trace in traces)
        self.trace, self._replay = next(
            (trace, replay) for trace, replay in replays if replay.journal.done < len(trace)
        )
        self._rate = rate
        self._failed = failed
        self.progress = Progress(self.trace.name, len(self.trace), self._replay.journal.done)
        self._thread = threading.Thread(target=self._send, name=self.trace.name, daemon=True)

    @property
    def sending(self) -> bool:
        """Whether there is more to come."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more after what is under way."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait until it has ended."""
        self._thread.join(seconds)

    def _send(self) -> None:
        def show(row: int) -> None:
            self.progress.done = row

        try:
            self._replay.run(rate=self._rate, first_row=self.progress.done, progress=show)
            if self.progress.done == self.progress.rows:
                self.progress.note = "- all sent; the next run sends another copy"
        except OpsError as error:
            self._failed(error)


def llm_traces() -> Iterator[LlmTrace]:
    """Yield the LLM trace and its copies, which are other events."""
    return (LlmTrace(LLM_TRACE, copy) for copy in count())


def shops(settings: Settings) -> Iterator[RetailTrace]:
    """Yield the shop's week and the same week of other shops; not those whose goods have expired meanwhile."""
    week, now = RetailTrace(RETAIL), datetime.now(UTC)
    for number in count(1):
        trace = week.of_tenant(TENANT if number == 1 else f"{TENANT}-{number}")
        expired = trace.spoiled_at(Replay(settings, trace).journal)
        if expired is None or now < expired:
            yield trace
