"""Readers of Avro bodies, written as Python source for one pair of schemas: the writer's and ours.

A general reader asks of every field of every event what type it has. Here that is asked once, when a schema
is first met: the answer is a function that goes through the bytes and calls the struct's constructor, which
takes a third of the time of reading with fastavro and converting its dicts. Each pair gets two functions:

* *fast* assumes what is nearly always so (texts under 64 bytes, times between 1978 and 2112) and raises
otherwise;
* *careful* takes every valid body and raises for every other one.

Pairs that differ in more than added or dropped fields and enum symbols raise ``Unsupported``:
``streams.codec`` reads those with fastavro.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from struct import Struct as Layout
from typing import Any

import msgspec

from streams.avro_parts import (
    BOOLEANS,
    DECIMALS,
    FIRST,
    MIDDLE,
    STEP,
    Malformed,
    Memory,
    block,
    long,
    moment,
    span,
    upper_half,
)
from streams.avro_source import Source, plain
from streams.schemas import Node, definitions

COMMON: dict[str, Any] = {
    "H": STEP,
    "T": FIRST,
    "M": MIDDLE,
    "U": Memory(upper_half),
    "BOOLEANS": BOOLEANS,
    "UTC": UTC,
    "words": Layout("<2H").unpack_from,
    "float32": Layout("<f").unpack_from,
    "float64": Layout("<d").unpack_from,
    "fromtimestamp": datetime.fromtimestamp,
    "long": long,
    "span": span,
    "block": block,
    "moment": moment,
    "Malformed": Malformed,
}
"""What the source of a reader may name."""

TEXT = ("string", None, None)
Structs = Mapping[str, type[msgspec.Struct]]


class Unsupported(TypeError):
    """No reader can be written for this pair of schemas; fastavro has to read it."""


@dataclass(frozen=True, slots=True)
class Reader:
    """The two functions of a pair: ``(frame) -> struct``; the body begins after the frame's five bytes."""

    fast: Callable[[bytes], Any]
    careful: Callable[[bytes], Any]


@dataclass
class ReaderSource(Source):
    """The source of one function of a pair.

    Attributes:
        careful: write the function that takes every valid body.
        structs: the struct of a record by full name.
        written: the writer's named types by full name.
        wanted: our named types by full name.
        open: records that are being written, to notice one inside itself.
    """

    careful: bool = False
    structs: Structs = field(default_factory=dict)
    written: dict[str, Node] = field(default_factory=dict)
    wanted: dict[str, Node] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)


def compile_reader(written: Node, wanted: Node, structs: Structs) -> Reader:
    """Return the reader of bodies written with one schema into the struct of another.

    Args:
        written: the writer's schema of a record: names qualified, definitions inline at their first use.
        wanted: our schema of the same record in the same form.
        structs: the struct of every record of ours by full name.

    Raises:
        Unsupported: the pair needs a resolution that is not written here.
    """
    try:
        return Reader(build(written, wanted, structs, False), build(written, wanted, structs, True))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        # A registry may hold what is hardly Avro; whether it can be read at all is for fastavro to say.
        raise Unsupported(f"{type(error).__name__}: {error}") from error


def build(written: Node, wanted: Node, structs: Structs, careful: bool) -> Callable[[bytes], Any]:
    """Return one function of a pair."""
    ours = {definition["name"]: definition for definition in definitions(wanted)}
    theirs = {definition["name"]: definition for definition in definitions(written)}
    out = ReaderSource(careful=careful, structs=structs, written=theirs, wanted=ours)
    value = read(out, written, wanted)
    out.emit("if p != len(b): raise Malformed('bytes are left over')", f"return {value}")
    return out.compile("b, p=5", COMMON, f"reader of {wanted['name']}")


def shape(node: dict[str, Any]) -> tuple[Any, ...]:
    """Return what must be equal in the writer's type and ours for one to be read as the other."""
    kind = "long" if node["type"] == "int" else node["type"]
    scale = node.get("scale", 0) if node.get("logicalType") == "decimal" else None
    return kind, node.get("logicalType"), scale


