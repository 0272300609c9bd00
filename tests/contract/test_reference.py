"""The committed reference is what the code gives, and leaves nothing out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ops.reference.__main__ import FOLDER, main, stale
from ops.reference.asyncapi import message_object
from ops.reference.markdown import schemas_page
from ops.reference.model import channels
from ops.reference.page import page
from streams.routes import INDEX
from streams.schemas import contracts
from streams.topics import all_topics


def test_the_committed_reference_is_what_the_code_gives() -> None:
    assert stale() == [], "run `make generate`"


def test_a_file_that_was_edited_or_is_missing_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reference"
    assert main([], folder) == 0
    assert main(["--check"], folder) == 0
    (folder / "topics.md").write_text("edited")
    (folder / "schemas.md").unlink()
    assert main(["--check"], folder) == 1
    assert "topics.md, schemas.md" in capsys.readouterr().err


def test_the_reference_is_that_of_the_defaults_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLUICE_APP_ID", "shop")
    monkeypatch.setenv("SLUICE_BOOTSTRAP_SERVERS", "kafka.example.com:9092")
    assert stale() == []


def test_every_topic_is_in_the_topic_reference_with_its_records() -> None:
    text = (FOLDER / "topics.md").read_text(encoding="utf-8")
    for topic in all_topics():
        assert f"`{topic.name}`" in text
    named = set(re.findall(r"\(schemas\.md#(\w+)\)", text))
    assert named == {
        contract.name.rpartition(".")[2].lower() for contract in contracts().values() if contract.type
    }


def test_every_record_is_in_the_schema_reference_with_all_its_fields() -> None:
    sections = re.split(r"^### ", (FOLDER / "schemas.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    shown = {section.partition("\n")[0]: section for section in sections}
    assert sorted(shown) == sorted(name.rpartition(".")[2] for name in contracts())
    for name, contract in contracts().items():
        rows = re.findall(r"^\| `(\w+)` \|", shown[name.rpartition(".")[2]], re.MULTILINE)
        assert rows[: len(contract.schema["fields"])] == [
            field["name"] for field in contract.schema["fields"]
        ]


def test_a_record_that_will_go_says_so_wherever_it_is_described() -> None:
    [old] = [
        message for channel in channels(INDEX) for message in channel.messages if message.name == "UsageEvent"
    ]
    successor = {"since": "1.4.0", "successor": "sluice.stock.StockEntryRequested"}
    contract = replace(old.contract, schema=old.contract.schema | {"sluice.deprecated": successor})
    assert "deprecated since 1.4.0 for `StockEntryRequested`" in schemas_page([contract], {}, {})
    assert '<strong>Deprecated since 1.4.0.</strong> Use <a href="#StockEntryRequested">' in page(
        [], [contract], {}, "1"
    )
    described = message_object(replace(old, contract=contract))
    assert described["x-deprecated"] is True
    assert "Deprecated since 1.4.0: send sluice.stock.StockEntryRequested." in described["description"]
    assert "x-deprecated" not in message_object(old)


@pytest.mark.parametrize("name", ["topics.md", "schemas.md"])
def test_links_between_the_pages_lead_to_a_file_and_a_heading(name: str) -> None:
    pages = {page: (FOLDER / page).read_text(encoding="utf-8") for page in ("topics.md", "schemas.md")}
    headings = {
        page: {
            re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-")
            for each in re.findall(r"(?m)^#+ (.*)$", text)
        }
        for page, text in pages.items()
    }
    for target, anchor in set(re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", pages[name])):
        assert not target or (FOLDER / target).is_file()
        assert not anchor or anchor in headings[target or name]
