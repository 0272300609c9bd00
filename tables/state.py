"""What a table remembers about one aggregate, and the shape of its rules.

An aggregate (a tenant's usage, a product's stock) is a set of *named records* under one key. Rules are two pure
functions:

* ``decide(state, event, at)`` answers an event with facts, and changes nothing;
* ``fold(state, fact)`` says which records a fact replaces.

The state after a fact is the state with those records put in their places. Keeping many small records instead of
one large one keeps the bytes stored per event constant while an aggregate's history grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

Record = Any
"""A state record: an immutable struct of ``streams.events`` generated from a schema of kind ``state``."""

Changes = Mapping[str, Record | None]
"""Records to put, by name; ``None`` deletes the record."""


class State(Protocol):
    """What rules may read of one aggregate. Reading never changes it."""

    def get(self, name: str) -> Record | None:
        """Return the record called ``name``, or None where the aggregate has none."""

    def names(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of the records that begin with ``prefix``, in no particular order."""

    def recall(self, event_id: str) -> str | None:
        """Return the memo kept with a recently applied event, or None where it is not remembered (any more)."""

    def shared(self, kind: type, key: str) -> Record | None:
        """Return a record of a compacted topic that every worker holds (``streams.replica``), or None.

        It is as new as this worker knows: only answers may be made of it, never what is remembered.
        """

    def shared_keys(self, kind: type, prefix: str) -> Iterator[str]:
        """Yield the keys of the shared records of a kind that begin with ``prefix``, in no particular order."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state held in plain mappings: what tests and views use.

    Attributes:
        records: the aggregate's records by name.
        memos: memos of recent events by event id.
        catalogue: shared records by kind and key.
    """

    records: Mapping[str, Record] = field(default_factory=dict)
    memos: Mapping[str, str] = field(default_factory=dict)
    catalogue: Mapping[tuple[type, str], Record] = field(default_factory=dict)

    def get(self, name: str) -> Record | None:
        return self.records.get(name)

    def names(self, prefix: str = "") -> Iterator[str]:
        return (name for name in self.records if name.startswith(prefix))

    def recall(self, event_id: str) -> str | None:
        return self.memos.get(event_id)

    def shared(self, kind: type, key: str) -> Record | None:
        return self.catalogue.get((kind, key))

    def shared_keys(self, kind: type, prefix: str) -> Iterator[str]:
        return (key for known, key in self.catalogue if known is kind and key.startswith(prefix))

    def apply(self, changes: Changes) -> Snapshot:
        """Return the snapshot with ``changes`` put in place."""
        records = {**self.records, **changes}
        kept = {name: record for name, record in records.items() if record is not None}
        return Snapshot(kept, self.memos, self.catalogue)


def _no_memo(fact: Any) -> str | None:
    return None


def _never_due(name: str, record: Record) -> datetime | None:
    return None


def _no_code(fact: Any) -> str | None:
    return None


def _no_command(key: str, name: str, record: Record) -> Any:
    raise LookupError(f"record {name!r} has a due time, but its aggregate has no command for it")


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The rules of one table, as the pipeline runs them.

    Attributes:
        name: name of the table, which is also the name of its files in every folder. Renaming it restarts from zero.
        decide: ``(state, event, at) -> facts``; ``at`` is the broker's append time of the event (aware, UTC).
        fold: ``(state, fact) -> changes``.
        records: the record types that the table stores.
        memo: ``fact -> text`` to keep with the event's id while the id is remembered, or None; asked of facts that are
            not published, and of refusals.
        dead_letter: ``fact -> code`` of a published refusal whose event also goes to the dead letter topic, or None.
            Such an event may be sent again under its id.
        due: ``(name, record) -> time`` at which the record wants a command, or None.
        on_due: ``(key, name, record) -> event``: the command to send to the aggregate when that time has come.
    """

    name: str
    decide: Callable[[Any, Any, datetime], tuple[Any, ...]]
    fold: Callable[[Any, Any], Changes]
    records: tuple[type, ...]
    memo: Callable[[Any], str | None] = _no_memo
    dead_letter: Callable[[Any], str | None] = _no_code
    due: Callable[[str, Record], datetime | None] = _never_due
    on_due: Callable[[str, str, Record], Any] = _no_command
