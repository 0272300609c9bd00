"""Why a schema may not follow another: told by field and reason, and judged as Avro itself judges it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.compatibility import breaches, reasons
from ops.schemas_changes import changes
from streams.schemas import contracts, qualify
from tests.contract.payloads import Payloads

FULL, BACKWARD = "FULL_TRANSITIVE", "BACKWARD_TRANSITIVE"
DECIMAL: dict[str, Any] = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 6}
COLOUR: dict[str, Any] = {
    "type": "enum",
    "name": "Colour",
    "symbols": ["UNKNOWN", "RED"],
    "default": "UNKNOWN",
}
INNER: dict[str, Any] = {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "int"}]}
BASE: list[dict[str, Any]] = [
    {"name": "id", "type": "string"},
    {"name": "amount", "type": DECIMAL},
    {"name": "count", "type": "int", "default": 0},
    {"name": "note", "type": ["null", "string"], "default": None},
    {"name": "colour", "type": COLOUR, "default": "UNKNOWN"},
    {"name": "inner", "type": INNER},
    {"name": "again", "type": ["null", "Inner"], "default": None},
    {"name": "tags", "type": {"type": "map", "values": "string"}, "default": {}},
    {"name": "parts", "type": {"type": "array", "items": "long"}, "default": []},
]


def record(fields: list[Any], **attributes: Any) -> str:
    return json.dumps({"type": "record", "name": "Event", "namespace": "n", "fields": fields} | attributes)


def changed(name: str, /, **replaced: Any) -> str:
    return record([field | replaced if field["name"] == name else field for field in BASE])


def without(name: str) -> str:
    return record([field for field in BASE if field["name"] != name])


def with_field(**field: Any) -> str:
    return record([*BASE, field])


def required(name: str) -> str:
    """Return the record with a field that has no default any more."""
    return record(
        [{k: v for k, v in f.items() if f["name"] != name or k != "default"} for f in copy.deepcopy(BASE)]
    )


@pytest.mark.parametrize(
    ("new", "kind", "field"),
    [
        (with_field(name="extra", type="string", default=""), "FIELD_ADDED", "extra"),
        (
            changed("colour", type=COLOUR | {"symbols": ["UNKNOWN", "RED", "BLUE"]}),
            "ENUM_SYMBOL_ADDED",
            "colour",
        ),
        (changed("id", default=""), "FIELD_RELAXED", "id"),
        (changed("count", default=1), "DEFAULT_CHANGED", "count"),
        (changed("id", doc="Which one."), "METADATA_CHANGED", "id"),
        (changed("inner", type=INNER | {"doc": "What is in it."}), "METADATA_CHANGED", "inner"),
        (
            record(BASE, **{"sluice.deprecated": {"since": "2", "successor": "EventV2"}}),
            "METADATA_CHANGED",
            "(record)",
        ),
        (record(BASE[::-1]), "METADATA_CHANGED", "(record)"),
        (
            changed("colour", type=COLOUR | {"symbols": ["UNKNOWN", "RED"][::-1]}),
            "METADATA_CHANGED",
            "(record)",
        ),
    ],
)
def test_a_change_that_002_allows_is_accepted_and_named(new: str, kind: str, field: str) -> None:
    assert breaches(new, [record(BASE)], FULL) == []
    [found] = changes(record(BASE), new, FULL)
    assert (found.kind, found.field, found.breaking) == (kind, field, False)


@pytest.mark.parametrize(
    ("new", "kind", "told"),
    [
        (
            with_field(name="extra", type="string"),
            "REQUIRED_FIELD_ADDED",
            "extra is new and has no default, so data of older versions cannot be read (version 1)",
        ),
        (
            required("count"),
            "REQUIRED_FIELD_CHANGED",
            "count was optional and is required now, which older writers do not know (version 1)",
        ),
        (without("id"), "FIELD_REMOVED", "id is removed, and older readers still want it"),
        (without("note"), "FIELD_REMOVED", "note is removed, and older readers still want it"),
        (changed("note", name="remark", aliases=["note"]), "FIELD_REMOVED", "note became the alias"),
        (changed("id", type="long"), "TYPE_CHANGED", "id changed its type from string to long"),
        (changed("count", type="long"), "TYPE_CHANGED", "count changed its type from int to long"),
        (
            changed("id", type=["null", "string"]),
            "TYPE_CHANGED",
            "id changed its type from string to [null, string], which older readers cannot read",
        ),
        (
            changed("amount", type=DECIMAL | {"scale": 12}),
            "TYPE_CHANGED",
            "amount changed its type from decimal(38,6) to decimal(38,12)",
        ),
        (changed("amount", type="bytes"), "TYPE_CHANGED", "from decimal(38,6) to bytes"),
        (changed("note", type=["null", "long"]), "TYPE_CHANGED", "from [null, string] to [null, long]"),
        (changed("tags", type={"type": "map", "values": "int"}), "TYPE_CHANGED", "tags{} changed its type"),
        (
            changed("parts", type={"type": "array", "items": "string"}),
            "TYPE_CHANGED",
            "parts[] changed its type",
        ),
        (
            changed("inner", type=INNER | {"fields": [{"name": name, "type": "int"} for name in "xy"]}),
            "REQUIRED_FIELD_ADDED",
            "inner.y is new",
        ),
        (
            changed("colour", type=COLOUR | {"symbols": ["UNKNOWN"]}),
            "ENUM_SYMBOL_REMOVED",
            "colour lost the symbols RED, which data of older versions hold",
        ),
        (
            changed("colour", type=COLOUR | {"default": "RED"}),
            "ENUM_DEFAULT_CHANGED",
            "colour changed what it reads unknown symbols as from UNKNOWN to RED",
        ),
        (
            record(BASE, **{"sluice.type": "event.v2"}),
            "EVENT_TYPE_CHANGED",
            "(record) changed sluice.type from None to event.v2",
        ),
        (record(BASE, name="EventV2"), "TYPE_CHANGED", "(record) changed its type from n.Event to n.EventV2"),
    ],
)
def test_a_change_that_002_calls_breaking_is_refused_with_field_and_reason(
    new: str, kind: str, told: str
) -> None:
    found = breaches(new, [record(BASE)], FULL)
    assert [each.kind for each in found] == [kind]
    assert told in str(found[0])


def test_a_part_inside_an_optional_field_is_named_by_its_path() -> None:
    def versions(kind: str) -> str:
        money = {"type": "record", "name": "Money", "fields": [{"name": "amount", "type": kind}]}
        many = {"type": "array", "items": money}
        return record([{"name": "cost", "type": ["null", many], "default": None}])

    assert reasons(versions("long"), [versions("string")], FULL) == [
        "cost[].amount changed its type from string to long (version 1)"
    ]


def test_enum_symbols_without_a_default_are_refused_by_name() -> None:
    bare = {"type": "enum", "name": "Size", "symbols": ["S"]}
    old = with_field(name="size", type=bare)
    new = with_field(name="size", type=bare | {"symbols": ["S", "M"]})
    (reason,) = reasons(new, [old], FULL)
    assert "has the new symbols M, for which older readers have no default" in reason


@pytest.mark.parametrize(
    "new",
    [
        changed("count", type="long"),
        changed("parts", type={"type": "array", "items": "double"}),
        changed("id", type=["null", "string"]),
        changed("colour", type=COLOUR | {"symbols": ["UNKNOWN", "RED", "BLUE"]}),
        without("note"),
        required("count"),
    ],
)
def test_state_need_only_be_read_by_newer_code(new: str) -> None:
    assert reasons(new, [record(BASE)], BACKWARD) == []
    assert [each.breaking for each in changes(record(BASE), new, BACKWARD)] == [False]


@pytest.mark.parametrize(
    "new",
    [
        changed("count", type="string"),
        changed("id", type="bytes"),
        with_field(name="extra", type="string"),
        changed("colour", type=COLOUR | {"symbols": ["UNKNOWN"]}),
        changed("note", name="remark", aliases=["note"]),
        changed("note", type="string"),
    ],
)
def test_state_that_newer_code_would_misread_is_refused(new: str) -> None:
    assert len(reasons(new, [record(BASE)], BACKWARD)) == 1


def test_every_version_counts_and_is_named() -> None:
    first = with_field(name="gone", type="string", default="")
    assert reasons(changed("id", type="bytes"), [first, record(BASE)], BACKWARD) == [
        "id changed its type from string to bytes (versions 1, 2)"
    ]
    assert reasons(record(BASE), [first, record(BASE)], FULL) == [
        "gone is removed, and older readers still want it; keep it and leave it empty (version 1)"
    ]


def test_a_default_may_not_change_once_data_are_read_with_it() -> None:
    first, second = record(BASE), with_field(name="extra", type="long", default=1)
    third = with_field(name="extra", type="long", default=2)
    assert reasons(third, [second], FULL) == []
    assert reasons(third, [first, second], FULL) == [
        "extra changed its default from 1 to 2, so data of versions without it would mean two things (version 2)"
    ]


def test_every_contract_goes_together_with_itself() -> None:
    for contract in contracts().values():
        assert changes(contract.text, contract.text, FULL) == []


# --- as Avro itself judges it ---------------------------------------------------------------------------------------

Fields = list[dict[str, Any]]
TYPES: list[Any] = [
    "string",
    "int",
    "long",
    "double",
    ["null", "string"],
    ["null", "long"],
    {"type": "array", "items": "int"},
    {"type": "array", "items": "long"},
    {"type": "map", "values": ["null", "int"]},
]
PARTED = [field for field in BASE if field["name"] != "again"]
"""No field leans on another one's definition, so that any of them may go."""
DEFAULTS: dict[str, Any] = {"string": "", "int": 7, "long": 7, "double": 7.5}


