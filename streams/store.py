"""Where a worker keeps the state of its partitions: in memory, or in RocksDB on disk.

A partition's store holds raw records under raw keys and the changelog offset up to which it is complete. It only ever
receives what the changelog has acknowledged, whole batches at a time, so after any crash it is a true prefix of the
changelog and recovery reads on from there.

Keys are ``<aggregate key> NUL <record name>``; keys that begin with NUL belong to the platform (streams/changelog.py).
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

import rocksdict
from faust.stores import base
from faust.types import TP

from streams.settings import Settings

SEPARATOR = b"\x00"
PLATFORM = SEPARATOR
_META_OFFSET = b"\x00\x00next-offset"

RawChange = tuple[bytes, bytes | None]


class PartitionStore(Protocol):
    """The state of one partition of one table. Not thread-safe: only the worker's event loop touches it."""

    next_offset: int
    """Changelog offset of the first record that is not in the store; 0 for an empty one."""

    def get(self, key: bytes) -> bytes | None:
        """Return the record stored under ``key``."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield ``(key, record)`` of every key that begins with ``prefix`` (which holds a NUL), in any order."""

    def aggregates(self, start: bytes = b"") -> Iterator[bytes]:
        """Yield once each aggregate's key that begins with ``start``, and perhaps others."""

    def write(self, changes: Iterable[RawChange], next_offset: int) -> None:
        """Apply acknowledged changes and move ``next_offset``, both or neither."""

    def clear(self) -> None:
        """Forget everything, so that recovery starts from the beginning of the changelog."""

    def close(self) -> None:
        """Release what the store holds; its content stays where it is durable."""

    @property
    def size(self) -> int:
        """Bytes of all keys and records, or an estimate."""

    def __len__(self) -> int: ...


class MemoryPartition:
    """A partition's state in one dictionary: the fastest, rebuilt from the changelog at every start.

    ``_names`` finds the records of an aggregate that has several. An aggregate of one record (with the empty name)
    needs no entry there, which saves 300 bytes for each of a million of them.
    """

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] = {}
        self._names: dict[bytes, dict[bytes, None]] = {}
        self.next_offset = 0
        self.size = 0

    def get(self, key: bytes) -> bytes | None:
        return self._records.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        head, rest = split_key(prefix)
        start = prefix[: len(prefix) - len(rest)]
        if not rest and start in self._records:
            yield start, self._records[start]
        for name in list(self._names.get(head, ())):
            if name.startswith(rest):
                yield start + name, self._records[start + name]

    def aggregates(self, start: bytes = b"") -> Iterator[bytes]:
        single = (
            key[:-1]
            for key in list(self._records)
            if 0 < key.find(SEPARATOR) == len(key) - 1 and key[:-1] not in self._names
        )
        return itertools.chain((key for key in list(self._names) if key != PLATFORM), single)

    def write(self, changes: Iterable[RawChange], next_offset: int) -> None:
        records, size = self._records, self.size
        for key, value in changes:
            before = records.get(key)
            if value is None:
                if before is not None:
                    del records[key]
                    self._unname(key)
                    size -= len(key) + len(before)
            elif before is None:
                self._name(key)
                records[key] = value
                size += len(key) + len(value)
            else:
                records[key] = value
                size += len(value) - len(before)
        self.size = size
        self.next_offset = next_offset

    def _name(self, key: bytes) -> None:
        head, name = split_key(key)
        if name:
            self._names.setdefault(head, {})[name] = None

    def _unname(self, key: bytes) -> None:
        head, name = split_key(key)
        names = self._names.get(head)
        if names is not None:
            names.pop(name, None)
            if not names:
                del self._names[head]

    def clear(self) -> None:
        self._records.clear()
        self._names.clear()
        self.next_offset = 0
        self.size = 0

    def close(self) -> None:
        self.clear()

    def __len__(self) -> int:
        return len(self._records)


def split_key(key: bytes) -> tuple[bytes, bytes]:
    """Split a stored key into aggregate key and record name; platform keys have NUL as their aggregate."""
    if key[:1] == PLATFORM:
        return PLATFORM, key[1:]
    head, _, name = key.partition(SEPARATOR)
    return head, name


