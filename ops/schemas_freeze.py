"""``sluice schemas freeze``: the contracts as they stand become released versions in ``avro/history``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from ops.compatibility import breaches
from ops.errors import OpsError
from ops.schemas_changes import changes
from streams.history import FOLDER, MANIFEST, HistoryError, Version, digest, read_manifest, released
from streams.schemas import Contract

_LATER = re.compile(r"V(\d+)$").search


def read_released(folder: Path) -> dict[str, list[Version]]:
    """Return ``streams.history.released``. Raises OpsError where the folder was tampered with."""
    try:
        return released(folder)
    except HistoryError as error:
        raise OpsError(f"{error}.", "Nothing was compared or written.") from error


def freeze(
    contracts: Mapping[str, Contract], levels: Mapping[str, str], folder: Path = FOLDER
) -> list[dict[str, str]]:
    """Write a new version of each contract that differs from its newest one.

    Args:
        contracts: those of ``avro/``.
        levels: compatibility level of each record that travels, by full name.
        folder: the history.

    Returns:
        A row for each version written: record, version and file.

    Raises:
        OpsError: a contract breaks with what was released, or the folder was tampered with; nothing was written.
    """
    history = read_released(folder)
    refuse_lost(history, levels)
    new: dict[str, str] = {}
    rows, refused = [], []
    for name, level in levels.items():
        text, versions = contracts[name].text, history.get(name, [])
        if versions and versions[-1].text == text:
            continue
        refused += [f"{name}: {each}" for each in breaches(text, [v.text for v in versions], level)]
        file = f"{name}/{len(versions) + 1}.avsc"
        new[file] = text + "\n"
        rows.append({"record": name, "version": following(name, versions, text, level), "file": file})
    if refused:
        raise OpsError(
            "\n".join(refused) + ".",
            "Nothing was written. Under avro/, only add fields that have defaults, or make a new record.",
        )
    if rows:
        _write(folder, new, {row["file"]: row["version"] for row in rows})
    return rows


def refuse_lost(history: Mapping[str, list[Version]], levels: Mapping[str, str]) -> None:
    """Raise OpsError where a record that was released is no longer in ``avro/`` or on any topic."""
    if lost := sorted(history.keys() - levels.keys()):
        raise OpsError(
            f"{', '.join(lost)} was released and is gone, so old topics hold what nobody can read.",
            "Put the contract back, and list it with its topic; mark it with sluice.deprecated where it should go.",
        )


def following(name: str, versions: list[Version], text: str, level: str) -> str:
    """Return the semantic version of a record's text that comes after ``versions``; ``...V2`` begins with 2.0.0."""
    if not versions:
        later = _LATER(name)
        return f"{later[1] if later else 1}.0.0"
    major, minor, patch = map(int, versions[-1].semantic.split("."))
    found = changes(versions[-1].text, text, level)
    if all(change.kind == "METADATA_CHANGED" for change in found):
        return f"{major}.{minor}.{patch + 1}"
    return f"{major}.{minor + 1}.0"


def _write(folder: Path, new: Mapping[str, str], semantic: Mapping[str, str]) -> None:
    """Write the files, and the manifest after them: what it lists is there."""
    manifest = read_manifest(folder)
    for file, text in new.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        manifest[file] = {"version": semantic[file], "sha256": digest(text)}
    lines = (f"  {json.dumps(file)}: {json.dumps(manifest[file])}" for file in sorted(manifest, key=_order))
    draft = folder / f"{MANIFEST}.tmp"
    draft.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    draft.replace(folder / MANIFEST)


def _order(file: str) -> tuple[str, int]:
    record, _, number = file.partition("/")
    return record, int(number.removesuffix(".avsc"))
