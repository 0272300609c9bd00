"""The console over HTTP: what one worker tells another, and what the page is told once or asks for."""

from __future__ import annotations

from pydantic import BaseModel, Field

from ops.console_numbers import Counts
from ops.console_tables import Domains


class Part(BaseModel):
    """One worker's part of a snapshot. ``counts`` and ``owned`` are the operator's."""

    name: str
    version: str
    domains: Domains
    counts: Counts | None = None
    owned: dict[str, list[int]] = Field(
        {}, description="Partitions that it owns and has recovered, by table."
    )


class SchemaField(BaseModel):
    """A field of a record."""

    name: str
    type: str
    doc: str


class Subject(BaseModel):
    """A subject of the registry: one record on one topic."""

    subject: str
    topic: str
    record: str
    level: str
    doc: str
    versions: list[int] = Field(description="Those that the registry has, oldest first.")
    fields: list[SchemaField] = Field(description="Of the contract in avro/.")


class Subjects(BaseModel):
    """The project's subjects."""

    items: list[Subject]
    registry: str = Field(description="What is wrong with the registry; empty where it answers.")