def optional(name: str, kind: Any) -> dict[str, Any]:
    """Return a field with a default."""
    empty: Any = {"array": [], "map": {}}[kind["type"]] if isinstance(kind, dict) else None
    return {"name": name, "type": kind, "default": DEFAULTS.get(kind) if isinstance(kind, str) else empty}


def mutations(draw: st.DrawFn, fields: Fields) -> None:
    """Change one thing about a record."""
    named = {field["name"]: field for field in fields}
    fresh = next(name for number in range(9) if (name := f"new{number}") not in named)

    def add() -> None:
        fields.append(optional(fresh, draw(st.sampled_from(TYPES))))

    def add_required() -> None:
        fields.append({"name": fresh, "type": draw(st.sampled_from(TYPES))})

    def remove() -> None:
        fields.remove(draw(st.sampled_from(fields)))

    def retype() -> None:
        field = draw(st.sampled_from(fields))
        field |= optional(field["name"], draw(st.sampled_from(TYPES)))

    def require() -> None:
        draw(st.sampled_from(fields)).pop("default", None)

    def recolour() -> None:
        if isinstance(kind := named.get("colour", {}).get("type"), dict) and kind["type"] == "enum":
            kind["symbols"] = [
                "UNKNOWN",
                *draw(st.lists(st.sampled_from(["RED", "BLUE", "GREEN"]), unique=True)),
            ]

    def deepen() -> None:
        if isinstance(kind := named.get("inner", {}).get("type"), dict) and kind["type"] == "record":
            mutations(draw, kind["fields"])

    choices: list[Callable[[], None]] = [add, recolour, deepen]
    choices += [add_required, remove, retype, require] if len(fields) > 1 else []
    draw(st.sampled_from(choices))()


