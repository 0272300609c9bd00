"""Everything that is wrong with an event, told at once (contracts 001-50, 001-51, 002-37).

The compiled writers stop at the first value that does not fit, which is all that a rule needs; a person who has to
correct an event wants the whole list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from streams.avro_careful import reason, scalar
from streams.avro_source import plain
from streams.schemas import Node, definitions

_MISSING: Any = object()
_NUMBERS = {"int": 2**31, "long": 2**63}


def errors_of(schema: Node, event: Any) -> list[str]:
    """Return what is wrong with an event: the path of each field and the rule it breaks, never its value.

    Args:
        schema: the schema of its record, self-contained.
        event: a struct of ``streams.events``, or a mapping as Python or JSON has it, where decimals and times may be
            texts.
    """
    return list(_Validation(schema).check(schema, event, ""))


class _Validation:
    """A walk through an event along its schema."""

    def __init__(self, schema: Node) -> None:
        self._named = {definition["name"]: definition for definition in definitions(schema)}

    def check(self, node: Node, value: Any, path: str) -> Iterator[str]:
        node = plain(node, self._named)
        if isinstance(node, list):
            if value is not None:
                yield from self.check(node[1], value, path)
            return
        match node["type"]:
            case "record":
                yield from self._record(node, value, path)
            case "array":
                yield from self._items(node["items"], value, path)
            case "map":
                yield from self._values(node["values"], value, path)
            case _:
                if wrong := _scalar(node, value):
                    yield f"{path}: {wrong}"

    def _record(self, node: dict[str, Any], value: Any, path: str) -> Iterator[str]:
        name = node["name"].rpartition(".")[2]
        if isinstance(value, Mapping):
            known = {field["name"] for field in node["fields"]}
            yield from (f"{_under(path, key)}: {name} has no such field" for key in value if key not in known)
        elif getattr(value, "RECORD", None) != node["name"]:
            yield f"{path or name}: {_kind(value)} is no {name}"
            return
        for field in node["fields"]:
            place = _under(path, field["name"])
            if isinstance(value, Mapping):
                part = value.get(field["name"], _MISSING)
            else:
                part = getattr(value, field["name"])
            if part is not _MISSING:
                yield from self.check(field["type"], part, place)
            elif "default" not in field:
                yield f"{place}: is missing and has no default"

    def _items(self, node: Node, value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, list | tuple):
            yield f"{path}: {_kind(value)} is no array"
            return
        for number, item in enumerate(value):
            yield from self.check(node, item, f"{path}[{number}]")

    def _values(self, node: Node, value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{path}: {_kind(value)} is no map"
            return
        for key, item in value.items():
            if _scalar({"type": "string"}, key):
                yield f"{path}: a key does not fit string"
            else:
                yield from self.check(node, item, f"{path}[]")


def _scalar(node: dict[str, Any], value: Any) -> str:
    """Return what is wrong with a value that has no parts, or "" where it fits."""
    kind, logical = node["type"], node.get("logicalType")
    if kind == "enum":
        return "" if value in node["symbols"] else f"is none of {', '.join(node['symbols'])}"
    rule = f"decimal({node['precision']},{node.get('scale', 0)})" if logical == "decimal" else logical or kind
    try:
        if isinstance(value, str) and logical:
            value = Decimal(value) if logical == "decimal" else datetime.fromisoformat(value)
        if isinstance(value, datetime) and value.tzinfo is None:
            return f"a time without its offset from UTC does not fit {rule}"
        if isinstance(value, bool) and kind != "boolean":
            raise TypeError
        if kind in _NUMBERS and not logical and not -_NUMBERS[kind] <= value < _NUMBERS[kind]:
            return f"is out of the range of {rule}"
        scalar(node, value)
    except InvalidOperation:
        return f"is no {rule}"
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, OSError) as error:
        why = f" ({reason(error)})" if isinstance(error, OverflowError) else ""
        return f"{_kind(value)} does not fit {rule}{why}"
    return ""


def _under(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "null" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
