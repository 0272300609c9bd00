"""Other versions of a schema are read into ours: by compiled readers where possible, else by fastavro."""

from __future__ import annotations

import asyncio
import copy
import io
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer

from streams.codec import Codec, Undecodable
from streams.events import Alert, Envelope, UsageEvent
from streams.schemas import contracts
from tests.contract.offline import offline_codec

USAGE = "sluice.usage.UsageEvent"
VALUES: dict[str, Any] = {
    "event_id": "e-1",
    "timestamp": datetime(2026, 11, 20, 12, tzinfo=UTC),
    "tenant_id": "acme",
    "service_name": "gateway",
    "user_id": "u",
    "event_type": "api_call",
    "resource_type": "calls",
    "quantity": Decimal("2.000000"),
    "unit": "calls",
    "cost": None,
    "metadata": {"a": "b"},
    "envelope": {"correlation_id": "c", "causation_id": None, "source": None, "version": None},
}
EXPECTED = UsageEvent(**{**VALUES, "envelope": Envelope(correlation_id="c")})
Change = Callable[[list[dict[str, Any]]], Any]


def version(name: str, change: Change) -> dict[str, Any]:
    """Return another version of a contract: ``change`` alters its list of fields."""
    schema = copy.deepcopy(contracts()[name].schema)
    change(schema["fields"])
    return schema


def field(fields: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(each for each in fields if each["name"] == name)


def retyped(name: str, written: Any) -> Change:
    """Return the change that gives a field another type, and no default."""

    def change(fields: list[dict[str, Any]]) -> None:
        target = field(fields, name)
        target.pop("default", None)
        target["type"] = written

    return change


def without(fields: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [each for each in fields if each["name"] not in names]


def body(schema: dict[str, Any], values: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    schemaless_writer(stream, parse_schema(copy.deepcopy(schema)), values)
    return stream.getvalue()


def read(folder: Path, schema: dict[str, Any], **changes: Any) -> tuple[Any, Codec]:
    """Return what a value written with ``schema`` is read as, and the codec that did it."""
    codec = offline_codec(folder, {900: schema})
    value = b"\0\0\0\x03\x84" + body(schema, {**VALUES, **changes})
    found = codec.decode(value)
    assert codec.decode_batch([value, value + b"\0"])[0] == found
    assert isinstance(codec.decode(value + b"\0"), Undecodable), "bytes left over are poison in every reader"
    return found, codec


def compiled(codec: Codec) -> bool:
    """Return whether the writer's schema got a compiled reader."""
    return b"\0\0\0\x03\x84" in codec._fast


def test_a_field_that_a_newer_writer_added_is_read_over(tmp_path: Path) -> None:
    extra: list[dict[str, Any]] = [
        {"name": "region", "type": ["null", "string"], "default": None},
        {
            "name": "tags",
            "type": {"type": "array", "items": {"type": "map", "values": "long"}},
            "default": [],
        },
        {"name": "digest", "type": {"type": "fixed", "name": "Digest", "size": 4}, "default": "0000"},
        {
            "name": "place",
            "type": {"type": "record", "name": "Place", "fields": [{"name": "x", "type": "double"}]},
        },
        {"name": "mode", "type": {"type": "enum", "name": "Mode", "symbols": ["A", "B"]}},
        {"name": "born", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "flags", "type": {"type": "map", "values": "string"}},
        {"name": "sure", "type": "boolean"},
    ]
    schema = version(USAGE, lambda fields: fields.__setitem__(slice(4, 4), extra))
    found, codec = read(
        tmp_path,
        schema,
        region="eu",
        tags=[{"x": 70_000}] * 70,
        digest=b"abcd",
        place={"x": 1.5},
        mode="B",
        born=datetime(2000, 1, 1, tzinfo=UTC),
        flags={"f": "g" * 100},
        sure=True,
    )
    assert found == EXPECTED
    assert compiled(codec)


def test_a_field_that_an_older_writer_lacks_has_its_default(tmp_path: Path) -> None:
    missing = ("service_name", "cost", "metadata", "envelope", "event_id")
    schema = version(USAGE, lambda fields: fields.__setitem__(slice(None), without(fields, missing)))
    found, codec = read(tmp_path, schema)
    assert found == UsageEvent(**{k: v for k, v in VALUES.items() if k not in missing})
    assert compiled(codec)
    again = codec.decode(b"\0\0\0\x03\x84" + body(schema, VALUES))
    assert again.metadata is not found.metadata, "two events never share one map"


def test_fields_in_another_order_are_read_by_name(tmp_path: Path) -> None:
    found, codec = read(tmp_path, version(USAGE, lambda fields: fields.reverse()))
    assert found == EXPECTED
    assert compiled(codec)


def test_a_symbol_that_a_newer_writer_added_is_read_as_unknown(tmp_path: Path) -> None:
    def add(fields: list[dict[str, Any]]) -> None:
        for each in fields:
            if isinstance(each["type"], dict) and each["type"]["type"] == "enum":
                each["type"]["symbols"] = ["PURPLE", *reversed(each["type"]["symbols"])]

    schema = version("sluice.alerts.Alert", add)
    enums = [
        f["name"] for f in schema["fields"] if isinstance(f["type"], dict) and f["type"]["type"] == "enum"
    ]
    codec = offline_codec(tmp_path, {900: schema})
    values: dict[str, Any] = {
        f["name"]: SAMPLES[repr(f["type"]) if isinstance(f["type"], str) else "other"](f)
        for f in schema["fields"]
    }
    found = codec.decode(b"\0\0\0\x03\x84" + body(schema, values))
    assert isinstance(found, Alert)
    assert enums, "the record has an enum"
    assert all(getattr(found, name) == "UNKNOWN" for name in enums)
    known = {**values, **{name: field(schema["fields"], name)["type"]["symbols"][1] for name in enums}}
    again = codec.decode(b"\0\0\0\x03\x84" + body(schema, known))
    assert all(getattr(again, name) == known[name] for name in enums)
    assert compiled(codec)


def sample(each: dict[str, Any]) -> Any:
    """Return a value for a field that is no plain type; the new symbol for an enum."""
    kind = each["type"]
    if isinstance(kind, list):
        return None
    if kind["type"] == "enum":
        return "PURPLE"
    logical = {"timestamp-micros": datetime(2026, 1, 1, tzinfo=UTC), "decimal": Decimal(1)}
    return logical.get(kind.get("logicalType", "")) or ({} if kind["type"] == "map" else [])


SAMPLES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "'string'": lambda each: "text",
    "'long'": lambda each: 7,
    "'int'": lambda each: 7,
    "'boolean'": lambda each: True,
    "other": sample,
}


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("tenant_id", ["null", "string"], "acme"),
        ("tenant_id", ["string", "null"], "acme"),
        ("tenant_id", ["string"], "acme"),
        ("tenant_id", {"type": "string", "avro.java.string": "String"}, "acme"),
        ("cost", "null", None),
        ("envelope", contracts()["sluice.platform.Envelope"].schema, VALUES["envelope"]),
    ],
)
def test_an_optional_value_and_a_plain_one_are_read_as_each_other(
    tmp_path: Path, name: str, written: Any, value: Any
) -> None:
    schema = version(USAGE, retyped(name, written))
    found, _ = read(tmp_path, schema, **{name: value})
    assert found == EXPECTED


