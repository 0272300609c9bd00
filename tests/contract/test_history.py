"""What was released stays as it was, and every version's data are read by every other version's code."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.compatibility import breaches
from ops.schemas import levels, refused_offline
from ops.schemas_freeze import freeze
from streams.codec import Codec, Undecodable
from streams.history import FOLDER, HistoryError, Version, released
from streams.registry import fingerprint
from streams.schemas import Contract, contracts, qualify
from tests.contract.evolving import BACKWARD, FIRST, FULL, NOTE, SOLD, code_of, coloured, contract
from tests.contract.offline import TOPIC, offline_codec
from tests.contract.payloads import Payloads

SAMPLES = 4
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


# --- what was released ----------------------------------------------------------------------------------------------


def test_released_versions_are_as_they_were_written() -> None:
    assert released() is not None, "raises where one was edited, lost or added by hand"


def test_no_contract_breaks_a_released_version() -> None:
    assert refused_offline(contracts(), levels()) == []


def test_released_versions_are_no_contracts_of_today() -> None:
    assert not [each.path for each in contracts().values() if FOLDER in each.path.parents]


def test_data_of_every_released_version_are_read_by_todays_code(tmp_path: Path) -> None:
    written = {
        number: (name, version)
        for number, (name, version) in enumerate(
            ((name, version) for name, versions in released().items() for version in versions), start=10_000
        )
    }
    codec = offline_codec(tmp_path, {number: version.schema for number, (_, version) in written.items()})
    for number, (name, version) in written.items():
        unread(codec, number, version.schema, contracts()[name])


def test_todays_events_are_read_by_the_code_of_every_released_version() -> None:
    strictness = levels()
    for name, versions in released().items():
        if strictness[name] == FULL:
            for version in versions:
                payloads = Payloads(contracts()[name].schema)
                for _ in range(SAMPLES):
                    payloads.read(payloads.body(), version.schema)


def unread(codec: Codec, schema_id: int, written: Any, wanted: Contract) -> None:
    """Fail unless bytes of another version are read as another implementation of Avro reads them."""
    payloads = Payloads(qualify(written, ""), seed=schema_id)
    for _ in range(SAMPLES):
        body = payloads.body()
        found = codec.decode(b"\0" + schema_id.to_bytes(4, "big") + body)
        assert not isinstance(found, Undecodable), f"{wanted.name}: {found}"
        assert found == msgspec.convert(payloads.read(body, wanted.schema), type(found)), wanted.name


# --- the same with a past -------------------------------------------------------------------------------------------


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Three releases of one record: a symbol came, and an optional field."""
    folder = tmp_path / "history"
    for number, fields in enumerate((FIRST, coloured("BLUE"), [*coloured("BLUE", "GREEN"), NOTE])):
        freeze(contract(tmp_path / str(number), fields), {SOLD: FULL}, folder)
    return folder


def test_every_change_is_a_version_of_its_own_with_a_semantic_number(history: Path, tmp_path: Path) -> None:
    assert [(each.number, each.semantic) for each in released(history)[SOLD]] == [
        (1, "1.0.0"),
        (2, "1.1.0"),
        (3, "1.2.0"),
    ]
    same = contract(tmp_path / "2", [*coloured("BLUE", "GREEN"), NOTE])
    assert freeze(same, {SOLD: FULL}, history) == []
    documented = contract(
        tmp_path / "2", [*coloured("BLUE", "GREEN"), NOTE], attributes={"doc": "Something was sold."}
    )
    assert [row["version"] for row in freeze(documented, {SOLD: FULL}, history)] == ["1.2.1"]
    assert [row["file"] for row in freeze(documented, {SOLD: FULL}, history)] == []


def test_a_second_interface_begins_with_two(history: Path, tmp_path: Path) -> None:
    both = contract(tmp_path / "2", FIRST, "SoldV2")
    rows = freeze(both, {SOLD: FULL, f"{SOLD}V2": FULL}, history)
    assert [(row["record"], row["version"]) for row in rows] == [(f"{SOLD}V2", "2.0.0")]


def edit(history: Path) -> None:
    path = history / SOLD / "1.avsc"
    path.write_text(path.read_text(encoding="utf-8").replace("RED", "ROT"), encoding="utf-8")


def lose(history: Path) -> None:
    (history / SOLD / "2.avsc").unlink()


def add(history: Path) -> None:
    (history / SOLD / "4.avsc").write_text(
        (history / SOLD / "3.avsc").read_text(encoding="utf-8"), encoding="utf-8"
    )


