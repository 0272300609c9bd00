"""Every table in memory: an event goes to its rules by its route, and what they change is kept."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from streams.routes import INDEX
from streams.topics import SHARED
from tables.state import Aggregate, Record, Snapshot
from tests.unit.tables.scenario import check_encodes

ROUTES = {route.event: route for route in INDEX.routes}


def decided(
    aggregate: Aggregate, state: Snapshot, event: Any, at: datetime
) -> tuple[Snapshot, dict[str, Record | None], tuple[Any, ...]]:
    """Let the rules answer an event; return the state after it, the records that changed, and all facts.

    What changes and what is published is also written and read back as its contract says.
    """
    changed: dict[str, Record | None] = {}
    facts = aggregate.decide(state, event, at)
    for fact in facts:
        changes = aggregate.fold(state, fact)
        changed.update(changes)
        state = state.apply(changes)
    for record in (*changed.values(), *published(facts)):
        if record is not None:
            check_encodes(record)
    return state, changed, facts


def published(facts: tuple[Any, ...]) -> list[Any]:
    """Return those of the facts that others get to see."""
    return [fact for fact in facts if type(fact) in INDEX.outputs]


@dataclass
class Tables:
    """What all tables hold.

    Attributes:
        states: by table and key.
        shared: records that every worker holds, by kind and key.
    """

    states: dict[tuple[str, str], Snapshot] = field(default_factory=dict)
    shared: dict[tuple[type, str], Record] = field(default_factory=dict)

    def copy(self) -> Tables:
        """Return the same tables, to go another way."""
        return Tables(copy(self.states), copy(self.shared))

    def take(self, event: Any, at: datetime) -> tuple[list[Any], Mapping[str, Record | None]]:
        """Let an event happen; return what is published, and which records of its aggregate changed."""
        route = ROUTES[type(event)]
        place = route.aggregate.name, route.key(event)
        known = self.states.get(place, Snapshot())
        state, changed, facts = decided(
            route.aggregate, Snapshot(known.records, known.memos, self.shared), event, at
        )
        if state.records:
            self.states[place] = state
        else:
            self.states.pop(place, None)
        told = published(facts)
        for fact in told:
            assert type(fact) in route.emits
            output = INDEX.outputs[type(fact)]
            if output.topic in SHARED:
                self.shared[type(fact), output.key(fact)] = fact
        return told, changed
