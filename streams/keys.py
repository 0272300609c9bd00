"""How the keys of aggregates are spelled. Pure: rules use it too."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote

DEFAULT_TENANT = "default"
"""Whose events are that name no tenant (contracts 3.0)."""

SAFE = re.compile(r"[A-Za-z0-9_.~-]*", re.ASCII).fullmatch


@lru_cache(maxsize=65_536)
def key_of(*parts: str) -> str:
    """Return the key of an aggregate: parts percent-encoded and joined by ``|`` (contracts 3.0)."""
    return "|".join([part if SAFE(part) else quote(part, safe="") for part in parts])


def lacks_tenant(key: bytes, own: bytes, tenant: str) -> bool:
    """Return whether ``key`` is the key ``own`` of a tenant's aggregate without the tenant's part (contracts 3.0).

    The tenant's part is compared too: in a key that is nothing but a tenant, a ``|`` divides nothing.
    """
    return own == b"%b|%b" % (key_of(tenant).encode(), key)


def parts_of(key: str) -> tuple[str, ...]:
    """Return the parts that ``key_of`` joined."""
    return tuple(unquote(part) for part in key.split("|"))
