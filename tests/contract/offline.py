"""A codec whose registry is not there: every id it knows comes from the cache file, as in an outage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streams.codec import Codec
from streams.registry import Registry, fingerprint
from streams.schemas import contracts
from streams.settings import Settings

NOBODY = "http://127.0.0.1:9/apis/ccompat/v7"
TOPIC = "topic"
IDS = {name: number for number, name in enumerate(sorted(contracts()), start=1)}
"""Schema id of each of our contracts in ``offline_codec``."""


def write_cache(folder: Path, schemas: Mapping[int, str], ids: Mapping[str, int], url: str = NOBODY) -> None:
    """Write the registry's cache file."""
    content = {"url": url, "schemas": schemas, "ids": ids}
    (folder / "registry-cache.json").write_text(json.dumps(content), encoding="utf-8")


def offline_codec(folder: Path, written: Mapping[int, Any] | None = None, **options: Any) -> Codec:
    """Return a codec that knows our contracts, and the writers' schemas ``written`` by id."""
    schemas = {number: contracts()[name].text for name, number in IDS.items()}
    schemas |= {number: json.dumps(schema) for number, schema in (written or {}).items()}
    ids = {f"{TOPIC}-{name} {fingerprint(contracts()[name].text)}": number for name, number in IDS.items()}
    write_cache(folder, schemas, ids)
    return Codec(Registry(Settings.read(data_dir=folder, registry_url=NOBODY)), **options)
