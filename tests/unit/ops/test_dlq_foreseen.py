"""The dry run says of each event what the pipeline would make of it, and changes only its own copy of the state."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ops.dlq_foreseen import NOT_REACHED, WORKER_STOPS, Foreseen
from ops.dlq_letters import letter_of
from ops.dlq_print import difference, dump, effects
from ops.dlq_producer import original
from ops.dlq_rehearsal import Rehearsal, aggregate_of
from ops.errors import OpsError
from tests.unit.ops.dlq_world import Dead
from tests.unit.streams.core_world import (
    ACME,
    BETA,
    NUMBER,
    PARTITIONS,
    SOURCE,
    TARGET,
    World,
    added,
    at_once,
    codec,
    contents,
    frame,
    requested,
    settings,
)


class Rehearsed(Rehearsal):
    """A rehearsal on a world's partition, where the brokers' part is done."""

    def __init__(self, world: World) -> None:
        self._settings = settings()
        self._topic = SOURCE.name
        self._codec = codec()
        self._partitions = {NUMBER: world.restart()}
        self._ends = dict.fromkeys(range(PARTITIONS), 100)
        self._sent = Counter()
        self._stopped = set()
        self._dead = Dead()

    def of(self, tenant: str = ACME, value: bytes | None = None, **event: Any) -> Foreseen:
        """Return what would come of a letter with an ``Added`` event."""
        sent = frame(tenant, **event) if value is None else value
        stored = self._dead.die(len(self._dead.records), tenant.encode(), sent, partition=NUMBER)
        return at_once(self.foresee(letter_of(stored), stored, original(stored)))


@pytest.fixture
def world() -> World:
    world = World()
    world.unit(added(0, amount=5, event_id="e1"))
    return world


@pytest.fixture
def dry(world: World) -> Rehearsed:
    return Rehearsed(world)


def test_an_event_that_goes_through_shows_its_facts_and_the_records_before_and_after(dry: Rehearsed) -> None:
    found = dry.of(amount=2)
    assert (found.outcome, found.code, found.dead_letter, found.partition) == ("done", "", "", NUMBER)
    [fact] = found.facts
    assert (fact["topic"], fact["record"], fact["key"]) == (TARGET.name, "sluice.tally.Summed", ACME)
    assert fact["event"]["total"] == 7
    assert "event_id" not in fact["event"]
    [change] = found.changes
    assert (change["kind"], change["name"]) == ("Sum", "")
    assert (change["before"]["total"], change["after"]["total"]) == (5, 7)


def test_each_event_finds_what_those_before_it_changed(dry: Rehearsed) -> None:
    totals = [dry.of(amount=amount).changes[0]["after"]["total"] for amount in (1, 2, 3)]
    assert totals == [6, 8, 11]
    [change] = dry.of(BETA, amount=1).changes
    assert change["before"] is None


def test_an_event_that_was_applied_meanwhile_is_a_duplicate_and_changes_nothing(dry: Rehearsed) -> None:
    found = dry.of(amount=5, event_id="e1")
    assert (found.outcome, found.facts, found.changes) == ("duplicate", [], [])
    assert dry.of(amount=1, event_id="e9").outcome == "done"
    assert dry.of(amount=1, event_id="e9").outcome == "duplicate"


def test_a_refusal_shows_its_code_and_whether_it_would_be_a_dead_letter_again(dry: Rehearsed) -> None:
    refused = dry.of(kind="refuse")
    assert (refused.outcome, refused.code, refused.dead_letter) == ("rejected", "NO", "")
    assert [fact["record"] for fact in refused.facts] == ["sluice.tally.AddedRejected"]
    late = dry.of(kind="late")
    assert (late.outcome, late.code, late.dead_letter) == ("rejected", "LATE_EVENT", "LATE_EVENT")


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"value": b"poison"}, "NOT_FRAMED"),
        ({"kind": "wrong-value"}, "VALIDATION_FAILED"),
        ({"kind": "last-fails"}, "VALIDATION_FAILED"),
        ({"kind": "state-overflows"}, "VALIDATION_FAILED"),
        ({"amount": 6, "event_id": "e1"}, "DUPLICATE_CONFLICT"),
    ],
)
def test_an_event_that_would_die_again_shows_why_and_leaves_the_state(
    event: dict[str, Any], code: str, dry: Rehearsed
) -> None:
    found = dry.of(**event)
    assert (found.outcome, found.dead_letter, found.changes) == ("dead_lettered", found.code, [])
    assert found.code == code
    assert found.message
    assert [fact["topic"] for fact in found.facts] == ["events.failed"]
    assert dry.of(amount=1).changes[0]["after"]["total"] == 6


def test_an_event_that_would_have_to_wait_shows_for_what_and_the_next_of_its_key_waits_too(
    world: World, dry: Rehearsed
) -> None:
    world.tally.closed = True
    found = dry.of(kind="lookup")
    assert (found.outcome, found.code) == ("parked", "TEMPORARY_FAILURE")
    assert (dry.of(amount=1).outcome, dry.of(BETA, amount=1).outcome) == ("parked", "done")


def test_timers_that_would_be_set_are_shown(dry: Rehearsed) -> None:
    [timer] = dry.of(kind="timer", amount=1_790_000_060_000).timers
    assert timer == {"name": "", "due": "2026-09-21T14:14:20Z"}


def test_an_event_that_would_stop_the_worker_is_told_and_those_behind_it_are_not_reached(
    dry: Rehearsed,
) -> None:
    found = dry.of(kind="fatal")
    assert (found.outcome, found.message) == (WORKER_STOPS, "the worker cannot go on")
    assert dry.of(amount=1).outcome == NOT_REACHED


def test_nothing_is_sent_and_nothing_is_appended(world: World, dry: Rehearsed) -> None:
    sends, records = len(world.log.sends), {target: len(sent) for target, sent in world.log.records.items()}
    for event in ({"amount": 1}, {"kind": "late"}, {"value": b"poison"}, {"kind": "refuse"}):
        dry.of(**event)
    assert len(world.log.sends) == sends
    assert {target: len(sent) for target, sent in world.log.records.items()} == records


def test_it_says_exactly_what_the_pipeline_then_does(world: World) -> None:
    """The same events through a rehearsal and through a worker's partition: same outcomes, same state."""
    kinds = ["add", "late", "one", "refuse", "named", "wrong-value", "forget", "add"]
    twin = World()
    twin.unit(added(0, amount=5, event_id="e1"))
    dry = Rehearsed(world)
    foreseen = [dry.of(kind=kind, amount=number, event_id=f"r{number}") for number, kind in enumerate(kinds)]
    for number, kind in enumerate(kinds):
        outcomes = twin.unit(added(100 + number, kind=kind, amount=number, event_id=f"r{number}"))
        assert outcomes == {foreseen[number].outcome: 1}
    assert contents(dry._partitions[NUMBER].changelog.store) == contents(twin.store)
    published = [each for found in foreseen for each in found.facts if each["topic"] == TARGET.name]
    assert len(published) == len(twin.sent(TARGET.name)) - 1
    assert len([found for found in foreseen if found.dead_letter]) == len(twin.dead)


