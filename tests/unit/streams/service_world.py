"""Every rule of the project behind a client, in memory: what the typed clients ask, the real aggregates decide."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import msgspec

from streams.client import Client, Reply
from streams.events import CatalogBenefitSnapshot, CatalogProductSnapshot
from streams.routes import INDEX
from tables.state import Snapshot

ROUTES = {route.event: route for route in INDEX.routes}


class Rules:
    """Stands in for ``Client``: a request is one call of ``decide``, and what it orders is done at once.

    Attributes:
        asked: the commands, in order.
        at: the time of the broker.
        instead: a reply that the next request gets whatever is asked.
    """

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.at = datetime(2026, 11, 20, 12, tzinfo=UTC)
        self.instead: dict[str, Any] | None = None
        self._states: dict[tuple[str, str], Snapshot] = {}
        self._shared: dict[tuple[type, str], Any] = {}

    @property
    def client(self) -> Client:
        """The rules by the type of what they stand in for."""
        return cast(Client, self)

    async def request(self, command: Any, timeout: float | None = None) -> Reply:
        self.asked.append(command)
        facts = self._decide(command)
        refused = next((fact for fact in facts if type(fact).__name__.endswith("Rejected")), None)
        fields: dict[str, Any] = {
            "status": "OK" if refused is None else "REJECTED",
            "code": getattr(refused, "reason_code", ""),
            "message": getattr(refused, "message", ""),
            "facts": tuple(facts),
            "duplicate": False,
            "event_id": command.event_id,
            "correlation_id": command.event_id,
        }
        given, self.instead = self.instead or {}, None
        return Reply(**fields | given)

    def _decide(self, event: Any) -> list[Any]:
        route = ROUTES[type(event)]
        place = route.aggregate.name, route.key(event)
        known = self._states.get(place, Snapshot())
        state = Snapshot(known.records, known.memos, self._shared)
        told = []
        for fact in route.aggregate.decide(state, event, self.at):
            state = state.apply(route.aggregate.fold(state, fact))
            if type(fact) in INDEX.outputs:
                told.append(fact)
        self._states[place] = state
        for fact in told:
            if isinstance(fact, CatalogProductSnapshot | CatalogBenefitSnapshot):
                self._shared[type(fact), INDEX.outputs[type(fact)].key(fact)] = fact
            elif type(fact) in ROUTES and ROUTES[type(fact)].answered:
                self._decide(msgspec.structs.replace(fact, event_id=str(uuid4())))
        return told
