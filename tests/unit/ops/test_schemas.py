"""``sluice schemas`` offline: what is refused with which exit status, what changed, and what is frozen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ops.cli import app
from ops.errors import OpsError
from ops.schemas import changed_offline, levels, listed_offline, record_of, refused_offline
from ops.schemas_freeze import freeze
from streams.history import MANIFEST, digest, released
from streams.schemas import Contract, contracts
from streams.topics import catalogue
from tests.contract.evolving import BEFORE, CHANGES, FIRST, FULL, NOTE, SOLD, Change, coloured, contract

ALERT = "sluice.alerts.Alert"


def sluice(history: Path, *command: str) -> Result:
    return CliRunner().invoke(app, ["schemas", *command, "--history", str(history)])


@pytest.fixture
def today(tmp_path: Path) -> Path:
    """A history in which every contract is released as it stands."""
    freeze(contracts(), levels(), tmp_path / "history")
    return tmp_path / "history"


def rewrite(history: Path, record: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Let version 1 of a record have been another one, as if the contract had changed since."""
    path, manifest = history / record / "1.avsc", history / MANIFEST
    schema = json.loads(path.read_text(encoding="utf-8"))
    change(schema)
    path.write_text(json.dumps(schema, separators=(",", ":")) + "\n", encoding="utf-8")
    rows = json.loads(manifest.read_text(encoding="utf-8"))
    rows[f"{record}/1.avsc"]["sha256"] = digest(path.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps(rows), encoding="utf-8")


def had_a_field_more(schema: dict[str, Any]) -> None:
    schema["fields"].append({"name": "room", "type": ["null", "string"], "default": None})


def had_a_field_less(schema: dict[str, Any]) -> None:
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "envelope"]


def had_fewer_symbols(schema: dict[str, Any]) -> None:
    for field in schema["fields"]:
        if field["name"] == "status":
            field["type"]["symbols"].pop()


