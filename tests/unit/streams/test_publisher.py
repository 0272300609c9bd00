"""Facts become records: under an id that a replay makes again, with the key of their row, in its own partition."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from streams.envelope import derived_id
from streams.publisher import Publisher, header
from streams.topics import EVENTS_FAILED
from tests.unit.streams.core_world import (
    ACME,
    APP_ID,
    NUMBER,
    PARTITIONS,
    SOURCE,
    TARGET,
    Added,
    Noted,
    Sum,
    Summed,
    Tally,
    added,
    codec,
    headers_of,
    home_of,
    index_of,
)

AT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def publisher() -> Publisher:
    return Publisher(index_of(Tally()), codec(), PARTITIONS, APP_ID)


def published(publisher: Publisher, fact: Any, record: Any = None, **options: Any) -> Any:
    record = record or added(7)
    event = codec().decode(record.value)
    found = publisher.publish(fact, SOURCE.name, NUMBER, record, 2, event, **options)
    assert found is not None
    return found


def test_a_fact_without_an_id_gets_the_one_of_its_cause_and_place(publisher: Publisher) -> None:
    target, outgoing = published(publisher, Summed(AT, ACME, 5))
    wanted = derived_id(SOURCE.name, NUMBER, 7, 2)
    assert codec().decode(outgoing[1]) == Summed(AT, ACME, 5, wanted)
    assert headers_of(outgoing)["ce_id"] == wanted.encode()
    assert target == (TARGET.name, home_of(ACME))


def test_a_fact_keeps_its_own_id(publisher: Publisher) -> None:
    _, outgoing = published(publisher, Summed(AT, ACME, 5, "own"))
    assert codec().decode(outgoing[1]).event_id == "own"
    assert headers_of(outgoing)["ce_id"] == b"own"


def test_publishing_again_gives_the_same_bytes(publisher: Publisher) -> None:
    other = Publisher(index_of(Tally()), codec(), PARTITIONS, APP_ID)
    assert published(publisher, Summed(AT, ACME, 5)) == published(other, Summed(AT, ACME, 5))


def test_a_fact_that_has_no_output_is_not_published(publisher: Publisher) -> None:
    assert publisher.publish(Noted("", Sum(1), ""), SOURCE.name, NUMBER, added(7), 0, None) is None


def test_a_key_may_be_given(publisher: Publisher) -> None:
    (_, partition), outgoing = published(publisher, Summed(AT, ACME, 5), key=b"t2")
    assert (partition, outgoing[0]) == (home_of("t2"), b"t2")


def test_cause_and_correlation_are_told(publisher: Publisher) -> None:
    record = added(7, event_id="cause", headers=[("ce_correlationid", b"all"), ("tracestate", b"s")])
    headers = headers_of(published(publisher, Summed(AT, ACME, 5), record)[1])
    assert headers["ce_causationid"] == b"cause"
    assert headers["ce_correlationid"] == b"all"
    assert headers["tracestate"] == b"s"
    alone = headers_of(published(publisher, Summed(AT, ACME, 5), added(7, event_id="cause"))[1])
    assert alone["ce_correlationid"] == b"cause"


def test_a_command_keeps_its_id_and_one_without_gets_the_same_every_time(publisher: Publisher) -> None:
    for event_id in ("own", ""):
        command = Added(AT, ACME, "one", 1, event_id)
        first, second = (publisher.command(command, SOURCE.name, b"k", b"name", 5) for _ in range(2))
        assert first[:3] == second[:3]
        wanted = event_id or derived_id(f"{SOURCE.name}/k", 0, 5, "name")
        assert codec().decode(first[1]).event_id == wanted


def test_the_partitions_of_keys_are_remembered_within_bounds(publisher: Publisher) -> None:
    prepared = publisher.prepared[Summed]
    for number in range(3):
        prepared.home(str(number).encode())
    assert len(prepared.homes) == 3
    prepared.homes = {str(number).encode(): (TARGET.name, 0) for number in range(100_001)}
    assert prepared.home(ACME.encode()) == (TARGET.name, home_of(ACME))
    assert len(prepared.homes) == 1


def test_a_header_is_read_by_its_name() -> None:
    headers = [("a", b"\xff"), ("b", None), ("c", b"1"), ("c", b"2")]
    assert [header(headers, name) for name in "abcd"] == ["\ufffd", None, "1", None]
    assert header([], "a") is None


def test_failures_go_to_their_topic(publisher: Publisher) -> None:
    assert {each.topic for each in publisher.prepared.values()} == {TARGET.name, EVENTS_FAILED.name}
