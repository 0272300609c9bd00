"""Points between the pipeline's steps at which a test lets the worker die.

``SLUICE_FAIL_POINT=stored:3`` kills the process with SIGKILL when it passes the point ``stored`` for the third time.
Unset, a point costs one comparison.

Steps 2 to 6 write nothing anywhere, so a worker that dies between two of them leaves what it leaves at ``decoded``
or ``decided``, the points around them.
"""

from __future__ import annotations

import os
import signal

POINTS = ("decoded", "decided", "emitted", "stored", "gated", "recovered", "claimed")


class _Armed:
    def __init__(self, text: str) -> None:
        self.name, _, count = text.partition(":")
        self.left = int(count) if count.isdecimal() else 0 if count else 1
        if self.name and (self.name not in POINTS or self.left < 1):
            raise ValueError(
                f"SLUICE_FAIL_POINT is {text!r}; it is a point, or point:times, of {', '.join(POINTS)}"
            )


_armed = _Armed(os.environ.get("SLUICE_FAIL_POINT", ""))


def failpoint(name: str) -> None:
    """Die here if the environment asks for it."""
    if name == _armed.name:
        _armed.left -= 1
        if _armed.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
