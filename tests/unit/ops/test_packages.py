"""Our top-level names are ours, and the contracts' folder never stands in the way of PyPI's ``avro``."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["streams", "tables", "agents", "ops"])
def test_a_top_level_package_is_ours_and_empty(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__file__ == str(ROOT / name / "__init__.py")
    assert (ROOT / name / "__init__.py").read_text() == ""


def test_the_contracts_folder_holds_no_python() -> None:
    assert list((ROOT / "avro").rglob("*.py")) == []


def test_the_dependencies_do_not_bring_a_package_named_avro() -> None:
    names = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert "confluent-kafka" in names
    assert "avro" not in names
