"""The demo's worker: started with leave to be broken from the console, and started again when it ends by itself."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ops.errors import OpsError
from ops.stack.local import LocalStack
from ops.stack.processes import mark, wait_until
from streams.settings import Settings
from streams.web_auth import is_loopback

START_SECONDS = 90.0
MOST_ENDS, SPAN_SECONDS = 5, 60.0
"""A worker that ends more often in so many seconds does not start, for whatever reason its log has."""


class DemoWorker:
    """One worker process of the demo's stack.

    Args:
        stack: ends it with everything else.
        settings: of the demo.
        clock: monotonic seconds.
    """

    def __init__(
        self, stack: LocalStack, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stack = stack
        self._settings = settings
        self._clock = clock
        self._ends: deque[float] = deque(maxlen=MOST_ENDS)
        self._log = stack.data_dir / "logs" / "worker.log"

    @property
    def runs(self) -> bool:
        """Whether the process lives."""
        return self._stack.pid("worker") is not None

    def start(self, ready: Callable[[], bool]) -> None:
        """Start it and return when it is ready. Raises OpsError when it does not get so far."""
        self._launch()
        wait_until(ready, lambda: self.runs, START_SECONDS, "The worker", self._log)

    def keep(self) -> None:
        """Start it again where it has ended.

        Raises:
            OpsError: it ends again and again.
        """
        if self.runs:
            return
        now = self._clock()
        if len(self._ends) == MOST_ENDS and now - self._ends[0] < SPAN_SECONDS:
            raise OpsError(
                f"The worker ended {MOST_ENDS + 1} times within {SPAN_SECONDS:.0f} s.",
                f"Its log is {self._log}; then run it again.",
            )
        self._ends.append(now)
        self._launch()

    def _launch(self) -> None:
        folder = self._stack.data_dir
        command = [sys.executable, "-X", mark(folder), "-m", "ops.cli", "worker", "--data-dir", str(folder)]
        # On another address the worker would refuse to start with it: not everybody on the network may break things.
        demo = {"SLUICE_DEMO": "true"} if is_loopback(self._settings.web_host) else {}
        environment = {"SLUICE_METRICS": "true", **demo}  # what the demo shows is what its worker counts
        port = {"web": self._settings.web_port}
        self._stack.launch("worker", command, self._log, port, cwd=Path.cwd(), environment=environment)
