"""The nine steps: what is sent, stored and gated, in which order, and what happens when one of them fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from faust.types import TP

from streams import pipeline as module
from streams.arrivals import Arrivals
from streams.changelog import ChangelogTaken
from streams.failures import Failure, FatalFailure, RetryPolicy
from streams.hang import HangGuard
from streams.metrics import Metrics
from streams.outbox import Outgoing, Target
from streams.parking import Retries
from streams.pipeline import HEARTBEAT_S, IDLE_S, Pipeline
from streams.tracing import open_tracing
from streams.transport import Backlog, PartitionBatch
from streams.units import Unit
from tests.unit.streams.core_world import (
    ACME,
    APP_ID,
    BETA,
    NUMBER,
    PARTITIONS,
    SOURCE,
    START_MS,
    TARGET,
    Log,
    Raw,
    Tally,
    World,
    added,
    codec,
    codes,
    settings,
    tenants_of,
)

TP1 = TP(SOURCE.name, NUMBER)
OTHER = 2
[ELSE] = tenants_of(OTHER, 1)


class Aborted(Exception):
    """The process would have ended."""


class Journal(Log):
    """A log that notes the order of what is sent, and lets a test step in between."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.after_outputs: Any = None

    async def send(self, records: Mapping[Target, Sequence[Outgoing]]) -> None:
        await super().send(records)
        self.notes.append("outputs")
        if self.after_outputs is not None:
            self.after_outputs()

    async def send_atomically(self, target: Target, records: Sequence[Outgoing], limit: int) -> int:
        base = await super().send_atomically(target, records, limit)
        self.notes.append("state")
        return base


class Thread:
    def __init__(self) -> None:
        self.rewinds: list[Mapping[TP, int]] = []

    async def rewind(self, offsets: Mapping[TP, int]) -> None:
        self.rewinds.append(dict(offsets))


class Consumer:
    def __init__(self) -> None:
        self.thread = Thread()
        self._unacked_messages: set[Any] = set()


