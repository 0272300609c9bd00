"""How each kind of event ends, and that one which fails leaves no trace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from streams.codec import NeedsSchema, Undecodable
from streams.envelope import derived_id
from streams.failures import FatalFailure
from streams.keys import key_of
from streams.partition import REROUTED, Unstorable
from tests.unit.streams.core_world import (
    ACME,
    BETA,
    ELSEWHERE,
    IDS,
    NUMBER,
    PARTITIONS,
    SOURCE,
    START_MS,
    TARGET,
    Raw,
    World,
    added,
    codec,
    codes,
    contents,
    frame,
    headers_of,
    home_of,
    requested,
    tenant_and_kind,
)

# --- done ---------------------------------------------------------------------------------------------------------


def test_an_event_changes_the_state_and_its_fact_is_published_under_a_derived_id() -> None:
    world = World()
    assert world.unit(added(7, amount=5, event_id="e-1")) == {"done": 1}
    assert world.sum_of() == 5
    [fact] = world.sent(TARGET.name)
    assert codec().decode(fact[1]).total == 5
    headers = headers_of(fact)
    assert headers["ce_id"] == derived_id(SOURCE.name, NUMBER, 7, 1).encode()
    assert headers["ce_causationid"] == b"e-1"
    assert fact[0] == ACME.encode()
    assert fact[3] == START_MS + 7


def test_the_time_a_rule_sees_is_the_brokers_append_time() -> None:
    world = World()
    world.unit(added(0, timestamp=START_MS + 123))
    [fact] = world.sent(TARGET.name)
    assert codec().decode(fact[1]).timestamp == datetime.fromtimestamp(START_MS / 1000 + 0.123, UTC)


def test_the_position_says_which_offset_is_in_the_state() -> None:
    world = World()
    world.unit(added(3), added(4, BETA))
    assert world.partition.changelog.position.sources == {f"{SOURCE.name}-{NUMBER}": 4}


def test_an_event_that_changes_nothing_is_done() -> None:
    world = World()
    assert world.unit(added(0, kind="nothing")) == {"done": 1}
    assert world.state == {}


def test_records_are_deleted_by_the_rules() -> None:
    world = World()
    world.unit(added(0, kind="named", amount=4))
    assert len(world.state) == 2
    world.unit(added(1, kind="forget", amount=4))
    assert world.state == {}


def test_trace_headers_are_passed_on() -> None:
    world = World()
    world.unit(added(0, headers=[("traceparent", b"00-1-2-03"), ("x-own", b"1")]))
    headers = headers_of(world.sent(TARGET.name)[0])
    assert headers["traceparent"] == b"00-1-2-03"
    assert "x-own" not in headers


# --- refused and repeated -----------------------------------------------------------------------------------------


def test_a_refused_event_is_counted_as_rejected_and_is_no_dead_letter() -> None:
    world = World()
    assert world.unit(added(0, kind="refuse")) == {"rejected": 1}
    assert len(world.sent(TARGET.name)) == 1
    assert world.dead == []


def test_a_refusal_that_asks_for_it_also_gives_a_dead_letter() -> None:
    world = World()
    assert world.unit(added(0, kind="late")) == {"rejected": 1}
    assert codes(world.dead) == ["LATE_EVENT"]


@pytest.mark.parametrize("together", [True, False])
def test_a_duplicate_event_is_counted_once(together: bool) -> None:
    world = World()
    first, second = added(0, event_id="e", amount=5), added(1, event_id="e", amount=5)
    if together:
        assert world.unit(first, second) == {"done": 1, "duplicate": 1}
    else:
        world.unit(first)
        world.restart()
        assert world.unit(second) == {"duplicate": 1}
    assert world.sum_of() == 5
    assert len(world.sent(TARGET.name)) == 1


def test_the_id_in_the_header_serves_where_the_event_has_none() -> None:
    world = World()
    header: list[tuple[str, bytes | None]] = [("ce_id", b"h-1")]
    assert world.unit(added(0, headers=header), added(1, headers=header)) == {"done": 1, "duplicate": 1}


def test_events_without_any_id_are_all_counted() -> None:
    world = World()
    assert world.unit(added(0), added(1)) == {"done": 2}
    assert world.sum_of() == 2


@pytest.mark.parametrize("event", [added, requested])
@pytest.mark.parametrize("warm", [False, True], ids=["first of its key", "later"])
def test_rules_know_an_event_without_an_id_by_its_header_or_its_place(event: Any, warm: bool) -> None:
    world = World()
    if warm:
        world.unit(added(0))
    named = event(6, headers=[("ce_id", b"h-1")])
    world.unit(event(5), named)
    causes = [headers_of(fact)["ce_causationid"] for fact in world.sent(TARGET.name)]
    assert causes[-2:] == [derived_id(SOURCE.name, NUMBER, 5, "source").encode(), b"h-1"]


@pytest.mark.parametrize(
    ("headers", "tenant"), [([], "default"), ([("ce_tenantid", ACME.encode())], ACME)], ids=["none", "header"]
)
def test_an_event_without_a_tenant_is_its_headers_or_the_default_ones(
    headers: list[tuple[str, bytes | None]], tenant: str
) -> None:
    world = World(number=home_of(tenant))
    record = Raw(5, tenant.encode(), frame(""), headers=headers)
    assert world.unit(record, Raw(6, tenant.encode(), frame(""), headers=headers)) == {"done": 2}
    assert world.sum_of(tenant) == 2
    assert {headers_of(fact)["ce_tenantid"] for fact in world.sent(TARGET.name)} == {tenant.encode()}


def test_another_event_under_the_same_id_is_a_conflict() -> None:
    world = World()
    outcomes = world.unit(added(0, event_id="e", amount=5), added(1, event_id="e", amount=6))
    assert outcomes == {"done": 1, "dead_lettered": 1}
    assert codes(world.dead) == ["DUPLICATE_CONFLICT"]
    assert world.sum_of() == 5


def test_two_tenants_may_use_the_same_id() -> None:
    world = World()
    assert world.unit(added(0, ACME, event_id="e"), added(1, BETA, event_id="e")) == {"done": 2}


def test_the_rules_recall_the_memo_of_an_event() -> None:
    world = World()
    world.unit(added(0, event_id="e", kind="one", amount=5))
    world.restart()
    world.process(added(1))
    state = world.partition._states.by_key[ACME.encode()]
    assert state.recall("e") == "memo-5"
    assert state.recall("other") is None


def test_the_rules_recall_that_an_event_was_refused() -> None:
    world = World()
    assert world.unit(added(0, kind="refuse", event_id="e")) == {"rejected": 1}
    state = world.partition._states.by_key[ACME.encode()]
    assert state.recall("e") == "refused"
    assert world.unit(added(1, kind="refuse", event_id="e")) == {"duplicate": 1}


def test_a_refused_event_that_is_a_dead_letter_too_may_be_sent_again_under_its_id() -> None:
    world = World()
    for offset in range(2):
        assert world.unit(added(offset, kind="late", event_id="e")) == {"rejected": 1}
    assert codes(world.dead) == ["LATE_EVENT"] * 2


@pytest.mark.parametrize("timestamp", [-1, 10**15, 2**62])
def test_a_made_up_timestamp_stops_nothing(timestamp: int) -> None:
    world = World()
    assert world.unit(added(0, timestamp=timestamp), added(1, kind="crash", timestamp=timestamp)) == {
        "done": 1,
        "dead_lettered": 1,
    }


def test_a_failed_event_may_come_again_under_its_id() -> None:
    world = World()
    assert world.unit(added(0, kind="crash", event_id="e")) == {"dead_lettered": 1}
    assert world.unit(added(1, kind="add", event_id="e")) == {"done": 1}


# --- poison -------------------------------------------------------------------------------------------------------

UNKNOWN_ID = b"\0" + (10**6).to_bytes(4, "big")
OTHERS_RECORD = b"\0" + IDS["sluice.tally.Summed"].to_bytes(4, "big") + frame(ACME)[5:]

POISON: dict[str, tuple[Raw, Any]] = {
    "MISSING_KEY": (Raw(1, None, frame(ACME)), None),
    "MISSING_KEY of an empty key": (Raw(1, b"", frame(ACME)), None),
    "MISSING_KEY of a record without anything": (Raw(1, None, None), None),
    "MISSING_KEY that nobody can decode now": (Raw(1, None, UNKNOWN_ID), NeedsSchema(10**6)),
    "VALIDATION_FAILED of a key with a NUL": (Raw(1, b"a\0b", frame(ACME)), None),
    "KEY_MISMATCH": (Raw(1, BETA.encode(), frame(ACME)), None),
    "KEY_MISMATCH of bytes that are no text": (Raw(1, b"\xff\xfe", frame(ACME)), None),
    "NULL_VALUE": (Raw(1, ACME.encode(), None), None),
    "NOT_FRAMED": (Raw(1, ACME.encode(), b"{}"), None),
    "UNDECODABLE": (Raw(1, ACME.encode(), frame(ACME)[:-1]), None),
    "UNKNOWN_SCHEMA_ID": (
        Raw(1, ACME.encode(), UNKNOWN_ID),
        Undecodable("UNKNOWN_SCHEMA_ID", "it is not there"),
    ),
    "UNKNOWN_RECORD": (
        Raw(1, ACME.encode(), codec().encode(codec().decode(frame(ACME)), SOURCE.name)),
        object(),
    ),
    "OVERSIZED": (added(1, event_id="e" * 2000), None),
    "VALIDATION_FAILED": (added(1, kind="wrong-value"), None),
    "INVARIANT_VIOLATION": (added(1, kind="crash"), None),
    "VALIDATION_FAILED of the last of several facts": (added(1, kind="last-fails"), None),
}


@pytest.mark.parametrize("known", [True, False], ids=["key known", "key new"])
@pytest.mark.parametrize("case", POISON)
def test_poison_becomes_a_dead_letter_with_its_code_and_disturbs_nobody(case: str, known: bool) -> None:
    world = World(max_event_bytes=1024)
    if known:
        world.unit(added(0))
    record, event = POISON[case]
    event = codec().decode(record.value) if event is None else event
    before = dict(world.state)
    world.partition.process(SOURCE.name, [record], [event])
    assert world.store_unit() == {"dead_lettered": 1}
    assert codes(world.dead) == [case.split(maxsplit=1)[0]]
    assert world.state == before
    assert world.unit(added(2)) == {"done": 1}


@pytest.mark.parametrize("case", POISON)
def test_a_dead_letter_keeps_key_value_and_headers_byte_for_byte(case: str) -> None:
    world = World(max_event_bytes=1024)
    given, event = POISON[case]
    own: list[tuple[str, bytes | None]] = [("a", b"\xff"), ("a", None), ("ce_id", b"x")]
    record = Raw(given.offset, given.key, given.value, given.timestamp, own)
    event = codec().decode(record.value) if event is None else event
    world.partition.process(SOURCE.name, [record], [event])
    world.store_unit()
    [letter] = world.dead
    assert letter[:2] == (record.key, record.value)
    assert letter[2][:3] == own
    headers = headers_of(letter)
    assert headers["sluice.dlq.id"] == f"{SOURCE.name}/{NUMBER}/1".encode()
    assert headers["sluice.dlq.attempts"] == b"1"
    assert headers["__streams.errors.offset"] == b"1"


def test_a_dead_letter_is_reported_without_its_payload() -> None:
    world = World()
    world.unit(added(4, kind="crash", event_id="e-9"))
    [report] = world.sent("events.failed")
    failed = codec().decode(report[1])
    assert (failed.error.code, failed.error.retryable) == ("INVARIANT_VIOLATION", False)
    assert failed.error.details["attempts"] == "1"
    assert (failed.original.topic, failed.original.partition, failed.original.offset) == (
        SOURCE.name,
        NUMBER,
        4,
    )
    assert (failed.original.event_id, failed.original.record) == ("e-9", "sluice.tally.Added")
    assert failed.tenant_id == ACME


def test_a_dead_letter_without_key_is_reported_under_the_default_tenant() -> None:
    world = World()
    world.unit(Raw(0, None, None))
    [report] = world.sent("events.failed")
    assert report[0] == b"default"


def test_a_rule_of_several_facts_of_which_the_last_fails_leaves_no_trace() -> None:
    world = World()
    world.unit(added(0, kind="named", amount=1))
    before = contents(world.store)
    world.process(added(1, amount=10), added(2, kind="last-fails", event_id="e"), added(3, amount=20))
    world.store_unit()
    assert world.sum_of() == 31
    assert {key for key in contents(world.store)} == set(before)
    assert len(world.sent(TARGET.name)) == 3


def test_a_fatal_failure_stops_the_worker() -> None:
    world = World()
    with pytest.raises(FatalFailure):
        world.process(added(0, kind="fatal"))


def test_a_state_that_cannot_be_stored_is_reported_before_anything_is_sent() -> None:
    world = World()
    world.process(added(0, kind="state-overflows"))
    with pytest.raises(Unstorable):
        world.partition.raw_changes()


def test_done_again_carefully_only_the_event_that_spoils_the_state_is_dead() -> None:
    world = World()
    records = [added(0), added(1, kind="state-overflows"), added(2, amount=4)]
    world.process(*records)
    world.partition.rollback()
    world.partition.careful = True
    assert world.unit(*records) == {"done": 2, "dead_lettered": 1}
    assert world.sum_of() == 5
    assert len(world.sent(TARGET.name)) == 2


# --- rerouted -----------------------------------------------------------------------------------------------------


def test_a_record_in_a_foreign_partition_is_forwarded_to_its_own_once() -> None:
    world = World()
    assert world.unit(added(5, ELSEWHERE, headers=[("x", b"1")])) == {"rerouted": 1}
    assert world.state == {}
    [(target, [forwarded])] = world.log.sends[0].items()
    assert target == (SOURCE.name, home_of(ELSEWHERE))
    assert forwarded[:2] == (ELSEWHERE.encode(), frame(ELSEWHERE))
    assert forwarded[2][0] == ("x", b"1")
    assert headers_of(forwarded)[REROUTED] == f"{SOURCE.name}/{NUMBER}/5".encode()


def test_a_record_forwarded_twice_is_counted_once() -> None:
    foreign, home = World(), World(number=home_of(ELSEWHERE))
    for _ in range(2):
        foreign.process(added(5, ELSEWHERE))
        [(_, [forwarded])] = foreign.partition.outputs.items()
        foreign.partition.rollback()
        offset = len(home.log.records)
        home.unit(Raw(offset, forwarded[0], forwarded[1], START_MS, list(forwarded[2])))
    assert home.sum_of(ELSEWHERE) == 1


@pytest.mark.parametrize("away", [0, 1], ids=["at home", "elsewhere"])
def test_a_key_that_lacks_its_tenant_is_forwarded_once_under_the_whole_key(away: int) -> None:
    whole = key_of("acme & co", "add")
    home = home_of(whole)
    world = World(number=(home + away) % PARTITIONS, key=tenant_and_kind)
    short = requested(5, "acme & co", headers=[("x", b"1"), ("ce_partitionkey", b"add")])
    short.key = b"add"
    assert world.unit(short) == {"rerouted": 1}
    assert world.state == {}
    [(target, [forwarded])] = world.log.sends[0].items()
    assert (target, forwarded[:2]) == ((SOURCE.name, home), (whole.encode(), short.value))
    assert headers_of(forwarded) == {
        "x": b"1",
        "ce_partitionkey": whole.encode(),
        REROUTED: f"{SOURCE.name}/{world.number}/5".encode(),
        "ce_id": derived_id(SOURCE.name, world.number, 5, "source").encode(),
    }
    right = World(number=home, key=tenant_and_kind)
    again = [Raw(offset, forwarded[0], forwarded[1], START_MS, list(forwarded[2])) for offset in (6, 7)]
    assert right.unit(*again) == {"done": 1, "duplicate": 1}
    assert right.sum_of(whole) == 1


def test_the_id_of_a_record_that_lacks_its_tenant_stays() -> None:
    world = World(key=tenant_and_kind)
    world.unit(Raw(5, b"add", frame(ACME), headers=[("ce_id", b"own")]))
    [forwarded] = world.sent(SOURCE.name)
    assert [value for name, value in forwarded[2] if name == "ce_id"] == [b"own"]


@pytest.mark.parametrize(
    "key", ["one", f"{BETA}|add", f"{ACME}|one", "|add", "add|", ACME, f"{ACME}|{ACME}|add"]
)
def test_a_key_that_lacks_more_than_its_tenant_is_dead(key: str) -> None:
    world = World(key=tenant_and_kind)
    assert world.unit(Raw(5, key.encode(), frame(ACME))) == {"dead_lettered": 1}
    assert codes(world.dead) == ["KEY_MISMATCH"]


def test_a_key_that_lacks_its_tenant_and_was_forwarded_is_dead() -> None:
    world = World(key=tenant_and_kind)
    assert world.unit(Raw(5, b"add", frame(ACME), headers=[(REROUTED, b"t/0/1")])) == {"dead_lettered": 1}
    assert codes(world.dead) == ["KEY_MISMATCH"]


def test_in_a_tenant_that_is_the_whole_key_nothing_divides_a_tenant_off() -> None:
    world = World()
    assert world.unit(Raw(5, BETA.encode(), frame(f"{ACME}|{BETA}"))) == {"dead_lettered": 1}
    assert codes(world.dead) == ["KEY_MISMATCH"]


def test_a_record_that_was_forwarded_and_is_wrong_again_is_dead() -> None:
    world = World()
    assert world.unit(added(5, ELSEWHERE, headers=[(REROUTED, b"t/0/1")])) == {"dead_lettered": 1}
    assert codes(world.dead) == ["KEY_MISMATCH"]