def forget(history: Path) -> None:
    lose(history)
    manifest = history / "manifest.json"
    lines = manifest.read_text(encoding="utf-8").splitlines()
    manifest.write_text("\n".join(line for line in lines if "/2.avsc" not in line), encoding="utf-8")


def garble(history: Path) -> None:
    (history / "manifest.json").write_text("{", encoding="utf-8")


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (edit, "sluice.shop.Sold/1.avsc was edited: restore it from version control"),
        (lose, "sluice.shop.Sold/2.avsc is missing: restore it"),
        (add, "sluice.shop.Sold/4.avsc is not in manifest.json: remove it"),
        (forget, "sluice.shop.Sold lacks a version"),
        (garble, "manifest.json cannot be read"),
    ],
)
def test_a_released_version_that_was_touched_is_named(history: Path, tamper: Any, told: str) -> None:
    tamper(history)
    with pytest.raises(HistoryError, match=told):
        released(history)


# --- data of every version under the code of every version ----------------------------------------------------------


class Release:
    """The code of one release, and the frames that it writes."""

    def __init__(
        self, folder: Path, fields: list[dict[str, Any]], number: int, texts: dict[int, str]
    ) -> None:
        self.contracts = contract(folder / "src", fields)
        self.number = number
        self._folder = folder
        texts[number] = self.contracts[SOLD].text

    def start(self, texts: dict[int, str]) -> None:
        """Start its code: the registry has every version by now."""
        own = {f"{TOPIC}-{SOLD} {fingerprint(texts[self.number])}": self.number}
        self.codec, self.events = code_of(self._folder, self.contracts, texts, own)
        asyncio.run(self.codec.prepare([(TOPIC, self.events.Sold)]))

    def sold(self, **fields: Any) -> bytes:
        return self.codec.encode(self.events.Sold(timestamp=NOW, size=3, **fields), TOPIC)


@pytest.fixture
def releases(tmp_path: Path) -> Sequence[Release]:
    texts: dict[int, str] = {}
    found = [
        Release(tmp_path / str(number), fields, number, texts)
        for number, fields in enumerate(
            (FIRST, coloured("BLUE"), [*coloured("BLUE", "GREEN"), NOTE]), start=1
        )
    ]
    for each in found:
        each.start(texts)
    return found


def pairs(releases: Sequence[Release]) -> Iterator[tuple[Release, Release]]:
    return ((writer, reader) for writer in releases for reader in releases)


def test_every_release_reads_what_every_other_one_writes(releases: Sequence[Release]) -> None:
    for writer, reader in pairs(releases):
        found = reader.codec.decode(writer.sold(colour="RED"))
        assert found == reader.events.Sold(timestamp=NOW, size=3, colour="RED")
        unread(reader.codec, writer.number, writer.contracts[SOLD].schema, reader.contracts[SOLD])


def test_old_code_reads_a_new_symbol_as_unknown_and_a_new_field_not_at_all(
    releases: Sequence[Release],
) -> None:
    first, second, third = releases
    frame = third.sold(colour="GREEN", note="fragile")
    assert [each.codec.decode(frame).colour for each in releases] == ["UNKNOWN", "UNKNOWN", "GREEN"]
    assert not hasattr(second.codec.decode(frame), "note")
    assert first.codec.decode(second.sold(colour="BLUE")).colour == "UNKNOWN"
    assert third.codec.decode(first.sold()).note is None


def test_what_is_refused_could_indeed_not_be_read(tmp_path: Path) -> None:
    texts: dict[int, str] = {}
    before = Release(tmp_path / "1", FIRST, 1, texts)
    after = Release(tmp_path / "2", [*FIRST, {"name": "price", "type": "long"}], 2, texts)
    for each in (before, after):
        each.start(texts)
    assert breaches(texts[2], [texts[1]], FULL)
    assert isinstance(after.codec.decode(before.sold()), Undecodable)


def test_a_version_is_read_from_its_file_as_it_was_registered(history: Path, tmp_path: Path) -> None:
    first = released(history)[SOLD][0]
    assert first == Version(1, "1.0.0", contract(tmp_path / "again", FIRST)[SOLD].text)
    assert first.schema["name"] == SOLD


def test_state_may_lose_a_field_and_events_may_not(history: Path, tmp_path: Path) -> None:
    shorter = contract(tmp_path / "shorter", coloured("BLUE", "GREEN"))
    assert refused_offline(shorter, {SOLD: BACKWARD}, history) == []
    [row] = refused_offline(shorter, {SOLD: FULL}, history)
    assert (row["record"], row["field"], row["kind"], row["versions"]) == (SOLD, "note", "FIELD_REMOVED", [3])
