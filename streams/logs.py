"""Logs: one line an event, for people on a terminal or as JSON for machines. Never a key or value of a user's event."""

from __future__ import annotations

import logging
import sys
from typing import Any

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
        shown = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    handler = logging.StreamHandler(sys.stderr)
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
