"""Both stores keep the same under any sequence of writes, and RocksDB keeps it over restarts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.store import MemoryPartition, PartitionStore, RawChange, RocksPartition, split_key

HEADS = (b"a", b"ab", b"a\x01", b"b", "ü".encode())
NAMES = (b"", b"x", b"x|1", b"xy", b"\x01", b"x\x00", b"x\x00y")
PLATFORM_KEYS = (
    b"\x00position",
    b"\x00ids\x00" + bytes(8),
    b"\x00ids\x00" + bytes(7) + b"\x01",
    b"\x00due\x00a\x00",
)
KEYS = (*(head + b"\x00" + name for head in HEADS for name in NAMES), *PLATFORM_KEYS)
PREFIXES = (
    *(head + b"\x00" + prefix for head in (*HEADS, b"none") for prefix in (b"", b"x", b"x|")),
    b"\x00ids\x00",
    b"\x00due\x00",
)

STARTS = (b"a", b"ab", b"aa", "ü".encode(), b"z")

Batch = list[RawChange]
batches = st.lists(
    st.none() | st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=4)), max_size=8),
    max_size=8,
)
"""Batches of changes; None clears the store."""


class Model:
    """What a store should hold, as simple as can be."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.next_offset = 0

    def do(self, batch: Batch | None) -> None:
        if batch is None:
            self.records, self.next_offset = {}, 0
            return
        for key, value in batch:
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        self.next_offset += 1 + len(batch)


def do(store: PartitionStore, batch: Batch | None) -> None:
    if batch is None:
        store.clear()
    else:
        store.write(iter(batch), store.next_offset + 1 + len(batch))


def agree(store: PartitionStore, model: Model) -> None:
    """Check everything that a store answers."""
    assert store.next_offset == model.next_offset
    assert {key: store.get(key) for key in KEYS} == {key: model.records.get(key) for key in KEYS}
    for prefix in PREFIXES:
        found = list(store.scan(prefix))
        assert sorted(found) == sorted(item for item in model.records.items() if item[0].startswith(prefix))
    heads = list(store.aggregates())
    assert sorted(heads) == sorted({key.partition(b"\x00")[0] for key in model.records} - {b""})
    for start in STARTS:
        begun = [head for head in store.aggregates(start) if head.startswith(start)]
        assert sorted(begun) == sorted(head for head in heads if head.startswith(start))


@pytest.fixture(params=["memory", "rocksdict"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PartitionStore]:
    made: PartitionStore = MemoryPartition() if request.param == "memory" else RocksPartition(tmp_path / "db")
    yield made
    made.close()


@settings(max_examples=200, deadline=None)
@given(batches)
def test_the_memory_store_holds_what_was_written(given_batches: list[Batch | None]) -> None:
    store, model = MemoryPartition(), Model()
    for batch in given_batches:
        do(store, batch)
        model.do(batch)
        agree(store, model)
        assert len(store) == len(model.records)
        assert store.size == sum(len(key) + len(value) for key, value in model.records.items())


@settings(max_examples=25, deadline=None)
@given(batches, st.sets(st.integers(0, 7)))
def test_the_rocksdict_store_holds_what_was_written_also_after_restarts(
    given_batches: list[Batch | None], restarts: set[int]
) -> None:
    with TemporaryDirectory() as folder:
        store, model = RocksPartition(Path(folder) / "db"), Model()
        for number, batch in enumerate(given_batches):
            do(store, batch)
            model.do(batch)
            if number in restarts:
                store.close()
                store = RocksPartition(Path(folder) / "db")
            agree(store, model)
        store.close()


def test_a_new_store_is_empty_and_reads_its_changelog_from_the_beginning(store: PartitionStore) -> None:
    assert store.next_offset == 0
    assert list(store.aggregates()) == []
    assert list(store.scan(b"a\x00")) == []
    assert store.get(b"a\x00") is None


def test_a_store_knows_about_how_large_it_is(store: PartitionStore) -> None:
    before = store.size
    store.write([(b"a\x00x", bytes(1_000_000))], 1)
    assert 1_000_000 <= store.size - before < 1_500_000


def test_records_may_be_written_while_they_are_scanned(store: PartitionStore) -> None:
    store.write([(b"a\x00x", b"1"), (b"a\x00y", b"2")], 2)
    for key, value in store.scan(b"a\x00"):
        store.write([(key, None), (key + b"z", value)], store.next_offset + 1)
    assert {value for _, value in store.scan(b"a\x00")} == {b"1", b"2"}


def test_aggregates_may_be_written_while_they_are_listed(store: PartitionStore) -> None:
    store.write([(b"a\x00x", b"1"), (b"b\x00", b"2")], 2)
    for head in store.aggregates():
        store.write([(head + b"\x00x", None), (head + b"\x00", None)], store.next_offset + 1)
    assert list(store.aggregates()) == []


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        (b"a\x00", (b"a", b"")),
        (b"a\x00x", (b"a", b"x")),
        (b"a\x00x\x00y", (b"a", b"x\x00y")),
        (b"\x00ids\x00\x01", (b"\x00", b"ids\x00\x01")),
    ],
)
def test_a_key_is_split_at_its_first_nul(key: bytes, parts: tuple[bytes, bytes]) -> None:
    assert split_key(key) == parts


def test_clearing_a_rocksdict_store_leaves_nothing_for_the_next_start(tmp_path: Path) -> None:
    store = RocksPartition(tmp_path / "db")
    store.write([(b"a\x00", b"1")], 7)
    store.clear()
    store.close()
    again = RocksPartition(tmp_path / "db")
    assert (again.next_offset, again.get(b"a\x00")) == (0, None)
    again.close()
