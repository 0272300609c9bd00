"""The dashboards and rules as their files are, for the tests that read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "ops" / "grafana" / "dashboards"
PROMETHEUS = ROOT / "ops" / "prometheus"
RUNBOOKS = ROOT / "ops" / "runbooks"


def boards() -> dict[str, dict[str, Any]]:
    """Return Grafana's JSON of every dashboard, by the name of its file."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))
    }


def charts(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every query of panels and annotations: where it stands, and its expression."""
    for panel in charts(board):
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["target"]["expr"]


def variables(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every variable that asks Prometheus: its name, and the query."""
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


def rules() -> list[dict[str, Any]]:
    """Return every recording and alert rule."""
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return every alert rule."""
    return [rule for rule in rules() if "alert" in rule]