class Gate(dict[TP, int]):
    """The gate, which notes when it is set."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self._notes = notes

    def __setitem__(self, tp: TP, offset: int) -> None:
        self._notes.append("gate")
        super().__setitem__(tp, offset)


class App:
    """What a pipeline asks of the app."""

    def __init__(self, **given: Any) -> None:
        self.settings = settings(**given)
        self.consumer_generation_id = 1
        self.log = Journal()
        self.outputs = self.log
        self.gate = Gate(self.log.notes)
        self.codec = codec()
        self.metrics = Metrics(APP_ID, "1")
        self.hang = HangGuard(30)
        self.backlog = Backlog(1_000)
        self.arrivals = Arrivals()
        self.consumer = self.gated_consumer = Consumer()
        self.acked = 0
        self.tracing = open_tracing(self.settings)

    def abort(self, error: BaseException) -> None:
        raise Aborted from error

    def notify_acked(self) -> None:
        self.acked += 1


class Clock:
    """A clock that stands until a test moves it on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """A pipeline that owns two partitions."""

    def __init__(self, **given: Any) -> None:
        self.app = App(**given)
        self.tally = Tally()
        self.clock = Clock()
        self.pipeline = Pipeline(cast(Any, self.app), "tally", self.clock)
        self.worlds = [World(number=n, tally=self.tally, log=self.app.log, **given) for n in (NUMBER, OTHER)]
        for world in self.worlds:
            self.pipeline.own(world.partition)
            self.pipeline.start_at(TP(SOURCE.name, world.number), 0)

    def unit(self, *batches: PartitionBatch) -> Unit:
        unit = Unit()
        unit.batches.extend(batches)
        return unit

    async def process(self, *batches: PartitionBatch) -> None:
        await self.pipeline.process(self.unit(*batches))
        await self.pipeline.settle()

    def totals(self) -> list[int]:
        return [codec().decode(value).total for _, value, _, _ in self.worlds[0].sent(TARGET.name)]

    @property
    def events(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for family in self.app.metrics.collect():
            for sample in family.samples if family.name == "sluice_events_processed" else ():
                found[sample.labels["outcome"]] += int(sample.value)
        return dict(found)


def batch(*records: Raw, number: int = NUMBER, generation: int = 1) -> PartitionBatch:
    return PartitionBatch(TP(SOURCE.name, number), records, generation)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_LOOK_S", 0.0)


async def test_outputs_are_sent_before_the_state_and_the_gate_opens_last() -> None:
    worker = Worker()
    await worker.process(batch(added(0), added(1, BETA)))
    assert worker.app.log.notes == ["outputs", "state", "gate"]
    assert worker.app.gate == {TP1: 2}
    assert worker.worlds[0].sum_of() == 1
    assert worker.app.acked == 1
    assert worker.app.consumer._unacked_messages == set()


async def test_a_unit_over_two_partitions_stores_each_in_its_own_changelog() -> None:
    worker = Worker()
    await worker.process(batch(added(0)), batch(added(0, ELSE, amount=3), number=OTHER))
    assert worker.app.log.notes.count("state") == 2
    assert worker.worlds[0].sum_of(ACME) == 1
    assert worker.worlds[1].sum_of(ELSE) == 3
    assert worker.app.gate == {TP1: 1, TP(SOURCE.name, OTHER): 1}


async def test_a_unit_without_outputs_sends_only_state() -> None:
    worker = Worker()
    await worker.process(batch(added(0, kind="one")))
    assert worker.app.log.notes == ["state", "gate"]


async def test_batches_of_an_older_generation_are_left_to_their_new_owner() -> None:
    worker = Worker()
    await worker.process(batch(added(0), generation=0))
    assert worker.app.log.notes == []
    await worker.process(batch(added(0)))
    assert worker.totals() == [1]


async def test_a_new_generation_after_the_outputs_leaves_the_state_and_the_gate_alone() -> None:
    worker = Worker()

    def rebalance() -> None:
        worker.app.consumer_generation_id = 2

    worker.app.log.after_outputs = rebalance
    await worker.process(batch(added(0)))
    assert worker.app.log.notes == ["outputs"]
    assert worker.app.gate == {}
    assert worker.worlds[0].partition.counts == {}
    assert worker.worlds[0].sum_of() is None


async def test_after_a_new_generation_nothing_more_of_the_queue_is_processed() -> None:
    worker = Worker(unit_records=1)

    def rebalance() -> None:
        worker.app.consumer_generation_id = 2
        worker.pipeline.disown()

    worker.app.log.after_outputs = rebalance
    await worker.process(batch(added(0), added(1), added(2)))
    assert worker.app.log.notes == ["outputs"]


async def test_a_partition_that_was_given_away_is_not_processed() -> None:
    worker = Worker()
    worker.pipeline.disown()
    await worker.process(batch(added(0)))
    assert worker.app.log.notes == []


async def test_large_queues_are_done_in_units_that_keep_the_order() -> None:
    worker = Worker(unit_records=3)
    await worker.process(batch(*[added(i) for i in range(5)]), batch(*[added(i) for i in range(5, 8)]))
    assert worker.totals() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert worker.app.log.notes.count("state") == 3
    assert worker.app.gate == {TP1: 8}


async def test_missing_records_are_read_again_and_a_hole_of_the_log_is_accepted() -> None:
    worker = Worker()
    await worker.process(batch(added(2), added(3)), batch(added(4)))
    assert worker.app.consumer.thread.rewinds == [{TP1: 0}]
    assert worker.app.log.notes == []
    await worker.process(batch(added(2), added(3)), batch(added(4)))
    assert worker.app.consumer.thread.rewinds == [{TP1: 0}]
    assert worker.totals() == [1, 2, 3]
    assert worker.app.gate == {TP1: 5}


async def test_each_partition_with_missing_records_is_named_in_the_fields_of_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Worker()
    await worker.process(batch(added(0)))
    await worker.process(batch(added(2)), batch(added(3), number=OTHER))
    found = [vars(line) for line in caplog.records if "missing" in line.message]
    assert [
        {name: line.get(name) for name in ("agent", "topic", "partition", "offset")} for line in found
    ] == [
        {"agent": "tally", "topic": SOURCE.name, "partition": NUMBER, "offset": 1},
        {"agent": "tally", "topic": SOURCE.name, "partition": OTHER, "offset": 0},
    ]


async def test_a_unit_whose_state_does_not_fit_is_halved_until_it_does() -> None:
    worker = Worker(changelog_max_bytes=2**20)
    records = [added(i, kind="state-is-large", amount=400_000, event_id=f"e{i}") for i in range(2)]
    others = [added(2 + i, BETA, kind="state-is-large", amount=400_000) for i in range(2)]
    large = [
        added(4 + i, tenant, "state-is-large", 400_000) for i, tenant in enumerate(tenants_of(NUMBER, 6)[2:])
    ]
    await worker.process(batch(*records, *others, *large))
    assert worker.worlds[0].sum_of(ACME) == 800_000
    assert worker.app.gate == {TP1: 8}
    assert worker.events == {"done": 8}
    assert len(worker.worlds[0].sent(TARGET.name)) == 8


async def test_one_event_with_too_much_state_ends_the_worker_with_the_remedy() -> None:
    worker = Worker(changelog_max_bytes=2**20)
    with pytest.raises(Aborted) as caught:
        await worker.process(batch(added(0, kind="state-is-large", amount=2**21)))
    assert "SLUICE_CHANGELOG_MAX_BYTES" in str(caught.value.__cause__)
    assert worker.app.gate == {}


async def test_an_event_whose_state_cannot_be_stored_is_dead_and_the_others_of_its_unit_are_done() -> None:
    worker = Worker()
    await worker.process(batch(added(0), added(1, kind="state-overflows"), added(2, amount=4)))
    assert worker.totals() == [1, 5]
    assert len(codes(worker.worlds[0].dead)) == 1
    assert worker.events == {"done": 2, "dead_lettered": 1}
    assert not worker.worlds[0].partition.careful


async def test_an_owner_that_was_replaced_ends_without_opening_the_gate() -> None:
    worker = Worker()
    worker.app.log.records[worker.worlds[0].changelog] = [(b"somebody", b"", [], 0)]
    with pytest.raises(Aborted) as caught:
        await worker.process(batch(added(0)))
    assert isinstance(caught.value.__cause__, ChangelogTaken)
    assert worker.app.gate == {}
    assert worker.worlds[0].sum_of() is None


async def test_any_error_ends_the_worker_and_none_reaches_the_agent() -> None:
    worker = Worker()

    def fail() -> None:
        raise RuntimeError

    worker.app.log.after_outputs = fail
    with pytest.raises(Aborted):
        await worker.process(batch(added(0)))
    assert worker.app.consumer._unacked_messages == set()


async def test_a_cancelled_unit_leaves_no_trace() -> None:
    worker = Worker()

    def cancel() -> None:
        raise asyncio.CancelledError

    worker.app.log.after_outputs = cancel
    with pytest.raises(asyncio.CancelledError):
        await worker.process(batch(added(0)))
    assert worker.worlds[0].partition.outputs == {}
    worker.app.log.after_outputs = None
    worker.worlds[0].restart()
    worker.pipeline.own(worker.worlds[0].partition)
    worker.pipeline.start_at(TP1, 0)
    await worker.process(batch(added(0)))
    assert worker.totals() == [1, 1]
    assert len({value for _, value, _, _ in worker.worlds[0].sent(TARGET.name)}) == 1


# --- what is due --------------------------------------------------------------------------------------------------


async def test_what_waits_is_tried_again_when_it_is_due_and_the_rest_of_a_long_queue_later() -> None:
    worker = Worker(unit_records=4)
    world = worker.worlds[0]
    park(world, *[added(i, amount=i) for i in range(6)])
    park(world, *[added(10 + i, BETA) for i in range(6)])
    await worker.process()
    assert worker.events["done"] == 4
    await worker.process()
    await worker.process()
    assert worker.events["done"] == 12
    assert world.sum_of() == 15
    assert len(world.partition.parked) == 0


def park(world: World, *records: Raw) -> None:
    """Let records wait that are due at once."""
    now = Retries(RetryPolicy(initial_delay_seconds=0.0))
    for record in records:
        parked = now.first(SOURCE.name, NUMBER, record, Failure("retryable", "TIMEOUT", ""))
        assert parked is not None
        assert record.key is not None
        world.partition.parked.append(record.key, parked)
    world.store_unit()


async def test_waiting_events_whose_state_does_not_fit_together_are_done_one_after_the_other() -> None:
    worker = Worker(changelog_max_bytes=2**20)
    world = worker.worlds[0]
    tenants = tenants_of(NUMBER, 4)
    for number, tenant in enumerate(tenants):
        park(world, added(number, tenant, "state-is-large", 400_000))
    for _ in range(4):
        await worker.process()
    assert [world.sum_of(tenant) for tenant in tenants] == [400_000] * 4
    assert worker.events == {"done": 4}


async def test_a_waiting_event_whose_state_cannot_be_stored_is_dead_and_its_followers_go_on() -> None:
    worker = Worker()
    park(worker.worlds[0], added(0, kind="state-overflows"), added(1, amount=7))
    await worker.process()
    assert worker.worlds[0].sum_of() == 7
    assert worker.events == {"done": 1, "dead_lettered": 1}


async def idle(worker: Worker, seconds: float) -> None:
    """Let time pass in which nothing arrives, and the loop looks as often as it does then."""
    for _ in range(round(seconds / IDLE_S)):
        worker.clock.now += IDLE_S
        await worker.process()


async def test_an_idle_owner_writes_its_position_now_and_then() -> None:
    worker = Worker()
    await idle(worker, HEARTBEAT_S)
    assert worker.app.log.notes == []
    await idle(worker, IDLE_S)
    assert worker.app.log.notes == ["state", "state"]
    worker.app.log.records[worker.worlds[0].changelog].append((b"somebody", b"", [], 0))
    with pytest.raises(Aborted):
        await idle(worker, HEARTBEAT_S + IDLE_S)


async def test_a_worker_that_was_paused_and_replaced_stops_nobody_before_it_hears_of_it() -> None:
    paused = Worker()
    await paused.process()
    owner = World(number=NUMBER, log=paused.app.log)
    assert await owner.partition.changelog.claim("owner", PARTITIONS, [], START_MS)
    owner.unit(added(0))
    paused.clock.now += 100 * HEARTBEAT_S
    for _ in range(3):  # what was queued meanwhile comes at once
        await paused.process()
    paused.pipeline.disown()
    assert owner.unit(added(1)) == {"done": 1}, "a foreign write would have raised ChangelogTaken"
    assert owner.sum_of() == 2


async def test_a_worker_that_was_paused_and_still_owns_goes_on_writing_its_position() -> None:
    worker = Worker()
    await worker.process()
    worker.clock.now += 100 * HEARTBEAT_S
    await worker.process()
    await idle(worker, HEARTBEAT_S)
    assert worker.app.log.notes == []
    await idle(worker, IDLE_S)
    assert worker.app.log.notes == ["state", "state"]


async def test_a_due_command_is_sent_to_its_own_partition_and_again_until_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIMER_REPEAT_MS", 0)
    worker = Worker()
    await worker.process(batch(added(0, kind="timer", amount=START_MS)))
    await worker.process()
    sent = worker.app.log.records[SOURCE.name, NUMBER]
    assert len(sent) == 2
    assert sent[0][:3] == sent[1][:3]
    key, value, _, _ = sent[0]
    record = Raw(1, key, value)
    await worker.process(batch(record))
    await worker.process()
    assert len(sent) == 2
    assert worker.worlds[0].sum_of() == 0


async def test_only_so_many_commands_are_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMERS_AT_ONCE", 2)
    worker = Worker()
    tenants = tenants_of(NUMBER, 5)
    await worker.process(batch(*[added(i, tenant, "timer", START_MS) for i, tenant in enumerate(tenants)]))
    sent = worker.app.log.records[SOURCE.name, NUMBER]
    assert len(sent) == 2
    await worker.process()
    await worker.process()
    assert sorted(key.decode() for key, _, _, _ in sent if key) == sorted(tenants)


async def test_a_timer_whose_rule_fails_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    await worker.process(
        batch(added(0, kind="timer", amount=START_MS + 1), added(1, BETA, "timer", START_MS))
    )
    [(key, _, _, _)] = worker.app.log.records[SOURCE.name, NUMBER]
    assert key == BETA.encode()
    assert "ValueError" in caplog.text
    assert ACME not in caplog.text


# --- the agent's loop ---------------------------------------------------------------------------------------------


class Delivered:
    def __init__(self, value: PartitionBatch) -> None:
        self.value = value
        self.message = object()


class Queue(asyncio.Queue[Any]):
    """A queue that ends as Faust's does."""

    async def get(self) -> Any:
        item = await super().get()
        if item is None:
            raise StopAsyncIteration
        return item


class Channel:
    def __init__(self) -> None:
        self.queue = Queue()


class Stream:
    def __init__(self) -> None:
        self.channel = Channel()


async def test_a_unit_takes_all_that_is_queued_up_to_its_size() -> None:
    worker, stream = Worker(unit_records=3), Stream()
    for number in range(4):
        stream.channel.queue.put_nowait(Delivered(batch(added(number * 2), added(number * 2 + 1))))
    units = worker.pipeline.units(stream)
    assert [len(await anext(units)) for _ in range(2)] == [4, 4]


async def test_an_empty_unit_comes_when_nothing_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.001)
    units = Worker().pipeline.units(Stream())
    assert len(await anext(units)) == 0


