"""Effects happen once: what is claimed, what is doubted, what is answered, what is committed (contracts 3.4, N57)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from streams import effects_orders
from streams.codec import Undecodable
from streams.effects_lanes import Gate, Lane, claimed
from streams.effects_orders import AT_ONCE, WINDOW
from streams.failures import FatalFailure
from tests.unit.streams.effects_world import HERE, START, Broker, running, until

Patch = pytest.MonkeyPatch


async def test_every_order_is_performed_and_answered_before_its_offset_is_committed(
    monkeypatch: Patch,
) -> None:
    broker = Broker()
    for number in range(250):
        broker.order(f"o{number}")
    async with running(broker, monkeypatch) as world:
        await until(lambda: broker.position == 250)
        assert sorted(world.names) == sorted(f"o{number}" for number in range(250))
        assert not any(doubtful for _, doubtful in world.performed)
        assert len(broker.answers) == 250
        assert world.most <= AT_ONCE
    for (topic, partition), (key, _, _, _) in broker.answers:
        assert (topic, partition) == ("notification.commands", 0)
        assert key is not None
        assert key.startswith(b"t|o")
    assert broker.read_answers == 0, "who has no doubt reads nothing"
    assert broker.committed[-1] == (250, "claimed=249")


async def test_what_is_not_acknowledged_is_not_committed(monkeypatch: Patch) -> None:
    broker = Broker()
    broker.hold_answers = asyncio.Event()
    for number in range(3):
        broker.order(f"o{number}")
    async with running(broker, monkeypatch) as world:
        await until(lambda: len(world.performed) == 3)
        assert {position for position, _ in broker.committed} == {0}
        broker.hold_answers.set()
        await until(lambda: broker.position == 3)


async def test_nothing_is_begun_before_it_is_claimed(monkeypatch: Patch) -> None:
    broker = Broker()
    claims: list[int] = []
    async with running(broker, monkeypatch) as world:

        async def count() -> None:
            claims.append(len(world.performed))

        broker.on_commit = count
        broker.order("o0")
        await until(lambda: broker.position == 1)
    assert claims[0] == 0
    assert broker.committed[0] == (0, "claimed=0")


async def test_orders_of_one_key_are_performed_one_after_the_other_and_others_beside_them(
    monkeypatch: Patch,
) -> None:
    broker = Broker()
    for number in range(4):
        broker.order(f"a{number}", key="a")
        broker.order(f"b{number}", key="b")
    async with running(broker, monkeypatch) as world:
        world.hold = asyncio.Event()
        await until(lambda: world.begun == 2)
        assert world.names == ["a0", "b0"]
        world.hold.set()
        await until(lambda: broker.position == 8)
        for key in "ab":
            assert [name for name in world.names if name[0] == key] == [f"{key}{n}" for n in range(4)]


async def test_urgent_orders_go_before_others_that_wait(monkeypatch: Patch) -> None:
    broker = Broker()
    for number in range(AT_ONCE):
        broker.order(f"first{number}")
    for name, priority in (("low", "LOW"), ("normal", "NORMAL"), ("high", "HIGH")):
        broker.order(name, priority=priority)
    async with running(broker, monkeypatch) as world:
        world.hold = asyncio.Event()
        await until(lambda: world.begun == AT_ONCE)
        world.hold.set()
        await until(lambda: broker.position == AT_ONCE + 3)
        assert world.names[AT_ONCE:] == ["high", "normal", "low"]


async def test_a_slow_order_holds_up_no_more_than_a_window(monkeypatch: Patch) -> None:
    broker = Broker()
    for number in range(3 * WINDOW):
        broker.order(f"o{number}")
    async with running(broker, monkeypatch) as world:
        world.fail = {}
        slow = asyncio.Event()
        perform = world.perform

        async def with_a_slow_one(order: object, doubtful: bool) -> object:
            if getattr(order, "event_id", "") == "o0":
                await slow.wait()
            return await perform(order, doubtful)

        world.effects._perform = with_a_slow_one
        await until(lambda: len(world.performed) > WINDOW)
        assert broker.position == 0
        slow.set()
        await until(lambda: broker.position == 3 * WINDOW)


async def test_after_a_crash_what_was_claimed_and_not_answered_is_doubtful(monkeypatch: Patch) -> None:
    """N57: the provider was called, and the worker died before its report."""
    broker = Broker()
    for number in range(5):
        broker.order(f"o{number}")
    broker.committed.append((1, "claimed=3"))
    broker.answered = {"o2"}
    async with running(broker, monkeypatch) as world:
        await until(lambda: broker.position == 5)
        assert dict(world.performed) == {"o1": True, "o3": True, "o4": False}
    assert broker.answered_names() == ["o1", "o3", "o4"]
    assert world.effects.counts == {"known": 1, "answered": 3}
    assert broker.read_answers == 1


async def test_after_an_orderly_stop_nothing_is_doubtful(monkeypatch: Patch) -> None:
    broker = Broker()
    broker.order("o0")
    async with running(broker, monkeypatch):
        await until(lambda: broker.position == 1)
    broker.order("o1")
    async with running(broker, monkeypatch) as world:
        await until(lambda: broker.position == 2)
        assert world.performed == [("o1", False)]
    assert broker.read_answers == 0


async def test_a_stop_waits_for_what_has_begun_and_leaves_the_rest(monkeypatch: Patch) -> None:
    broker = Broker()
    for number in range(AT_ONCE + 5):
        broker.order(f"o{number}")
    async with running(broker, monkeypatch) as world:
        world.hold = asyncio.Event()
        await until(lambda: world.begun == AT_ONCE)
        asyncio.get_running_loop().call_later(0.02, world.hold.set)
    assert len(broker.answers) == AT_ONCE
    assert broker.committed[-1] == (AT_ONCE, f"claimed={AT_ONCE - 1}")
    async with running(broker, monkeypatch) as world:
        await until(lambda: broker.position == AT_ONCE + 5)
        assert world.performed == [(f"o{number}", False) for number in range(AT_ONCE, AT_ONCE + 5)]


async def test_what_a_stop_cuts_off_is_doubtful_to_the_next_one(monkeypatch: Patch) -> None:
    monkeypatch.setattr(effects_orders, "DRAIN_S", 0.01)
    broker = Broker()
    broker.order("o0")
    async with running(broker, monkeypatch) as world:
        world.hold = asyncio.Event()
        await until(lambda: world.begun == 1)
    assert broker.committed[-1] == (0, "claimed=0")
    async with running(broker, monkeypatch) as world:
        await until(lambda: broker.position == 1)
        assert world.performed == [("o0", True)]


async def test_orders_that_a_rebuild_repeats_are_not_carried_out_again(monkeypatch: Patch) -> None:
    """N57: the state is rebuilt; its orders come again under their old ids and times."""
    broker = Broker()
    for number in range(3):
        broker.order(f"o{number}")
    async with running(broker, monkeypatch) as world:
        await until(lambda: broker.position == 3)
        for number in range(3):
            broker.order(f"o{number}", decided=START - timedelta(minutes=5))
        broker.order("new", decided=START - timedelta(minutes=5))
        await until(lambda: broker.position == 7)
        assert world.names == ["o0", "o1", "o2", "new"]
        assert world.effects.counts["known"] == 3
    assert broker.read_answers == 1, "once is enough"


async def test_two_copies_of_one_late_order_are_one_effect(monkeypatch: Patch) -> None:
    broker = Broker()
    for _ in range(2):
        broker.order("late", decided=START - timedelta(minutes=5))
    async with running(broker, monkeypatch) as world:
        await until(lambda: broker.position == 2)
        assert world.names == ["late"]


async def test_partitions_that_are_taken_away_during_a_claim_begin_nothing(monkeypatch: Patch) -> None:
    broker = Broker()
    async with running(broker, monkeypatch) as world:

        async def taken_away() -> None:
            broker.on_commit = None
            asyncio.get_running_loop().call_soon(
                lambda: tasks.append(
                    asyncio.ensure_future(world.consumers[0].listener.on_partitions_revoked([HERE]))
                )
            )
            await asyncio.sleep(0.01)

        tasks: list[asyncio.Future[None]] = []
        broker.on_commit = taken_away
        broker.order("o0")
        await until(lambda: tasks and tasks[0].done())
        assert world.performed == []
        assert broker.position == 0, "the next owner finds it"


async def test_a_claim_that_fails_begins_nothing_and_is_made_again(monkeypatch: Patch) -> None:
    broker = Broker()
    broker.refuse_commits = 2
    broker.order("o0")
    async with running(broker, monkeypatch) as world:
        await until(lambda: broker.position == 1)
        assert world.performed == [("o0", False)]
        assert len(world.consumers) >= 2
        assert world.consumers[0].stopped


async def test_a_worker_that_was_paused_asks_before_it_begins_what_it_claimed(monkeypatch: Patch) -> None:
    broker = Broker()
    for number in range(AT_ONCE + 1):
        broker.order(f"o{number}")
    async with running(broker, monkeypatch) as world:
        world.hold = asyncio.Event()
        await until(lambda: world.begun == AT_ONCE)
        lane = world.effects._orders._lanes[HERE]
        lane.claimed_at -= world.app.settings.session_timeout_s
        broker.refuse_commits = 1
        world.hold.set()
        await until(lambda: broker.position == AT_ONCE + 1)
        assert len(world.consumers) == 2, "the claim was refused, and everything is asked anew"
        assert world.names.count("o0") == 1


async def test_what_nobody_can_read_is_a_dead_letter_and_the_rest_goes_on(monkeypatch: Patch) -> None:
    broker = Broker()
    broker.append(Undecodable("UNDECODABLE", "the body is not what schema 7 says"), "bad")
    broker.order("o1")
    async with running(broker, monkeypatch) as world:
        await until(lambda: broker.position == 2)
        assert world.names == ["o1"]
    topics = [topic for (topic, _), _ in broker.answers]
    assert sorted(topics) == ["events.failed", "notification.commands", "notification.deliveries.dlq"]


async def test_a_defect_in_performing_makes_a_dead_letter_and_stops_nobody(monkeypatch: Patch) -> None:
    broker = Broker()
    broker.order("o0")
    broker.order("o1")
    async with running(broker, monkeypatch) as world:
        world.fail = {"o0": KeyError("ada@lovelace.example")}
        await until(lambda: broker.position == 2)
        assert world.effects.counts == {"dead_lettered": 1, "answered": 1}
        assert world.app.aborted == []
    assert b"lovelace" not in repr(broker.answers).encode()


async def test_a_failure_that_concerns_the_process_ends_it(monkeypatch: Patch) -> None:
    broker = Broker()
    broker.order("o0")
    async with running(broker, monkeypatch) as world:
        world.fail = {"o0": FatalFailure("the broker refused a batch")}
        await until(lambda: world.app.aborted)
        assert broker.position == 0
        assert world.app.about.items() >= {"partition": 0, "offset": 0, "event_id": "o0"}.items()


async def test_the_metrics_say_how_orders_end_and_how_many_wait(monkeypatch: Patch) -> None:
    broker = Broker()
    broker.order("o0")
    async with running(broker, monkeypatch) as world:
        await until(lambda: broker.position == 1)
        families = {family.name: family for family in world.app.metrics.collect()}
    [sample] = families["sluice_effects"].samples
    assert (sample.labels, sample.value) == ({"service": "senders", "outcome": "answered"}, 1)
    [under_way] = families["sluice_effects_under_way"].samples
    assert under_way.value == 0


@pytest.mark.parametrize(
    ("metadata", "offset"), [("claimed=7", 7), ("", -1), (None, -1), ("claimed=x", -1), ("7", -1)]
)
def test_a_claim_is_read_from_a_commits_metadata(metadata: str | None, offset: int) -> None:
    assert claimed(metadata) == offset


def test_a_claim_covers_what_may_begin_or_what_has_begun() -> None:
    lane = Lane(doubtful=-1, next=10)
    lane.unfinished = {7: None, 8: None, 9: None}
    lane.begun = 8
    assert (lane.position, lane.claim(ahead=True), lane.claim(ahead=False)) == (7, "claimed=9", "claimed=8")
    lane.unfinished = {9: None}
    assert (lane.position, lane.claim(ahead=False)) == (9, "claimed=8")
    lane.unfinished = {}
    assert (lane.position, lane.claim(ahead=False)) == (10, "claimed=9")


async def test_a_place_given_to_somebody_who_left_goes_to_the_next() -> None:
    gate = Gate(1)
    await gate.enter(0)
    left, stays = (asyncio.create_task(gate.enter(0)) for _ in range(2))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    gate.leave()
    await asyncio.wait_for(stays, 1)
    late = asyncio.create_task(gate.enter(0))
    await asyncio.sleep(0)
    gate.leave()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    await asyncio.wait_for(gate.enter(0), 1)
