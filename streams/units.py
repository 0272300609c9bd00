"""Units of work: what is queued for an agent, in the order in which it may be processed, cut to size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faust.types import TP

from streams.transport import PartitionBatch


class _Busy:
    """Stands for work without a message of its own, so that a rebalance waits for it as it does for messages."""

    acked = False
    refcount = 1


class Unit:
    """All that was queued for one agent: batches of records in the order in which they arrived."""

    __slots__ = ("batches", "messages")

    def __init__(self) -> None:
        self.batches: list[PartitionBatch] = []
        self.messages: list[Any] = [_Busy()]

    def add(self, event: Any) -> None:
        self.batches.append(event.value)
        self.messages.append(event.message)

    def __len__(self) -> int:
        return sum(len(batch.records) for batch in self.batches)


class Order:
    """Lets the records of each partition through in the sequence of their offsets, without a hole."""

    def __init__(self) -> None:
        self._expected: dict[TP, int] = {}
        self._gaps: dict[TP, tuple[int, int]] = {}

    def start_at(self, tp: TP, offset: int) -> None:
        """Set the offset of the first record of a partition that is to be processed."""
        self._expected[tp] = offset

    def expected(self, tp: TP) -> int | None:
        """Return the offset of the record that is let through next, or None before ``start_at``."""
        return self._expected.get(tp)

    def clear(self) -> None:
        """Forget every partition: nothing is let through before its next ``start_at``."""
        self._expected.clear()
        self._gaps.clear()

    def next(self, batch: PartitionBatch, rewinds: dict[TP, int]) -> PartitionBatch | None:
        """Return the part of a batch that continues the sequence, or None where records before it are missing.

        Missing are those between the record that was let through last and where the fetch of this batch began. Within
        fetches, the log has no others. Such a hole is read again once. Found a second time in the same place, it is the
        log's own (records that retention has removed) and not one that a rebalance tore inside this worker.

        Args:
            batch: records of one partition in offset order.
            rewinds: by partition, from where to read again; grows.
        """
        tp, records, end = batch.tp, batch.records, batch.end
        expected = self._expected.get(tp)
        if expected is None or tp in rewinds or records[-1].offset < expected:
            return None
        first = records[0].offset
        begin = first if batch.begin is None else batch.begin
        if begin > expected and self._gaps.get(tp) != (expected, first):
            self._gaps[tp] = (expected, first)
            rewinds[tp] = expected
            return None
        if first < expected:
            records = [record for record in records if record.offset >= expected]
            batch = PartitionBatch(tp, records, batch.generation)
        self._expected[tp] = records[-1].offset + 1 if end is None else end
        return batch


def chunks(batches: Sequence[PartitionBatch], most: int) -> list[list[PartitionBatch]]:
    """Cut batches into units of at most ``most`` records, keeping each partition's order."""
    cut: list[list[PartitionBatch]] = [[]]
    room = most
    for batch in batches:
        records = batch.records
        while records:
            taken, records = records[:room], records[room:]
            cut[-1].append(PartitionBatch(batch.tp, taken, batch.generation))
            room -= len(taken)
            if room == 0:
                cut.append([])
                room = most
    return [unit for unit in cut if unit]


def halves(batches: Sequence[PartitionBatch]) -> list[list[PartitionBatch]]:
    """Cut a unit of two or more records into two, keeping each partition's order."""
    if len(batches) > 1:
        middle = len(batches) // 2
        return [list(batches[:middle]), list(batches[middle:])]
    [batch] = batches
    middle = len(batch.records) // 2
    return [
        [PartitionBatch(batch.tp, part, batch.generation)]
        for part in (batch.records[:middle], batch.records[middle:])
    ]
