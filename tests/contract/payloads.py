"""Values of any schema, of any version: what a producer of that version may have written."""

from __future__ import annotations

import copy
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from streams.avro_source import plain
from streams.schemas import Node, definitions

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Payloads:
    """Makes values of one schema, the same ones in every run."""

    def __init__(self, schema: Node, seed: int = 0) -> None:
        self.schema = schema
        self._random = Random(seed)
        self._named = {definition["name"]: definition for definition in definitions(schema)}
        self._parsed = parse_schema(copy.deepcopy(schema))

    def value(self) -> Any:
        """Return a value as fastavro writes it."""
        return self._value(self.schema, 0)

    def body(self) -> bytes:
        """Return a value's bytes, as another implementation of Avro writes them."""
        stream = io.BytesIO()
        schemaless_writer(stream, self._parsed, self.value())
        return stream.getvalue()

    def read(self, body: bytes, reader: Node) -> Any:
        """Return what another implementation of Avro reads with ``reader`` from bytes of this schema."""
        stream = io.BytesIO(body)
        found = schemaless_reader(stream, self._parsed, parse_schema(copy.deepcopy(reader)))
        assert stream.tell() == len(body)
        return found

    def _value(self, node: Node, depth: int) -> Any:
        node = plain(node, self._named)
        random = self._random
        if isinstance(node, list):
            return self._value(random.choice(node if depth < 6 else node[:1]), depth + 1)
        if node.get("logicalType") == "decimal":
            return Decimal(random.randint(-(10**9), 10**9)).scaleb(-node.get("scale", 0))
        if node.get("logicalType") == "timestamp-micros":
            return EPOCH + timedelta(microseconds=random.randint(0, 4 * 10**15))
        match node["type"]:
            case "record":
                return {field["name"]: self._value(field["type"], depth + 1) for field in node["fields"]}
            case "array":
                return [self._value(node["items"], depth + 1) for _ in range(self._many(depth))]
            case "map":
                return {
                    f"k{number}": self._value(node["values"], depth + 1)
                    for number in range(self._many(depth))
                }
            case "enum":
                return random.choice(node["symbols"])
        return self._plain(node["type"])

    def _many(self, depth: int) -> int:
        return self._random.randint(0, 2) if depth < 6 else 0

    def _plain(self, kind: str) -> Any:
        random = self._random
        text = "".join(random.choices("abcäß漢 ", k=random.choice((0, 3, 80))))
        return {
            "null": None,
            "string": text,
            "bytes": text.encode(),
            "boolean": random.random() < 0.5,
            "int": random.randint(-(2**31), 2**31 - 1),
            "long": random.randint(-(2**63), 2**63 - 1),
            "float": float(random.randint(-(2**20), 2**20)),
            "double": random.uniform(-1e9, 1e9),
        }[kind]
