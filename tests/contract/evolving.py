"""A contract with a past: folders of contracts, changes of them, generated structs, and codecs of old and new code."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ops.generate_events import generate
from streams.codec import Codec
from streams.registry import Registry
from streams.schemas import Contract, load
from streams.settings import Settings
from tests.contract.offline import NOBODY, write_cache

FULL, BACKWARD = "FULL_TRANSITIVE", "BACKWARD_TRANSITIVE"
COLOUR: dict[str, Any] = {
    "type": "enum",
    "name": "ShopColour",
    "symbols": ["UNKNOWN", "RED"],
    "default": "UNKNOWN",
}
FIRST: list[dict[str, Any]] = [
    {"name": "event_id", "type": "string", "default": ""},
    {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "tenant_id", "type": "string", "default": "default"},
    {"name": "colour", "type": COLOUR, "default": "UNKNOWN"},
    {"name": "size", "type": "long"},
]
"""The fields of a record's first version."""
NOTE: dict[str, Any] = {"name": "note", "type": ["null", "string"], "default": None}


def coloured(*more: str) -> list[dict[str, Any]]:
    """Return the first version's fields with more colours."""
    symbols = [*COLOUR["symbols"], *more]
    return [
        each | {"type": COLOUR | {"symbols": symbols}} if each["name"] == "colour" else each for each in FIRST
    ]


SOLD = "sluice.shop.Sold"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a record, and what is to be said of it.

    Attributes:
        name: in the words of contracts 002-30 to 002-36.
        fields, attributes: of the record afterwards; before, it has ``BEFORE`` and no more attributes.
        place, kind, reason: the field that is to be named, the kind of the change, and words of the reason.
        breaks: whether it is to be refused.
        taken: whether the registry alone would take it.
    """

    name: str
    fields: list[dict[str, Any]]
    place: str
    kind: str
    reason: str
    breaks: bool = True
    taken: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)

    def made(self, folder: Path) -> dict[str, Contract]:
        """Return the contracts of a folder after the change."""
        contract(folder, FIRST, "SoldV2")
        return contract(folder, self.fields, attributes=self.attributes)


BEFORE = coloured("BLUE")


def _with(name: str, **replaced: Any) -> list[dict[str, Any]]:
    return [each | replaced if each["name"] == name else each for each in BEFORE]


def _without(name: str) -> list[dict[str, Any]]:
    return [each for each in BEFORE if each["name"] != name]


_SUCCESSOR = {"sluice.deprecated": {"since": "1.4.0", "successor": f"{SOLD}V2"}}
CHANGES = (
    Change(
        "required field added",
        [*BEFORE, {"name": "price", "type": "long"}],
        "price",
        "REQUIRED_FIELD_ADDED",
        "is new and has no default",
    ),
    Change(
        "optional field required",
        [*_without("tenant_id"), {"name": "tenant_id", "type": "string"}],
        "tenant_id",
        "REQUIRED_FIELD_CHANGED",
        "was optional and is required now",
        taken=True,
    ),
    Change("required field removed", _without("size"), "size", "FIELD_REMOVED", "is removed"),
    Change(
        "optional field removed",
        _without("tenant_id"),
        "tenant_id",
        "FIELD_REMOVED",
        "is removed",
        taken=True,
    ),
    Change(
        "type changed",
        _with("size", type="string"),
        "size",
        "TYPE_CHANGED",
        "changed its type from long to string",
    ),
    Change(
        "value may be null",
        _with("size", type=["null", "long"]),
        "size",
        "TYPE_CHANGED",
        "changed its type from long to [null, long]",
    ),
    Change(
        "enum symbol removed", FIRST, "colour", "ENUM_SYMBOL_REMOVED", "lost the symbols BLUE", taken=True
    ),
    Change(
        "enum symbol changed",
        coloured("NAVY"),
        "colour",
        "ENUM_SYMBOL_REMOVED",
        "lost the symbols BLUE",
        taken=True,
    ),
    Change(
        "optional field added",
        [*BEFORE, NOTE],
        "note",
        "FIELD_ADDED",
        "is new and optional",
        breaks=False,
        taken=True,
    ),
    Change(
        "enum symbol added",
        coloured("BLUE", "GREEN"),
        "colour",
        "ENUM_SYMBOL_ADDED",
        "has the new symbols GREEN",
        breaks=False,
        taken=True,
    ),
    Change(
        "constraint relaxed",
        _with("size", default=0),
        "size",
        "FIELD_RELAXED",
        "was required and is optional now",
        breaks=False,
        taken=True,
    ),
    Change(
        "metadata of a field",
        _with("size", doc="In centimetres."),
        "size",
        "METADATA_CHANGED",
        "changed its doc",
        breaks=False,
        taken=True,
    ),
    Change(
        "metadata of the record",
        BEFORE,
        "(record)",
        "METADATA_CHANGED",
        "changed its sluice.deprecated",
        breaks=False,
        taken=True,
        attributes=_SUCCESSOR,
    ),
)


def contract(
    folder: Path,
    fields: list[dict[str, Any]],
    name: str = "Sold",
    attributes: Mapping[str, Any] | None = None,
) -> dict[str, Contract]:
    """Write a contract into a folder like ``avro/`` and return all of the folder."""
    path = folder / "avro" / "shop" / f"{name}.avsc"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"type": "record", "name": name, "namespace": "sluice.shop", "sluice.kind": "event"}
    dotted = f"shop.{name.lower()}"
    path.write_text(
        json.dumps({**head, "sluice.type": dotted, "fields": fields, **(attributes or {})}), encoding="utf-8"
    )
    return load(folder / "avro")


def structs(contracts: Mapping[str, Contract]) -> ModuleType:
    """Return the module that is generated from contracts: the structs of that day's code."""
    module = ModuleType(f"events_of_{len(sys.modules)}")
    sys.modules[module.__name__] = module  # msgspec looks up annotations there
    exec(compile(generate(dict(contracts)), module.__name__, "exec"), module.__dict__)  # noqa: S102
    return module


def code_of(
    folder: Path, contracts: Mapping[str, Contract], schemas: Mapping[int, str], ids: Mapping[str, int]
) -> tuple[Codec, Any]:
    """Return the codec and the structs of code that was generated from ``contracts``.

    Args:
        schemas: what the registry has by id.
        ids: the id of each subject with the fingerprint of its text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_cache(folder, schemas, ids)
    module = structs(contracts)
    registry = Registry(Settings.read(data_dir=folder, registry_url=NOBODY))
    return Codec(registry, contracts, module.RECORDS), module
