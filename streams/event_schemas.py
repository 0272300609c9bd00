"""Event schemas by type and version, for services that check events themselves (contracts 001-50 to 001-56).

    schemas = EventSchemas.of_contracts()
    schemas.validate_event(UsageEvent(...))
    schemas.get_latest_schema("usage.metered").get_validation_errors({"tenant_id": "acme"})

It holds the contracts of ``avro/`` and every released version of them. The Schema Registry on the wire, which knows
ids and no versions, is ``streams.registry``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from streams.history import FOLDER, released
from streams.schemas import Contract, Node, contracts, qualify
from streams.validation import errors_of

_SEMANTIC = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?(\+[0-9A-Za-z.-]+)?").fullmatch
UNRELEASED = "+unreleased"
"""Ends the version of a contract that changed after it was released."""


class EventSchema:
    """One version of one event type's schema."""

    def __init__(self, event_type: str, schema_version: str, schema: Node) -> None:
        """Take a self-contained schema.

        Args:
            event_type: canonical type, such as ``usage.metered``.
            schema_version: semantic version.
            schema: the Avro schema as JSON gives it.

        Raises:
            ValueError: the version is none.
        """
        found = _SEMANTIC(schema_version)
        if found is None:
            raise ValueError(f"{schema_version!r} is no semantic version; give one such as 1.2.0")
        self._event_type = event_type.lower()
        self._schema_version = schema_version
        self._order = (*(int(part or 0) for part in found.group(1, 2, 3)), found[4] is not None)
        self._schema = qualify(schema, "")

    @property
    def event_type(self) -> str:
        """The type of event it is of."""
        return self._event_type

    @property
    def schema_version(self) -> str:
        """Its semantic version; a contract that changed since its release ends in ``+unreleased``."""
        return self._schema_version

    @property
    def schema(self) -> Node:
        """The Avro schema."""
        return self._schema

    def precedence(self) -> tuple[Any, ...]:
        """Return what versions are ordered by."""
        return self._order

    def validate(self, event_data: Any) -> bool:
        """Return whether a mapping, as Python or JSON has it, or a struct is an event of this version."""
        return not self.get_validation_errors(event_data)

    def get_validation_errors(self, event_data: Any) -> list[str]:
        """Return everything that is wrong with an event: path of the field and rule, never the value."""
        return errors_of(self._schema, event_data)


class EventSchemas:
    """The schemas of a program. Event types are the same in any case of letters (decision D1)."""

    def __init__(self) -> None:
        self._schemas: dict[str, dict[str, EventSchema]] = {}

    @classmethod
    def of_contracts(cls, known: Mapping[str, Contract] | None = None, folder: Path = FOLDER) -> Self:
        """Return what ``avro/`` holds: every released version, and each contract as it stands.

        Raises:
            HistoryError: a released version was edited.
        """
        found, history = cls(), released(folder)
        for name, contract in (contracts() if known is None else known).items():
            if contract.kind != "event":
                continue
            versions = history.get(name, [])
            for each in versions:
                found.register_schema(contract.type, each.semantic, each.schema)
            if not versions or versions[-1].text != contract.text:
                newest = (versions[-1].semantic if versions else "0.0.0") + UNRELEASED
                found.register_schema(contract.type, newest, contract.schema)
        return found

    def register_schema(self, event_type: str, version: str, schema: EventSchema | Node) -> None:
        """Add a version of an event type's schema. The same again changes nothing.

        Raises:
            ValueError: the version is there with another schema, or is no semantic version.
        """
        if not isinstance(schema, EventSchema):
            schema = EventSchema(event_type, version, schema)
        versions = self._schemas.setdefault(event_type.lower(), {})
        if version in versions and versions[version].schema != schema.schema:
            raise ValueError(
                f"{event_type} {version} is registered with another schema; register it as a new version"
            )
        versions[version] = schema

    def get_schema(self, event_type: str, version: str) -> EventSchema | None:
        """Return one version, or None."""
        return self._schemas.get(event_type.lower(), {}).get(version)

    def get_latest_schema(self, event_type: str) -> EventSchema | None:
        """Return the highest version, or None where the type is not known."""
        return max(
            self._schemas.get(event_type.lower(), {}).values(), key=EventSchema.precedence, default=None
        )

    def validate_event(self, event: Any) -> bool:
        """Return whether a struct of ``streams.events`` fits the latest schema of its type."""
        latest = self.get_latest_schema(getattr(event, "TYPE", ""))
        return latest is not None and latest.validate(event)
