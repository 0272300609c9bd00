"""The versions that the registry has of each of the project's subjects.

It takes a request for each of two hundred subjects. They are asked in a thread, one after the other: all at once, they
would hold up the worker's event loop for seconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import quote

import requests

from ops.console_models import SchemaField, Subject, Subjects
from ops.schemas import record_of
from streams.registry import translate
from streams.settings import Settings, reveal
from streams.topics import catalogue

KEPT_S = 30.0
TIMEOUT_S = 5.0


class SchemaList:
    """Asks the registry, and keeps its answer for a while."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: tuple[float, Subjects] | None = None
        self._asking = asyncio.Lock()

    async def read(self) -> Subjects:
        """Return the subjects; where the registry does not answer, without versions and with the cause."""
        async with self._asking:
            if self._kept is None or time.monotonic() - self._kept[0] > KEPT_S:
                self._kept = (time.monotonic(), await asyncio.to_thread(self._ask))
            return self._kept[1]

    def forget(self) -> None:
        """Ask again next time."""
        self._kept = None

    def _ask(self) -> Subjects:
        rows = [_subject(*row) for row in catalogue(self._settings.app_id)]
        try:
            with requests.Session() as session:
                if self._settings.registry_username is not None:
                    session.auth = (
                        self._settings.registry_username,
                        reveal(self._settings.registry_password) or "",
                    )
                if self._settings.registry_ca is not None:
                    session.verify = str(self._settings.registry_ca)
                for row in rows:
                    row.versions = self._versions(session, row.subject)
        except requests.RequestException as error:
            return Subjects(items=rows, registry=str(translate(error, "subjects")))
        return Subjects(items=rows, registry="")

    def _versions(self, session: requests.Session, subject: str) -> list[int]:
        url = f"{self._settings.registry_url.rstrip('/')}/subjects/{quote(subject, safe='')}/versions"
        answer = session.get(url, timeout=TIMEOUT_S)
        if answer.status_code == requests.codes.not_found:
            return []
        answer.raise_for_status()
        return sorted(map(int, answer.json()))


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
