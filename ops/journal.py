"""How far traces have been sent, and with which times: a row that is sent again has to be the same events."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Stretch:
    """Rows ``first`` to before ``end``, sent or begun to be, with the trace ending at ``last_at``."""

    first: int
    end: int
    last_at: str


@dataclass(slots=True)
class Journal:
    """How far one trace has been sent to one cluster.

    Attributes:
        done: rows below were acknowledged by the broker.
        stretches: the times that rows were sent with, from row 0 on without a gap.
    """

    done: int = 0
    stretches: list[Stretch] = field(default_factory=list)

    def times(self, row: int, rows: int, now: datetime) -> Iterator[tuple[int, int, datetime]]:
        """Yield (first row, end, time of the trace's last row) from ``row`` on: as before, then new."""
        for stretch in self.stretches:
            if stretch.end > row:
                yield max(row, stretch.first), stretch.end, datetime.fromisoformat(stretch.last_at)
        sent = self.stretches[-1].end if self.stretches else 0
        if max(row, sent) < rows:
            yield max(row, sent), rows, now

    def begin(self, first: int, end: int, last_at: datetime) -> None:
        """Note that rows up to ``end`` are being sent with these times."""
        if self.stretches and self.stretches[-1].last_at == last_at.isoformat():
            self.stretches[-1].end = max(self.stretches[-1].end, end)
        elif not self.stretches or end > self.stretches[-1].end:
            self.stretches.append(Stretch(first, end, last_at.isoformat()))


class JournalFile:
    """The journals of all traces, in one JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str) -> Journal:
        """Return the journal of ``name``; an empty one where there is none."""
        entry = self._all().get(name, {"done": 0, "stretches": []})
        return Journal(entry["done"], [Stretch(**stretch) for stretch in entry["stretches"]])

    def write(self, name: str, journal: Journal) -> None:
        """Keep the journal of ``name``."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".tmp")
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another replay may write its own journal at this moment
            draft.write_text(json.dumps(self._all() | {name: asdict(journal)}, indent=1))
            draft.replace(self._path)

    def _all(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
