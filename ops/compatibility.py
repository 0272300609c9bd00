"""Whether a schema may follow all versions before it, and if not, which field breaks what with which version.

``ops.schemas_changes`` has the rules for two versions; here a new one is held against every older one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ops.schemas_changes import changes


@dataclass(frozen=True, slots=True)
class Breach:
    """A breaking change.

    Attributes:
        field, kind, text: as of a ``Change``.
        versions: numbers of the versions that it breaks with.
    """

    field: str
    kind: str
    text: str
    versions: tuple[int, ...]

    def __str__(self) -> str:
        against = f"version{'s' if len(self.versions) > 1 else ''} {', '.join(map(str, self.versions))}"
        return f"{self.field} {self.text} ({against})"


def breaches(new: str, history: Sequence[str], level: str) -> list[Breach]:
    """Return why ``new`` may not follow the versions in ``history``; empty when it may.

    Args:
        new: schema text.
        history: all versions so far, oldest first.
        level: ``BACKWARD_TRANSITIVE`` (new code reads old data), ``FULL_TRANSITIVE`` (and the reverse).
    """
    compared = [changes(text, new, level) for text in history]
    filled = {change.field for found in compared for change in found if change.kind == "FIELD_ADDED"}
    versions: dict[tuple[str, str, str], list[int]] = {}
    for number, found in enumerate(compared, start=1):
        for change in found:
            text = change.text
            if change.kind == "DEFAULT_CHANGED" and change.field in filled:
                text += ", so data of versions without it would mean two things"
            elif not change.breaking:
                continue
            versions.setdefault((change.field, change.kind, text), []).append(number)
    return [Breach(*what, tuple(numbers)) for what, numbers in versions.items()]


def reasons(new: str, history: Sequence[str], level: str) -> list[str]:
    """Return what ``breaches`` finds as texts."""
    return [str(breach) for breach in breaches(new, history, level)]
