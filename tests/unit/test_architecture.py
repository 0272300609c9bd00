"""The rules are pure: what ``tables/`` may import and call, read from its source (design/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLES = sorted((ROOT / "tables").glob("*.py"))
ALLOWED = {
    "__future__",
    "bisect",
    "collections",
    "collections.abc",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "functools",
    "itertools",
    "math",
    "msgspec.structs",
    "re",
    "typing",
    "zoneinfo",
    "streams.events",
    "streams.keys",
}
CLOCKS = {"now", "utcnow", "today"}
DOORS = {"open", "print", "input", "eval", "exec", "__import__", "breakpoint"}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def impurities(source: str) -> list[str]:
    """Return what a module of rules does that it must not."""
    tree = ast.parse(source)
    found = [
        f"imports {name}" for name in imports(tree) if name not in ALLOWED and not name.startswith("tables.")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS:
            found.append(f"reads the clock with .{node.attr}")
        elif isinstance(node, ast.Name) and node.id in DOORS:
            found.append(f"uses {node.id}")
        elif isinstance(node, ast.Name) and node.id == "float":
            found.append("uses float, which is no number for money or quantities")
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            found.append(f"has the float {node.value}")
        elif isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.Global)):
            found.append(f"has {type(node).__name__}")
    return found


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_rules_have_no_clock_no_randomness_no_io(path: Path) -> None:
    assert impurities(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import random",
        "from uuid import uuid4",
        "import logging",
        "import faust",
        "from streams.app import create_app",
        "from . import state",
        "from datetime import datetime\ndatetime.now()",
        "from datetime import date\ndate.today()",
        "open('x')",
        "print(1)",
        "x = 0.1",
        "x = float('1')",
        "async def f(): ...",
    ],
)
def test_the_check_finds_what_it_is_for(source: str) -> None:
    assert impurities(source) != []


def test_there_are_rules_to_check() -> None:
    assert {"usage.py", "alerts.py", "state.py"} <= {path.name for path in TABLES}


def test_only_the_index_of_routes_and_agents_know_both_sides() -> None:
    """``streams/`` reaches the rules through its routes only, so a domain is one more file per folder."""
    inside = {"routes.py"}
    wrong = [
        path.name
        for path in sorted((ROOT / "streams").glob("*.py"))
        for name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if name.startswith("tables.") and name != "tables.state" and path.name not in inside
    ]
    assert wrong == []


def test_contracts_hold_no_python() -> None:
    assert [path for path in (ROOT / "avro").rglob("*") if path.suffix == ".py"] == []


def test_packages_have_empty_init_files() -> None:
    inits = [ROOT / name / "__init__.py" for name in ("streams", "tables", "agents", "ops")]
    assert [path.read_text(encoding="utf-8") for path in inits] == ["", "", "", ""]
