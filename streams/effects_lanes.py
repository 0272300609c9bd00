"""What is under way of a topic of orders: how far each partition is, and who goes next."""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field
from itertools import count

CLAIM = "claimed="


@dataclass(slots=True)
class Lane:
    """One partition of the orders while this worker owns it.

    Attributes:
        doubtful: last offset that an earlier owner may have begun to carry out.
        next: offset after the last order taken.
        begun: last offset that was begun here.
        committed: position that the group knows.
        claimed_at: monotonic time of the last commit.
        unfinished: orders taken and not answered, in the order of their offsets; None where not even waiting.
        performing: those of them that have begun.
        last: by key, the order taken last: the next one of the key waits for it.
        answered: ids of orders that were answered lately, once that had to be found out.
    """

    doubtful: int
    next: int
    begun: int = -1
    committed: int = -1
    claimed_at: float = 0.0
    unfinished: dict[int, asyncio.Task[None] | None] = field(default_factory=dict)
    performing: set[int] = field(default_factory=set)
    last: dict[bytes | None, asyncio.Task[None]] = field(default_factory=dict)
    answered: set[str] | None = None
    finding_out: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def position(self) -> int:
        """Offset of the first order that is not answered."""
        return next(iter(self.unfinished), self.next)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What is waiting or being carried out."""
        return [task for task in self.unfinished.values() if task is not None]

    def claim(self, *, ahead: bool) -> str:
        """Return the metadata of a commit: up to which offset orders may have been carried out.

        Args:
            ahead: everything taken may be begun before the next commit.
        """
        return f"{CLAIM}{self.next - 1 if ahead else max(self.begun, self.position - 1)}"


def claimed(metadata: str | None) -> int:
    """Return the last offset that a commit's metadata claims, or -1 where they claim nothing."""
    number = (metadata or "").removeprefix(CLAIM)
    return int(number) if metadata and metadata.startswith(CLAIM) and number.isdecimal() else -1


class Gate:
    """Lets some through at once. Of those that wait, the most urgent one is next, and of equals the first."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    async def enter(self, urgency: int) -> None:
        """Wait for a place; ``leave`` gives it back."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-urgency, next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # the place was given to somebody who does not want it any more
            raise

    def leave(self) -> None:
        """Give the place to the next one."""
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
