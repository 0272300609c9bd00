"""Whoever reads a changelog finds what its owners wrote, whatever others wrote in between, and however it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import changelog as module
from streams.changelog import (
    POSITION_KEY,
    STALE_PREFIX,
    Changelog,
    ChangelogTaken,
    Message,
    Replay,
    read_position,
)
from streams.events import Position
from streams.failures import FatalFailure
from streams.outbox import BatchTooLarge
from streams.store import MemoryPartition, PartitionStore, RawChange
from tests.unit.streams.core_world import CHANGELOG, Log, at_once, codec, contents

TARGET = (CHANGELOG, 0)
PARTITIONS = 4
KEYS = (b"a\x00", b"a\x00x", b"b\x00", b"c\x00y")

Changes = list[RawChange]
changes = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=2)), max_size=4)


class Worker:
    """Reads, claims and appends as a real one does, and tells the model what counts."""

    def __init__(self, log: MutableLog, model: Model, name: str) -> None:
        self.log = log
        self.model = model
        self.name = name
        self.store: PartitionStore = MemoryPartition()
        self.replay: Replay | None = None
        self.changelog: Changelog | None = None

    def read(self) -> None:
        """Read to the end, as after a start or an assignment."""
        self.changelog = None
        self.replay = Replay(self.store, codec())
        self.replay.apply(self.log.messages(TARGET, self.store.next_offset))
        self.replay.finish(self.log.end(TARGET))

    def lose_disk(self) -> None:
        self.store = MemoryPartition()
        self.read()

    def claim(self) -> bool:
        """Claim what was read before; others may have written since."""
        if self.replay is None:
            return False
        changelog = Changelog(CHANGELOG, 0, self.store, codec(), self.log.outbox, 2**20)
        claimed = at_once(changelog.claim(self.name, PARTITIONS, self.replay.repairs(), 0))
        self.changelog, self.replay = (changelog, None) if claimed else (None, None)
        if claimed:
            assert contents(self.store) == self.model.records
        return claimed

    def append(self, batch: Changes, acknowledged: bool = True) -> None:
        """Append a unit of work; without the acknowledgement the worker dies, not knowing whether it was written."""
        if self.changelog is None:
            return
        expected, end = self.store.next_offset, self.log.end(TARGET)
        offset = self.model.offset + 1
        self.log.mute = not acknowledged
        try:
            at_once(self.changelog.append({"t-0": offset}, batch, 0))
            assert expected == end
        except ChangelogTaken:
            assert expected != end
            self.changelog = None
        except ConnectionError:
            self.changelog = None
        self.log.mute = False
        if expected == end:
            self.model.wrote(batch, offset)


class Model:
    """What the owners wrote."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.offset = -1

    def wrote(self, batch: Changes, offset: int) -> None:
        self.offset = offset
        for key, value in batch:
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value


class MutableLog(Log):
    """A log whose acknowledgements may get lost."""

    mute = False

    def end(self, target: Any) -> int:
        return len(self.records.get(target, []))

    async def send_atomically(self, target: Any, records: Any, limit: int) -> int:
        base = await super().send_atomically(target, records, limit)
        if self.mute:
            raise ConnectionError
        return base


class Run:
    """A log, three workers, and what they did to it."""

    def __init__(self, steps: list[tuple[str, int, Changes]]) -> None:
        self.log = MutableLog()
        self.model = Model()
        self.workers = [Worker(self.log, self.model, f"w{number}") for number in range(3)]
        for action, number, batch in steps:
            worker = self.workers[number]
            match action:
                case "read":
                    worker.read()
                case "lose disk":
                    worker.lose_disk()
                case "claim":
                    worker.claim()
                case "take over":
                    worker.read()
                    assert worker.claim()
                case "append":
                    worker.append(batch)
                case "append and die":
                    worker.append(batch, acknowledged=False)


ACTIONS = ("read", "lose disk", "claim", "take over", "append", "append", "append", "append and die")
runs = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2), changes), max_size=25)


