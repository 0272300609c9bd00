"""The versions that the registry has of each of the project's subjects."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from ops.console_models import SchemaField, Subject, Subjects
from ops.schemas import record_of
from streams.registry import Registry, RegistryError, SchemaNotFound, some_at_once
from streams.topics import catalogue

KEPT_S = 15.0


class SchemaList:
    """Asks the registry, and keeps its answer for a while: it is one request for each subject."""

    def __init__(self, registry: Registry, app_id: str) -> None:
        self._registry = registry
        self._app_id = app_id
        self._kept: tuple[float, Subjects] | None = None
        self._asking = asyncio.Lock()

    async def read(self) -> Subjects:
        """Return the subjects; where the registry does not answer, without versions and with the cause."""
        async with self._asking:
            if self._kept is None or time.monotonic() - self._kept[0] > KEPT_S:
                self._kept = (time.monotonic(), await self._ask())
            return self._kept[1]

    def forget(self) -> None:
        """Ask again next time."""
        self._kept = None

    async def _ask(self) -> Subjects:
        rows = [_subject(*row) for row in catalogue(self._app_id)]
        try:
            found = await some_at_once(self._versions(row.subject) for row in rows)
        except RegistryError as error:
            return Subjects(items=rows, registry=str(error))
        items = [row.model_copy(update={"versions": n}) for row, n in zip(rows, found, strict=True)]
        return Subjects(items=items, registry="")

    async def _versions(self, subject: str) -> list[int]:
        try:
            return sorted(await self._registry.numbers(subject))
        except SchemaNotFound:
            return []


def _subject(subject: str, text: str, level: str) -> Subject:
    name = record_of(subject)
    schema = json.loads(text)
    return Subject(
        subject=subject,
        topic=subject.removesuffix(f"-{name}"),
        record=name,
        level=level,
        doc=schema.get("doc", ""),
        versions=[],
        fields=[
            SchemaField(name=field["name"], type=type_text(field["type"]), doc=field.get("doc", ""))
            for field in schema["fields"]
        ],
    )


def type_text(node: Any) -> str:
    """Return a type of a schema as people write it, such as ``decimal?`` or ``array<string>``."""
    if isinstance(node, str):
        return node.rpartition(".")[2]
    if isinstance(node, list):
        others = [type_text(each) for each in node if each != "null"]
        return " | ".join(others) + ("?" if "null" in node else "")
    if "logicalType" in node:
        return str(node["logicalType"])
    match node["type"]:
        case "array":
            return f"array<{type_text(node['items'])}>"
        case "map":
            return f"map<{type_text(node['values'])}>"
        case "enum" | "record" | "fixed":
            return str(node["name"]).rpartition(".")[2]
    return type_text(node["type"])
