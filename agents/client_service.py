"""What the typed clients have in common: commands from plain values, results as plain values."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
from pydantic import ValidationError

from streams.client import Client, Failed, Invalid, Rejected, Reply
from streams.keys import DEFAULT_TENANT
from streams.routing import is_refusal
from streams.web_bodies import body_of
from streams.web_errors import ValidationFailed

Fact = TypeVar("Fact")


class Service:
    """One service of the bus, for one tenant.

    Every operation raises ``Rejected`` where a rule refuses it and ``Failed`` where it became a dead letter, each with
    the reason's code, and what ``Client.request`` raises.
    """

    def __init__(self, client: Client, tenant_id: str = DEFAULT_TENANT, timeout: float | None = None) -> None:
        """Use a client, which stays the caller's to close.

        Args:
            tenant_id: whose data it is about.
            timeout: seconds that an operation may take; the client's own unless given.
        """
        self.client = client
        self.tenant_id = tenant_id
        self.timeout = timeout

    def command(
        self,
        record: type,
        fields: dict[str, Any],
        *named: str,
        event_id: str = "",
        expected_version: Any = None,
    ) -> Any:
        """Return a command made of plain values.

        Args:
            record: its type.
            fields: by their names in the contract; decimals as Decimal, int or text, times with their zone.
            named: fields that take the event's id where they are left out.
            event_id: made unless given.
            expected_version: of the aggregate, where the command may say it.

        Raises:
            Invalid: with everything that is wrong.
        """
        model = body_of(record, frozenset({"tenant_id"}), frozenset(named))
        try:
            body = model.model_validate(fields).model_dump(exclude_unset=True)
        except ValidationError as error:
            details = ValidationFailed.of(error).details
            raise Invalid([(0, "; ".join(f"{each.field}: {each.reason}" for each in details))]) from None
        event_id = event_id or str(uuid4())
        given = {"timestamp": datetime.now(UTC), "tenant_id": self.tenant_id, "event_id": event_id}
        if expected_version is not None:
            given["expected_version"] = expected_version
        named_by_event = {name: event_id for name in named if not body.get(name)}
        return msgspec.convert({**body, **given, **named_by_event}, record)

    async def ask(self, command: Any) -> Reply:
        """Return the reply to a command that was applied.

        Raises:
            Rejected, Failed, and what ``Client.request`` raises.
        """
        reply = await self.client.request(command, self.timeout)
        if reply.status == "REJECTED":
            refusal = next((fact for fact in reply.facts if is_refusal(type(fact))), None)
            raise Rejected(reply.code, reply.message, refusal)
        if not reply.ok:
            raise Failed(reply.code or reply.status, reply.message)
        return reply


def result(reply: Reply, *kinds: type[Fact]) -> Fact:
    """Return the first fact of one of the kinds.

    Raises:
        Failed: there is none, because the command had been applied before and its reply was not kept.
    """
    for fact in reply.facts:
        if isinstance(fact, kinds):
            return fact
    raise Failed(reply.code or "NO_RESULT", reply.message or "the command was applied, but told no result")


def as_dict(fact: Any) -> dict[str, Any]:
    """Return a fact's fields: dicts, tuples, Decimal, aware times; without the envelope."""
    found: dict[str, Any] = msgspec.to_builtins(fact, builtin_types=(Decimal, datetime))
    return {name: value for name, value in found.items() if name != "envelope"}
