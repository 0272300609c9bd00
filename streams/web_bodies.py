"""Bodies of commands: pydantic models made from the records' Avro schemas, and facts as JSON.

One contract serves both ways in: what Kafka takes as Avro, HTTP takes as JSON. Decimals are texts, because a float
cannot hold them; times are ISO 8601 with their offset. The typed clients check what they are given with the same
models, and take decimals and times as Python has them too.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)

from streams.schemas import contracts, definitions

PLATFORM = ("event_id", "timestamp", "envelope", "expected_version")
"""Fields that headers say, or the worker: never the body."""

_CONFIG = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())
_DECIMAL = re.compile(r"-?\d{1,38}(\.\d{1,38})?", re.ASCII).fullmatch
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*", re.ASCII).fullmatch
_LIMITS = {"int": 2**31, "long": 2**63}


@cache
def body_of(
    record: type, left_out: frozenset[str] = frozenset(), optional: frozenset[str] = frozenset()
) -> Any:
    """Return the model of a command's body.

    Args:
        record: the command's struct.
        left_out: fields that the path says.
        optional: fields that may be left out of the body, and are filled in then.
    """
    schema = _schema(record)
    return _Models(schema).of(schema, {*PLATFORM, *left_out}, optional)


@cache
def event_model(record: type) -> Any:
    """Return the model of an event as its producer sends it: all its fields, but time and tenant may be left out."""
    schema = _schema(record)
    return _Models(schema).of(schema, optional={"timestamp", "tenant_id"})


@cache
def record_model(record: type) -> Any:
    """Return the model of a whole record as it may lie on a topic.

    It has the platform's fields, and takes what no sender should say, but an event may hold: enums that are UNKNOWN
    and texts that are empty.
    """
    schema = _schema(record)
    return _Models(schema, stored=True).of(schema)


def _schema(record: type) -> dict[str, Any]:
    name: str = record.RECORD  # type: ignore[attr-defined]
    return contracts()[name].schema


class _Models:
    """The models of one schema's records, each made once."""

    def __init__(self, schema: dict[str, Any], *, stored: bool = False) -> None:
        self._known = {each["name"]: each for each in definitions(schema)}
        self._stored = stored
        self._made: dict[str, type[BaseModel]] = {}

    def of(
        self, record: dict[str, Any], without: Collection[str] = (), optional: Collection[str] = ()
    ) -> type[BaseModel]:
        """Return the model of a record."""
        name = record["name"]
        if name not in self._made:
            fields = {
                field["name"]: self._field(field, field["name"] in optional)
                for field in record["fields"]
                if field["name"] not in without
            }
            short = name.rpartition(".")[2]
            self._made[name] = create_model(
                short, __config__=_CONFIG, __doc__=record.get("doc", short), __module__=__name__, **fields
            )
        return self._made[name]

    def _field(self, field: dict[str, Any], optional: bool) -> Any:
        kind = self._type(field["type"])
        described = Field(description=field.get("doc"))
        if "default" in field:
            return Annotated[kind, described], _default(field["type"], field["default"])
        if optional:
            return Annotated[kind, described], ""
        if field["type"] == "string" and not self._stored:
            return Annotated[kind, Field(min_length=1, description=field.get("doc"))], ...
        return Annotated[kind, described], ...

    def _type(self, node: Any) -> Any:
        if isinstance(node, list):
            [member] = [member for member in node if member != "null"]
            return self._type(member) | None
        if isinstance(node, str):
            return self._plain(node)
        match node.get("logicalType") or node["type"]:
            case "decimal":
                return _decimal(node["precision"], node["scale"])
            case "timestamp-micros":
                return Annotated[
                    AwareDatetime, Field(strict=False), BeforeValidator(_iso), AfterValidator(_utc)
                ]
            case "enum":
                known = (symbol for symbol in node["symbols"] if self._stored or symbol != "UNKNOWN")
                return Literal[tuple(known)]
            case "record":
                return self.of(node)
        return self._container(node)

    def _container(self, node: dict[str, Any]) -> Any:
        match node["type"]:
            case "array":
                return list[self._type(node["items"])]  # type: ignore[misc]
            case "map":
                return dict[str, self._type(node["values"])]  # type: ignore[misc]
        return self._plain(node["type"])

    def _plain(self, name: str) -> Any:
        match name:
            case "string":
                return str
            case "boolean":
                return bool
            case "int" | "long":
                return Annotated[int, Field(ge=-_LIMITS[name], lt=_LIMITS[name])]
        if name in self._known:
            return self._type(self._known[name])
        raise TypeError(f"commands over HTTP cannot hold Avro's {name}; give the field another type")


def _default(node: Any, value: Any) -> Any:
    """Return a field's default as the document shows it."""
    if isinstance(node, dict) and node.get("logicalType") == "decimal":
        number = int.from_bytes(value.encode("latin-1"), signed=True)
        return plain(Decimal(number).scaleb(-node["scale"]))
    return value


def _iso(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str) and _TIME(value):
        return value
    if isinstance(value, datetime) and info.mode == "python":
        return value
    raise ValueError("not a time in ISO 8601 such as 2026-11-20T12:00:00Z")


def _utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time out of the calendar") from None


def _decimal(precision: int, scale: int) -> Any:
    digits = precision - scale

    def parse(value: Any, info: ValidationInfo) -> Decimal:
        if info.mode == "python" and isinstance(value, Decimal | int) and not isinstance(value, bool):
            value = format(value, "f") if isinstance(value, Decimal) else str(value)
        if not isinstance(value, str) or not _DECIMAL(value):
            raise ValueError('not a decimal in a text such as "12.5"')
        whole, _, fraction = value.lstrip("-").partition(".")
        if len(whole.lstrip("0")) > digits or len(fraction.rstrip("0")) > scale:
            raise ValueError(f"more than {digits} digits before the point, or {scale} behind it")
        return Decimal(value)

    pattern = rf"^-?\d{{1,{digits}}}(\.\d{{1,{scale}}})?$"
    return Annotated[
        Decimal,
        PlainValidator(parse),
        WithJsonSchema({"type": "string", "format": "decimal", "pattern": pattern}),
    ]


def plain(value: Any) -> Any:
    """Return what JSON says of a fact's value: decimals without an exponent, times in UTC with a Z."""
    if isinstance(value, Decimal):
        text = format(value, "f")
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return "0" if text in ("", "-0") else text
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def fact_as_json(fact: Any) -> dict[str, Any]:
    """Return a fact's fields as JSON."""
    found: dict[str, Any] = plain(msgspec.to_builtins(fact, builtin_types=(Decimal, datetime)))
    return found
