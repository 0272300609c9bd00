"""What a worker remembers of its registry while nobody answers. tests/broker has the live one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.registry import Registry, RegistryUnreachable, fingerprint
from streams.settings import Settings
from tests.contract.offline import NOBODY, write_cache

TEXT = '{"type":"record","name":"sluice.usage.UsageEvent","fields":[]}'


def registry(folder: Path, url: str = NOBODY) -> Registry:
    return Registry(Settings.read(data_dir=folder, registry_url=url))


def remembered(folder: Path, url: str = NOBODY) -> None:
    write_cache(folder, {5: TEXT}, {f"subject {fingerprint(TEXT)}": 5}, url)


async def test_ids_and_schemas_of_the_last_run_are_known_while_nobody_answers(tmp_path: Path) -> None:
    remembered(tmp_path)
    found = registry(tmp_path)
    assert found.known(5) == TEXT
    assert await found.id_of("subject", TEXT) == 5
    assert not await found.ready()


async def test_what_was_never_seen_is_unreachable_with_the_cause(tmp_path: Path) -> None:
    found = registry(tmp_path)
    with pytest.raises(RegistryUnreachable, match="subject other: the schema registry does not answer"):
        await found.id_of("other", TEXT)
    await found.fetch(6)
    assert found.known(6) is None
    assert isinstance(found.verdict(6), RegistryUnreachable)
    assert found.verdict(7) is None


@pytest.mark.parametrize(
    "content", ["", "[]", '{"url": 1}', json.dumps({"url": NOBODY, "schemas": {"x": "y"}, "ids": {}})]
)
async def test_a_broken_cache_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "registry-cache.json").write_text(content, encoding="utf-8")
    with pytest.raises(RegistryUnreachable):
        await registry(tmp_path).id_of("subject", TEXT)


def test_the_cache_of_another_registry_is_not_used(tmp_path: Path) -> None:
    remembered(tmp_path, "http://elsewhere:8081")
    assert registry(tmp_path).known(5) is None


async def test_what_is_learnt_together_is_written_once_also_when_the_rest_fails(tmp_path: Path) -> None:
    found, file = registry(tmp_path), tmp_path / "registry-cache.json"
    with pytest.raises(RegistryUnreachable), found.saved_once():
        found._remember({5: TEXT}, {f"subject {fingerprint(TEXT)}": 5})
        assert not file.exists()
        await found.id_of("other", TEXT)
    assert await registry(tmp_path).id_of("subject", TEXT) == 5
    found._remember({6: TEXT}, {})
    assert registry(tmp_path).known(6) == TEXT