async def test_the_loop_ends_when_the_stream_does() -> None:
    worker, stream = Worker(), Stream()
    stream.channel.queue.put_nowait(None)
    assert [unit async for unit in worker.pipeline.units(stream)] == []


async def test_records_that_arrive_within_the_linger_meet_in_one_unit() -> None:
    worker, stream = Worker(linger_s=0.2), Stream()
    stream.channel.queue.put_nowait(Delivered(batch(added(0))))
    asyncio.get_running_loop().call_later(0.01, stream.channel.queue.put_nowait, Delivered(batch(added(1))))
    assert len(await anext(worker.pipeline.units(stream))) == 2


async def test_a_fatal_failure_names_the_remedy() -> None:
    worker = Worker()
    with pytest.raises(Aborted) as caught:
        await worker.process(batch(added(0, kind="fatal")))
    assert isinstance(caught.value.__cause__, FatalFailure)


async def test_the_next_unit_is_decided_and_sent_while_the_state_of_the_last_one_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Worker()
    world = worker.worlds[0]
    held, append = asyncio.Event(), world.partition.changelog.append

    async def append_when_let(*arguments: Any) -> None:
        await held.wait()
        await append(*arguments)

    monkeypatch.setattr(world.partition.changelog, "append", append_when_let)
    await worker.pipeline.process(worker.unit(batch(added(0))))
    second = asyncio.ensure_future(worker.pipeline.process(worker.unit(batch(added(1)))))
    while len(world.sent(TARGET.name)) < 2:
        await asyncio.sleep(0)
    assert worker.totals() == [1, 2], "the second output is decided on the first one's state"
    assert not worker.app.gate, "nothing may be committed before the state is acknowledged"
    held.set()
    await second
    await worker.pipeline.settle()
    assert world.sum_of() == 2
