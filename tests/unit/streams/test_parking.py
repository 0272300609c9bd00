"""A key that must wait keeps its order, and what waited ends as if it had not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import accumulate

from streams.codec import NeedsSchema
from tests.unit.streams.core_world import (
    ACME,
    BETA,
    ELSEWHERE,
    NUMBER,
    SOURCE,
    START_MS,
    TARGET,
    Raw,
    World,
    added,
    codec,
    codes,
    frame,
    headers_of,
    retry,
)


def test_a_key_that_must_wait_is_parked_with_its_followers_and_the_others_go_on() -> None:
    world = World()
    world.tally.closed = True
    outcomes = world.unit(added(0, kind="lookup"), added(1), added(2, BETA), added(3, kind="refuse"))
    assert outcomes == {"parked": 3, "done": 1}
    assert world.sum_of(ACME) is None
    assert world.sum_of(BETA) == 1
    world.restart()
    assert world.unit(added(4)) == {"parked": 1}
    assert world.partition.parked.count(ACME.encode()) == 4


def test_what_waited_is_done_in_order_as_if_it_had_not_waited() -> None:
    records = [added(0, kind="lookup", amount=2, event_id="e"), added(1, amount=3), added(2, amount=4)]
    straight, waited = World(), World()
    straight.unit(*records)
    waited.tally.closed = True
    waited.unit(*records)
    waited.tally.closed = False
    waited.restart()
    assert retry(waited) == {"done": 3}
    assert waited.sent(TARGET.name) == straight.sent(TARGET.name)
    assert waited.state == straight.state
    assert len(waited.partition.parked) == 0
    assert waited.unit(added(3, kind="lookup", amount=2, event_id="e")) == {"duplicate": 1}


def test_a_retry_that_fails_waits_longer_and_the_last_one_gives_a_dead_letter_while_the_followers_go_on() -> (
    None
):
    world = World()
    world.tally.closed = True
    world.unit(added(0, kind="lookup", headers=[("x", b"1")]), added(1, amount=5))
    first = world.partition.parked.head(ACME.encode()).parked
    assert retry(world) == {"postponed": 1}
    second = world.partition.parked.head(ACME.encode()).parked
    assert (first.attempt, second.attempt) == (1, 2)
    assert second.due - datetime.now(UTC) > timedelta(seconds=0.5)
    assert second.first_failure == first.first_failure
    assert retry(world) == {"dead_lettered": 1, "done": 1}
    assert codes(world.dead) == ["TEMPORARY_FAILURE"]
    headers = headers_of(world.dead[0])
    assert headers["sluice.dlq.attempts"] == b"3"
    assert headers["sluice.dlq.first-failure"] == first.first_failure.isoformat().encode()
    assert world.dead[0][:2] == (ACME.encode(), frame(ACME, "lookup"))
    assert world.dead[0][2][0] == ("x", b"1")
    assert world.sum_of() == 5
    error = codec().decode(world.sent("events.failed")[0][1]).error
    assert (error.code, error.retryable, error.retry_after_ms) == ("TEMPORARY_FAILURE", True, 250)
    assert error.details == {
        "agent": "tally",
        "attempts": "3",
        "exception": "streams.failures.RetryableFailure",
    }


def test_a_follower_that_fails_itself_has_all_its_attempts() -> None:
    world = World(retry="no_retry")
    world.tally.closed = True
    assert world.unit(added(0, kind="lookup")) == {"dead_lettered": 1}
    assert headers_of(world.dead[0])["sluice.dlq.attempts"] == b"1"
    world = World()
    world.tally.closed = True
    world.unit(added(0, kind="lookup"), added(1, kind="lookup"))
    retry(world)
    assert retry(world) == {"dead_lettered": 1, "postponed": 1}
    assert world.partition.parked.head(ACME.encode()).parked.attempt == 1


def test_poison_among_the_followers_is_dead_when_its_turn_comes() -> None:
    world = World()
    world.tally.closed = True
    world.unit(added(0, kind="lookup"), Raw(1, ACME.encode(), b"x"), added(2, kind="crash"), added(3))
    assert world.dead == []
    world.tally.closed = False
    assert retry(world) == {"done": 2, "dead_lettered": 2}
    assert codes(world.dead) == ["NOT_FRAMED", "INVARIANT_VIOLATION"]


def test_only_so_many_events_wait_for_a_key() -> None:
    world = World(park_max_events=2)
    world.tally.closed = True
    outcomes = world.unit(added(0, kind="lookup"), added(1), added(2), added(3, BETA))
    assert outcomes == {"parked": 2, "dead_lettered": 1, "done": 1}
    assert codes(world.dead) == ["SEQUENCE_PARKED"]


def test_only_so_many_waiting_events_are_tried_at_once_and_the_rest_follows_in_order() -> None:
    world = World()
    world.tally.closed = True
    world.unit(added(0, kind="lookup"), *[added(i, amount=i) for i in range(1, 6)])
    world.tally.closed = False
    assert world.partition.process_waiting(ACME.encode(), 4) == 4
    assert world.store_unit() == {"done": 4}
    assert world.unit(added(6)) == {"parked": 1}
    assert retry(world) == {"done": 3}
    totals = [codec().decode(value).total for _, value, _, _ in world.sent(TARGET.name)]
    assert totals == [1, 2, 4, 7, 11, 16, 17]


def test_letters_replayed_behind_a_thousand_of_their_key_go_in_order_once_and_the_key_waits_no_more() -> None:
    """Scenario N43: what was too much to wait is replayed, while the key still waits and new events arrive."""
    events = [added(i, kind="add" if i else "lookup", amount=i + 1, event_id=f"e{i}") for i in range(1003)]
    world = World()
    world.tally.closed = True
    assert world.unit(*events[:1002]) == {"parked": 1000, "dead_lettered": 2}
    assert codes(world.dead) == ["SEQUENCE_PARKED"] * 2
    world.tally.closed = False
    world.partition.process_waiting(ACME.encode(), 400)
    assert world.store_unit() == {"done": 400}

    def replayed(offset: int) -> list[Raw]:
        letters = enumerate(world.dead, start=offset)
        return [Raw(at, key, value, headers=list(headers)) for at, (key, value, headers, _) in letters]

    new = Raw(1005, events[1002].key, events[1002].value)
    assert world.unit(*replayed(1003), new) == {"parked": 3}
    world.restart()
    assert retry(world) == {"done": 603}
    totals = [codec().decode(value).total for _, value, _, _ in world.sent(TARGET.name)]
    assert totals == list(accumulate(range(1, 1004)))
    assert (len(world.partition.parked), retry(world)) == (0, {})
    assert world.unit(*replayed(1006)) == {"duplicate": 2}


def test_an_outage_of_the_registry_uses_up_no_attempts() -> None:
    world = World()
    record = Raw(0, ACME.encode(), b"\0" + (10**6).to_bytes(4, "big"))
    world.partition.process(SOURCE.name, [record], [NeedsSchema(10**6)])
    assert world.store_unit() == {"parked": 1}
    for _ in range(10):
        assert retry(world) == {"postponed": 1}
    assert world.partition.parked.head(ACME.encode()).parked.attempt == 0


def test_a_record_in_a_foreign_partition_that_had_to_wait_is_forwarded_afterwards() -> None:
    world = World()
    value = frame(ELSEWHERE)
    world.partition.process(SOURCE.name, [Raw(0, ELSEWHERE.encode(), value)], [NeedsSchema(1)])
    assert world.store_unit() == {"parked": 1}
    assert retry(world) == {"rerouted": 1}


def test_ids_of_events_that_waited_over_a_restart_are_remembered() -> None:
    world = World()
    world.tally.closed = True
    world.unit(added(0, BETA, event_id="b"), added(1, kind="lookup", event_id="e"))
    world.tally.closed = False
    world.restart()
    retry(world)
    world.unit(added(2, BETA))
    world.unit(added(3, BETA))
    assert world.unit(added(4, kind="lookup", event_id="e")) == {"duplicate": 1}


# --- timers


def test_a_due_record_gives_the_same_command_every_time() -> None:
    world = World()
    world.unit(added(0, kind="timer", amount=START_MS + 10))
    assert world.partition.timers.pop_due(START_MS + 9, 10) == []
    world.restart()
    [(record, due)] = world.partition.timers.pop_due(START_MS + 10, 10)
    commands = [world.partition.command(record, due) for _ in range(2)]
    targets = [target for target, _ in commands]
    assert targets == [(SOURCE.name, NUMBER)] * 2
    [first, second] = [outgoing for _, outgoing in commands]
    assert first[:3] == second[:3]
    assert codec().decode(first[1]).event_id == f"due-{START_MS + 10}"


def test_a_record_that_is_no_longer_due_has_no_timer() -> None:
    world = World()
    world.unit(added(0, kind="timer", amount=START_MS))
    world.unit(added(1))
    assert world.partition.timers.pop_due(START_MS, 10) == []
    world.restart()
    assert world.partition.timers.pop_due(START_MS, 10) == []