@contextmanager
def flushed_after(records: int) -> Iterator[None]:
    """Let a replay write to its store after so many records."""
    before, module.FLUSH_RECORDS = module.FLUSH_RECORDS, records
    try:
        yield
    finally:
        module.FLUSH_RECORDS = before


def replayed(messages: list[Message], end: int, store: PartitionStore | None = None) -> PartitionStore:
    """Return what a worker without a disk reads."""
    store = MemoryPartition() if store is None else store
    replay = Replay(store, codec())
    replay.apply(messages)
    replay.finish(end)
    return store


@settings(max_examples=300, deadline=None)
@given(runs)
def test_a_replay_gives_the_state_of_the_owners_whatever_fenced_workers_wrote(
    steps: list[tuple[str, int, Changes]],
) -> None:
    run = Run(steps)
    store = replayed(run.log.messages(TARGET), run.log.end(TARGET))
    assert contents(store) == run.model.records
    assert read_position(store, codec()).sources.get("t-0", -1) == run.model.offset


@settings(max_examples=300, deadline=None)
@given(runs)
def test_every_worker_finds_the_same_from_its_own_disk(steps: list[tuple[str, int, Changes]]) -> None:
    run = Run(steps)
    for worker in run.workers:
        worker.read()
        assert contents(worker.store) == run.model.records
        assert worker.claim()


@settings(max_examples=300, deadline=None)
@given(runs, st.lists(st.integers(1, 5)), st.integers(0, 5), st.sets(st.integers(0, 40)))
def test_neither_the_portions_of_reading_nor_restarts_within_change_the_state(
    steps: list[tuple[str, int, Changes]], portions: list[int], flush: int, restarts: set[int]
) -> None:
    run = Run(steps)
    store, start = MemoryPartition(), 0
    with flushed_after(flush):
        replay = Replay(store, codec())
        for number, portion in enumerate([*portions, run.log.end(TARGET)]):
            replay.apply(run.log.messages(TARGET, start)[:portion])
            start = min(start + portion, run.log.end(TARGET))
            if number in restarts:
                replay, start = Replay(store, codec()), store.next_offset
        replay.apply(run.log.messages(TARGET, start))
        replay.finish(run.log.end(TARGET))
    assert contents(store) == run.model.records
    whole = Replay(MemoryPartition(), codec())
    whole.apply(run.log.messages(TARGET))
    assert replay.stale_keys - {POSITION_KEY} == whole.stale_keys - {POSITION_KEY}


@settings(max_examples=300, deadline=None)
@given(runs)
def test_after_a_claim_the_latest_record_of_every_key_is_the_good_one(
    steps: list[tuple[str, int, Changes]],
) -> None:
    """So compaction may remove all others, the positions of fenced batches too."""
    run = Run([*steps, ("take over", 0, [])])
    latest = {key: (key, value, offset) for key, value, offset in run.log.messages(TARGET)}
    compacted = sorted(latest.values(), key=lambda message: message[2])
    assert contents(replayed(compacted, run.log.end(TARGET))) == run.model.records


@settings(max_examples=100, deadline=None)
@given(runs)
def test_marks_of_what_has_to_be_repaired_never_reach_the_changelog_and_go_with_the_repair(
    steps: list[tuple[str, int, Changes]],
) -> None:
    run = Run([*steps, ("take over", 0, [])])
    assert not [key for key, _, _ in run.log.messages(TARGET) if key.startswith(STALE_PREFIX)]
    left = [key for key, _ in run.workers[0].store.scan(STALE_PREFIX)]
    assert set(left) <= {STALE_PREFIX + POSITION_KEY}


# --- what one worker sees -----------------------------------------------------------------------------------------


def owner(log: Log, store: PartitionStore | None = None, limit: int = 2**20) -> Changelog:
    """Return a changelog that was claimed."""
    store = MemoryPartition() if store is None else store
    replayed(log.messages(TARGET, store.next_offset), len(log.records.get(TARGET, [])), store)
    made = Changelog(CHANGELOG, 0, store, codec(), log.outbox, limit)
    assert at_once(made.claim("w", PARTITIONS, [], 0))
    return made


