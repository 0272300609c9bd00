"""The dashboards are what the code makes, and keep the rules of Grafana's dashboard-linter (field study 1.9)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from promql_parser import Call, Expr, MatchOp, MatrixSelector, parse, walk

from ops.dashboards import BOARDS, FOLDER, text_of
from ops.dashboards_parts import WIDTH
from ops.exporter_metrics import METRICS as OF_EXPORTER
from streams.metric_names import METRICS as OF_WORKER
from streams.metric_names import MetricRow
from tests.observability.boards import boards, charts, queries, rules, variables
from tests.observability.promql import plain, selectors

COUNTED = {"rate", "irate", "increase", "resets", "changes"}
PARTS = {"histogram": ("_bucket", "_sum", "_count")}
TARGET = {"job", "instance", "__name__"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA = 42
"""Of the classic JSON that every Grafana since 12 reads as it is."""
GROUP = {row.name for row in OF_EXPORTER}
"""What the exporter tells is the whole group's: choosing an instance must not hide it."""
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
SHARED = {"sluice_broker_reachable", "sluice_registry_reachable"}
"""Told by workers and the exporter."""


def known() -> dict[str, MetricRow]:
    """Return the row of every series' name."""
    return {row.name + part: row for row in (*OF_WORKER, *OF_EXPORTER) for part in PARTS.get(row.kind, ("",))}


KNOWN = known()


# --- the rules ----------------------------------------------------------------------------------------------------


def faults(board: dict[str, Any]) -> list[str]:
    """Return what is wrong with a dashboard."""
    found = list(_of_board(board))
    for panel in charts(board):
        found += [f"{panel.get('title')}: {fault}" for fault in _of_panel(panel)]
    for where, expr in queries(board):
        found += [f"{where}: {fault}" for fault in of_query(expr)]
    for name, query in variables(board):
        found += [f"variable {name}: {fault}" for fault in of_variable(query)]
    return found


def _of_board(board: dict[str, Any]) -> Iterator[str]:
    listed = {each["name"]: each for each in board["templating"]["list"]}
    source = listed.get("datasource", {})
    if (source.get("type"), source.get("query"), source.get("label")) != (
        "datasource",
        "prometheus",
        "Data Source",
    ):
        yield "no variable for the data source"
    for name in ("job", "instance"):
        if name not in listed:
            yield f"no variable {name}"
    for name, each in listed.items():
        right = {"multi": True, "includeAll": True, "allValue": ".+", "refresh": 2, "datasource": DATASOURCE}
        if name != "datasource" and any(each.get(key) != value for key, value in right.items()):
            yield f"variable {name} does not offer all, several, and the fresh ones"
    if board["editable"] or not board["uid"].startswith("sluice-") or board["tags"] != ["sluice"]:
        yield "editable, or without uid and tag"
    if board["graphTooltip"] != 1 or board["links"][0]["tags"] != ["sluice"]:
        yield "no shared crosshair, or no links to the others"
    numbers = [panel["id"] for panel in board["panels"]]
    if len(set(numbers)) < len(numbers):
        yield "two panels with one id"
    if board.get("id") is not None or "__inputs" in board or board["schemaVersion"] < SCHEMA:
        yield "neither imported nor provisioned as it is: an id of its own, questions, or an old schema"
    cells = [cell for panel in board["panels"] for cell in _cells(panel["gridPos"])]
    if len(set(cells)) < len(cells) or any(column >= WIDTH for column, _ in cells):
        yield "panels that cover each other, or stand outside of the grid"


def _cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for column in range(place["x"], place["x"] + place["w"]):
        for row in range(place["y"], place["y"] + place["h"]):
            yield column, row


def _of_panel(panel: dict[str, Any]) -> Iterator[str]:
    if not panel.get("title") or not panel.get("description"):
        yield "no title or no description"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield "no unit"
    if panel["datasource"] != DATASOURCE or any(
        each["datasource"] != DATASOURCE for each in panel["targets"]
    ):
        yield "another data source than the chosen one"
    if not panel["targets"]:
        yield "no query"


def of_query(expr: str) -> Iterator[str]:
    """Yield what is wrong with the query of a panel."""
    try:
        tree = parse(plain(expr))
    except ValueError as error:
        yield f"not PromQL: {error}"
        return
    yield from _of_names(tree)
    for selector in selectors(tree):
        matched = {(each.name, each.op == MatchOp.Re, each.value) for each in selector.matchers.matchers}
        chosen = {name for name, regex, value in matched if regex and value == ".+"}
        if "job" not in chosen:
            yield f"{selector.name} does not heed the chosen job"
        if selector.name not in GROUP | RECORDED | SHARED and "instance" not in chosen:
            yield f"{selector.name} does not heed the chosen instance"
    if "[" in expr and expr.count("[") != expr.count("[$__rate_interval]") + expr.count('"[45]'):
        yield "a range that is not $__rate_interval"
    yield from _of_counters(tree)