def value_of(node: Node, named: dict[str, Node]) -> dict[str, Any]:
    """Return the one type of a union that is not null, or ``node`` itself where it is no union."""
    node = plain(node, named)
    if not isinstance(node, list):
        return node  # type: ignore[no-any-return]
    others = [member for member in (plain(n, named) for n in node) if member["type"] != "null"]
    if len(others) != 1 or len(node) > 2:
        raise Unsupported("a union of several types")
    return others[0]  # type: ignore[no-any-return]


def read(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    """Write the reading of one value; return the name that holds it. ``wanted`` None: read over it."""
    written = plain(written, out.written)
    if isinstance(written, list):
        return read_union(out, written, wanted)
    ours = None if wanted is None else value_of(wanted, out.wanted)
    if ours is not None and shape(written) != shape(ours):
        raise Unsupported(f"{shape(written)} is wanted as {shape(ours)}")
    kind, logical = written["type"], written.get("logicalType")
    if logical not in (None, "timestamp-micros", "decimal") and ours is not None:
        raise Unsupported(f"logical type {logical}")
    if ours is not None and (kind, logical) in LOGICAL:
        return LOGICAL[kind, logical](out, written, ours)
    if kind not in KINDS:
        raise Unsupported(f"type {kind}")
    return KINDS[kind](out, written, ours)


def read_union(out: ReaderSource, written: list[Node], wanted: Node | None) -> str:
    """A writer's optional value; where ours must have a value, null is malformed."""
    members = [plain(member, out.written) for member in written]
    value_of(written, out.written)
    optional = wanted is None or isinstance(plain(wanted, out.wanted), list)
    target, branch = out.name(), out.name("k")
    out.emit(f"{branch} = b[p]", "p += 1")
    keyword = "if"
    for index, member in enumerate(members):
        out.emit(f"{keyword} {branch} == {index * 2}:")
        out.depth += 1
        if member["type"] != "null":
            out.emit(f"{target} = {read(out, member, wanted)}")
        else:
            out.emit(f"{target} = None" if optional else "raise Malformed('null where a value is needed')")
        out.depth -= 1
        keyword = "elif"
    out.emit("else: raise Malformed('a union has no such branch')")
    return target


def read_text(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    target = out.name()
    if out.careful:
        out.emit("s, p = span(b, p)", f"{target} = b[s:p].decode()")
    else:
        out.emit(f"{target} = b[p + 1 : (p := p + H[b[p]])].decode()")
    return target


def read_bytes(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    target = out.name()
    out.emit("s, p = span(b, p)", f"{target} = b[s:p]")
    return target


def read_decimal(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    target, known = out.name(), out.constant(DECIMALS[written.get("scale", 0)])
    if out.careful:
        out.emit("s, p = span(b, p)", f"{target} = {known}[b[s:p]]")
    else:
        out.emit(f"{target} = {known}[b[p + 1 : (p := p + H[b[p]])]]")
    return target


def read_moment(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    target = out.name()
    if out.careful:
        out.emit(f"{target}, p = moment(b, p)")
        return target
    # Below 2**52 microseconds the quotient is exact enough for the microsecond to come out right.
    out.emit(
        "w, x = words(b, p)",
        f"{target} = fromtimestamp((T[w] | M[x] << 13 | U[b[p + 4 : p + 8]]) / 1e6, UTC)",
    )
    out.emit("p += 8")
    return target


def read_long(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    target = out.name()
    if out.careful:
        out.emit(f"{target}, p = long(b, p)")
    else:
        out.emit(f"{target} = b[p]", f"if {target} > 127: {target}, p = long(b, p)")
        out.emit("else:", f"    p += 1; {target} = ({target} >> 1) ^ -({target} & 1)")
    return target


def read_boolean(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    target = out.name()
    out.emit(f"{target} = BOOLEANS[b[p]]", "p += 1")
    return target


def read_float(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    target = out.name()
    size, function = (4, "float32") if written["type"] == "float" else (8, "float64")
    out.emit(f"({target},) = {function}(b, p)", f"p += {size}")
    return target


def read_fixed(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    """Only read over: our records have no fixed."""
    if wanted is not None:
        raise Unsupported("type fixed")
    out.emit(f"p += {int(written['size'])}")
    return "None"


def read_enum(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    """The writer's symbol, or our default where we do not have it (decision D8)."""
    ours = written if wanted is None else wanted
    symbols = [s if s in ours["symbols"] else ours.get("default") for s in written["symbols"]]
    if None in symbols:
        raise Unsupported("an enum without default lacks a symbol of the writer's")
    target = out.name()
    if out.careful:
        out.emit(f"{target}, p = long(b, p)")
        out.emit(f"{target} = {out.constant(dict(enumerate(symbols)))}[{target}]")
    else:
        known = {index * 2: symbol for index, symbol in enumerate(symbols[:64])}
        out.emit(f"{target} = {out.constant(known)}[b[p]]", "p += 1")
    return target


def open_blocks(out: ReaderSource) -> str:
    """Begin the loops over the blocks of an array or map and over a block's items; return the counter."""
    count = out.name("c")
    out.emit(f"{count} = b[p]", f"while {count}:")
    out.emit(f"    if {count} & 129: {count}, p = block(b, p)")
    out.emit("    else:", f"        {count} >>= 1; p += 1", f"    while {count}:")
    out.depth += 2
    out.emit(f"{count} -= 1")
    return count


def close_blocks(out: ReaderSource, count: str) -> None:
    out.depth -= 2
    out.emit(f"    {count} = b[p]", "p += 1")


def read_map(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    target = out.name()
    out.emit(f"{target} = {{}}")
    count = open_blocks(out)
    key = read_text(out, written, wanted)
    values = plain(written["values"], out.written)
    theirs_and_ours = [values] if wanted is None else [values, plain(wanted["values"], out.wanted)]
    if not out.careful and all(isinstance(v, dict) and shape(v) == TEXT for v in theirs_and_ours):
        # Values of a map are free text, which is often longer than 63 bytes.
        out.emit("n = b[p]", "if n & 129: s, p = span(b, p)", "else:", "    s = p + 1; p = s + (n >> 1)")
        out.emit(f"{target}[{key}] = b[s:p].decode()")
    else:
        out.emit(f"{target}[{key}] = {read(out, values, wanted and wanted['values'])}")
    close_blocks(out, count)
    return target


def read_array(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    items, target = out.name(), out.name()
    out.emit(f"{items} = []")
    count = open_blocks(out)
    out.emit(f"{items}.append({read(out, written['items'], wanted and wanted['items'])})")
    close_blocks(out, count)
    out.emit(f"{target} = tuple({items})")
    return target


def read_record(out: ReaderSource, written: Node, wanted: Node | None) -> str:
    """All fields of the writer in its order, then the struct with ours in the order of the struct."""
    name = written["name"]
    if name in out.open:
        raise Unsupported(f"{name} contains itself")
    if wanted is not None and wanted["name"].rpartition(".")[2] != name.rpartition(".")[2]:
        raise Unsupported(f"{name} is wanted as {wanted['name']}")
    out.open.append(name)
    ours = {} if wanted is None else {f["name"]: f["type"] for f in wanted["fields"]}
    values = {f["name"]: read(out, f["type"], ours.get(f["name"])) for f in written["fields"]}
    out.open.pop()
    if wanted is None:
        return "None"
    struct = out.structs[wanted["name"]]
    arguments = [values.get(f.name) or missing(out, f, name) for f in msgspec.structs.fields(struct)]
    target = out.name()
    out.emit(f"{target} = {out.constant(struct)}({', '.join(arguments)})")
    return target


def missing(out: ReaderSource, info: msgspec.structs.FieldInfo, name: str) -> str:
    """Return the default of a field that the writer does not have."""
    if info.default is not msgspec.NODEFAULT:
        return out.constant(info.default)
    if info.default_factory is not msgspec.NODEFAULT:
        return f"{out.constant(info.default_factory)}()"
    raise Unsupported(f"{name} has no field {info.name}, and ours has no default for it")


Part = Callable[[ReaderSource, Node, Node | None], str]
LOGICAL: dict[tuple[str, str], Part] = {
    ("long", "timestamp-micros"): read_moment,
    ("bytes", "decimal"): read_decimal,
}
KINDS: dict[str, Part] = {
    "string": read_text,
    "bytes": read_bytes,
    "int": read_long,
    "long": read_long,
    "boolean": read_boolean,
    "float": read_float,
    "double": read_float,
    "fixed": read_fixed,
    "enum": read_enum,
    "map": read_map,
    "array": read_array,
    "record": read_record,
}
