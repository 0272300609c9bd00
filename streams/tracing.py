"""Optional traces: what a worker or a client needs to record spans, and None where it does not.

Nothing here imports OpenTelemetry before somebody asks for traces (``SLUICE_TRACING``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.failures import FatalFailure
from streams.settings import Settings
from streams.trace_context import Continue, continued_by, passed_on

if TYPE_CHECKING:
    from streams.tracing_spans import Spans

MISSING = (
    "SLUICE_TRACING is set, and the packages that send traces are not installed ({name}); install Sluice with its "
    "extra `otel` (pip install 'sluice[otel]'), or leave SLUICE_TRACING out"
)


def continues(tracing: Spans | None, group: str) -> Continue:
    """Return what continues the traces of the records that a consumer group processes."""
    return passed_on if tracing is None else continued_by(group)


def open_tracing(settings: Settings) -> Spans | None:
    """Return what records spans, or None where ``settings`` ask for none.

    Raises:
        FatalFailure: they do, and the extra is not installed.
    """
    if settings.tracing is None:
        return None
    try:
        from streams.tracing_spans import Spans
    except ModuleNotFoundError as error:
        raise FatalFailure(MISSING.format(name=error.name)) from error
    return Spans(settings)
