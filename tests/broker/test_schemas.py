"""Schema evolution against the real registry: its verdicts and ours, levels, and old code beside new code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import AsyncSchemaRegistryClient, Schema
from confluent_kafka.schema_registry.error import SchemaRegistryError
from typer.testing import CliRunner

from ops.cli import app
from ops.schemas import refused, registered
from ops.setup import register
from ops.stack.local import LocalStack
from streams.codec import Codec
from streams.registry import Registry, SchemaNotFound
from streams.schemas import contracts
from streams.settings import Settings
from tests.contract.evolving import (
    BACKWARD,
    BEFORE,
    CHANGES,
    FIRST,
    FULL,
    NOTE,
    SOLD,
    coloured,
    contract,
    structs,
)

pytestmark = pytest.mark.broker

USAGE, BUCKET = "sluice.usage.UsageEvent", "sluice.usage.UsageBucket"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
Sluice = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def settings(stack: LocalStack, tmp_path: Path) -> Settings:
    return Settings.read(registry_url=stack.registry_url, data_dir=tmp_path / "data")


@pytest.fixture
def rows(unique: str) -> list[tuple[str, str, str]]:
    """A catalogue of two subjects that no other test has."""
    levels = {USAGE: FULL, BUCKET: BACKWARD}
    return [(f"{unique}-{name}", contracts()[name].text, level) for name, level in levels.items()]


@pytest.fixture
def sluice(
    stack: LocalStack, rows: list[tuple[str, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Sluice:
    """Run ``sluice schemas`` on that catalogue; return the exit status, the rows and what people are told."""
    monkeypatch.setenv("SLUICE_REGISTRY_URL", stack.registry_url)
    monkeypatch.setenv("SLUICE_DATA_DIR", str(tmp_path / "cli"))
    monkeypatch.setattr("ops.schemas.catalogue", lambda *_: rows)
    monkeypatch.setattr("streams.topics.catalogue", lambda *_: rows)

    def run(*command: str) -> tuple[int, list[dict[str, Any]], str]:
        where = [] if "freeze" in command else ["--data-dir", str(tmp_path)]
        result = CliRunner().invoke(
            app, ["schemas", *command, "--history", str(tmp_path / "history"), "--json", *where]
        )
        listed: list[dict[str, Any]] = json.loads(result.stdout) if result.stdout else []
        return result.exit_code, listed, " ".join(result.stderr.split())

    return run


def changed(text: str, change: Callable[[dict[str, Any]], Any]) -> str:
    """Return a schema's text after a change."""
    schema = json.loads(text)
    change(schema)
    return json.dumps(schema)


def test_what_is_registered_passes_the_check_and_is_listed_with_its_id(sluice: Sluice) -> None:
    assert [row["registry"] for row in sluice("list")[1]] == ["missing", "missing"]
    code, made, told = sluice("register")
    assert (code, [row["state"] for row in made]) == (0, ["created", "created"])
    assert "2 contracts are not in avro/history as they stand" in told
    assert sluice("check")[:2] == (0, [])
    assert sluice("diff")[:2] == (0, [])
    assert len(sluice("freeze")[1]) == 2
    listed = sluice("list")[1]
    assert {(row["registry"], row["history"]) for row in listed} == {("registered", "released")}
    assert all(row["id"] for row in listed)
    _, again, told = sluice("register")
    assert [row["state"] for row in again] == ["unchanged", "unchanged"]
    assert "avro/history" not in told


async def test_a_contract_that_breaks_a_registered_version_is_refused_by_field(
    sluice: Sluice, settings: Settings, rows: list[tuple[str, str, str]]
) -> None:
    subject, text, level = rows[0]
    room = {"name": "room", "type": ["null", "string"], "default": None}
    before = changed(text, lambda schema: schema["fields"].append(room))
    await register(settings, [(subject, before, level)])
    found = await refused(settings, rows)
    assert [(row["subject"], row["field"], row["kind"], row["versions"]) for row in found] == [
        (subject, "room", "FIELD_REMOVED", [1])
    ]
    assert [each.state for each in await registered(settings, rows)] == ["changed", "missing"]


def test_a_level_that_somebody_lowered_is_noticed_and_set_again(
    sluice: Sluice, settings: Settings, rows: list[tuple[str, str, str]]
) -> None:
    sluice("register")
    asyncio.run(lower(settings, rows[0][0]))
    code, [row], _ = sluice("check")
    assert (code, row["subject"], row["kind"]) == (1, rows[0][0], "LEVEL_CHANGED")
    assert "is held to NONE by the registry and not to FULL_TRANSITIVE" in row["reason"]
    sluice("register")
    assert sluice("check")[:2] == (0, [])


