"""``sluice schemas``: the contracts against what was released (``avro/history``) and against the registry.

Looking changes nothing, neither here nor there; ``freeze`` and ``register`` write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.compatibility import breaches
from ops.errors import OpsError
from ops.schemas_changes import changes
from ops.schemas_freeze import read_released, refuse_lost
from ops.setup import Subject
from streams.history import FOLDER, Version
from streams.registry import Registry, RegistryError, SchemaNotFound, some_at_once
from streams.schemas import Contract
from streams.settings import Settings
from streams.topics import catalogue

Row = dict[str, Any]
FULL = "FULL_TRANSITIVE"


def record_of(subject: str) -> str:
    """Return the full name of the record in a subject, ``<topic>-<record>``."""
    return subject.rpartition("-")[2]


def levels(app_id: str = "sluice") -> dict[str, str]:
    """Return the compatibility level of every record that travels: the strictest of its subjects."""
    found: dict[str, str] = {}
    for subject, _, level in catalogue(app_id):
        name = record_of(subject)
        found[name] = FULL if FULL in (level, found.get(name)) else level
    return found


# --- against avro/history -------------------------------------------------------------------------------------------


def refused_offline(
    contracts: Mapping[str, Contract], levels: Mapping[str, str], folder: Path = FOLDER
) -> list[Row]:
    """Return a row for each breaking change since any released version: record, field, kind, reason and versions.

    Raises:
        OpsError: a released version was edited, or a released record is gone.
    """
    history = read_released(folder)
    refuse_lost(history, levels)
    return [
        row for name, each in history.items() for row in _refused(name, contracts[name].text, each, levels)
    ]


def _refused(name: str, text: str, versions: Sequence[Version], levels: Mapping[str, str]) -> list[Row]:
    found = breaches(text, [version.text for version in versions], levels[name])
    return [_row(name, each.field, each.kind, each.text) | {"versions": [*each.versions]} for each in found]


def changed_offline(
    contracts: Mapping[str, Contract], levels: Mapping[str, str], folder: Path = FOLDER
) -> list[Row]:
    """Return a row for each change since the newest released versions: as above, with ``breaking`` for versions.

    Raises:
        OpsError: a released version was edited.
    """
    history = read_released(folder)
    return [
        row
        for name, level in levels.items()
        for row in _changed(name, contracts[name].text, [v.text for v in history.get(name, [])], level)
    ]


def _changed(name: str, text: str, versions: Sequence[str], level: str) -> list[Row]:
    if not versions:
        return [_row(name, "(record)", "RECORD_ADDED", "is new") | {"breaking": False}]
    return [
        _row(name, each.field, each.kind, each.text) | {"breaking": each.breaking}
        for each in changes(versions[-1], text, level)
    ]


def listed_offline(
    contracts: Mapping[str, Contract], app_id: str = "sluice", folder: Path = FOLDER
) -> list[Row]:
    """Return a row for each subject: level, semantic version, whether the contract is released as it stands, and its
    successor where it is deprecated.

    Raises:
        OpsError: a released version was edited.
    """
    history = read_released(folder)
    rows = []
    for subject, text, level in catalogue(app_id):
        name = record_of(subject)
        versions, deprecated = history.get(name, []), contracts[name].deprecated
        current = bool(versions) and versions[-1].text == text
        rows.append(
            {
                "subject": subject,
                "level": level,
                "version": versions[-1].semantic if versions else "",
                "history": "released" if current else "changed" if versions else "unreleased",
                "deprecated": f"since {deprecated.since}: {deprecated.successor}" if deprecated else "",
            }
        )
    return rows


def _row(record: str, field: str, kind: str, reason: str) -> Row:
    return {"record": record, "field": field, "kind": kind, "reason": reason}


# --- against the registry -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """What the registry has of a subject.

    Attributes:
        subject, text, level: what the catalogue wants.
        schema_id: the id of this text, or None where the subject does not have it.
        own_level: the level that the registry holds the subject to; None where the subject is missing or has none.
        versions: the texts of all versions, oldest first; left empty where the schema is there as it stands.
        exists: whether the subject is there.
    """

    subject: str
    text: str
    level: str
    exists: bool
    schema_id: int | None = None
    own_level: str | None = None
    versions: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """``registered``, ``changed`` or ``missing``."""
        return "registered" if self.schema_id is not None else "changed" if self.exists else "missing"


async def registered(settings: Settings, rows: Sequence[Subject] | None = None) -> list[Registered]:
    """Return what the registry has of each row, by default of the whole catalogue, in the same order.

    Raises:
        OpsError: it does not answer.
    """
    async with _registry(settings) as registry:
        return await _look(registry, list(catalogue(settings.app_id) if rows is None else rows))


async def refused(settings: Settings, rows: Sequence[Subject] | None = None) -> list[Row]:
    """Return a row for each reason why the registry must not take a schema: subject, field, kind, reason, versions.

    Raises:
        OpsError: it does not answer.
    """
    async with _registry(settings) as registry:
        found = await _look(registry, list(catalogue(settings.app_id) if rows is None else rows))
        changed = [each for each in found if each.versions]
        verdicts = await some_at_once(registry.fits(each.subject, each.text) for each in changed)
    takes = {each.subject: fits for each, fits in zip(changed, verdicts, strict=True)}
    return [row for each in found for row in _objections(each, takes.get(each.subject, True))]


def _objections(each: Registered, takes: bool) -> list[Row]:
    name = record_of(each.subject)
    rows = [
        _row(name, breach.field, breach.kind, breach.text) | {"versions": [*breach.versions]}
        for breach in breaches(each.text, each.versions, each.level)
    ]
    if not rows and not takes:
        told = f"is not {each.own_level or each.level} with its older versions, says the registry"
        rows.append(_row(name, "(record)", "REGISTRY_REFUSED", told) | {"versions": []})
    if each.exists and each.own_level != each.level:
        told = f"is held to {each.own_level or 'no level'} by the registry and not to {each.level}; "
        told += "`sluice schemas register` sets it"
        rows.append(_row(name, "(subject)", "LEVEL_CHANGED", told) | {"versions": []})
    return [{"subject": each.subject, **row} for row in rows]


async def changed(settings: Settings, rows: Sequence[Subject] | None = None) -> list[Row]:
    """Return a row for each change since the newest registered versions, with ``breaking`` (see ``changed_offline``).

    Raises:
        OpsError: the registry does not answer.
    """
    return [
        {"subject": each.subject, **row}
        for each in await registered(settings, rows)
        if each.schema_id is None
        for row in _changed(record_of(each.subject), each.text, each.versions, each.level)
    ]


async def _look(registry: Registry, rows: Sequence[Subject]) -> list[Registered]:
    existing = set(await registry.subjects())
    return list(await some_at_once(_found(registry, row, row[0] in existing) for row in rows))


async def _found(registry: Registry, row: Subject, exists: bool) -> Registered:
    if not exists:
        return Registered(*row, exists=False)
    subject, text, _ = row
    level = await registry.level(subject)
    try:
        schema_id = await registry.id_of(subject, text)
    except SchemaNotFound:
        versions = tuple(await registry.versions(subject))
        return Registered(*row, exists=True, own_level=level, versions=versions)
    return Registered(*row, exists=True, schema_id=schema_id, own_level=level)


@asynccontextmanager
async def _registry(settings: Settings) -> AsyncIterator[Registry]:
    registry = Registry(settings)
    try:
        yield registry
    except RegistryError as error:
        raise OpsError(
            f"{error}.",
            "Start it with `sluice up`, correct SLUICE_REGISTRY_URL and its login, or use --offline.",
        ) from error
    finally:
        await registry.close()
