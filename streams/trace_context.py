"""W3C trace context in record headers (https://www.w3.org/TR/trace-context): what continues a trace.

``traceparent`` and ``tracestate`` travel beside the ``ce_*`` headers. A worker that does not trace passes them on as
they are. One that does names its own span as the parent, and derives the span's id from where the record is: done again
after a crash, the same work has the same span, and what follows from it the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

from streams.envelope import Headers, trace_headers

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
SAMPLED: Final = 1
MOST_TRACESTATE: Final = 512

_PARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})").fullmatch
_STATE = re.compile(rb"[\x20-\x7e]{1,%d}" % MOST_TRACESTATE).fullmatch

Trace = list[tuple[str, bytes]]
"""The headers, none where there is no trace."""

Continue = Callable[[Headers, str, int, int], Trace]
"""``(headers, topic, partition, offset) -> headers of what follows`` from the record that is there."""


CURRENT: ContextVar[Trace] = ContextVar("trace", default=[])  # noqa: B039 - never changed in place
"""What a client's records carry on."""


@contextmanager
def continuing(trace: Trace) -> Iterator[None]:
    """Let what clients send inside the block belong to a trace: that of ``given``, say."""
    before = CURRENT.set(trace)
    try:
        yield
    finally:
        CURRENT.reset(before)


class Parent(NamedTuple):
    """The span that a record or a request comes from.

    Attributes:
        trace_id, span_id: as numbers.
        flags: whether it is recorded (``SAMPLED``).
        state: its ``tracestate``.
    """

    trace_id: int
    span_id: int
    flags: int
    state: bytes | None


def parent_of(headers: Headers) -> Parent | None:
    """Return the parent among headers, or None where there is none that is valid."""
    for name, value in headers:
        if name == TRACEPARENT:
            found = _PARENT(value or b"")
            if found is None:
                return None
            trace_id, span, flags = (int(part, 16) for part in found.groups())
            return Parent(trace_id, span, flags, dict(headers).get(TRACESTATE))
    return None


def sampled(headers: Headers) -> Parent | None:
    """Return the parent among a record's headers, or None: there is none, or somebody decided not to record it."""
    parent = parent_of(headers) if headers else None
    return parent if parent is not None and parent.flags & SAMPLED else None


def span_id(parent: Parent, reader: str, topic: str, partition: int, offset: int, attempt: int = 0) -> int:
    """Return the id of the span in which ``reader`` processes a record; the same whenever it is asked.

    Args:
        reader: the consumer group.
        attempt: number of an attempt that failed and will be repeated; 0: the last one.
    """
    text = f"{parent.trace_id:032x}-{parent.span_id:016x}/{reader}/{topic}/{partition}/{offset}/{attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) or 1


def headers_of(trace_id: int, span: int, state: bytes | None, flags: int) -> Trace:
    """Return the headers that name a span as the parent of what follows."""
    trace: Trace = [(TRACEPARENT, f"00-{trace_id:032x}-{span:016x}-{flags:02x}".encode())]
    return [*trace, (TRACESTATE, state)] if state else trace


def passed_on(headers: Headers, topic: str, partition: int, offset: int) -> Trace:
    """Continue a trace without a span of one's own: where nobody traces, or the parent is not sampled."""
    return trace_headers(headers)


def continued_by(reader: str) -> Continue:
    """Return what continues the traces of the records that ``reader``, a consumer group, processes."""

    def continued(headers: Headers, topic: str, partition: int, offset: int) -> Trace:
        parent = parent_of(headers)
        if parent is None:
            return []  # there is none, or it is invalid: such a one ends here
        if not parent.flags & SAMPLED:
            return trace_headers(headers)
        span = span_id(parent, reader, topic, partition, offset)
        return headers_of(parent.trace_id, span, parent.state, parent.flags)

    return continued


def given(headers: Mapping[str, str]) -> Trace:
    """Return the trace that somebody outside names, by the headers of an HTTP request; none where it is invalid."""
    parent = headers.get(TRACEPARENT, "").strip().encode("ascii", "replace")
    if _PARENT(parent) is None:
        return []
    state = headers.get(TRACESTATE, "").strip().encode("ascii", "replace")
    return [(TRACEPARENT, parent), *([(TRACESTATE, state)] if _STATE(state) else [])]
