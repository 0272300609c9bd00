"""A bus with the project's rules behind it: whoever publishes or asks has at once what a worker would have decided.

No broker, no codec, no clock of its own. What the documents and the examples say is tried on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

import msgspec

from streams.client import Invalid, Reply, Sent
from streams.identity import body_checksum
from streams.routes import INDEX
from streams.topics import SHARED, Topic
from tests.unit.tables.scenario import check_encodes
from tests.unit.tables.tables_world import ROUTES, Tables

Stored = Callable[[str, str, dict[str, Any]], None]
Told = Callable[[Topic, str, Any], None]


class Rules:
    """Stands for ``streams.client.Client`` and for the workers that answer it.

    Attributes:
        published: all facts, in order.
        on_stored: called with table, key and changed records of every command.
        on_shared: called with topic, key and record of what every worker holds.
    """

    def __init__(self, on_stored: Stored | None = None, on_shared: Told | None = None) -> None:
        self.published: list[Any] = []
        self.on_stored = on_stored
        self.on_shared = on_shared
        self._tables = Tables()
        self._known: dict[tuple[str, str, str], tuple[int, Reply]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def now(self) -> datetime:
        """Return the append time of what comes."""
        return datetime.now(UTC)

    async def close(self) -> None:
        """Nothing is open."""

    async def publish(self, event: Any, *, correlation_id: str = "") -> Sent:
        reply = self._take(event, correlation_id)
        return Sent(reply.event_id, reply.correlation_id, ROUTES[type(event)].topic.name, 0, 0)

    async def publish_batch(self, events: Sequence[Any], *, correlation_id: str = "") -> list[Sent]:
        return [await self.publish(event, correlation_id=correlation_id) for event in events]

    async def publish_each(
        self, events: Sequence[Any], *, headers: Sequence[Mapping[str, str]] = ()
    ) -> list[Sent]:
        return await self.publish_batch(events)

    async def request(self, command: Any, timeout: float | None = None, *, correlation_id: str = "") -> Reply:
        if not ROUTES[type(command)].answered:
            raise Invalid([(0, "no command")])
        return self._take(command, correlation_id)

    def _take(self, event: Any, correlation_id: str) -> Reply:
        route = ROUTES[type(event)]
        if not event.event_id:
            event = msgspec.structs.replace(event, event_id=str(uuid4()))
        check_encodes(event)
        key, about = route.key(event), (event.event_id, correlation_id or event.event_id)
        business = (route.identity(event) if route.identity else "") or event.event_id
        known = self._known.get((route.aggregate.name, key, business))
        checksum = body_checksum(event)
        if known is not None and known[0] != checksum:
            return Reply("FAILED", "DUPLICATE_CONFLICT", "another body", (), False, *about)
        if known is not None:
            return _again(known[1], about)
        reply = _reply(self._decide((route.aggregate.name, key), event), about)
        self._known[route.aggregate.name, key, business] = (checksum, reply)
        return reply

    def _decide(self, place: tuple[str, str], event: Any) -> list[Any]:
        """Let the rules answer, keep what changes, and pass on what they order from other aggregates."""
        facts, changed = self._tables.take(event, self.now())
        self.published += facts
        if self.on_stored is not None:
            self.on_stored(*place, dict(changed))
        for fact in facts:
            self._pass_on(fact)
        return facts

    def _pass_on(self, fact: Any) -> None:
        output = INDEX.outputs[type(fact)]
        if output.topic in SHARED and self.on_shared is not None:
            self.on_shared(output.topic, output.key(fact), fact)
        if type(fact) in ROUTES:
            self._take(fact, "")


def _reply(facts: list[Any], about: tuple[str, str]) -> Reply:
    refused = next((fact for fact in facts if type(fact).__name__.endswith("Rejected")), None)
    if refused is None:
        return Reply("OK", "", "", tuple(facts), False, *about)
    return Reply("REJECTED", refused.reason_code, refused.message, tuple(facts), False, *about)


def _again(first: Reply, about: tuple[str, str]) -> Reply:
    return Reply(first.status, first.code, first.message, first.facts, True, *about)
