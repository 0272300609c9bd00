"""Logs: one line an event, for people on a terminal or as JSON for machines. Never a key or value of a user's event."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from streams.settings import Settings

QUIET = ("aiokafka", "aiohttp.access", "faust", "httpcore", "httpcore2", "httpx", "httpx2", "mode")
"""Loggers of libraries: their information is about themselves, costs a tenth of the throughput, and at DEBUG some of
them write whole messages (design/faust-facts.md 5)."""


FIELDS = (
    *("topic", "partition", "offset", "event_id", "event_type", "correlation_id", "trace_id", "agent"),
    *("outcome", "code", "attempt", "due", "stood_at"),
)
"""What lines may carry beside their text (``streams.log_records``). Those of libraries hold whole objects."""


EVERY_S: Final = 10.0
MOST_KINDS: Final = 1_000


class Seldom(logging.Filter):
    """Lets a line of a library's through once in ten seconds, and counts those in between.

    While a broker is away, aiokafka alone writes some two hundred lines a second that say the same.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing said; ``clock`` tells seconds."""
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written; one that stands for others says for how many."""
        if not record.name.startswith(QUIET):
            return True
        kind, now = (record.name, str(record.msg)), self._clock()
        said_at, left_out = self._said.get(kind, (-math.inf, 0))
        if now - said_at < EVERY_S:
            self._said[kind] = (said_at, left_out + 1)
            return False
        if len(self._said) >= MOST_KINDS:
            self._said.clear()  # some lines are made of nothing but their values
        self._said[kind] = (now, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} such lines before)", ()
        return True


def configure(settings: Settings) -> None:
    """Send all logging of the process to standard error, as ``log_level`` and ``log_json`` say."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=FIELDS),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_json:
        shown: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # The default formatter of tracebacks shows local variables, which hold keys and values.
        plain = structlog.dev.plain_traceback
        shown = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Seldom())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