@st.composite
def successors(draw: st.DrawFn) -> str:
    """Return the record after one to three changes of any kind."""
    fields = copy.deepcopy(PARTED)
    for _ in range(draw(st.integers(1, 3))):
        mutations(draw, fields)
    return record(fields)


def resolves(written: str, wanted: str) -> bool:
    """Return whether Avro reads data of one version with another."""
    reader = qualify(json.loads(wanted), "")
    payloads = Payloads(qualify(json.loads(written), ""))
    try:
        for _ in range(12):
            payloads.read(payloads.body(), reader)
    except Exception:
        return False
    return True


@given(new=successors())
@settings(max_examples=60, deadline=None)
def test_what_is_accepted_is_read_by_the_other_side(new: str) -> None:
    old = record(PARTED)
    if not breaches(new, [old], FULL):
        assert resolves(old, new)
        assert resolves(new, old)
    if not breaches(new, [old], BACKWARD):
        assert resolves(old, new)
    if not breaches(old, [new], BACKWARD):
        assert resolves(new, old)


@given(new=successors())
@settings(max_examples=60, deadline=None)
def test_what_the_other_side_cannot_read_is_refused(new: str) -> None:
    old = record(PARTED)
    if not resolves(old, new):
        assert breaches(new, [old], BACKWARD)
        assert breaches(new, [old], FULL)
    if not resolves(new, old):
        assert breaches(new, [old], FULL)
