"""How the keys of aggregates are spelled. Pure: rules use it too."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

SAFE = re.compile(r"[A-Za-z0-9_.~-]*", re.ASCII).fullmatch


def key_of(*parts: str) -> str:
    """Return the key of an aggregate: parts percent-encoded and joined by ``|`` (contracts 3.0)."""
    return "|".join([part if SAFE(part) else quote(part, safe="") for part in parts])


def parts_of(key: str) -> tuple[str, ...]:
    """Return the parts that ``key_of`` joined."""
    return tuple(unquote(part) for part in key.split("|"))
