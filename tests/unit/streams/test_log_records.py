"""Log lines about records: which ones there are, what they carry, and what they never show."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streams.log_records import MOST_PER_UNIT, PER_SECOND, Notes, RecordLog
from streams.logs import configure
from tests.unit.streams.core_world import (
    ACME,
    ELSEWHERE,
    LATER,
    NUMBER,
    SOURCE,
    Raw,
    World,
    added,
    frame,
    requested,
    settings,
)

TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What was logged as JSON, with the logging of the test runner put back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure(settings(log_json=True))
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers, level = before
    root.setLevel(level)


def written(world: World, record_log: RecordLog | None = None) -> None:
    """Store the unit in hand and write its notes, as the pipeline does."""
    notes = world.partition.notes
    world.store_unit()
    (record_log or RecordLog("tally")).write([notes])


def test_a_dead_letter_is_told_with_its_record_and_reason_in_fields(lines: Lines) -> None:
    world = World()
    record = requested(7, kind="wrong-value", event_id="e-1", headers=[("ce_correlationid", b"c-1"), TRACE])
    world.process(record, added(8))
    assert lines() == [], "nothing is told before it is stored"
    written(world)
    [line] = lines()
    assert line.pop("timestamp")
    assert line.pop("event").startswith("an event became a dead letter: the rules cannot take this event")
    assert line == {
        "level": "error",
        "logger": "streams.log_records",
        "topic": SOURCE.name,
        "partition": NUMBER,
        "offset": 7,
        "event_id": "e-1",
        "event_type": "tally.add.requested",
        "correlation_id": "c-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "agent": "tally",
        "outcome": "dead_lettered",
        "attempt": 1,
        "code": "VALIDATION_FAILED",
    }


def test_a_parked_key_its_followers_each_retry_and_the_end_are_told(lines: Lines) -> None:
    world = World()
    world.tally.closed = True
    world.process(added(1, kind="lookup"), added(2))
    written(world)
    for key in world.partition.parked.due(LATER):
        world.partition.process_waiting(key, 10)
    written(world)
    world.tally.closed = False
    for key in world.partition.parked.due(LATER):
        world.partition.process_waiting(key, 10)
    written(world)
    told = [(line["outcome"], line["offset"], line["attempt"], line.get("code")) for line in lines()]
    assert told == [
        ("parked", 1, 1, "TEMPORARY_FAILURE"),
        ("parked", 2, 0, "SEQUENCE_PARKED"),
        ("postponed", 1, 2, "TEMPORARY_FAILURE"),
        ("released", 1, 3, None),
        ("released", 2, 1, None),
    ]
    assert all(line["due"] for line in lines() if line["outcome"] in ("parked", "postponed"))


def test_a_refusal_that_is_a_dead_letter_and_a_rerouted_event_are_told(lines: Lines) -> None:
    world = World()
    world.process(added(1, kind="late", event_id="e-1"), added(2, tenant=ELSEWHERE))
    written(world)
    told = [(line["outcome"], line["offset"], line.get("code")) for line in lines()]
    assert told == [("dead_lettered", 1, "LATE_EVENT"), ("rerouted", 2, None)]


def test_a_unit_that_is_taken_back_tells_nothing(lines: Lines) -> None:
    world = World()
    world.process(added(1, kind="wrong-value"))
    world.partition.rollback()
    written(world)
    assert lines() == []


def test_no_line_shows_a_key_or_a_value(lines: Lines) -> None:
    world = World()
    poison = [Raw(1, b"secret key", b"x"), Raw(2, None, b"x"), Raw(3, b"secret", frame(ACME))]
    world.process(*poison, added(4, kind="wrong-value"))
    written(world)
    assert [line["code"] for line in lines()] == [
        "NOT_FRAMED",
        "MISSING_KEY",
        "KEY_MISMATCH",
        "VALIDATION_FAILED",
    ]
    assert "secret" not in str(lines())
    assert ACME not in [word for line in lines() for word in str(line).split("'")]


def test_an_id_that_a_producer_made_up_cannot_break_a_line(lines: Lines) -> None:
    world = World()
    world.process(added(1, kind="wrong-value", event_id="e\n\x1b[31m" + "x" * 1000))
    written(world)
    [line] = lines()
    assert line["event_id"].startswith("e\\n\\x1b[31mxxx")
    assert len(line["event_id"]) < 250


def test_a_flood_of_poison_is_counted_and_not_written(lines: Lines) -> None:
    now = 100.0
    record_log, world = RecordLog("tally", lambda: now), World()
    for unit in range(10):
        world.process(*[added(1000 * unit + n, kind="wrong-value") for n in range(2 * MOST_PER_UNIT)])
        written(world, record_log)
    assert len(lines()) == PER_SECOND
    now += 0.03
    world.process(added(100_000, kind="wrong-value"))
    written(world, record_log)
    [told, last] = lines()[PER_SECOND:]
    assert told["event"].startswith(f"{20 * MOST_PER_UNIT - PER_SECOND} further events of tally")
    assert last["offset"] == 100_000


def test_events_that_go_through_leave_no_notes() -> None:
    world = World()
    world.process(*[added(offset) for offset in range(1, 100)], requested(100))
    assert (world.partition.notes.kept, world.partition.notes.left_out) == ([], 0)
    assert Notes().kept == []


def test_fields_of_libraries_stay_out_of_the_log(lines: Lines) -> None:
    logging.getLogger("somebody.elses").warning("look", extra={"data": {"key": "secret"}, "topic": "t"})
    [line] = lines()
    assert line["topic"] == "t"
    assert "data" not in line