def had_another_doc(schema: dict[str, Any]) -> None:
    schema["doc"] = "Something is up."


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_each_change_that_002_names_is_accepted_or_refused_by_field_and_reason(
    change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = tmp_path / "history"
    freeze(contract(tmp_path, BEFORE), {SOLD: FULL}, history)
    after = change.made(tmp_path)
    monkeypatch.setattr("streams.schemas.contracts", lambda: after)
    monkeypatch.setattr("ops.schemas.levels", lambda: {SOLD: FULL})
    checked = sluice(history, "check", "--offline", "--json")
    [shown, *_] = json.loads(sluice(history, "diff", "--offline", "--json").stdout)
    assert (shown["record"], shown["field"], shown["kind"]) == (SOLD, change.place, change.kind)
    assert (shown["breaking"], change.reason in shown["reason"]) == (change.breaks, True)
    assert (checked.exit_code, sluice(history, "freeze").exit_code) == (change.breaks, change.breaks)
    refused = [
        (row["record"], row["field"], row["kind"], row["versions"]) for row in json.loads(checked.stdout)
    ]
    assert refused == [(SOLD, change.place, change.kind, [1])] * change.breaks


def test_whoever_is_refused_is_told_what_to_do_instead(today: Path) -> None:
    rewrite(today, ALERT, had_a_field_more)
    shown = sluice(today, "check", "--offline")
    assert shown.exit_code == 1
    assert "1 breaking changes" in shown.stdout
    assert "make a new record, ...V2" in " ".join(shown.stderr.split())


@pytest.mark.parametrize("before", [had_a_field_less, had_fewer_symbols, had_another_doc])
def test_a_change_that_breaks_nobody_is_accepted_shown_and_frozen(
    today: Path, before: Callable[[dict[str, Any]], None]
) -> None:
    rewrite(today, ALERT, before)
    assert sluice(today, "check", "--offline").exit_code == 0
    [row] = json.loads(sluice(today, "diff", "Alert", "--offline", "--json").stdout)
    assert (row["record"], row["breaking"]) == (ALERT, False)
    result = sluice(today, "freeze", "--json")
    [frozen] = json.loads(result.stdout)
    assert frozen["file"] == f"{ALERT}/2.avsc"
    assert "make generate" in result.stderr
    assert sluice(today, "freeze").exit_code == 0
    assert released(today)[ALERT][1].text == contracts()[ALERT].text


def test_a_contract_that_breaks_is_not_frozen(today: Path) -> None:
    rewrite(today, ALERT, had_a_field_more)
    before = sorted(today.rglob("*"))
    result = sluice(today, "freeze")
    assert result.exit_code == 1
    assert "Nothing was written." in result.stderr
    assert sorted(today.rglob("*")) == before


def test_everything_that_was_touched_stops_every_command(today: Path) -> None:
    (today / ALERT / "1.avsc").write_text("{}", encoding="utf-8")
    for command in (["check", "--offline"], ["diff", "--offline"], ["list", "--offline"], ["freeze"]):
        result = sluice(today, *command)
        assert result.exit_code == 1
        assert f"{ALERT}/1.avsc was edited" in " ".join(result.stderr.split())


def test_a_record_that_nobody_knows_is_refused_by_name(today: Path) -> None:
    result = sluice(today, "diff", "Alarm", "--offline")
    assert result.exit_code == 1
    assert "There is no record Alarm" in result.stderr
    assert sluice(today, "diff", ALERT, "--offline").exit_code == 0


def test_a_first_release_has_every_record_once_however_many_topics_carry_it(today: Path) -> None:
    names = {record_of(subject) for subject, _, _ in catalogue()}
    assert {name: len(versions) for name, versions in released(today).items()} == dict.fromkeys(names, 1)
    assert len(names) < len(list(catalogue()))
    assert {version.text for [version] in released(today).values()} == {text for _, text, _ in catalogue()}


def test_the_list_has_every_subject_with_its_level_and_version(today: Path) -> None:
    rows = json.loads(sluice(today, "list", "--offline", "--json").stdout)
    assert [row["subject"] for row in rows] == [subject for subject, _, _ in catalogue()]
    assert {(row["version"], row["history"]) for row in rows} == {("1.0.0", "released")}
    assert {row["level"] for row in rows if row["subject"].startswith("sluice-")} == {"BACKWARD_TRANSITIVE"}
    assert {row["level"] for row in rows if not row["subject"].startswith("sluice-")} == {FULL}


def test_before_the_first_release_everything_is_new_and_nothing_breaks(tmp_path: Path) -> None:
    assert sluice(tmp_path, "check", "--offline").exit_code == 0
    rows = changed_offline(contracts(), levels(), tmp_path)
    assert {row["kind"] for row in rows} == {"RECORD_ADDED"}
    assert {row["history"] for row in listed_offline(contracts(), folder=tmp_path)} == {"unreleased"}


def test_events_keep_to_both_sides_and_state_to_one() -> None:
    found = levels()
    assert found["sluice.usage.UsageEvent"] == FULL
    assert found["sluice.usage.UsageBucket"] == "BACKWARD_TRANSITIVE"
    assert all(found[name] == FULL for name, each in contracts().items() if each.kind == "event")


def test_a_released_record_that_is_gone_is_refused(tmp_path: Path) -> None:
    both: dict[str, Contract] = contract(tmp_path, FIRST) | contract(tmp_path, FIRST, "SoldV2")
    freeze(both, dict.fromkeys(both, FULL), tmp_path / "history")
    with pytest.raises(OpsError, match=r"SoldV2 was released and is gone"):
        refused_offline(both, {SOLD: FULL}, tmp_path / "history")
    with pytest.raises(OpsError, match=r"SoldV2 was released and is gone"):
        freeze(both, {SOLD: FULL}, tmp_path / "history")


def test_the_differences_are_told_against_the_newest_version_only(tmp_path: Path) -> None:
    for fields in (FIRST, coloured("BLUE")):
        freeze(contract(tmp_path, fields), {SOLD: FULL}, tmp_path / "history")
    newest = contract(tmp_path, [*coloured("BLUE"), NOTE])
    rows = changed_offline(newest, {SOLD: FULL}, tmp_path / "history")
    assert [(row["field"], row["kind"]) for row in rows] == [("note", "FIELD_ADDED")]
