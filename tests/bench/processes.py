"""The processes under test: started, watched and stopped by their pid."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 15.0
LOG_LINES = 15


class ProcessEnded(RuntimeError):
    """A process ended before its work was done."""


class Process:
    """One process under test, with its output in a file; it ends with the ``with`` block.

    Args:
        command: the command line.
        log: file for its output.
        env: variables in addition to this process's own.
        patient: give it time to stop by itself before it is killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        *,
        patient: bool = False,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.started = time.monotonic()
        self._patient = patient
        self._out = log.open("wb")
        self._child = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
        )
        self._process = psutil.Process(self._child.pid)

    def cpu_s(self) -> float:
        """Return the seconds of user and system time so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        """Return the resident memory in MB (10^6 bytes)."""
        return float(self._process.memory_info().rss) / 1e6

    def check(self) -> None:
        """Raise ProcessEnded with the end of its log if it does not run any more."""
        if self._child.poll() is not None:
            raise ProcessEnded(
                f"exit status {self._child.returncode} of {self.log.stem}; its log ends with\n{self.tail()}"
            )

    def wait_for(self, done: Callable[[], bool], seconds: float, what: str, every_s: float = 0.02) -> float:
        """Wait until ``done()``; return the seconds since the process was started.

        Raises:
            ProcessEnded: it ended, or ``seconds`` went by.
        """
        limit = time.monotonic() + seconds
        while not done():
            self.check()
            if time.monotonic() > limit:
                raise ProcessEnded(
                    f"{self.log.stem}: no {what} within {seconds:.0f} s; its log ends with\n{self.tail()}"
                )
            time.sleep(every_s)
        return time.monotonic() - self.started

    def finish(self, seconds: float) -> None:
        """Wait until it ends by itself with status 0; raise ProcessEnded otherwise."""
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise ProcessEnded(
                f"{self.log.stem} did not end within {seconds:.0f} s\n{self.tail()}"
            ) from error
        if self._child.returncode:
            self.check()

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL when it does not go."""
        if self._child.poll() is None:
            if self._patient:
                self._child.terminate()
                try:
                    self._child.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    self._child.kill()
            else:
                self._child.kill()
            self._child.wait()
        self._out.close()

    def tail(self) -> str:
        """Return the last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
