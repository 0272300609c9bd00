"""Compose's own loader reads docker-compose.yml, with every profile, and would have refused a wrong one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "compose"
BUILD_S = 200.0
"""The first time it loads its modules and compiles everything: 35 s on one slow core."""
QUICKLY = ("-ldflags=-s -w", "-gcflags=all=-l -N")
"""Nobody debugs the program, and it runs for a blink: no symbols, no optimisation. For the same reason it has no C."""


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that loads a file as docker compose does."""
    go = shutil.which("go")
    assert go is not None, (
        "there is no go: install it (tests/tools.sh does), its version in tests/compose/go.mod"
    )
    binary = tmp_path_factory.mktemp("compose") / "load"
    built = subprocess.run(
        [go, "build", "-mod=readonly", *QUICKLY, "-o", binary, "."],
        cwd=PROGRAM,
        env=os.environ | {"CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return binary


def load(loader: Path, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [loader, file], capture_output=True, text=True, timeout=30, check=False, env={"PATH": "/usr/bin:/bin"}
    )


def test_compose_loads_the_file_with_every_profile_and_needs_no_variable(loader: Path) -> None:
    loaded = load(loader, ROOT / "docker-compose.yml")
    assert loaded.returncode == 0, loaded.stderr
    assert "level=warning" not in loaded.stderr
    project: dict[str, Any] = json.loads(loaded.stdout)
    assert {"kafka", "registry", "setup", "worker", "exporter", "prometheus", "grafana"} <= project[
        "services"
    ].keys()
    assert {"kafka-ui", "replay-usage", "replay-shop"} <= project["services"].keys()
    worker = project["services"]["worker"]
    assert worker["ports"][0]["host_ip"] == "127.0.0.1"
    assert worker["volumes"] == [{"type": "volume", "target": "/var/lib/sluice", "volume": {}}]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("condition: service_completed_successfully", "condition: service_completed"),
        ("      setup: {condition:", "      setups: {condition:"),
        ("      - grafana:/var/lib/grafana\n", "      - graphana:/var/lib/grafana\n"),
        ("    mem_limit: 256m", "    mem_limit: 256 lots"),
    ],
)
def test_it_refuses_what_compose_would_refuse(loader: Path, tmp_path: Path, right: str, wrong: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert right in text
    file = tmp_path / "docker-compose.yml"
    file.write_text(text.replace(right, wrong), encoding="utf-8")
    refused = load(loader, file)
    assert refused.returncode != 0
    assert refused.stderr
