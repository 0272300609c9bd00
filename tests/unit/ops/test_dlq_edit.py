"""An edited event is checked whole, stays the same event, and goes under the key that its fields have now."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.dlq_edit import Edit, checked, edited, load, resent, route_of, save
from ops.dlq_letters import Letter, Stored, letter_of
from ops.errors import OpsError
from streams.codec import NeedsSchema, Undecodable
from streams.events import (
    UsageEvent,
    UsageTenantSetRequested,
)
from streams.routes import INDEX
from streams.web_bodies import fact_as_json
from tests.contract.strategies import records
from tests.unit.ops.dlq_world import TOPIC, Dead

AT = datetime(2026, 11, 21, 12, 30, 1, 123456, tzinfo=UTC)
EVENT = UsageEvent(
    event_id="e1",
    timestamp=AT,
    tenant_id="acme",
    user_id="ada",
    event_type="model_inference",
    resource_type="gpt",
    quantity=Decimal("12.500000"),
    unit="tokens",
    metadata={"region": "eu"},
)
HEADERS = [
    ("ce_id", b"e1"),
    ("ce_type", b"old"),
    ("ce_time", b"old"),
    ("ce_partitionkey", b"wrong"),
    ("ce_tenantid", b"old"),
    ("ce_dataschema", b"old"),
    ("traceparent", b"00-1-2-3"),
]


def a_letter(**options: Any) -> tuple[Stored, Letter]:
    stored = Dead().die(1, b"wrong", b"\0\0\0\0\1x", headers=HEADERS, **options)
    return stored, letter_of(stored)


def written(tmp_path: Path, event: Any = EVENT, **changes: Any) -> tuple[Edit, Letter]:
    """Return the edit of a file with changed fields, and its letter."""
    _, letter = a_letter()
    file = tmp_path / "edit.json"
    save(file, letter, event)
    content = json.loads(file.read_text())
    content["event"] |= changes
    file.write_text(json.dumps(content))
    return load(file), letter


def test_an_event_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    edit, letter = written(tmp_path)
    event = edited(edit, letter, EVENT)
    assert event == EVENT
    assert type(event.quantity) is Decimal


EVENTS: list[Any] = [route.event for route in INDEX.routes]


@given(st.sampled_from(EVENTS).flatmap(lambda struct: records(struct.RECORD)))
@settings(max_examples=60, deadline=None)
def test_whatever_an_event_holds_it_can_be_edited(event: Any) -> None:
    assert checked(type(event), fact_as_json(event)) == event


def test_an_edited_field_is_taken_and_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    edit, letter = written(tmp_path, quantity="13", metadata={"sluice.allow_late": "true"})
    event = edited(edit, letter, EVENT)
    assert (event.quantity, event.metadata) == (Decimal(13), {"sluice.allow_late": "true"})
    (tmp_path / "edit.json").unlink()
    edit, letter = written(tmp_path, quantity=1.5, timestamp="yesterday", tenant_id=None, colour="red")
    with pytest.raises(OpsError) as refusal:
        edited(edit, letter, EVENT)
    for field in ("quantity", "timestamp", "tenant_id", "colour"):
        assert f"\n{field}: " in refusal.value.cause
    assert "yesterday" not in refusal.value.cause


def test_the_event_stays_the_same_one(tmp_path: Path) -> None:
    edit, letter = written(tmp_path, event_id="e2")
    with pytest.raises(OpsError, match="its id stays"):
        edited(edit, letter, EVENT)


def test_a_file_of_another_letter_or_another_record_is_refused(tmp_path: Path) -> None:
    edit, letter = written(tmp_path)
    meter = UsageTenantSetRequested(timestamp=AT, tenant_id="acme")
    for wrong_edit, wrong_letter, was in (
        (edit, replace(letter, digest="0"), EVENT),
        (edit.model_copy(update={"record": meter.RECORD}), letter, EVENT),
        (edit.model_copy(update={"record": "sluice.usage.Nothing"}), letter, EVENT),
        (edit, letter, meter),
        (edit, letter, NeedsSchema(7)),
    ):
        with pytest.raises(OpsError, match="is another letter than"):
            edited(wrong_edit, wrong_letter, was)


@pytest.mark.parametrize("event", [NeedsSchema(7), Undecodable("NOT_FRAMED", "the first byte is 9")])
def test_what_cannot_be_decoded_cannot_be_edited(event: Any, tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="cannot be edited, because it cannot be decoded") as refusal:
        save(tmp_path / "edit.json", a_letter()[1], event)
    assert "replayed as it is" in refusal.value.remedy
    assert not (tmp_path / "edit.json").exists()


def test_a_file_is_not_written_over_and_must_be_an_edit(tmp_path: Path) -> None:
    file = tmp_path / "edit.json"
    save(file, a_letter()[1], EVENT)
    with pytest.raises(OpsError, match="already a file"):
        save(file, a_letter()[1], EVENT)
    file.write_text('{"letter": "x", "event": 1}')
    with pytest.raises(OpsError, match="is not a file of an edit") as refusal:
        load(file)
    assert "\ndigest: " in refusal.value.cause
    assert "\nevent: " in refusal.value.cause
    with pytest.raises(OpsError, match="cannot be read"):
        load(tmp_path / "none.json")


def test_an_edited_event_goes_under_its_own_key_with_headers_that_say_the_same() -> None:
    stored, _ = a_letter()
    route = route_of(INDEX, TOPIC, EVENT)
    sent = resent(stored, route, EVENT, b"\0\0\0\1\0body")
    assert (sent.key, sent.value, sent.edited) == (b"acme", b"\0\0\0\1\0body", True)
    assert dict(sent.headers) == {
        "ce_id": b"e1",
        "ce_type": b"model_inference",
        "ce_time": AT.isoformat().encode(),
        "ce_partitionkey": b"acme",
        "ce_tenantid": b"acme",
        "ce_dataschema": b"urn:sluice:schema:256",
        "traceparent": b"00-1-2-3",
        "x-replayed-from": str(stored.place).encode(),
        "x-edited": b"true",
    }


def test_an_event_that_nobody_reads_there_is_refused() -> None:
    tenant = UsageTenantSetRequested(timestamp=AT, tenant_id="acme")
    with pytest.raises(OpsError, match="No rules of ours answer UsageTenantSetRequested"):
        route_of(INDEX, TOPIC, tenant)