def test_a_command_is_known_by_its_business_id_too(dry: Rehearsed) -> None:
    def command(event_id: str) -> Foreseen:
        value = requested(0, amount=1, event_id=event_id, movement_id="m1").value
        return dry.of(value=value)

    assert [command("c1").outcome, command("c2").outcome] == ["done", "duplicate"]


def test_a_topic_that_no_rules_read_cannot_be_tried(world: World) -> None:
    assert aggregate_of(world.index, SOURCE.name).name == "tally"
    with pytest.raises(OpsError, match="No rules of ours read tally"):
        aggregate_of(world.index, TARGET.name)


def test_effects_are_told_in_a_line_each(dry: Rehearsed) -> None:
    lines = list(effects(dry.of(amount=2).as_json()))
    assert lines[0].startswith(f"→ {TARGET.name}[{NUMBER}] Summed ")
    assert lines[1:] == ["~ Sum : total 5 → 7"]
    assert list(effects(dry.of(value=b"poison").as_json()))[-1] == "→ a dead letter: NOT_FRAMED"
    assert difference({"a": 1, "b": 2}, {"a": 1, "b": None}) == "b 2 → null"
    assert difference(None, {"a": 1, "b": None}) == 'new {"a": 1}'
    assert difference({"a": 1}, None) == "removed"


def test_bytes_are_dumped_with_their_characters() -> None:
    assert list(dump(b"\x00Poison\xff")) == [f"000000  {'00 50 6f 69 73 6f 6e ff':47}  .Poison."]
    assert list(dump(bytes(2_050)))[-1] == "... 2 more bytes; --json has all"
    assert list(dump(b"")) == []
