"""What the typed clients ask, the real rules decide in memory, at a time of the test's own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from streams.client import Client, Reply
from tests.unit import rules_world


class Rules(rules_world.Rules):
    """Stands in for ``Client``.

    Attributes:
        asked: the commands, in order.
        at: the time of the broker.
        instead: fields of the reply that the next request gets whatever is asked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []
        self.at = datetime(2026, 11, 20, 12, tzinfo=UTC)
        self.instead: dict[str, Any] | None = None

    def now(self) -> datetime:
        return self.at

    @property
    def client(self) -> Client:
        """The rules by the type of what they stand in for."""
        return cast(Client, self)

    async def request(self, command: Any, timeout: float | None = None, *, correlation_id: str = "") -> Reply:
        self.asked.append(command)
        reply = await super().request(command, timeout, correlation_id=correlation_id)
        given, self.instead = self.instead or {}, None
        return replace(reply, **given)
