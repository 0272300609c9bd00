"""Names of a tenant's usage records. The name says which record it is, so the record holds only values.

``b|1700000000|tokens.input|llm-gateway|user-001|gpt-4|tokens`` is a bucket. Parts that hold ``|`` or ``%``
are percent-encoded, so two different buckets never share a name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

TENANT = "t"


class BucketId(NamedTuple):
    """What a bucket counts: one local hour of one meter, service, user, model (raw name) and unit."""

    start: int
    meter: str
    service: str
    user: str
    model: str
    unit: str


def encode(part: str) -> str:
    """Return a part of a name so that it holds no separator."""
    return part.replace("%", "%25").replace("|", "%7C") if "%" in part or "|" in part else part


def decode(part: str) -> str:
    """Return what :func:`encode` was given."""
    return part.replace("%7C", "|").replace("%25", "%") if "%" in part else part


def bucket_name(start: int, meter: str, service: str, user: str, model: str, unit: str) -> str:
    """Return the name of a bucket; ``start`` is its first second."""
    name = f"b|{start}|{meter}|{service}|{user}|{model}|{unit}"
    if name.count("|") != 6 or "%" in name:
        parts = (meter, service, user, model, unit)
        return f"b|{start}|{'|'.join(encode(part) for part in parts)}"
    return name


def bucket_id(name: str) -> BucketId:
    """Return what the bucket called ``name`` counts."""
    _, start, *parts = name.split("|")
    if "%" in name:
        parts = [decode(part) for part in parts]
    meter, service, user, model, unit = parts
    return BucketId(int(start), meter, service, user, model, unit)


def bucket_start(name: str) -> int:
    """Return the first second of the bucket called ``name``."""
    return int(name[2 : name.index("|", 2)])


@lru_cache(maxsize=4096)
def meter_name(meter: str) -> str:
    return f"m|{meter}"


@lru_cache(maxsize=4096)
def hour_name(start: int) -> str:
    return f"h|{start}"


def void_name(event_id: str) -> str:
    return f"v|{event_id}"


@lru_cache(maxsize=4096)
def quota_name(quota_id: str) -> str:
    return f"d|{quota_id}"


@lru_cache(maxsize=16384)
def index_name(meter: str, scope: str, subject: str) -> str:
    """Return the name of the index of a meter's quotas; without a subject: of the tenant, or of each one."""
    return f"x|{encode(meter)}|{scope}|{encode(subject)}"


@lru_cache(maxsize=4096)
def price_name(resource: str, unit: str, model: str) -> str:
    """Return the name of a price list; an empty model means any model."""
    return f"p|{encode(resource)}|{encode(unit)}|{encode(model)}"


def rollup_prefix(quota_id: str) -> str:
    return f"r|{encode(quota_id)}|"


@lru_cache(maxsize=16384)
def rollup_name(quota_id: str, start: int, subject: str) -> str:
    """Return the name of a quota's roll-up of the period that begins at second ``start``."""
    return f"r|{encode(quota_id)}|{start}|{encode(subject)}"


def rollup_id(name: str) -> tuple[str, int, str]:
    """Return quota, first second and subject of the roll-up called ``name``."""
    _, quota_id, start, subject = name.split("|")
    return decode(quota_id), int(start), decode(subject)