def of_variable(query: str) -> Iterator[str]:
    """Yield what is wrong with the query of a variable."""
    metric, label = query.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
    if f"label_values({metric}, {label})" != query:
        yield "not label_values(metric, label)"
        return
    [selector] = selectors(parse(plain(metric)))
    yield from _of_names(parse(plain(metric)))
    if label not in TARGET and label not in KNOWN[str(selector.name)].labels:
        yield f"{selector.name} has no label {label}"


def _of_names(tree: Expr) -> Iterator[str]:
    """Yield the metrics and labels that do not exist."""
    for selector in selectors(tree):
        name = str(selector.name)
        if name in RECORDED:
            continue
        if name not in KNOWN:
            yield f"there is no metric {name}"
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name not in {*TARGET, "le", *KNOWN[name].labels}:
                yield f"{name} has no label {matcher.name}"


def _of_counters(tree: Expr) -> Iterator[str]:
    """Yield the counters whose value is shown itself, which begins anew with every start."""
    counted: list[str] = []

    def visit(node: Expr) -> None:
        if isinstance(node, Call) and node.func.name in COUNTED:
            [matrix] = node.args
            assert isinstance(matrix, MatrixSelector)
            counted.append(str(matrix.vector_selector))

    walk(tree, visit)
    for selector in selectors(tree):
        row = KNOWN.get(str(selector.name))
        if row is not None and row.kind in ("counter", "histogram") and str(selector) not in counted:
            yield f"{selector.name} is a counter and is shown as it is"


# --- the tests ----------------------------------------------------------------------------------------------------


def test_the_files_are_what_the_code_makes() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")} == {
        f"{board.name}.json": text_of(board) for board in BOARDS
    }, "run `python -m ops.dashboards`"


@pytest.mark.parametrize("name", [board.name for board in BOARDS])
def test_a_dashboard_keeps_the_rules(name: str) -> None:
    assert faults(boards()[name]) == []


def test_dashboards_have_different_uids_and_a_panel_for_every_metric_that_is_ours() -> None:
    found = boards()
    assert len({board["uid"] for board in found.values()}) == len(BOARDS)
    shown = {
        str(selector.name)
        for board in found.values()
        for _, expr in queries(board)
        for selector in selectors(parse(plain(expr)))
    }
    asked = {str(selector.name) for rule in rules() for selector in selectors(parse(rule["expr"]))}
    names = {KNOWN[name].name for name in shown | asked if name in KNOWN}
    assert {row.name for row in KNOWN.values() if row.name.startswith("sluice_")} - names == set()


def _set(board: dict[str, Any], **values: Any) -> None:
    charts(board)[0] |= values


def _expr(text: str) -> Callable[[dict[str, Any]], None]:
    def plant(board: dict[str, Any]) -> None:
        charts(board)[0]["targets"][0]["expr"] = text

    return plant


CHOSEN = 'job=~"$job", instance=~"$instance"'
PLANTED: dict[str, Callable[[dict[str, Any]], None]] = {
    "no title": lambda board: _set(board, title=""),
    "no description": lambda board: _set(board, description=""),
    "no unit": lambda board: _set(board, fieldConfig={"defaults": {}}),
    "fixed source": lambda board: _set(board, datasource={"type": "prometheus", "uid": "prometheus"}),
    "no query": lambda board: _set(board, targets=[]),
    "editable": lambda board: board.update(editable=True),
    "no crosshair": lambda board: board.update(graphTooltip=0),
    "no job": lambda board: board["templating"]["list"].pop(1),
    "no source": lambda board: board["templating"]["list"].pop(0),
    "one value only": lambda board: board["templating"]["list"][1].update(multi=False),
    "wrong variable": lambda board: board["templating"]["list"][1].update(
        query={"query": "label_values(sluice_broker_reachable, tenant)"}
    ),
    "ids": lambda board: board["panels"][0].update(id=board["panels"][1]["id"]),
    "an id of another Grafana": lambda board: board.update(id=7),
    "questions": lambda board: board.update(__inputs=[]),
    "one over the other": lambda board: board["panels"][2].update(gridPos=board["panels"][1]["gridPos"]),
    "outside": lambda board: board["panels"][1]["gridPos"].update(x=WIDTH),
    "no PromQL": _expr("sum(rate(sluice_facts_total{"),
    "no such metric": _expr(f"sum(sluice_wonders{{{CHOSEN}}})"),
    "no such label": _expr(f'sum(sluice_parked_keys{{{CHOSEN}, tenant="acme"}})'),
    "any job": _expr('sum(sluice_parked_keys{instance=~"$instance"})'),
    "any instance": _expr('sum(sluice_parked_keys{job=~"$job"})'),
    "fixed range": _expr(f"sum(rate(sluice_facts_total{{{CHOSEN}}}[5m]))"),
    "bare counter": _expr(f"sum(sluice_facts_total{{{CHOSEN}}})"),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_the_rules_find_what_they_are_for(mistake: str) -> None:
    board = copy.deepcopy(boards()["overview"])
    assert faults(board) == []
    PLANTED[mistake](board)
    assert faults(board) != []