def test_a_null_where_ours_needs_a_value_is_poison(tmp_path: Path) -> None:
    schema = version(USAGE, retyped("tenant_id", ["null", "string"]))
    found, _ = read(tmp_path, schema, tenant_id=None)
    assert isinstance(found, Undecodable)
    assert found.code == "UNDECODABLE"


@pytest.mark.parametrize(
    ("name", "written", "value", "expected"),
    [
        (
            "timestamp",
            {"type": "long", "logicalType": "timestamp-millis"},
            VALUES["timestamp"],
            EXPECTED.timestamp,
        ),
        ("tenant_id", "bytes", b"acme", "acme"),
        ("metadata", {"type": "map", "values": ["null", "string"]}, {"a": "b"}, {"a": "b"}),
    ],
)
def test_what_no_reader_is_compiled_for_is_read_with_fastavro(
    tmp_path: Path, name: str, written: Any, value: Any, expected: Any
) -> None:
    schema = version(USAGE, retyped(name, written))
    found, _ = read(tmp_path, schema, **{name: value})
    assert getattr(found, name) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "record", "name": "Stranger", "namespace": "acme", "fields": []},
        {"type": "enum", "name": "Colour", "symbols": ["RED"]},
        "string",
        ["null", "string"],
        {"no": "type"},
        17,
    ],
)
def test_a_schema_that_is_none_of_our_records_is_named(tmp_path: Path, schema: Any) -> None:
    found = offline_codec(tmp_path, {900: schema}).decode(b"\0\0\0\x03\x84body")
    assert isinstance(found, Undecodable)
    assert (found.code, found.retryable, found.schema_id) == ("UNKNOWN_RECORD", False, 900)


@pytest.mark.parametrize(
    "fields",
    [
        [{"name": "tenant_id", "type": "no.such.Type"}],
        [{"name": "tenant_id", "type": {"type": "fixed", "name": "F", "size": "1; raise SystemExit"}}],
        [{"name": "tenant_id", "type": "string"}],
        [{"name": "self", "type": ["null", USAGE]}],
        [],
        "nonsense",
    ],
)
def test_a_hopeless_schema_of_our_record_is_poison_and_nothing_worse(tmp_path: Path, fields: Any) -> None:
    schema = {"type": "record", "name": USAGE, "fields": fields}
    found = offline_codec(tmp_path, {900: schema}).decode(b"\0\0\0\x03\x84\x02abody")
    assert isinstance(found, Undecodable)
    assert not found.retryable


async def test_an_id_that_the_registry_does_not_answer_for_comes_back_later(tmp_path: Path) -> None:
    codec = offline_codec(tmp_path)
    await asyncio.gather(codec.resolve([900]), codec.resolve([900, 901]))
    found = codec.decode_batch([b"\0\0\0\x03\x84x", b"\0\0\0\x03\x85x"])
    assert [each.code for each in found if isinstance(each, Undecodable)] == ["TEMPORARY_FAILURE"] * 2
