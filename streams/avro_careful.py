"""Writing any value that fits its Avro schema, and saying why another one does not. What is hot is written by
``streams.avro_writer``.
"""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from struct import pack
from typing import Any

from streams.avro_parts import EPOCH, WIDE
from streams.avro_source import plain
from streams.schemas import Node, definitions

LIMIT = 10**38


class Unencodable(ValueError):
    """A record does not fit its schema; the text names the field and the rule, never the value."""


ENDS = tuple(bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(1 << 14))
"""The last fourteen bits of a long, in one byte or two."""
STARTS = tuple(bytes((n & 127 | 128, n >> 7 | 128)) for n in range(1 << 14))
"""Fourteen bits with more to follow."""


def zigzag(number: int) -> bytes:
    """Return a long as Avro writes it. Two bytes at a time: byte by byte, a running total takes 0.7 us."""
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError("a number is longer than 64 bits")
    rest = (number << 1) ^ (number >> 63)
    start = b""
    while rest > 16383:
        start += STARTS[rest & 16383]
        rest >>= 14
    return start + ENDS[rest]


def unscaled(value: Decimal, scale: int) -> int:
    """Return ``value`` in units of its last place, half to even, which does not favour a side over many
    roundings.

    Raises:
        OverflowError: more than 38 digits, infinite, or not a number.
    """
    if not value.is_finite():
        raise OverflowError("not a finite number")
    number = int(value.scaleb(scale, WIDE).to_integral_value(ROUND_HALF_EVEN, WIDE))
    if not -LIMIT < number < LIMIT:
        raise OverflowError("more than 38 digits")
    return number


def decimal_bytes(number: int) -> bytes:
    """Return an unscaled decimal with its length before it."""
    size = (number.bit_length() >> 3) + 1
    return ENDS[size << 1] + number.to_bytes(size, "big", signed=True)


def micros(value: datetime) -> int:
    """Return an aware time in microseconds since the epoch."""
    since = value - EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def write_carefully(schema: Node, record: Any) -> bytes:
    """Return the body of any record that fits ``schema``.

    Raises:
        Unencodable: it does not fit; the text names the field.
    """
    out = bytearray()
    put(schema, record, {d["name"]: d for d in definitions(schema)}, schema["name"], out)
    return bytes(out)


def put(node: Node, value: Any, named: dict[str, Node], where: str, out: bytearray) -> None:
    """Append one value; ``where`` is the path of its field."""
    node = plain(node, named)
    if isinstance(node, list):
        out += b"\0" if value is None else b"\2"
        if value is not None:
            put(node[1], value, named, where, out)
        return
    kind = node["type"]
    if kind == "record":
        for f in node["fields"]:
            if not hasattr(value, f["name"]):
                raise Unencodable(
                    f"{where}: a {type(value).__name__} is no {node['name']}; construct that struct"
                )
            put(f["type"], getattr(value, f["name"]), named, f"{where}.{f['name']}", out)
    elif kind in ("map", "array"):
        put_items(node, value, named, where, out)
    else:
        try:
            out += scalar(node, value)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, OSError) as error:
            rule = node.get("logicalType", kind)
            raise Unencodable(
                f"{where}: a {type(value).__name__} does not fit {rule} ({reason(error)})"
            ) from None


def put_items(node: Node, value: Any, named: dict[str, Node], where: str, out: bytearray) -> None:
    """Append an array or map."""
    if not isinstance(value, dict if node["type"] == "map" else (tuple, list)):
        raise Unencodable(f"{where}: a {type(value).__name__} is no {node['type']}")
    if value:
        out += zigzag(len(value))
    for item in value:
        if node["type"] == "map":
            put("string", item, named, f"{where} (key)", out)
            put(node["values"], value[item], named, f"{where}[]", out)
        else:
            put(node["items"], item, named, f"{where}[]", out)
    out += b"\0"


def scalar(node: Node, value: Any) -> bytes:
    """Return a value that has no parts, or raise what Python raises for it."""
    kind, logical = node["type"], node.get("logicalType")
    if logical == "decimal":
        return decimal_bytes(unscaled(value, node.get("scale", 0)))
    if logical == "timestamp-micros":
        return zigzag(micros(value))
    if kind in ("int", "long"):
        return zigzag(value)
    if kind == "enum":
        return zigzag(node["symbols"].index(value))
    if kind == "boolean":
        return {True: b"\x01", False: b"\x00"}[value]
    if kind in ("float", "double"):
        return pack("<f" if kind == "float" else "<d", value)
    body: bytes = value.encode() if kind == "string" else bytes(memoryview(value))
    return zigzag(len(body)) + body


def reason(error: Exception) -> str:
    """Return an error's text where it is ours, or its kind: Python's own texts may hold the value."""
    return str(error) if isinstance(error, OverflowError) else type(error).__name__
