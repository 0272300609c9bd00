"""Hypothesis strategies that give any record which fits a schema of ours."""

from __future__ import annotations

from datetime import UTC
from decimal import Context, Decimal
from typing import Any

from hypothesis import strategies as st

from streams.events import RECORDS
from streams.schemas import Node, contracts, definitions

EXACT = Context(prec=50)
DIGITS = 10**38 - 1
LONGS = st.integers(-(2**63), 2**63 - 1)


def values(node: Node, named: dict[str, Node]) -> st.SearchStrategy[Any]:
    """Return the strategy of one schema's Python values."""
    node = named.get(node, {"type": node}) if isinstance(node, str) else node
    if isinstance(node, list):
        return st.none() | values(node[1], named)
    kind, logical = node["type"], node.get("logicalType")
    if logical == "decimal":
        scale = node["scale"]
        return st.integers(-DIGITS, DIGITS).map(lambda n: Decimal(n).scaleb(-scale, EXACT))
    if logical == "timestamp-micros":
        return st.datetimes(timezones=st.just(UTC))
    if kind == "record":
        parts = {f["name"]: values(f["type"], named) for f in node["fields"]}
        return st.builds(RECORDS[node["name"]], **parts)
    if kind == "map":
        return st.dictionaries(st.text(), values(node["values"], named), max_size=5)
    if kind == "array":
        return st.lists(values(node["items"], named), max_size=5).map(tuple)
    if kind == "enum":
        return st.sampled_from(node["symbols"])
    plain: dict[str, st.SearchStrategy[Any]] = {
        "string": st.text() | st.text(min_size=60, max_size=200),
        "bytes": st.binary(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": LONGS | st.integers(-200, 10_000),
        "double": st.floats(allow_nan=False),
    }
    return plain[kind]


def records(name: str) -> st.SearchStrategy[Any]:
    """Return the strategy of a record by full name."""
    schema = contracts()[name].schema
    return values(schema, {definition["name"]: definition for definition in definitions(schema)})
