"""What a partition holds in memory: bounded, taken back without a trace, and the same after it is read again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.live import LiveState, LiveStates, RecentEvents, Timers, event_digest
from streams.store import MemoryPartition, RawChange
from tests.unit.streams.core_world import CHANGELOG, Sum, codec

START = datetime(2026, 11, 20, tzinfo=UTC)
AGE = timedelta(seconds=10)


def encode(record: Any) -> bytes:
    return codec().encode(record, CHANGELOG)


# --- recent events ------------------------------------------------------------------------------------------------


def digest(event_id: str) -> bytes:
    return event_digest(b"k\x00", event_id)


def unit(recent: RecentEvents, store: MemoryPartition, at: datetime, *ids: str, stored: bool = True) -> None:
    """Remember ids as one unit of work."""
    for event_id in ids:
        recent.add(digest(event_id), len(event_id), f"memo {event_id}" if len(event_id) > 2 else "")
    changes = recent.raw_changes(at, encode)
    if stored:
        store.write(changes, 0)
        recent.commit(at)
    else:
        recent.rollback()


def again(store: MemoryPartition, most: int = 5) -> RecentEvents:
    """Return what a restart reads."""
    recent = RecentEvents(most, AGE)
    for key, value in sorted(store.scan(b"\x00ids\x00")):
        recent.load(key, codec().decode(value))
    return recent


ids = st.lists(st.text("abc", min_size=1, max_size=4), max_size=4, unique=True)
units = st.lists(st.tuples(ids, st.integers(0, 6), st.booleans()), max_size=20)


@settings(deadline=None)
@given(units)
def test_recent_events_are_bounded_and_the_same_after_a_restart(
    work: list[tuple[list[str], int, bool]],
) -> None:
    store, recent, at = MemoryPartition(), RecentEvents(5, AGE), START
    applied: dict[str, datetime] = {}
    for names, seconds, stored in work:
        at += timedelta(seconds=seconds)
        fresh = [name for name in names if digest(name) not in recent.known]
        unit(recent, store, at, *fresh, stored=stored)
        if stored:
            applied |= dict.fromkeys(fresh, at)
            oldest = min((when for name, when in applied.items() if digest(name) in recent.known), default=at)
            assert at - oldest <= AGE
            assert len(recent.known) <= max(5, len(fresh))
        reread = again(store)
        assert reread.known == recent.known
        assert reread._segments == recent._segments
        assert reread._sequence in (recent._sequence, 0 if not reread._segments else None)
    assert {name for name in applied if digest(name) in recent.known} <= set(applied)


def test_a_unit_that_is_not_stored_is_forgotten() -> None:
    recent = RecentEvents(5, AGE)
    unit(recent, MemoryPartition(), START, "a", stored=False)
    assert digest("a") not in recent.known
    assert recent.latest is None


def test_the_newest_are_kept_where_they_are_too_many() -> None:
    store, recent = MemoryPartition(), RecentEvents(2, AGE)
    for name in "abcd":
        unit(recent, store, START, name)
    assert [name for name in "abcd" if digest(name) in recent.known] == ["c", "d"]
    assert len(store) == 2


def test_the_old_ones_go_with_the_next_unit() -> None:
    store, recent = MemoryPartition(), RecentEvents(100, AGE)
    unit(recent, store, START, "a")
    unit(recent, store, START + AGE, "b")
    assert digest("a") in recent.known
    unit(recent, store, START + AGE + timedelta(seconds=1))
    assert digest("a") not in recent.known
    assert digest("b") in recent.known
    assert recent.latest == START + AGE


def test_memos_are_kept_with_their_events() -> None:
    store, recent = MemoryPartition(), RecentEvents(100, AGE)
    unit(recent, store, START, "a", "abc", "b")
    for each in (recent, again(store)):
        assert each.memo(b"k", "abc") == "memo abc"
        assert each.memo(b"k", "a") is None
        assert each.memo(b"other", "abc") is None
        assert each.memo(b"k", "") is None
        assert each.checksum(digest("abc")) == 3
        assert each.checksum(digest("x")) is None


def test_an_id_belongs_to_its_aggregate() -> None:
    assert event_digest(b"a\x00", "bc") != event_digest(b"ab\x00", "c")


# --- timers -------------------------------------------------------------------------------------------------------


def at_ms(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, UTC)


timer_units = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from([b"a\x00", b"a\x00x", b"b\x00"]), st.none() | st.integers(1, 50)),
        st.booleans(),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(timer_units, st.integers(0, 60))
def test_timers_fire_for_what_is_stored_and_for_nothing_else(
    work: list[tuple[dict[bytes, int | None], bool]], now: int
) -> None:
    store, timers, model = MemoryPartition(), Timers(), dict[bytes, int]()
    for changes, stored in work:
        for record, due in changes.items():
            timers.set(record, at_ms(due) if due is not None else None)
        raw = timers.raw_changes()
        if not stored:
            timers.rollback()
            continue
        store.write(raw, 0)
        timers.commit()
        for record, due in changes.items():
            model.pop(record, None)
            if due is not None:
                model[record] = due
    expected = {record: due for record, due in model.items() if due <= now}
    reread = Timers()
    for key, value in store.scan(b"\x00due\x00"):
        reread.load(key, value)
    assert dict(timers.pop_due(now, 100)) == expected
    assert dict(reread.pop_due(now, 100)) == expected
    assert timers.pop_due(now, 100) == []


def test_only_so_many_timers_fire_at_once_the_earliest_first() -> None:
    timers = Timers()
    for number in (3, 1, 2):
        timers.set(bytes([number]), at_ms(number))
    timers.commit()
    assert timers.pop_due(10, 2) == [(b"\x01", 1), (b"\x02", 2)]
    assert timers.pop_due(10, 2) == [(b"\x03", 3)]


def test_a_timer_fires_again_while_its_record_is_due() -> None:
    timers = Timers()
    timers.set(b"a", at_ms(5))
    timers.commit()
    assert timers.pop_due(5, 9) == [(b"a", 5)]
    timers.again(b"a", 7)
    assert timers.pop_due(6, 9) == []
    assert timers.pop_due(7, 9) == [(b"a", 5)]
    timers.again(b"a", 9)
    timers.set(b"a", None)
    timers.commit()
    assert timers.pop_due(9, 9) == []


# --- live states --------------------------------------------------------------------------------------------------


def live(store: MemoryPartition, key: bytes = b"k", cache: LiveStates | None = None) -> LiveState:
    state = LiveState(key, store, codec().decode, lambda _, __: None, cache)
    if cache is not None:
        cache.add(state)
    return state


NAMES = ("", "a", "ab", "b")
changes = st.dictionaries(st.sampled_from(NAMES), st.none() | st.integers(0, 9), max_size=3)


def raw(state: LiveState) -> list[RawChange]:
    return [
        (state.prefix + name.encode(), encode(record) if record is not None else None)
        for name, record in state.dirty.items()
    ]


def sums(given_changes: dict[str, int | None]) -> dict[str, Any]:
    return {name: Sum(total=total) if total is not None else None for name, total in given_changes.items()}


@settings(deadline=None)
@given(st.lists(st.tuples(changes, st.sampled_from(["keep", "undo", "commit", "rollback"])), max_size=12))
def test_a_state_shows_its_changes_until_they_are_taken_back(
    work: list[tuple[dict[str, int | None], str]],
) -> None:
    store, model, dirty = MemoryPartition(), dict[str, Sum](), dict[str, Any]()
    state = live(store)
    for given_changes, end in work:
        new = sums(given_changes)
        undo = state.undo(new)
        state.dirty.update(new)
        if end == "undo":
            state.restore(undo)
        else:
            dirty |= new
        if end == "commit":
            store.write(raw(state), 0)
            state.commit()
            model = {name: each for name, each in {**model, **dirty}.items() if each is not None}
            dirty = {}
        elif end == "rollback":
            state.rollback()
            dirty = {}
        shown = {name: each for name, each in {**model, **dirty}.items() if each is not None}
        fresh = live(store)
        assert {name: state.get(name) for name in NAMES} == {name: shown.get(name) for name in NAMES}
        assert sorted(state.names()) == sorted(shown)
        assert sorted(state.names("a")) == sorted(name for name in shown if name.startswith("a"))
        assert {name: fresh.get(name) for name in NAMES} == {name: model.get(name) for name in NAMES}


def test_what_is_cached_is_bounded_also_for_keys_whose_events_change_nothing() -> None:
    cache = LiveStates(10)
    for number in range(100):
        live(MemoryPartition(), f"k{number}".encode(), cache)
        cache.trim()
    assert cache.records == 10
    assert list(cache.by_key) == [f"k{number}".encode() for number in range(90, 100)]


def test_records_that_were_read_or_written_count() -> None:
    cache = LiveStates(5)
    first, second = live(MemoryPartition(), b"a", cache), live(MemoryPartition(), b"b", cache)
    first.get("x")
    first.get("x")
    second.dirty["y"] = Sum(total=1)
    second.commit()
    assert cache.records == 4
    cache.trim()
    assert set(cache.by_key) == {b"a", b"b"}
    first.get("y")
    first.get("z")
    cache.trim()
    assert set(cache.by_key) == {b"b"}
    assert cache.records == 2


@pytest.mark.parametrize("records", [0, 3])
def test_counting_is_exact_when_everything_is_forgotten(records: int) -> None:
    cache = LiveStates(0)
    state = live(MemoryPartition(), b"a", cache)
    for number in range(records):
        state.get(str(number))
    cache.trim()
    assert (cache.records, cache.by_key) == (0, {})
