"""A contract with a past: folders of contracts, the structs generated from them, and codecs of old and new code."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
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
NOTE = {"name": "note", "type": ["null", "string"], "default": None}


def coloured(*more: str) -> list[dict[str, Any]]:
    """Return the first version's fields with more colours."""
    symbols = [*COLOUR["symbols"], *more]
    return [
        field | {"type": COLOUR | {"symbols": symbols}} if field["name"] == "colour" else field
        for field in FIRST
    ]


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
