"""Everything that is wrong with an event is told at once, and schemas are found by type and version."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.schemas_freeze import freeze
from streams.avro_careful import Unencodable, write_carefully
from streams.event_schemas import EventSchema, EventSchemas
from streams.events import Alert, UsageCost, UsageEvent
from streams.schemas import contracts
from streams.validation import errors_of
from tests.contract.strategies import records

USAGE = contracts()["sluice.usage.UsageEvent"]
EVENT = UsageEvent(
    event_id="e-1",
    timestamp=datetime(2026, 11, 20, tzinfo=UTC),
    tenant_id="acme",
    event_type="api_call",
    quantity=Decimal(2),
    cost=UsageCost(amount=Decimal("0.5"), currency="USD", rate=Decimal("0.25")),
    metadata={"model_name": "gpt-4"},
)
DATA: dict[str, Any] = {
    "timestamp": "2026-11-20T00:00:00Z",
    "event_type": "api_call",
    "quantity": "2",
    "cost": {"amount": Decimal("0.5"), "currency": "USD", "rate": "0.25"},
}


def test_an_event_that_fits_has_no_errors_as_a_struct_as_json_and_as_python_has_it() -> None:
    assert errors_of(USAGE.schema, EVENT) == []
    assert errors_of(USAGE.schema, DATA) == []
    as_python = msgspec.to_builtins(EVENT, builtin_types=(Decimal, datetime))
    assert errors_of(USAGE.schema, as_python) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"tenant_id": 7}, "tenant_id: an int does not fit string"),
        ({"tenant_id": None}, "tenant_id: null does not fit string"),
        ({"quantity": 2.5}, "quantity: a float does not fit decimal(38,6)"),
        ({"quantity": "two"}, "quantity: is no decimal(38,6)"),
        (
            {"quantity": "1" + "0" * 33},
            "quantity: a Decimal does not fit decimal(38,6) (more than 38 digits)",
        ),
        ({"quantity": "NaN"}, "quantity: a Decimal does not fit decimal(38,6) (not a finite number)"),
        ({"timestamp": "yesterday"}, "timestamp: a str does not fit timestamp-micros"),
        (
            {"timestamp": datetime(2026, 1, 1)},  # noqa: DTZ001 - what is refused
            "timestamp: a time without its offset from UTC does not fit timestamp-micros",
        ),
        ({"cost": {"amount": "1", "currency": "USD"}}, "cost.rate: is missing and has no default"),
        ({"cost": "1 USD"}, "cost: a str is no UsageCost"),
        ({"metadata": ["model_name"]}, "metadata: a list is no map"),
        ({"metadata": {"model_name": 4}}, "metadata[]: an int does not fit string"),
        ({"metadata": {4: "model_name"}}, "metadata: a key does not fit string"),
        ({"colour": "red"}, "colour: UsageEvent has no such field"),
    ],
)
def test_a_wrong_field_is_named_with_the_rule_it_breaks(change: dict[str, Any], error: str) -> None:
    assert errors_of(USAGE.schema, DATA | change) == [error]


def test_a_symbol_that_an_enum_does_not_have_is_named_with_those_it_has() -> None:
    schema = contracts()["sluice.alerts.Alert"].schema
    [error] = [each for each in errors_of(schema, {"status": "loud"}) if "missing" not in each]
    assert error.startswith("status: is none of UNKNOWN, ")


def test_an_array_names_the_place_of_what_is_wrong_in_it() -> None:
    schema = {
        "type": "record",
        "name": "n.Many",
        "fields": [{"name": "sizes", "type": {"type": "array", "items": "int"}}],
    }
    assert errors_of(schema, {"sizes": [1, "2", 2**31, True]}) == [
        "sizes[1]: a str does not fit int",
        "sizes[2]: is out of the range of int",
        "sizes[3]: a bool does not fit int",
    ]


def test_all_errors_come_at_once_in_the_order_of_the_fields() -> None:
    wrong = msgspec.structs.replace(EVENT, tenant_id=None, quantity=1.5, cost="free", metadata={"a": 1})
    assert [error.partition(":")[0] for error in errors_of(USAGE.schema, wrong)] == [
        "tenant_id",
        "quantity",
        "cost",
        "metadata[]",
    ]
    assert "no UsageEvent" in errors_of(USAGE.schema, 17)[0]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_can_be_written_has_no_errors_and_whatever_cannot_has_some(data: st.DataObject) -> None:
    event = data.draw(records(USAGE.name))
    assert errors_of(USAGE.schema, event) == []
    field = data.draw(st.sampled_from(event.__struct_fields__))
    junk = data.draw(
        st.sampled_from([None, 7, 1.5, "text", b"bytes", "\ud800", (), {"a": 1}, Decimal("NaN"), EVENT])
    )
    changed = msgspec.structs.replace(event, **{field: junk})
    try:
        write_carefully(USAGE.schema, changed)
    except Unencodable:
        assert errors_of(USAGE.schema, changed)


# --- by type and version (001-50 to 001-56) -------------------------------------------------------------------------


def test_the_schema_of_an_event_type_is_found_and_validates() -> None:
    schemas = EventSchemas.of_contracts()
    latest = schemas.get_latest_schema("Usage.Metered")
    assert latest is not None
    assert latest.event_type == "usage.metered"
    assert latest.validate(DATA)
    assert not latest.validate({})
    assert schemas.validate_event(EVENT)
    assert not schemas.validate_event(msgspec.structs.replace(EVENT, quantity=2.0))
    assert not schemas.validate_event("text")
    assert schemas.get_latest_schema("no.such.type") is None
    assert schemas.get_schema("usage.metered", "99.0.0") is None


def test_every_released_version_is_found_beside_the_contract_as_it_stands(tmp_path: Path) -> None:
    known = {each.name: each for each in (USAGE, contracts()["sluice.alerts.Alert"])}
    old = {name: each for name, each in known.items() if name == USAGE.name}
    freeze(old, {USAGE.name: "FULL_TRANSITIVE"}, tmp_path)
    schemas = EventSchemas.of_contracts(known, tmp_path)
    latest = schemas.get_latest_schema("usage.metered")
    assert latest is schemas.get_schema("usage.metered", "1.0.0") is not None
    unreleased = schemas.get_latest_schema(Alert.TYPE)
    assert unreleased is not None
    assert unreleased.schema_version == "0.0.0+unreleased"


def test_the_highest_version_is_the_latest_and_none_is_replaced() -> None:
    def schema(field: str) -> dict[str, Any]:
        return {"type": "record", "name": "n.E", "fields": [{"name": field, "type": "string"}]}

    schemas = EventSchemas()
    for version in ("1.10.0", "1.9", "1.10.0+unreleased", "1.2.0"):
        schemas.register_schema("n.e", version, schema(f"f{version[2]}"))
    latest = schemas.get_latest_schema("n.e")
    assert latest is not None
    assert latest.schema_version == "1.10.0+unreleased"
    schemas.register_schema("n.e", "1.9", EventSchema("n.e", "1.9", schema("f9")))
    with pytest.raises(ValueError, match="register it as a new version"):
        schemas.register_schema("n.e", "1.9", schema("other"))
    with pytest.raises(ValueError, match="no semantic version"):
        schemas.register_schema("n.e", "latest", schema("other"))
