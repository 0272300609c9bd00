"""How old the records are that wait for their state: what lag in seconds is made of."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from faust.types import TP


class Arrivals:
    """When the records that wait for their state were appended: by source partition, one entry for each poll."""

    def __init__(self) -> None:
        self._polls: dict[TP, deque[tuple[int, int]]] = {}

    def add(self, tp: TP, records: Sequence[Any]) -> None:
        """Take note of records that one poll returned, in offset order."""
        self._polls.setdefault(tp, deque()).append((records[-1].offset, records[0].timestamp))

    def stored(self, tp: TP, offset: int) -> None:
        """Forget what lies before ``offset``: the state holds it."""
        polls = self._polls.get(tp)
        while polls and polls[0][0] < offset:
            polls.popleft()

    def oldest_ms(self, tp: TP) -> int | None:
        """Return when the oldest record that waits was appended, or None where none waits.

        A poll that is stored in part counts from its first record, so the answer is never too young.
        """
        polls = self._polls.get(tp)
        return polls[0][1] if polls else None

    def clear(self) -> None:
        """Forget all: the assignment changes, and what waited is fetched again."""
        self._polls.clear()
