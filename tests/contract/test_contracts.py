"""The files in ``avro/`` keep Avro's rules and the house's, and the generated types are theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastavro import parse_schema

from ops.generate_events import TARGET, generate, main
from streams import events
from streams.schemas import ROOT, ContractError, contracts, definitions, load
from streams.topics import PLATFORM_STATE, TOPICS, all_topics, tables

ALL = sorted(contracts())
EVENTS = [name for name in ALL if contracts()[name].kind == "event"]
STATES = [name for name in ALL if contracts()[name].kind == "state"]


def nested_types(name: str) -> list[dict[str, object]]:
    """Return every type of a record that says something about itself (definitions and logical types)."""
    found: list[dict[str, object]] = []

    def look(node: object) -> None:
        if isinstance(node, dict):
            found.append(node)
            for part in node.values():
                look(part)
        elif isinstance(node, list):
            for part in node:
                look(part)

    look(contracts()[name].schema)
    return found


@pytest.mark.parametrize("name", ALL)
def test_a_contract_is_valid_avro(name: str) -> None:
    parse_schema(json.loads(contracts()[name].text))


@pytest.mark.parametrize("name", ALL)
def test_every_enum_reads_unknown_symbols_as_unknown(name: str) -> None:
    for node in nested_types(name):
        if node.get("type") == "enum":
            symbols = node["symbols"]
            assert isinstance(symbols, list)
            assert symbols[0] == "UNKNOWN" == node["default"]


@pytest.mark.parametrize("name", ALL)
def test_amounts_are_decimals_and_times_are_microseconds(name: str) -> None:
    for node in nested_types(name):
        assert node.get("type") not in ("float", "double"), "money and quantities are never floats"
        if "logicalType" not in node:
            continue
        if node["type"] == "bytes":
            assert (node["logicalType"], node["precision"]) == ("decimal", 38)
            assert node["scale"] in (6, 12), "quantities have 6 places, rates and costs 12"
        else:
            assert (node["type"], node["logicalType"]) == ("long", "timestamp-micros")


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_begins_with_its_identity_and_ends_with_its_envelope(name: str) -> None:
    fields = contracts()[name].schema["fields"]
    assert [field["name"] for field in fields[:3]] == ["event_id", "timestamp", "tenant_id"]
    assert fields[0]["default"] == ""
    assert fields[-1]["name"] == "envelope"
    assert fields[-1]["default"] is None


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_has_a_type_in_lower_case_and_a_topic(name: str) -> None:
    event_type = contracts()[name].type
    assert event_type
    assert event_type == event_type.lower()
    assert any(name in topic.records for topic in all_topics()), "list it with a topic in streams/topics.py"


@pytest.mark.parametrize("name", STATES)
def test_every_state_record_belongs_to_a_table_and_has_no_envelope(name: str) -> None:
    assert name in PLATFORM_STATE or any(name in records for records in tables().values())
    assert all(field["name"] != "envelope" for field in contracts()[name].schema["fields"])


def test_event_types_are_told_apart() -> None:
    types = [contracts()[name].type for name in EVENTS]
    assert len(types) == len(set(types))


def test_every_record_of_a_topic_is_a_contract() -> None:
    listed = {record for topic in TOPICS.values() for record in topic.records}
    assert listed <= set(EVENTS)


def test_the_generated_types_are_those_of_the_contracts() -> None:
    assert TARGET.read_text(encoding="utf-8") == generate(load()), "run `python -m ops.generate_events`"
    assert main(["--check"]) == 0


def test_no_python_lies_among_the_contracts() -> None:
    assert not list(ROOT.rglob("*.py")), "a package called avro would hide the one on PyPI"


@pytest.mark.parametrize("name", ALL)
def test_a_struct_has_the_fields_and_names_of_its_record(name: str) -> None:
    for definition in definitions(contracts()[name].schema):
        if definition["type"] == "record":
            struct = events.RECORDS[definition["name"]]
            assert set(struct.__struct_fields__) == {field["name"] for field in definition["fields"]}
            assert (struct.RECORD, struct.__name__) == (  # type: ignore[attr-defined]
                definition["name"],
                definition["name"].rpartition(".")[2],
            )


def broken(folder: Path, text: str, name: str = "Thing") -> str:
    """Return the text of the error for a contract with this content."""
    path = folder / "avro" / "shop" / f"{name}.avsc"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ContractError) as raised:
        generate(load(folder / "avro"))
    return str(raised.value)


def record_with(field_type: object) -> str:
    """Return a record with one field."""
    fields = [{"name": "part", "type": field_type}]
    return json.dumps({"type": "record", "name": "Thing", "namespace": "sluice.shop", "fields": fields})


def test_a_contract_that_breaks_a_rule_is_named_with_the_remedy(tmp_path: Path) -> None:
    assert "avro/shop/Thing.avsc: not JSON" in broken(tmp_path, "{")
    assert "must hold one record" in broken(tmp_path, '"string"')
    assert "rename one of them" in broken(
        tmp_path, record_with("string").replace("sluice.shop", "sluice.store")
    )
    assert "unknown type 'sluice.shop.Missing'" in broken(tmp_path, record_with("Missing"))
    assert '["null", X] only' in broken(tmp_path, record_with(["string", "long"]))
    assert "use timestamp-micros" in broken(
        tmp_path, record_with({"type": "long", "logicalType": "timestamp-millis"})
    )
    no_default = {"type": "enum", "name": "Colour", "symbols": ["UNKNOWN", "RED"]}
    assert "needs UNKNOWN" in broken(tmp_path, record_with(no_default))
    keyword = record_with("string").replace('"part"', '"class"')
    assert "not usable as a Python name" in broken(tmp_path, keyword)