class RocksPartition:
    """A partition's state in its own RocksDB: survives restarts and may be larger than memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        # RocksDB's defaults (2 GiB cache, three 64 MiB buffers a partition in Faust) are sized for one database a host.
        options.set_write_buffer_size(16 * 2**20)
        options.set_max_write_buffer_number(3)
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(rocksdict.Cache(64 * 2**20))
        table.set_bloom_filter(10, True)
        options.set_block_based_table_factory(table)
        self._db = rocksdict.Rdict(str(self._path), options)
        offset = self._db.get(_META_OFFSET)
        self.next_offset = int.from_bytes(cast(bytes, offset), "big") if offset is not None else 0

    def get(self, key: bytes) -> bytes | None:
        return cast("bytes | None", self._db.get(key))

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        iterator = self._db.iter()
        iterator.seek(prefix)
        while iterator.valid():
            key = cast(bytes, iterator.key())
            if not key.startswith(prefix):
                return
            if key != _META_OFFSET:
                yield key, cast(bytes, iterator.value())
            iterator.next()

    def aggregates(self, start: bytes = b"") -> Iterator[bytes]:
        iterator = self._db.iter()
        iterator.seek(start or b"\x01")  # past the platform's keys
        while iterator.valid():
            head, _ = split_key(cast(bytes, iterator.key()))
            if not head.startswith(start):
                return
            yield head
            iterator.seek(head + b"\x01")  # past every record of this aggregate

    def write(self, changes: Iterable[RawChange], next_offset: int) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in changes:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(_META_OFFSET, next_offset.to_bytes(8, "big"))
        self._db.write(batch)
        self.next_offset = next_offset

    def clear(self) -> None:
        self._db.close()
        shutil.rmtree(self._path)
        self._open()

    def close(self) -> None:
        self._db.close()

    def __len__(self) -> int:
        return self._property("rocksdb.estimate-num-keys")

    @property
    def size(self) -> int:
        on_disk = self._property("rocksdb.estimate-live-data-size")
        return on_disk + self._property("rocksdb.cur-size-all-mem-tables")

    def _property(self, name: str) -> int:
        return int(self._db.property_int_value(name) or 0)


class TableStore(base.Store[Any, Any]):
    """The store behind a Faust table: one ``PartitionStore`` for each partition that this worker owns.

    Faust's own path (a write per event through ``table[key]``, recovery event by event) is not used: the pipeline
    writes whole batches and ``streams.recovery`` reads the changelog.
    """

    def __post_init__(self) -> None:
        self.partitions: dict[int, PartitionStore] = {}

    @property
    def settings(self) -> Settings:
        return cast(Settings, self.app.settings)  # type: ignore[attr-defined]

    def open(self, partition: int) -> PartitionStore:
        """Return the store of a partition, opened if it is not yet."""
        store = self.partitions.get(partition)
        if store is None:
            store = self.partitions[partition] = self._new_partition(partition)
        return store

    def _new_partition(self, partition: int) -> PartitionStore:
        if self.settings.store == "memory":
            return MemoryPartition()
        return RocksPartition(self.settings.state_dir / self.table_name / str(partition))

    def release(self, keep: set[int]) -> None:
        """Close every partition that is not in ``keep``: another worker may own it from now on."""
        for partition in [partition for partition in self.partitions if partition not in keep]:
            self.partitions.pop(partition).close()

    async def on_stop(self) -> None:
        self.release(set())

    def persisted_offset(self, tp: TP) -> int | None:
        store = self.partitions.get(tp.partition)
        return store.next_offset - 1 if store is not None and store.next_offset else None

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Do nothing: the offset is written together with the records it stands for."""

    def apply_changelog_batch(self, batch: Any, to_key: Any, to_value: Any) -> None:
        """Do nothing: Faust's own recovery never runs (streams/recovery.py)."""

    def reset_state(self) -> None:
        """Remove this table's local files (``sluice reset``)."""
        self.release(set())
        shutil.rmtree(self.settings.state_dir / self.table_name, ignore_errors=True)

    async def backup_partition(self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1) -> None:
        raise NotImplementedError("the changelog is the backup: a new worker rebuilds the table from it")

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None:
        raise NotImplementedError("the changelog is the backup: a new worker rebuilds the table from it")