def test_an_append_is_one_batch_with_the_position_first() -> None:
    log = Log()
    changelog = owner(log)
    at_once(changelog.append({"t-0": 7}, [(b"a\x00", b"1"), (b"b\x00", None)], 5))
    assert log.batches == [(TARGET, 0, 1), (TARGET, 1, 3)]
    key, value, _, timestamp = log.records[TARGET][1]
    assert (key, timestamp) == (POSITION_KEY, 5)
    assert codec().decode(value).sources == {"t-0": 7}
    assert changelog.store.next_offset == 4


def test_sources_that_did_not_move_keep_their_offsets() -> None:
    changelog = owner(Log())
    at_once(changelog.append({"t-0": 7, "u-0": 1}, [], 0))
    at_once(changelog.append({"t-0": 9}, [], 0))
    assert changelog.position.sources == {"t-0": 9, "u-0": 1}
    assert read_position(changelog.store, codec()) == changelog.position


def test_an_owner_that_finds_anothers_batch_in_the_way_stops_and_stores_nothing() -> None:
    log = Log()
    first = owner(log)
    owner(log)
    with pytest.raises(ChangelogTaken):
        at_once(first.append({"t-0": 1}, [(b"a\x00", b"1")], 0))
    assert first.store.get(b"a\x00") is None
    assert first.position.sources == {}


def test_a_claim_fails_where_somebody_wrote_after_the_reading_ended() -> None:
    log = Log()
    old = owner(log)
    store = MemoryPartition()
    replay = Replay(store, codec())
    replay.apply(log.messages(TARGET))
    replay.finish(len(log.records[TARGET]))
    at_once(old.append({"t-0": 1}, [(b"a\x00", b"1")], 0))
    new = Changelog(CHANGELOG, 0, store, codec(), log.outbox, 2**20)
    assert not at_once(new.claim("new", PARTITIONS, replay.repairs(), 0))
    assert new.position.epoch == 1


def test_a_replay_knows_how_much_is_left() -> None:
    log = Log()
    owner(log)
    messages = log.messages(TARGET)
    replay = Replay(MemoryPartition(), codec())
    assert replay.remaining == 0
    replay.end = len(messages) + 5
    assert replay.remaining == len(messages) + 5
    replay.apply(messages)
    assert replay.remaining == 5
    replay.finish(replay.end)
    assert replay.remaining == 0


def test_every_claim_has_a_greater_epoch() -> None:
    log = Log()
    assert [owner(log).position.epoch for _ in range(3)] == [1, 2, 3]


def test_a_table_with_another_number_of_partitions_is_refused_before_anything_is_written() -> None:
    log = Log()
    changelog = owner(log)
    again = Changelog(CHANGELOG, 0, changelog.store, codec(), log.outbox, 2**20)
    with pytest.raises(FatalFailure, match="4 partitions"):
        at_once(again.claim("w", PARTITIONS + 1, [], 0))
    assert len(log.records[TARGET]) == 1


def test_a_unit_that_does_not_fit_changes_nothing() -> None:
    changelog = owner(Log(), limit=2000)
    with pytest.raises(BatchTooLarge):
        at_once(changelog.append({"t-0": 1}, [(b"a\x00", b"x" * 3000)], 0))
    assert (changelog.position.sources, changelog.store.get(b"a\x00")) == ({}, None)
    at_once(changelog.append({"t-0": 1}, [(b"a\x00", b"x")], 0))


def test_a_gap_that_compaction_left_at_the_end_is_no_foreign_batch() -> None:
    log = Log()
    log.records[TARGET] = [(b"gone", b"", [], 0)] * 5
    changelog = owner(log)
    at_once(changelog.append({}, [(b"a\x00", b"1")], 0))
    assert changelog.store.next_offset == 8


def test_a_position_that_cannot_be_decoded_stops_the_recovery() -> None:
    replay = Replay(MemoryPartition(), codec())
    with pytest.raises(FatalFailure, match="position"):
        replay.apply([(POSITION_KEY, b"junk", 0)])


def test_an_empty_store_has_applied_nothing() -> None:
    assert read_position(MemoryPartition(), codec()) == Position(epoch=0, owner="", sources={})
