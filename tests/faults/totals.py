"""The index of the fault tests: a running total per aggregate, on topics that belong to one run.

The rules are as plain as can be, so that an independent count is too: each event makes one derived event that says the
how manieth it was (``n``), and the sum so far. The table keeps the last of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from streams.events import FailureEvent, UsageEvent
from streams.routing import Index, Output, Route
from streams.schemas import contracts
from streams.topics import PLATFORM_STATE, Topic, changelog_of, changelog_topic, dead_letters_of
from tables.state import Aggregate, Changes

TABLE = "totals"


HUGE = Decimal(10) ** 40


@dataclass(frozen=True, slots=True)
class Unstorable:
    """An internal fact whose state does not fit its schema: the running total, with too many digits."""

    total: UsageEvent


def decide(state: Any, event: UsageEvent, at: datetime) -> tuple[UsageEvent | Unstorable, ...]:
    """Answer an event with the running total after it.

    The event's ``resource_type`` may ask for trouble: ``raise`` (the rules refuse), ``defect`` (the rules are wrong),
    ``unstorable`` (its state cannot be encoded), ``hang`` (the rules never return).
    """
    before = state.get("")
    number = int(before.metadata["n"]) if before is not None else 0
    total = before.quantity if before is not None else Decimal(0)
    after = UsageEvent(
        timestamp=at,
        event_type="total",
        quantity=total + event.quantity,
        tenant_id=event.tenant_id,
        resource_type="total",
        metadata={"n": str(number + 1), "seq": event.metadata["seq"]},
    )
    trouble = event.resource_type
    if trouble == "raise":
        raise ValueError("asked for by the test")
    if trouble == "defect":
        raise LookupError("asked for by the test")
    while trouble == "hang":
        pass
    return (after, Unstorable(after)) if trouble == "unstorable" else (after,)


def fold(state: Any, fact: UsageEvent | Unstorable) -> Changes:
    """Keep the running total."""
    if isinstance(fact, Unstorable):
        return {"": msgspec.structs.replace(fact.total, quantity=HUGE)}
    return {"": fact}


TOTALS = Aggregate(TABLE, decide, fold, (UsageEvent,))


@dataclass(frozen=True, slots=True)
class Names:
    """Topics and subjects of one run, which is also its app id."""

    run: str

    @property
    def source(self) -> Topic:
        """Events come in here."""
        return Topic(f"{self.run}.in", "aggregate", (UsageEvent.RECORD,))

    @property
    def derived(self) -> Topic:
        """Running totals go out here."""
        return Topic(f"{self.run}.out", "aggregate", (UsageEvent.RECORD,))

    @property
    def failed(self) -> Topic:
        """Reports of dead letters go out here."""
        return Topic(f"{self.run}.failed", "aggregate", (FailureEvent.RECORD,))

    @property
    def dead(self) -> Topic:
        """Dead letters of the source."""
        return dead_letters_of(self.source)

    @property
    def changelog(self) -> str:
        """Name of the table's changelog."""
        return changelog_topic(TABLE, self.run)

    @property
    def topics(self) -> list[Topic]:
        """Every topic of the run."""
        changelog = changelog_of(TABLE, (UsageEvent.RECORD,), self.run)
        return [self.source, self.derived, self.failed, self.dead, changelog]

    @property
    def subjects(self) -> list[tuple[str, str, str]]:
        """Subject, schema and compatibility level of every record of the run."""
        records = [(self.source.name, UsageEvent.RECORD), (self.derived.name, UsageEvent.RECORD)]
        records += [(self.failed.name, FailureEvent.RECORD)]
        records += [(self.changelog, record) for record in (UsageEvent.RECORD, *PLATFORM_STATE)]
        return [
            (f"{topic}-{record}", contracts()[record].text, "FULL_TRANSITIVE") for topic, record in records
        ]

    def index(self) -> Index:
        """Return the index that the run's workers work on."""
        return Index(
            (Route(UsageEvent, self.source, TOTALS, _tenant, (UsageEvent,)),),
            (Output(UsageEvent, self.derived, _tenant), Output(FailureEvent, self.failed, _tenant)),
        )


def _tenant(event: Any) -> str:
    return str(event.tenant_id)
