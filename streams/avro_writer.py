"""Writers of Avro frames, written as Python source for one record type.

The compiled function takes the fields straight from the struct. What it cannot take (a text of more than 8191
bytes, or a value that does not fit) goes to ``streams.avro_careful``, which writes every valid value and names the
field of every other one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from struct import Struct as Layout
from typing import Any

from streams.avro_careful import ENDS, LIMIT, decimal_bytes, micros, unscaled, zigzag
from streams.avro_parts import EPOCH, WIDE, Memory
from streams.avro_source import Source, plain
from streams.schemas import Node, definitions

SHORT = 8192
SMALL = 1024
LENGTHS = ENDS[::2]
PAIRS = tuple(n & 127 | 128 | (n >> 7 | 128) << 8 for n in range(1 << 14))
"""Fourteen bits of a long as the 16-bit word of its two bytes, more to follow."""


def upper_half(bits: int) -> int:
    """Return the last four of the eight bytes of a time as a number; ``bits`` are those above the lowest 28.

    Raises:
        OverflowError: the time does not take eight bytes (it is before 1978 or after 2112).
    """
    if not 1 << 21 <= bits < 1 << 28:
        raise OverflowError("the time does not take eight bytes")
    return PAIRS[bits & 16383] | (bits >> 14 & 127 | 128 | (bits >> 21) << 8) << 16


def optional_decimal(scale: int) -> Callable[[Decimal], bytes]:
    """Return what writes a decimal that is there."""
    return lambda value: b"\2" + decimal_bytes(unscaled(value, scale))


@cache
def few(scale: int) -> dict[Decimal, bytes]:
    """Return the bytes of the whole numbers that counts of goods and events mostly are: found 7 x faster than made."""
    return {Decimal(n): decimal_bytes(n * 10**scale) for n in range(SMALL)}


COMMON: dict[str, Any] = {
    "V": LENGTHS,
    "A": PAIRS,
    "U": Memory(upper_half),
    "S": Memory(lambda time: zigzag(micros(time))),
    "D": Decimal,
    "EPOCH": EPOCH,
    "WIDE": WIDE,
    "scaleb": WIDE.scaleb,
    "HALF_EVEN": ROUND_HALF_EVEN,
    "LIMIT": LIMIT,
    "FLAG": {True: b"\x01", False: b"\x00"},
    "trunc": Decimal.__trunc__,
    "words": Layout("<HHI").pack,
    "float32": Layout("<f").pack,
    "float64": Layout("<d").pack,
    "zigzag": zigzag,
    "join": b"".join,
}


@dataclass
class WriterSource(Source):
    """The source of one function; ``named`` are our named types by full name."""

    named: dict[str, Node] = field(default_factory=dict)


def compile_writer(schema: Node, head: bytes, careful: Callable[..., bytes]) -> Callable[..., bytes]:
    """Return ``write(record, event_id=None) -> frame``, where only records with an ``event_id`` take another one.

    Args:
        schema: our schema of the record, names qualified.
        head: the frame's first five bytes.
        careful: the same for every record, called where Python raises because the compiled function cannot take a
            value. Called from inside of it, it costs nothing where it is not; a function around both costs 0.1 us.
    """
    out = WriterSource(named={definition["name"]: definition for definition in definitions(schema)})
    identified = schema["fields"][0]["name"] == "event_id"
    parts: list[str] = [out.constant(head)]
    out.emit("try:")
    out.depth += 1
    if not identified:
        out.emit("if event_id is not None: raise TypeError")
    for f in schema["fields"]:
        value = f"r.{f['name']}"
        if identified and f["name"] == "event_id":
            out.emit(f"i = {value} if event_id is None else event_id")
            value = "i"
        parts += write(out, f["type"], value)
    out.emit(f"return join(({', '.join(parts)}))")
    out.depth -= 1
    out.emit("except Exception:", f"    return {out.constant(careful)}(r, event_id)")
    return out.compile("r, event_id=None, *", COMMON, f"writer of {schema['name']}")


def write(out: WriterSource, node: Node, value: str) -> list[str]:
    """Write what prepares one value; return the expressions whose bytes follow each other in the body."""
    node = plain(node, out.named)
    if isinstance(node, list):
        return write_optional(out, node[1], value)
    if node.get("logicalType") is not None:
        return LOGICAL[node["logicalType"]](out, node, value)
    return KINDS[node["type"]](out, node, value)


def write_optional(out: WriterSource, node: Node, value: str) -> list[str]:
    """``["null", X]``, the only union of our contracts."""
    target = out.name()
    out.emit(f"{target} = {value}", f"if {target} is None: {target} = b'\\0'")
    known = plain(node, out.named)
    if known.get("logicalType") == "decimal":
        # Rates, limits and thresholds repeat: looking one up is 5 x faster. Numbers of other kinds, which may be
        # equal to a known one, do not fit.
        memory = out.constant(Memory(optional_decimal(known.get("scale", 0))))
        out.emit(f"elif {target}.__class__ is D: {target} = {memory}[{target}]", "else: raise TypeError")
        return [target]
    out.emit("else:")
    out.depth += 1
    parts = write(out, node, target)
    out.emit(f"{target} = join((b'\\2', {', '.join(parts)}))")
    out.depth -= 1
    return [target]


def write_text(out: WriterSource, node: Node, value: str) -> list[str]:
    target = out.name()
    out.emit(f"{target} = {value}.encode()")
    return [f"V[len({target})]", target]


def write_bytes(out: WriterSource, node: Node, value: str) -> list[str]:
    target = out.name()
    out.emit(f"{target} = {value}")
    return [f"zigzag(len({target}))", target]


def write_decimal(out: WriterSource, node: Node, value: str) -> list[str]:
    scale = node.get("scale", 0)
    shift, small, target, size, part = (
        out.constant(Decimal(scale)),
        out.constant(few(scale).get),
        out.name(),
        out.name(),
        out.name(),
    )
    out.emit(f"{target} = {value}", f"{part} = {small}({target}) if {target}.__class__ is D else None")
    out.emit(f"if {part} is None:")
    out.emit(f"    {size} = scaleb({target}, {shift})", f"    {target} = trunc({size})")
    out.emit(f"    if {target} != {size}: {target} = int({size}.to_integral_value(HALF_EVEN, WIDE))")
    out.emit(f"    {size} = ({target}.bit_length() >> 3) + 1")
    # 38 digits take 16 bytes, and not every number of 16 bytes has only 38 digits.
    out.emit(f"    if {size} > 15 and not -LIMIT < {target} < LIMIT: raise OverflowError")
    out.emit(f"    {part} = V[{size}] + {target}.to_bytes({size}, 'big', signed=True)")
    return [part]


def write_moment(out: WriterSource, node: Node, value: str) -> list[str]:
    """Whole seconds begin hours and periods, and repeat; of others the upper half stays for two minutes."""
    target = out.name()
    out.emit(f"{target} = {value}", f"if {target}.microsecond:")
    out.emit(
        f"    d = {target} - EPOCH", "    z = (d.days * 86400 + d.seconds) * 2000000 + 2 * d.microseconds"
    )
    out.emit(f"    {target} = words(A[z & 16383], A[z >> 14 & 16383], U[z >> 28])")
    out.emit(f"else: {target} = S[{target}]")
    return [target]


def write_long(out: WriterSource, node: Node, value: str) -> list[str]:
    target = out.name()
    out.emit(f"{target} = {value}")
    return [f"V[{target}] if 0 <= {target} < {SHORT} else zigzag({target})"]


def write_boolean(out: WriterSource, node: Node, value: str) -> list[str]:
    return [f"FLAG[{value}]"]


def write_float(out: WriterSource, node: Node, value: str) -> list[str]:
    return [f"float{32 if node['type'] == 'float' else 64}({value})"]


def write_enum(out: WriterSource, node: Node, value: str) -> list[str]:
    symbols = out.constant({symbol: zigzag(n) for n, symbol in enumerate(node["symbols"])})
    return [f"{symbols}[{value}]"]


def write_items(
    out: WriterSource, value: str, head: str, loop: str, inner: Callable[[], list[str]]
) -> list[str]:
    """An array or map: one block with all items, then the empty block."""
    source, target, parts = out.name(), out.name(), out.name()
    out.emit(f"{source} = {value}", f"if not {source}: {target} = b'\\0'", "else:")
    out.depth += 1
    out.emit(f"{parts} = [V[len({source})] if len({source}) < {SHORT} else zigzag(len({source}))]")
    out.emit(f"for {head} in {source}{loop}:")
    out.depth += 1
    out.emit(f"{parts} += ({', '.join(inner())},)")
    out.depth -= 1
    out.emit(f"{parts}.append(b'\\0')", f"{target} = join({parts})")
    out.depth -= 1
    return [target]


def write_map(out: WriterSource, node: Node, value: str) -> list[str]:
    key, item = out.name(), out.name()
    both = f"{key}, {item}"
    return write_items(
        out, value, both, ".items()", lambda: [*write_text(out, node, key), *write(out, node["values"], item)]
    )


def write_array(out: WriterSource, node: Node, value: str) -> list[str]:
    item = out.name()
    return write_items(out, value, item, "", lambda: write(out, node["items"], item))


def write_record(out: WriterSource, node: Node, value: str) -> list[str]:
    target = out.name()
    out.emit(f"{target} = {value}")
    return [part for f in node["fields"] for part in write(out, f["type"], f"{target}.{f['name']}")]


Part = Callable[[WriterSource, Node, str], list[str]]
LOGICAL: dict[str, Part] = {"timestamp-micros": write_moment, "decimal": write_decimal}
KINDS: dict[str, Part] = {
    "string": write_text,
    "bytes": write_bytes,
    "int": write_long,
    "long": write_long,
    "boolean": write_boolean,
    "float": write_float,
    "double": write_float,
    "enum": write_enum,
    "map": write_map,
    "array": write_array,
    "record": write_record,
}
