"""What changed between two versions of a schema, change by change, and which of them break somebody.

The registry says only that a schema is refused, and it accepts some that would still go wrong: a decimal read at
another scale, or a field that is gone with all the data in it. So every version is compared here first, by the
rules of contracts 002-30 to 002-36 and, below them, by those of Avro's resolution with its logical types:

========================  ========================================  =======================================
change                    events (FULL_TRANSITIVE)                  state (BACKWARD_TRANSITIVE)
========================  ========================================  =======================================
field added               with a default                            with a default
field removed             breaks                                    allowed: nobody else reads it
default added, changed    allowed (*)                               allowed (*)
default removed           breaks                                    allowed while every version has the field
type changed              breaks                                    int to long, T to ["null", T] and the like
enum symbol added         where older versions have a default       allowed
enum symbol removed       breaks                                    breaks: old state would read as UNKNOWN
documentation, metadata   allowed                                   allowed
========================  ========================================  =======================================

(*) A default that changes breaks where some version lacks the field: its data would then mean two things.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from streams.avro_source import plain
from streams.schemas import Node, definitions, qualify

PROMOTIONS = {
    ("int", "long"),
    ("int", "float"),
    ("int", "double"),
    ("long", "float"),
    ("long", "double"),
    ("float", "double"),
}
NAMED = ("record", "enum", "fixed")
STRUCTURE = frozenset({"name", "namespace", "type", "fields", "symbols", "default", "size"})
"""Attributes that the rules speak of; all others are metadata."""
IDENTITY = ("sluice.kind", "sluice.type")
WHOLE = "(record)"
"""Stands for the field where the record itself changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two versions.

    Attributes:
        field: path of the field, such as ``cost.amount`` or ``lines[].quantity``; ``(record)`` for the record itself.
        kind: FIELD_ADDED, FIELD_REMOVED, FIELD_RELAXED, REQUIRED_FIELD_ADDED, REQUIRED_FIELD_CHANGED,
            TYPE_CHANGED, TYPE_WIDENED, ENUM_SYMBOL_ADDED, ENUM_SYMBOL_REMOVED, ENUM_DEFAULT_CHANGED,
            DEFAULT_CHANGED, EVENT_TYPE_CHANGED or METADATA_CHANGED.
        text: what changed and, where it breaks something, whom; a half-sentence whose subject is the field.
        breaking: whether it may not be.
    """

    field: str
    kind: str
    text: str
    breaking: bool


def changes(before: str, after: str, level: str) -> list[Change]:
    """Return every difference between two versions of a schema, in the order of the fields.

    Args:
        before, after: schema texts.
        level: ``BACKWARD_TRANSITIVE`` (new code reads old data), ``FULL_TRANSITIVE`` (and the reverse).
    """
    old, new = (qualify(json.loads(text), "") for text in (before, after))
    found = list(_Comparison(old, new, full=level.startswith("FULL")).run())
    if not found and old != new:
        found = [_metadata(WHOLE, "has its fields, symbols or attributes in another order or spelling")]
    return found


class _Comparison:
    """Two versions side by side."""

    def __init__(self, before: Node, after: Node, *, full: bool) -> None:
        self._sides = (before, after)
        self._named = tuple({each["name"]: each for each in definitions(side)} for side in self._sides)
        self._full = full
        self._seen: set[tuple[str, str]] = set()

    def run(self) -> Iterator[Change]:
        yield from self._types(*self._sides, "")

    def _types(self, before: Node, after: Node, path: str) -> Iterator[Change]:
        """A type is compared as a union; one that is none has one branch."""
        old, new = self._branches(before, 0), self._branches(after, 1)
        lost = any(name not in new and not self._widened(node, new) for name, node in old.items())
        gained = new.keys() - old.keys()
        if lost or (gained and self._full):
            told = f"changed its type from {_all(old)} to {_all(new)}"
            told += "" if lost else ", which older readers cannot read"
            yield Change(path or WHOLE, "TYPE_CHANGED", told, True)
        elif gained:
            told = f"took {_all(old)} and takes {_all(new)}"
            yield Change(path or WHOLE, "TYPE_WIDENED", told, False)
        for name in old:
            if name in new:
                yield from self._parts(old[name], new[name], path)

    def _branches(self, node: Node, side: int) -> dict[tuple[Any, ...], dict[str, Any]]:
        node = plain(node, self._named[side])
        members = [
            plain(member, self._named[side]) for member in (node if isinstance(node, list) else [node])
        ]
        return {_sort(member): member for member in members}

    def _widened(self, node: dict[str, Any], new: dict[tuple[Any, ...], Any]) -> bool:
        if self._full or "logicalType" in node:
            return False
        return any((node["type"], kind) in PROMOTIONS and not logical for kind, _, logical, *_ in new)

    def _parts(self, before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[Change]:
        match before["type"]:
            case "record":
                pair = (before["name"], after["name"])
                if pair not in self._seen:
                    self._seen.add(pair)
                    yield from self._record(before, after, path)
            case "enum":
                yield from self._enum(before, after, path)
            case "array":
                yield from self._types(before["items"], after["items"], f"{path}[]")
            case "map":
                yield from self._types(before["values"], after["values"], f"{path}{{}}")

    def _record(self, before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[Change]:
        where = path or WHOLE
        for name in IDENTITY:
            if before.get(name) != after.get(name):
                told = (
                    f"changed {name} from {before.get(name)} to {after.get(name)}, by which readers know it"
                )
                yield Change(where, "EVENT_TYPE_CHANGED", told, True)
        yield from _attributes(before, after, where)
        old, new = ({field["name"]: field for field in side["fields"]} for side in (before, after))
        for name, field in new.items():
            place = f"{path}.{name}".lstrip(".")
            if name in old:
                yield from self._types(old[name]["type"], field["type"], place)
                yield from self._default(old[name], field, place)
                yield from _attributes(old[name], field, place)
            elif "default" in field:
                yield Change(place, "FIELD_ADDED", "is new and optional", False)
            else:
                told = "is new and has no default, so data of older versions cannot be read"
                yield Change(place, "REQUIRED_FIELD_ADDED", told, True)
        aliases = {alias for field in new.values() for alias in field.get("aliases", ())}
        for name in old:
            if name not in new:
                yield self._removed(f"{path}.{name}".lstrip("."), aliased=name in aliases)

    def _removed(self, place: str, *, aliased: bool) -> Change:
        if aliased:
            told = "became the alias of another field, and readers here do not follow aliases; keep its name"
            return Change(place, "FIELD_REMOVED", told, True)
        told = "is removed" + ", and older readers still want it; keep it and leave it empty" * self._full
        return Change(place, "FIELD_REMOVED", told, self._full)

    def _default(self, before: dict[str, Any], after: dict[str, Any], place: str) -> Iterator[Change]:
        old, new = ("default" in field for field in (before, after))
        if old and not new:
            told = "was optional and is required now" + ", which older writers do not know" * self._full
            yield Change(place, "REQUIRED_FIELD_CHANGED", told, self._full)
        elif new and not old:
            yield Change(place, "FIELD_RELAXED", "was required and is optional now", False)
        elif old and before["default"] != after["default"]:
            told = f"changed its default from {_json(before['default'])} to {_json(after['default'])}"
            yield Change(place, "DEFAULT_CHANGED", told, False)

    def _enum(self, before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[Change]:
        removed = [symbol for symbol in before["symbols"] if symbol not in after["symbols"]]
        added = [symbol for symbol in after["symbols"] if symbol not in before["symbols"]]
        if removed:
            told = f"lost the symbols {', '.join(removed)}, which data of older versions hold"
            yield Change(path, "ENUM_SYMBOL_REMOVED", told, True)
        if added:
            breaking = self._full and "default" not in before
            told = f"has the new symbols {', '.join(added)}"
            told += ", for which older readers have no default" * breaking
            yield Change(path, "ENUM_SYMBOL_ADDED", told, breaking)
        if before.get("default") != after.get("default"):
            told = f"changed what it reads unknown symbols as from {before.get('default', 'nothing')} "
            told += f"to {after.get('default', 'nothing')}"
            yield Change(path, "ENUM_DEFAULT_CHANGED", told, "default" in before)
        yield from _attributes(before, after, path)


def _attributes(before: dict[str, Any], after: dict[str, Any], place: str) -> Iterator[Change]:
    names = sorted((before.keys() | after.keys()) - STRUCTURE - set(IDENTITY))
    changed = [name for name in names if before.get(name) != after.get(name)]
    if changed:
        yield _metadata(place, f"changed its {', '.join(changed)}")


def _metadata(place: str, text: str) -> Change:
    return Change(place, "METADATA_CHANGED", text, False)


def _sort(node: dict[str, Any]) -> tuple[Any, ...]:
    """Return what must be equal in two types for one to be read as the other, their parts aside."""
    name = node["name"].rpartition(".")[2] if node["type"] in NAMED else ""
    logical = node.get("logicalType")
    digits = (node.get("precision"), node.get("scale", 0)) if logical == "decimal" else ()
    return node["type"], name, logical, digits, node.get("size")


def _all(branches: dict[tuple[Any, ...], dict[str, Any]]) -> str:
    shown = [_shown(node) for node in branches.values()]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"


def _shown(node: dict[str, Any]) -> str:
    if node.get("logicalType") == "decimal":
        return f"decimal({node['precision']},{node.get('scale', 0)})"
    return str(node.get("logicalType") or node.get("name", node["type"]))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
