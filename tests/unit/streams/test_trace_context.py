"""Which trace a record belongs to, and what continues it."""

from __future__ import annotations

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st

from streams.trace_context import (
    CURRENT,
    continued_by,
    continuing,
    given,
    parent_of,
    passed_on,
    sampled,
    span_id,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = ("traceparent", f"00-{TRACE}-{SPAN}-01".encode())
UNSAMPLED = ("traceparent", f"00-{TRACE}-{SPAN}-00".encode())
STATE = ("tracestate", b"vendor=1")


def test_a_sampled_parent_is_found_among_other_headers() -> None:
    parent = sampled([("ce_id", b"1"), STATE, PARENT])
    assert parent is not None
    assert (f"{parent.trace_id:032x}", f"{parent.span_id:016x}", parent.state) == (TRACE, SPAN, b"vendor=1")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-01-more".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
    ],
)
def test_what_is_no_parent_is_none(value: bytes) -> None:
    assert parent_of([("traceparent", value)]) is None
    assert given({"traceparent": value.decode()}) == []


def test_a_parent_that_nobody_records_costs_no_span() -> None:
    assert sampled([UNSAMPLED]) is None
    assert parent_of([UNSAMPLED]) is not None
    assert sampled([]) is None


def test_what_follows_names_the_span_of_its_cause_and_is_the_same_every_time() -> None:
    continued = continued_by("sluice")
    first = continued([PARENT, STATE], "stock.commands", 3, 17)
    assert first == continued([STATE, PARENT, ("ce_id", b"1")], "stock.commands", 3, 17)
    parent = parent_of(first)
    assert parent is not None
    assert (f"{parent.trace_id:032x}", parent.state) == (TRACE, b"vendor=1")
    assert parent.span_id == span_id(parent_of([PARENT]), "sluice", "stock.commands", 3, 17)  # type: ignore[arg-type]
    others = [
        continued([PARENT], "stock.commands", 3, 18),
        continued([PARENT], "stock.commands", 2, 17),
        continued([PARENT], "alerts", 3, 17),
        continued_by("senders")([PARENT], "stock.commands", 3, 17),
    ]
    assert len({dict(each)["traceparent"] for each in (first, *others)}) == 5


def test_what_is_not_recorded_is_passed_on_as_it_is() -> None:
    headers = [("ce_id", b"1"), UNSAMPLED, STATE]
    assert continued_by("sluice")(headers, "t", 0, 0) == [UNSAMPLED, STATE]
    assert passed_on([PARENT, STATE], "t", 0, 0) == [PARENT, STATE]
    assert continued_by("sluice")([("ce_id", b"1")], "t", 0, 0) == []


def test_attempts_have_spans_of_their_own() -> None:
    parent = parent_of([PARENT])
    assert parent is not None
    assert len({span_id(parent, "g", "t", 0, 0, attempt) for attempt in range(4)}) == 4


@generated(st.text(), st.text())
def test_whatever_a_stranger_sends_gives_a_valid_trace_or_none(parent: str, state: str) -> None:
    assert given({"traceparent": parent, "tracestate": state}) == []
    trace = given({"traceparent": PARENT[1].decode(), "tracestate": state})
    assert trace[0] == PARENT
    assert all(value.decode("ascii").isprintable() for _, value in trace)


def test_a_trace_is_continued_inside_of_the_block_alone() -> None:
    with continuing([PARENT]):
        assert CURRENT.get() == [PARENT]
    assert CURRENT.get() == []
