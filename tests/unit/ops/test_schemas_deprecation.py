"""A second version of an interface beside the first one, which says in code, headers and logs that it will go."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.compatibility import breaches
from ops.schemas import listed_offline
from streams.codec import Codec
from streams.events import UsageEventVoidRequested, UsageMeterDefineRequested
from streams.publisher import Prepared
from streams.registry import fingerprint
from streams.routing import Output
from streams.schemas import Contract, ContractError, Deprecation, contracts
from streams.topics import Topic
from streams.web_commands import Command
from streams.web_openapi import document
from tests.contract.evolving import FIRST, FULL, NOTE, SOLD, code_of, contract

SOLD_V2 = f"{SOLD}V2"
SHOP = Topic("shop.events", "tenant_id", (SOLD, SOLD_V2))
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
GOES = {"since": "1.4.0", "successor": SOLD_V2}


def both(folder: Path, deprecated: dict[str, str] = GOES) -> dict[str, Contract]:
    """Return the contracts of both versions; the second one has another type for ``size``."""
    second = [{"name": "size", "type": "string"} if field["name"] == "size" else field for field in FIRST]
    contract(folder, second, "SoldV2")
    return contract(folder, FIRST, attributes={"sluice.deprecated": deprecated})


@pytest.fixture
def code(tmp_path: Path) -> tuple[Codec, Any]:
    """The codec and structs of a program that knows both versions."""
    known = both(tmp_path)
    texts = {1: known[SOLD].text, 2: known[SOLD_V2].text}
    ids = {
        f"{SHOP.name}-{known[name].name} {fingerprint(known[name].text)}": n
        for n, name in [(1, SOLD), (2, SOLD_V2)]
    }
    codec, events = code_of(tmp_path / "code", known, texts, ids)
    asyncio.run(codec.prepare([(SHOP.name, events.Sold), (SHOP.name, events.SoldV2)]))
    return codec, events


def published(codec: Codec, struct: Any, times: int = 1, **fields: Any) -> list[dict[str, str]]:
    """Publish an event so many times; return the headers of each."""
    prepared = Prepared(Output(struct, SHOP, lambda event: event.tenant_id), codec, 4, "test")
    event, headers = struct(timestamp=NOW, tenant_id="acme", **fields), []
    for number in range(times):
        frame = prepared.encode(event, f"e-{number}")
        made = prepared.headers(frame)(f"e-{number}", NOW, b"acme", "acme")
        headers.append({name: value.decode() for name, value in made})
    return headers


def test_an_event_of_the_old_version_says_since_when_and_what_to_use(code: tuple[Codec, Any]) -> None:
    codec, events = code
    [headers] = published(codec, events.Sold, size=3)
    assert headers["ce_type"] == "shop.sold"
    assert (headers["ce_deprecated"], headers["ce_successor"]) == ("1.4.0", "shop.soldv2")
    [headers] = published(codec, events.SoldV2, size="L")
    assert not headers.keys() & {"ce_deprecated", "ce_successor"}


def test_whoever_publishes_the_old_version_is_warned_once(
    code: tuple[Codec, Any], caplog: pytest.LogCaptureFixture
) -> None:
    codec, events = code
    with caplog.at_level(logging.WARNING, "streams.publisher"):
        published(codec, events.Sold, times=3, size=3)
        published(codec, events.SoldV2, times=3, size="L")
    assert caplog.messages == [
        "Sold, which is published to shop.events, is deprecated since 1.4.0; publish shop.soldv2 instead"
    ]


def test_whoever_reads_the_old_version_is_warned_once(
    code: tuple[Codec, Any], caplog: pytest.LogCaptureFixture
) -> None:
    codec, events = code
    old = codec.encode(events.Sold(timestamp=NOW, size=3), SHOP.name)
    new = codec.encode(events.SoldV2(timestamp=NOW, size="L"), SHOP.name)
    with caplog.at_level(logging.WARNING, "streams.codec"):
        assert [each.size for each in codec.decode_batch([old, new, old])] == [3, "L", 3]
    assert caplog.messages == [
        f"{SOLD} still arrives (schema 1) and is deprecated since 1.4.0; its producers should send {SOLD_V2}"
    ]


def test_the_generated_struct_says_what_to_use(code: tuple[Codec, Any]) -> None:
    _, events = code
    assert events.Sold.DEPRECATED == ("1.4.0", "shop.soldv2")
    assert "Deprecated since 1.4.0: use SoldV2." in events.Sold.__doc__
    assert not hasattr(events.SoldV2, "DEPRECATED")
    assert "Deprecated" not in (events.SoldV2.__doc__ or "")


def test_the_http_document_marks_commands_of_the_old_version(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Command("/old", UsageEventVoidRequested, "Old."),
        Command("/new", UsageMeterDefineRequested, "New."),
    ]
    monkeypatch.setattr(UsageEventVoidRequested, "DEPRECATED", ("1.4.0", "usage.v2"), raising=False)
    paths = document([], rows, "1", False)["paths"]
    assert paths["/old"]["post"]["deprecated"]
    assert "deprecated" not in paths["/new"]["post"]


def test_the_list_of_subjects_names_what_takes_its_place(tmp_path: Path) -> None:
    old = contracts()["sluice.stock.StockEntryRequested"]
    goes = {"sluice.deprecated": {"since": "1.4.0", "successor": "sluice.stock.StockExitRequested"}}
    known = {**contracts(), old.name: replace(old, schema=old.schema | goes)}
    found = {row["subject"]: row["deprecated"] for row in listed_offline(known, folder=tmp_path)}
    assert {subject: told for subject, told in found.items() if told} == {
        "stock.commands-sluice.stock.StockEntryRequested": "since 1.4.0: sluice.stock.StockExitRequested"
    }


def test_the_release_that_removes_it_is_told_where_it_is_known(tmp_path: Path) -> None:
    known = both(tmp_path, GOES | {"removal": "2.0.0"})
    assert known[SOLD].deprecated == Deprecation("1.4.0", SOLD_V2, "2.0.0")
    assert known[SOLD_V2].deprecated is None
    _, events = code_of(tmp_path / "code", known, {}, {})
    assert "It goes with 2.0.0." in events.Sold.__doc__


def test_deprecating_breaks_nobody_and_changing_the_type_in_place_would(tmp_path: Path) -> None:
    plain = contract(tmp_path / "before", FIRST)[SOLD].text
    known = both(tmp_path)
    assert breaches(known[SOLD].text, [plain], FULL) == []
    in_place = known[SOLD_V2].text.replace("SoldV2", "Sold").replace("soldv2", "sold")
    assert [each.field for each in breaches(in_place, [plain], FULL)] == ["size"]


@pytest.mark.parametrize(
    ("deprecated", "told"),
    [
        ({"since": "1.4.0", "successor": "SoldV2"}, "its successor 'SoldV2' is no event of avro/"),
        ({"since": "1.4.0", "successor": SOLD}, "add that record beside this one"),
        ({"since": "1.4.0"}, "sluice.deprecated must be"),
        ({"since": "", "successor": SOLD_V2}, "sluice.deprecated must be"),
        ({**GOES, "reason": "old"}, "sluice.deprecated must be"),
    ],
)
def test_a_deprecation_without_a_way_on_is_refused(
    tmp_path: Path, deprecated: dict[str, str], told: str
) -> None:
    contract(tmp_path, [*FIRST, NOTE], "SoldV2")
    with pytest.raises(ContractError, match=told):
        contract(tmp_path, FIRST, attributes={"sluice.deprecated": deprecated})
