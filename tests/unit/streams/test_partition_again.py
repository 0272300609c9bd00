"""Work done again, in other portions or by another process, gives the same bytes and the same state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence, Set
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.streams.core_world import (
    ACME,
    BETA,
    CRAY,
    ELSEWHERE,
    SOURCE,
    START_MS,
    TARGET,
    Raw,
    World,
    added,
    codec,
    contents,
    retry,
)

KINDS = (
    "add", "add", "one", "nothing", "named", "forget", "refuse", "late", "timer", "lookup", "last-fails", "crash",
    "wrong-value",
)  # fmt: skip
IDS_USED = ("", "", "a", "b", "c")


@st.composite
def streams_of_records(draw: st.DrawFn) -> list[Raw]:
    """Records with rising offsets (with holes) and times, of few keys and ids, some of them poison."""
    records: list[Raw] = []
    offset, time = 0, START_MS
    for _ in range(draw(st.integers(1, 25))):
        offset += draw(st.sampled_from((1, 1, 1, 2)))
        time += draw(st.sampled_from((0, 0, 1)))
        tenant = draw(st.sampled_from((ACME, ACME, BETA, CRAY, ELSEWHERE)))
        poison = draw(st.integers(0, 19))
        if poison == 0:
            records.append(
                Raw(
                    offset,
                    draw(st.sampled_from((None, b"", ACME.encode()))),
                    draw(st.binary(max_size=3)),
                    time,
                )
            )
        else:
            kind, amount = draw(st.sampled_from(KINDS)), draw(st.integers(0, 3))
            record = added(offset, tenant, kind, amount, draw(st.sampled_from(IDS_USED)), timestamp=time)
            records.append(record)
    return records


def in_units(
    world: World, records: Sequence[Raw], cuts: Set[int], rollbacks: Set[int] = frozenset()
) -> World:
    """Process records in units cut before the given numbers; some units are first done in vain, or after a restart."""
    bounds = [0, *sorted(cut for cut in cuts if 0 < cut < len(records)), len(records)]
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        unit = records[start:end]
        if number in rollbacks:
            world.process(*unit)
            world.partition.raw_changes()
            if number % 2:
                world.partition.rollback()
            else:
                world.restart()
        world.unit(*unit)
    return world


def everything_of(world: World) -> tuple[Any, ...]:
    """Return what a world sent and remembers, apart from how the work was cut into units."""
    sent = {target: log for target, log in world.log.records.items() if target != world.changelog}
    return sent, contents(world.store), world.partition.changelog.position.sources


@settings(max_examples=150, deadline=None)
@given(streams_of_records(), st.sets(st.integers(0, 25)), st.sets(st.integers(0, 25)))
def test_however_work_is_cut_rolled_back_and_restarted_the_outputs_are_the_same_bytes(
    records: list[Raw], cuts: set[int], rollbacks: set[int]
) -> None:
    whole = in_units(World(), records, set())
    pieces = in_units(World(), records, cuts, rollbacks)
    assert everything_of(pieces) == everything_of(whole)


@settings(max_examples=50, deadline=None)
@given(streams_of_records(), st.integers(0, 25))
def test_the_outputs_of_a_unit_that_was_sent_and_not_stored_are_sent_again_byte_for_byte(
    records: list[Raw], cut: int
) -> None:
    world = World()
    first, second = records[:cut], records[cut:]
    if first:
        world.unit(*first)
    if second:
        world.process(*second)
        in_vain = world.partition.outputs
        world.restart()
        world.process(*second)
        assert world.partition.outputs == in_vain


@settings(max_examples=50, deadline=None)
@given(streams_of_records(), st.sets(st.integers(0, 25)))
def test_a_partition_made_again_from_its_store_knows_what_the_old_one_knew(
    records: list[Raw], cuts: set[int]
) -> None:
    world = in_units(World(), records, cuts)
    old, new = world.partition, world.restart()
    assert new._recent.known == old._recent.known
    assert new.timers.due == old.timers.due
    assert len(new.parked) == len(old.parked) == 0
    repeated = [Raw(r.offset + 100, r.key, r.value, r.timestamp, r.headers) for r in records]
    assert world.process(*repeated) == in_outcomes(old, world, repeated)


def in_outcomes(partition: Any, world: World, records: Sequence[Raw]) -> dict[str, int]:
    """Return the outcomes that another partition object gives."""
    partition.process(SOURCE.name, records, codec().decode_batch([record.value for record in records]))
    return {outcome: times for (_, outcome), times in partition.counts.items() if times}


@settings(max_examples=60, deadline=None)
@given(streams_of_records(), st.sets(st.integers(0, 25)), st.sets(st.integers(0, 25)))
def test_per_key_waiting_changes_neither_order_nor_outputs(
    records: list[Raw], cuts: set[int], closed: set[int]
) -> None:
    """With the outside world closed now and then, each key's outputs and state are as if it had been open."""
    straight, waited = World(), World(retry="aggressive")
    bounds = [0, *sorted(cut for cut in cuts if 0 < cut < len(records)), len(records)]
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        straight.unit(*records[start:end])
        waited.tally.closed = number in closed
        waited.unit(*records[start:end])
    waited.tally.closed = False
    retry(waited)
    assert waited.state == straight.state
    for key in {record.key for record in records}:
        for topic in (TARGET.name, f"{SOURCE.name}.dlq", SOURCE.name):
            mine = [each for each in waited.sent(topic) if each[0] == key]
            assert mine == [each for each in straight.sent(topic) if each[0] == key]
