"""Commands that name where a reply is awaited get one: when, which, and where not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from streams.codec import Codec
from streams.outbox import Outgoing
from streams.registry import Registry
from streams.replies import DUPLICATE, REPLY_TO, REQUEST_ID, Replies
from tests.unit.streams.core_world import (
    ACME,
    APP_ID,
    NUMBER,
    PARTITIONS,
    REPLIES,
    SOURCE,
    TARGET,
    Raw,
    Tally,
    World,
    added,
    codec,
    codes,
    headers_of,
    requested,
    retry,
    settings,
)

HERE = f"{REPLIES.name}/0"


def sent_replies(world: World, partition: int = 0) -> list[Outgoing]:
    return world.log.records.get((REPLIES.name, partition), [])


def said(replies: Iterable[Any]) -> list[tuple[str, str]]:
    return [(reply.status, reply.code) for reply in replies]


# --- the answer ---------------------------------------------------------------------------------------------------


def test_a_command_is_answered_with_the_facts_that_were_published() -> None:
    world = World()
    assert world.unit(requested(0, amount=5, event_id="c-1", reply_to=HERE)) == {"done": 1}
    [reply] = world.replies()
    assert (reply.status, reply.code, reply.message) == ("OK", "", "")
    [fact] = reply.facts
    assert (fact.record, fact.topic) == ("sluice.tally.Summed", TARGET.name)
    assert fact.value == world.sent(TARGET.name)[0][1]
    assert codec().decode(fact.value).total == 5


def test_a_reply_is_keyed_by_the_commands_id_and_tells_its_cause_and_correlation() -> None:
    world = World()
    correlated: list[tuple[str, bytes | None]] = [("ce_correlationid", b"r-9"), (REQUEST_ID, b"q-1")]
    world.unit(requested(0, event_id="c-1", reply_to=HERE, headers=correlated))
    [reply] = sent_replies(world)
    headers = headers_of(reply)
    assert reply[0] == b"c-1"
    assert headers["ce_type"] == b"platform.reply"
    assert headers["ce_causationid"] == b"c-1"
    assert headers["ce_correlationid"] == b"r-9"
    assert headers[REQUEST_ID] == b"q-1"
    assert DUPLICATE not in headers


def test_the_reply_is_sent_after_the_state_is_stored_and_the_facts_before_it() -> None:
    world = World()
    world.process(requested(0, reply_to=HERE))
    assert world.partition.replies.keys() == {(REPLIES.name, 0)}
    assert (REPLIES.name, 0) not in world.partition.outputs
    seen: list[int | None] = []
    send = world.log.send

    async def watched(records: Any) -> None:
        if (REPLIES.name, 0) in records:
            seen.append(world.sum_of())
        await send(records)

    world.log.send = watched  # type: ignore[method-assign]
    world.store_unit()
    assert seen == [1]


def test_a_command_that_nobody_waits_for_is_not_answered() -> None:
    world = World()
    world.unit(requested(0, event_id="c-1"))
    assert world.sent(REPLIES.name) == []


def test_an_event_that_is_no_command_is_not_answered() -> None:
    world = World()
    world.unit(added(0, event_id="e-1", headers=[(REPLY_TO, HERE.encode())]))
    assert world.sent(REPLIES.name) == []


def test_a_command_without_facts_is_answered_all_the_same() -> None:
    world = World()
    world.unit(requested(0, kind="nothing", event_id="c-1", reply_to=HERE))
    assert said(world.replies()) == [("OK", "")]
    assert world.replies()[0].facts == ()


def test_a_refusal_is_a_reply_with_its_reason() -> None:
    world = World()
    assert world.unit(requested(0, kind="refuse", event_id="c-1", reply_to=HERE)) == {"rejected": 1}
    [reply] = world.replies()
    assert (reply.status, reply.code) == ("REJECTED", "NO")
    assert [fact.record for fact in reply.facts] == ["sluice.tally.AddedRejected"]


def test_a_command_without_an_event_id_is_answered_under_the_id_in_its_header() -> None:
    world = World()
    world.unit(requested(0, reply_to=HERE, headers=[("ce_id", b"h-1")]))
    assert sent_replies(world)[0][0] == b"h-1"


def test_answers_beyond_what_is_kept_are_forgotten_the_oldest_first_and_their_ids_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    for offset in range(4):
        world.unit(requested(offset, event_id=f"c-{offset}", reply_to=HERE))
    size = len(sent_replies(world)[0][1] or b"")
    monkeypatch.setattr("streams.live.MOST_ANSWER_BYTES", 2 * size)
    world.restart()
    for offset in range(4):
        assert world.unit(requested(4 + offset, event_id=f"c-{offset}", reply_to=HERE)) == {"duplicate": 1}
    again = world.replies()[4:]
    assert [(reply.code, len(reply.facts)) for reply in again] == [("DUPLICATE", 0)] * 2 + [("", 1)] * 2


def test_facts_too_large_for_a_reply_are_named_by_their_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.replies.MOST_FACTS", 50)
    world = World()
    world.unit(requested(0, event_id="c-1", reply_to=HERE))
    [reply] = world.replies()
    assert (reply.status, reply.code, reply.facts) == ("OK", "FACTS_TOO_LARGE", ())
    assert TARGET.name in reply.message


# --- where --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        TARGET.name,
        f"{TARGET.name}/0",
        f"{REPLIES.name}/{PARTITIONS}",
        f"{REPLIES.name}/-1",
        f"{REPLIES.name}/00",
        f"other.{REPLIES.name}/0",
        REPLIES.name,
        "/",
    ],
)
def test_a_place_outside_of_the_topic_of_replies_is_ignored(place: str) -> None:
    world = World()
    assert world.unit(requested(0, reply_to=place)) == {"done": 1}
    assert {topic for topic, _ in world.log.records} == {TARGET.name, "world-tally-changelog"}


@pytest.mark.parametrize("number", range(PARTITIONS))
def test_the_reply_goes_to_the_partition_that_is_named(number: int) -> None:
    world = World()
    world.unit(requested(0, reply_to=f"{REPLIES.name}/{number}"))
    assert said(world.replies(number)) == [("OK", "")]
    assert len(world.sent(REPLIES.name)) == 1


def test_a_request_id_that_is_too_long_to_be_one_does_not_come_back() -> None:
    world = World()
    world.unit(requested(0, reply_to=HERE, headers=[(REQUEST_ID, b"x" * 129)]))
    assert REQUEST_ID not in headers_of(sent_replies(world)[0])


def test_without_a_topic_of_replies_nobody_asks() -> None:
    unprepared = Codec(Registry(settings()))
    assert Replies(unprepared, APP_ID, PARTITIONS).target([(REPLY_TO, HERE.encode())]) is None


# --- repetitions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a reload"])
def test_a_repetition_under_the_business_id_gets_the_first_result(restarted: bool) -> None:
    world = World()
    world.unit(requested(0, amount=5, event_id="c-1", movement_id="m", reply_to=HERE))
    if restarted:
        world.restart()
    again = requested(1, amount=5, event_id="c-2", movement_id="m", reply_to=HERE, sent_s=10)
    assert world.unit(again) == {"duplicate": 1}
    first, second = sent_replies(world)
    assert second[1] == first[1]
    assert (first[0], second[0]) == (b"c-1", b"c-2")
    assert headers_of(second)[DUPLICATE] == b"true"
    assert world.sum_of() == 5
    assert len(world.sent(TARGET.name)) == 1


def test_a_repetition_in_the_same_unit_gets_the_first_result() -> None:
    world = World()
    world.unit(*(requested(offset, event_id="c", reply_to=HERE) for offset in range(3)))
    first, *others = sent_replies(world)
    assert [other[1] for other in others] == [first[1]] * 2
    assert world.sum_of() == 1


def test_a_repetition_under_the_event_id_may_be_made_later() -> None:
    world = World()
    world.unit(requested(0, event_id="c-1", reply_to=HERE))
    assert world.unit(requested(1, event_id="c-1", reply_to=HERE, sent_s=1)) == {"duplicate": 1}
    assert said(world.replies()) == [("OK", ""), ("OK", "")]


@pytest.mark.parametrize("event_id", ["c-1", "c-2"])
def test_another_body_under_a_known_id_fails_and_is_a_dead_letter(event_id: str) -> None:
    world = World()
    movement = "" if event_id == "c-1" else "m"
    world.unit(requested(0, event_id="c-1", movement_id=movement, amount=5, reply_to=HERE))
    other = requested(1, event_id=event_id, movement_id=movement, amount=6, reply_to=HERE)
    assert world.unit(other) == {"dead_lettered": 1}
    assert said(world.replies()) == [("OK", ""), ("FAILED", "DUPLICATE_CONFLICT")]
    assert DUPLICATE not in headers_of(sent_replies(world)[1])
    assert codes(world.dead) == ["DUPLICATE_CONFLICT"]
    assert world.sum_of() == 5


def test_a_repetition_of_what_nobody_had_asked_about_says_that_it_was_applied() -> None:
    world = World()
    world.unit(requested(0, event_id="c-1"))
    world.unit(requested(1, event_id="c-1", reply_to=HERE))
    [reply] = world.replies()
    assert (reply.status, reply.code, reply.facts) == ("OK", "DUPLICATE", ())
    assert headers_of(sent_replies(world)[0])[DUPLICATE] == b"true"


def test_a_refusal_that_is_repeated_is_refused_alike_even_where_it_would_now_be_accepted() -> None:
    world = World()
    for offset in range(2):
        world.unit(requested(offset, kind="refuse", event_id="c-1", reply_to=HERE))
    assert said(world.replies()) == [("REJECTED", "NO"), ("REJECTED", "NO")]
    assert len(world.sent(TARGET.name)) == 1


def test_a_refusal_that_is_a_dead_letter_too_may_be_sent_again() -> None:
    world = World()
    for offset in range(2):
        assert world.unit(requested(offset, kind="late", event_id="c-1", reply_to=HERE)) == {"rejected": 1}
    assert said(world.replies()) == [("REJECTED", "LATE_EVENT")] * 2


def test_the_same_ids_of_two_tenants_are_two_commands() -> None:
    world = World()
    other = next(tenant for tenant in ("t1", "t2", "t3") if tenant != ACME)
    for offset, tenant in enumerate((ACME, other)):
        number = 0
        world.unit(
            requested(offset, tenant, event_id="c-1", movement_id="m", reply_to=f"{REPLIES.name}/{number}")
        )
    assert DUPLICATE not in headers_of(sent_replies(world)[-1])


# --- failures -----------------------------------------------------------------------------------------------------


def test_a_command_whose_rule_fails_gets_a_reply_that_says_so() -> None:
    world = World()
    assert world.unit(requested(0, kind="wrong-value", event_id="c-1", reply_to=HERE)) == {"dead_lettered": 1}
    [reply] = world.replies()
    assert (reply.status, reply.facts) == ("FAILED", ())
    assert reply.code == codes(world.dead)[0]
    assert reply.message


def test_poison_is_answered_under_the_id_in_its_header() -> None:
    world = World()
    headers: list[tuple[str, bytes | None]] = [("ce_id", b"h-1"), (REPLY_TO, HERE.encode())]
    assert world.unit(Raw(0, ACME.encode(), b"no frame", headers=headers)) == {"dead_lettered": 1}
    assert said(world.replies()) == [("FAILED", "NOT_FRAMED")]
    assert sent_replies(world)[0][0] == b"h-1"


def test_a_command_under_a_wrong_key_gets_a_reply_that_says_so() -> None:
    world = World()
    record = requested(0, event_id="c-1", reply_to=HERE)
    record.key = b"somebody-else"
    world.unit(record)
    assert said(world.replies()) == [("FAILED", "KEY_MISMATCH")]


def test_a_command_that_has_to_wait_is_answered_when_it_is_done() -> None:
    world = World()
    world.tally.closed = True
    assert world.unit(requested(0, kind="lookup", event_id="c-1", reply_to=HERE)) == {"parked": 1}
    assert world.replies() == []
    world.tally.closed = False
    world.restart()
    assert retry(world) == {"done": 1}
    assert said(world.replies()) == [("OK", "")]
    assert sent_replies(world)[0][0] == b"c-1"


def test_a_unit_that_is_taken_back_answers_nothing_until_it_is_done_again() -> None:
    world = World()
    record = requested(0, event_id="c-1", reply_to=HERE)
    world.process(record)
    world.partition.rollback()
    assert world.partition.replies == {}
    world.unit(record)
    assert said(world.replies()) == [("OK", "")]
    assert DUPLICATE not in headers_of(sent_replies(world)[0])


def test_a_replay_gives_the_same_reply() -> None:
    records = [requested(0, event_id="c-1", reply_to=HERE), requested(1, kind="refuse", reply_to=HERE)]
    first, second = World(), World()
    for world in (first, second):
        world.unit(*records)
    assert sent_replies(first) == sent_replies(second)


def test_a_command_that_came_to_a_wrong_partition_is_answered_from_the_right_one() -> None:
    tally = Tally()
    wrong = World(number=(NUMBER + 1) % PARTITIONS, tally=tally)
    assert wrong.unit(requested(0, event_id="c-1", reply_to=HERE)) == {"rerouted": 1}
    assert wrong.replies() == []
    [(key, value, headers, timestamp)] = wrong.log.records[SOURCE.name, NUMBER]
    right = World(tally=tally)
    right.unit(Raw(0, key, value, timestamp, headers))
    assert said(right.replies()) == [("OK", "")]
