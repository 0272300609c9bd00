"""The contracts as they lie in ``avro/``: read, linked to each other and checked against the house rules.

One file holds one record, ``avro/<domain>/<Record>.avsc``. A file may name a record of another file; what
this module hands out has such names replaced by the whole definition at their first use, as a registry wants
it. What was released before lies one folder deeper, in ``avro/history``, and is read by ``streams.history``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
ROOT = Path(__file__).resolve().parent.parent / "avro"
"""Folder of the contracts, beside the packages."""

Node = Any
"""A part of an Avro schema as JSON gives it: a name, a union (list) or a definition (dict)."""


class ContractError(ValueError):
    """A file in ``avro/`` breaks a rule of Avro or of the house; the text names file, cause and remedy."""


@dataclass(frozen=True, slots=True)
class Deprecation:
    """That a record will go (contracts 000-16): its ``sluice.deprecated``.

    Attributes:
        since: the release that says so, such as ``1.4.0``.
        successor: full name of the record that takes its place.
        removal: the release without it, or "" where none is planned yet.
    """

    since: str
    successor: str
    removal: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """One record of ``avro/``.

    Attributes:
        name: full name, such as ``sluice.usage.UsageEvent``.
        kind: ``event`` (travels on a topic), ``state`` (kept in a table) or "" (only part of other records).
        type: canonical event type, or "" where the record has none.
        schema: the definition, self-contained.
        path: the file.
    """

    name: str
    kind: str
    type: str
    schema: dict[str, Any]
    path: Path

    @property
    def text(self) -> str:
        """The definition as compact JSON: what is registered."""
        return json.dumps(self.schema, separators=(",", ":"))

    @property
    def deprecated(self) -> Deprecation | None:
        """Whether another record should be used; published events say so in their headers."""
        found = self.schema.get("sluice.deprecated")
        return Deprecation(**found) if found else None


def full_name(definition: dict[str, Any], namespace: str) -> str:
    """Return the full name of a record, enum or fixed that stands inside ``namespace``."""
    name: str = definition["name"]
    space = definition.get("namespace", namespace)
    return name if "." in name or not space else f"{space}.{name}"


def qualify(node: Node, namespace: str) -> Node:
    """Return ``node`` with every name spelled in full, so that parts can be moved between files."""
    if isinstance(node, str):
        return node if node in PRIMITIVES or "." in node or not namespace else f"{namespace}.{node}"
    if isinstance(node, list):
        return [qualify(member, namespace) for member in node]
    if node["type"] in ("record", "enum", "fixed"):
        name = full_name(node, namespace)
        inner = name.rpartition(".")[0]
        out = {**node, "name": name}
        out.pop("namespace", None)
        if node["type"] == "record":
            out["fields"] = [{**field, "type": qualify(field["type"], inner)} for field in node["fields"]]
        return out
    out = (
        {**node, "type": qualify(node["type"], namespace)}
        if node["type"] not in ("array", "map")
        else {**node}
    )
    for inner_part in ("items", "values"):
        if inner_part in node:
            out[inner_part] = qualify(node[inner_part], namespace)
    return out


def definitions(node: Node) -> Iterator[dict[str, Any]]:
    """Yield every record, enum and fixed that ``node`` defines, itself included, outermost first."""
    if isinstance(node, list):
        for member in node:
            yield from definitions(member)
    elif isinstance(node, dict):
        if node["type"] in ("record", "enum", "fixed"):
            yield node
        for field in node.get("fields", ()):
            yield from definitions(field["type"])
        for part in ("items", "values"):
            yield from definitions(node.get(part, "null"))


def inline(node: Node, known: dict[str, dict[str, Any]], defined: set[str], where: str) -> Node:
    """Return ``node`` with each name at its first use replaced by the definition in ``known``.

    Args:
        node: a qualified schema.
        known: top-level definitions of all files by full name.
        defined: full names that stand earlier in the same schema; grows.
        where: the file, for the error's text.
    """
    if isinstance(node, str):
        if node in PRIMITIVES or node in defined:
            return node
        if node not in known:
            raise ContractError(
                f"{where}: unknown type {node!r}; define it in this file or in avro/<domain>/<Record>.avsc"
            )
        return inline(known[node], known, defined, where)
    if isinstance(node, list):
        return [inline(member, known, defined, where) for member in node]
    if node["type"] in ("record", "enum", "fixed"):
        defined.add(node["name"])
    out = dict(node)
    if "fields" in node:
        out["fields"] = [{**f, "type": inline(f["type"], known, defined, where)} for f in node["fields"]]
    for part in ("items", "values"):
        if part in node:
            out[part] = inline(node[part], known, defined, where)
    return out


def read(root: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Return every file's definition, qualified but not linked, by full name in the order of the paths."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in sorted(root.glob("*/*.avsc")):
        where = path.relative_to(root.parent).as_posix()
        try:
            parsed = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ContractError(f"{where}: not JSON ({error}); correct the file") from error
        if not isinstance(parsed, dict) or parsed.get("type") != "record":
            raise ContractError(
                f"{where}: must hold one record; put enums and parts inside the record that uses them"
            )
        definition = qualify(parsed, "")
        name = definition["name"]
        expected = f"sluice.{path.parent.name}.{path.stem}"
        if name != expected:
            raise ContractError(
                f"{where}: holds {name!r}, but its path says {expected!r}; rename one of them"
            )
        found[name] = (path, definition)
    return found


def load(root: Path = ROOT) -> dict[str, Contract]:
    """Return all contracts under ``root`` by full name, in the order of their paths.

    Raises:
        ContractError: a file is not a valid contract.
    """
    files = read(root)
    known = {name: definition for name, (_, definition) in files.items()}
    contracts: dict[str, Contract] = {}
    for name, (path, definition) in files.items():
        schema = inline(definition, known, set(), path.relative_to(root.parent).as_posix())
        kind, event_type = schema.get("sluice.kind", ""), schema.get("sluice.type", "")
        contracts[name] = Contract(name, kind, event_type, schema, path)
    for contract in contracts.values():
        _check_deprecation(contract, contracts)
    return contracts


def _check_deprecation(contract: Contract, known: dict[str, Contract]) -> None:
    found = contract.schema.get("sluice.deprecated")
    if found is None:
        return
    names = {"since", "successor", "removal"}
    known_names = isinstance(found, dict) and names - {"removal"} <= found.keys() <= names
    if not known_names or not all(isinstance(value, str) and value for value in found.values()):
        raise ContractError(
            f'{contract.name}: sluice.deprecated must be {{"since": "...", "successor": "...", "removal": "..."}}, the '
            "last of which may be left out"
        )
    deprecated = Deprecation(**found)
    successor = known.get(deprecated.successor)
    if successor is None or successor is contract or successor.kind != contract.kind:
        raise ContractError(
            f"{contract.name}: its successor {deprecated.successor!r} is no {contract.kind or 'part'} of avro/; add "
            "that record beside this one, and name it in full"
        )


@cache
def contracts() -> dict[str, Contract]:
    """Return the contracts of this checkout; read once per process."""
    return load()