async def lower(settings: Settings, subject: str) -> None:
    client = AsyncSchemaRegistryClient(settings.registry_config())
    await client.set_compatibility(subject, "NONE")
    await client.aclose()


def test_a_registry_that_is_not_there_ends_the_check_with_its_remedy(
    sluice: Sluice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_REGISTRY_URL", "http://127.0.0.1:9/apis/ccompat/v7")
    code, _, told = sluice("check")
    assert code == 1
    assert "--offline" in told
    assert sluice("check", "--offline")[0] == 0


def test_each_change_that_002_names_is_accepted_or_refused_by_field_and_reason_against_the_registry(
    sluice: Sluice, settings: Settings, rows: list[tuple[str, str, str]], unique: str, tmp_path: Path
) -> None:
    """The registry alone would let a field with a default go, and a symbol of an enum that has one."""
    before = contract(tmp_path, BEFORE)[SOLD].text
    subject = f"{unique}-{SOLD}"
    asyncio.run(register(settings, [(subject, before, FULL)]))
    after = {change.name: change.made(tmp_path)[SOLD].text for change in CHANGES}
    for change in CHANGES:
        rows[:] = [(subject, after[change.name], FULL)]
        code, found, _ = sluice("check")
        refused = [(row["subject"], row["field"], row["kind"], row["versions"]) for row in found]
        assert refused == [(subject, change.place, change.kind, [1])] * change.breaks
        assert all(change.reason in row["reason"] for row in found)
        assert code == change.breaks
    assert asyncio.run(fitting(settings, subject, after)) == {change.name: change.taken for change in CHANGES}
    # What the registry refuses is refused, even where it is stricter than we are.
    rows[:] = [(subject, after["required field removed"], BACKWARD)]
    code, found, _ = sluice("check")
    assert (code, [row["kind"] for row in found]) == (1, ["REGISTRY_REFUSED", "LEVEL_CHANGED"])
    assert "is not FULL_TRANSITIVE with its older versions" in found[0]["reason"]


async def fitting(settings: Settings, subject: str, texts: dict[str, str]) -> dict[str, bool]:
    """Return which schemas the registry would take by itself."""
    registry = Registry(settings)
    found = {name: await registry.fits(subject, text) for name, text in texts.items()}
    await registry.close()
    return found


async def test_old_code_and_new_code_read_each_other_by_the_registrys_ids(
    settings: Settings, unique: str, tmp_path: Path
) -> None:
    codes = []
    for name, fields in (("old", FIRST), ("new", [*coloured("BLUE"), NOTE])):
        known = contract(tmp_path / name, fields)
        events = structs(known)
        registry = Registry(settings.model_copy(update={"data_dir": tmp_path / name}))
        codec = Codec(registry, known, events.RECORDS)
        with pytest.raises(SchemaNotFound, match="sluice setup"):
            await codec.prepare([(unique, events.Sold)])
        await registry.register(f"{unique}-{SOLD}", known[SOLD].text, FULL)
        await codec.prepare([(unique, events.Sold)])
        codes.append((codec, events, registry))
    (old, old_events, _), (new, new_events, registry) = codes
    frames = [
        old.encode(old_events.Sold(timestamp=NOW, size=1, colour="RED"), unique),
        new.encode(new_events.Sold(timestamp=NOW, size=2, colour="BLUE", note="fragile"), unique),
    ]
    for codec, _, _ in codes:
        await codec.resolve(int.from_bytes(frame[1:5], "big") for frame in frames)
    assert [(each.size, each.colour) for each in old.decode_batch(frames)] == [(1, "RED"), (2, "UNKNOWN")]
    assert [(each.colour, each.note) for each in new.decode_batch(frames)] == [
        ("RED", None),
        ("BLUE", "fragile"),
    ]
    assert len(await registry.versions(f"{unique}-{SOLD}")) == 2, "nothing was registered but by register"
    for _, _, each in codes:
        await each.close()


async def test_nobody_registers_past_the_level(settings: Settings, unique: str, tmp_path: Path) -> None:
    """A producer of another language that registers by itself is refused by the registry, whatever its code says."""
    registry = Registry(settings)
    subject = f"{unique}-{SOLD}"
    await registry.register(subject, contract(tmp_path, FIRST)[SOLD].text, FULL)
    foreign = AsyncSchemaRegistryClient(settings.registry_config())
    breaking = contract(tmp_path, [*FIRST, {"name": "price", "type": "long"}])[SOLD].text
    with pytest.raises(SchemaRegistryError) as refusal:
        await foreign.register_schema(subject, Schema(breaking, "AVRO"), True)
    assert refusal.value.http_status_code == 409
    assert await registry.level(subject) == FULL
    assert await registry.level(f"{unique}-none") is None
    assert await foreign.get_versions(subject) == [1]
    await foreign.aclose()
    await registry.close()
