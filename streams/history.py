"""The versions of every contract that were released, as they lie in ``avro/history``; they are never edited.

``avro/history/<record>/<n>.avsc`` is the n-th text that was registered for a record, self-contained and in full. It
is kept per record and not per subject: a record has one text, whichever topics carry it. ``manifest.json`` holds the
SHA-256 of each file, so that an edit is noticed, and its semantic version (contracts 002-29): the second number
counts changes of the contract, the third those of its documentation; a change that breaks somebody is a new record,
``...V2``. ``sluice schemas freeze`` writes the folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.schemas import ROOT

FOLDER = ROOT / "history"
MANIFEST = "manifest.json"


class HistoryError(ValueError):
    """The folder is not what was written; the text names each file, what is wrong with it and the remedy."""


@dataclass(frozen=True, slots=True)
class Version:
    """A released version of a record.

    Attributes:
        number: 1 for the first.
        semantic: its semantic version, such as ``1.2.0``.
        text: the schema as it was registered.
    """

    number: int
    semantic: str
    text: str

    @property
    def schema(self) -> Any:
        """The schema as JSON gives it."""
        return json.loads(self.text)


def released(folder: Path = FOLDER) -> dict[str, list[Version]]:
    """Return the versions of every record by full name, oldest first; nothing where nothing was released yet.

    Raises:
        HistoryError: a file was edited, lost or added by hand.
    """
    manifest = read_manifest(folder)
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.glob("*/*"))}
    wrong = [f"{name} is not in {MANIFEST}: remove it" for name in found.keys() - manifest.keys()]
    versions: dict[str, list[Version]] = {}
    for name, row in manifest.items():
        if name not in found:
            wrong.append(f"{name} is missing: restore it from version control")
            continue
        text = found[name].read_text(encoding="utf-8")
        if digest(text) != row["sha256"]:
            wrong.append(f"{name} was edited: restore it from version control")
        record = versions.setdefault(name.rpartition("/")[0], [])
        record.append(Version(int(found[name].stem), row["version"], text.rstrip("\n")))
    for record_name, each in versions.items():
        each.sort(key=lambda version: version.number)
        if [version.number for version in each] != list(range(1, len(each) + 1)):
            wrong.append(f"{record_name} lacks a version: restore it and {MANIFEST} from version control")
    if wrong:
        raise HistoryError(
            f"avro/history is not what was released: {'; '.join(sorted(wrong))}. Released versions never change; "
            "change the contract in avro/ and run `sluice schemas freeze`"
        )
    return versions


def read_manifest(folder: Path) -> dict[str, dict[str, str]]:
    """Return what is known of each file by its path in the folder.

    Raises:
        HistoryError: it cannot be read.
    """
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(name): {"sha256": row["sha256"], "version": row["version"]} for name, row in found.items()
        }
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise HistoryError(
            f"avro/history/{MANIFEST} cannot be read ({error}); restore it from version control"
        ) from error


def digest(text: str) -> str:
    """Return a file's SHA-256 as the manifest has it."""
    return hashlib.sha256(text.encode()).hexdigest()
