"""Against the real registry: registering, refusing, looking up, and what an outage leaves usable."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.stack.local import LocalStack
from streams.codec import Codec, NeedsSchema, Undecodable
from streams.events import Position, RecentIds
from streams.registry import Registry, RegistryRefused, SchemaNotFound
from streams.schemas import contracts
from streams.settings import Settings
from streams.topics import catalogue

pytestmark = pytest.mark.broker

FULL = "FULL_TRANSITIVE"


@pytest.fixture
def settings(stack: LocalStack, tmp_path: Path) -> Settings:
    return Settings.read(registry_url=stack.registry_url, data_dir=tmp_path)


class Counting(Registry):
    """The registry, with what it was asked.

    Attributes:
        asked: how often, by what it was about.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.asked: Counter[str] = Counter()

    async def _ask(self, what: str, question: Callable[[], Awaitable[Any]]) -> Any:
        self.asked[what] += 1
        return await super()._ask(what, question)


def thing(*fields: dict[str, Any]) -> str:
    """Return the text of a small record with these fields after its first."""
    first = {"name": "name", "type": "string"}
    return json.dumps({"type": "record", "name": "sluice.shop.Thing", "fields": [first, *fields]})


async def test_the_whole_catalogue_registers_and_registers_again_with_the_same_ids(
    settings: Settings, unique: str
) -> None:
    registry = Counting(settings)
    rows = [(f"{unique}-{subject}", text, level) for subject, text, level in catalogue()]
    first = await registry.register_all(rows)
    assert registry.asked["subjects"] == 1
    registry.asked.clear()
    assert await registry.register_all(rows) == first
    assert registry.asked["subjects"] == 1
    questions = {registry.asked[subject] + registry.asked[f"subject {subject}"] for subject in first}
    assert questions == {2}, "of what is registered, the id and the level"
    assert set(first) <= set(await registry.subjects())
    for subject, text, _ in rows:
        assert await registry.id_of(subject, text) == first[subject]
    await registry.close()


async def test_an_optional_field_may_come_and_a_required_one_may_not(settings: Settings, unique: str) -> None:
    registry = Registry(settings)
    subject = f"{unique}-sluice.shop.Thing"
    await registry.register(subject, thing(), FULL)
    await registry.register(subject, thing({"name": "size", "type": ["null", "long"], "default": None}), FULL)
    with pytest.raises(RegistryRefused, match=f"{subject}: the schema is not {FULL}"):
        await registry.register(subject, thing({"name": "size", "type": "string"}), FULL)
    await registry.close()


async def test_one_incompatible_schema_keeps_all_from_being_registered(
    settings: Settings, unique: str
) -> None:
    registry = Registry(settings)
    await registry.register(f"{unique}-a", thing(), FULL)
    rows = [
        (f"{unique}-b", thing(), FULL),
        (f"{unique}-a", thing({"name": "size", "type": "long"}), FULL),
    ]
    with pytest.raises(RegistryRefused, match=f"{unique}-a"):
        await registry.register_all(rows)
    with pytest.raises(SchemaNotFound, match="sluice setup"):
        await registry.id_of(f"{unique}-b", thing())
    await registry.close()


async def test_a_foreign_schema_is_fetched_by_its_id_and_an_unknown_id_is_final(
    settings: Settings, unique: str
) -> None:
    registry = Registry(settings)
    position = contracts()["sluice.platform.Position"]
    schema_id = await registry.register(f"{unique}-{position.name}", position.text, "BACKWARD_TRANSITIVE")
    writer = Codec(registry)
    await writer.prepare([(unique, Position)])
    record = Position(epoch=3, owner="w", sources={"t-0": 9})
    frame = writer.encode(record, unique)

    other = Registry(settings.model_copy(update={"data_dir": settings.data_dir / "other"}))
    reader = Codec(other)
    assert reader.decode(frame) == NeedsSchema(schema_id)
    await reader.resolve([schema_id, 999_999])
    assert reader.decode(frame) == record
    unknown = reader.decode(b"\0" + (999_999).to_bytes(4, "big") + frame[5:])
    assert isinstance(unknown, Undecodable)
    assert (unknown.code, unknown.retryable) == ("UNKNOWN_SCHEMA_ID", False)
    await other.close()
    await registry.close()


async def test_a_worker_that_was_prepared_once_is_prepared_while_the_registry_is_gone(
    settings: Settings, unique: str
) -> None:
    registry = Registry(settings)
    position = contracts()["sluice.platform.Position"]
    await registry.register(f"{unique}-{position.name}", position.text, "BACKWARD_TRANSITIVE")
    await registry.close()
    cache = settings.data_dir / "registry-cache.json"
    gone = "http://127.0.0.1:9/apis/ccompat/v7"
    cache.write_text(cache.read_text(encoding="utf-8").replace(settings.registry_url, gone), encoding="utf-8")
    codec = Codec(Registry(settings.model_copy(update={"registry_url": gone})))
    await codec.prepare([(unique, Position)])
    record = Position(epoch=1, owner="w", sources={})
    assert codec.decode(codec.encode(record, unique)) == record


async def test_state_of_an_earlier_version_is_read_by_a_worker_that_has_never_seen_it(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    topic, contract = f"{unique}-changelog", contracts()[RecentIds.RECORD]
    older = json.loads(contract.text)
    older["fields"] = [field for field in older["fields"] if field["name"] != "answers"]
    old_id = await _register(stack, tmp_path / "setup", f"{topic}-{RecentIds.RECORD}", json.dumps(older))
    await _register(stack, tmp_path / "setup", f"{topic}-{RecentIds.RECORD}", contract.text)
    written = RecentIds(at=datetime(2026, 11, 20, tzinfo=UTC), ids=b"x" * 20, memos=("memo",))
    registry = Registry(Settings.read(registry_url=stack.registry_url, data_dir=tmp_path / "new-machine"))
    codec = Codec(registry)
    await codec.prepare([(topic, RecentIds)])
    frame = codec.encode(written, topic)
    # The answers come last and there are none: one byte less is what the older version wrote.
    old = frame[:1] + old_id.to_bytes(4, "big") + frame[5:-1]
    assert isinstance(codec.decode(old), NeedsSchema)
    await codec.learn_versions([(topic, RecentIds)])
    assert codec.decode(old) == written
    await registry.close()


async def _register(stack: LocalStack, folder: Path, subject: str, text: str) -> int:
    registry = Registry(Settings.read(registry_url=stack.registry_url, data_dir=folder))
    try:
        return await registry.register(subject, text, "BACKWARD_TRANSITIVE")
    finally:
        await registry.close()
