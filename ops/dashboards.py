"""Grafana's dashboards, written as code: ``python -m ops.dashboards`` writes ``ops/grafana/dashboards``.

Grafana reads the files as they are (``ops/grafana/provisioning``). Nobody edits them: a test compares them with what
comes out here, and another one asks a real Prometheus every query of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from ops.dashboards_domains import STOCK_AND_LOYALTY, USAGE
from ops.dashboards_operations import FAILURES, KAFKA
from ops.dashboards_overview import OVERVIEW
from ops.dashboards_parts import Board, built
from ops.dashboards_pipeline import PIPELINE

BOARDS: Final = (OVERVIEW, PIPELINE, USAGE, STOCK_AND_LOYALTY, FAILURES, KAFKA)
FOLDER: Final = Path(__file__).with_name("grafana") / "dashboards"


INVENTED: Final = ("auto", "auto_count", "auto_min")
"""Keys that the SDK gives every variable, though only those of type ``interval`` have them in Grafana's schema."""


def text_of(board: Board) -> str:
    """Return the file of a board."""
    made = json.loads(json.dumps(built(board), cls=JSONEncoder))
    for variable in made["templating"]["list"]:
        for key in INVENTED:
            del variable[key]
    for marked in made["annotations"]["list"]:  # the SDK knows only what Grafana 7 wrote
        marked["target"] = {"refId": "Anno", "expr": marked.pop("expr"), "interval": marked.pop("step")}
    for shown in (*made["links"], *made["annotations"]["list"]):
        del shown["placement"]  # else it is hidden in a menu
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def write(folder: Path = FOLDER) -> None:
    """Write every board, and remove the files of those that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {f"{board.name}.json": text_of(board) for board in BOARDS}
    for old in folder.glob("*.json"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
