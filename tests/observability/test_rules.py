"""Scrape configuration and rules as Prometheus itself reads them; every alert can fire, and has its runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from promql_parser import parse

from ops.exporter_metrics import ROWS as OF_EXPORTER
from streams.metric_names import ROWS as OF_WORKER
from streams.settings import Settings
from tests.observability.boards import PROMETHEUS, ROOT, RUNBOOKS, alerts, rules
from tests.observability.programs import program
from tests.observability.promql import selectors

SECTIONS = ["What it means", "Impact", "Check", "Fix", "Escalate"]
TESTS = PROMETHEUS / "tests" / "alerts_test.yml"
CONFIGURATIONS = ["prometheus.yml", "prometheus.compose.yml"]
NAMES = sorted({rule["alert"] for rule in alerts()})


def promtool(*words: str | Path) -> tuple[int, str]:
    """Return exit status and output of promtool."""
    command = [program("promtool"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def expectations() -> list[tuple[str, bool]]:
    """Return the name of the alert of each unit test's expectation, and whether it is to fire."""
    blocks = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    each = [test for block in blocks for test in block["promql_expr_test"]]
    names = ((re.search(r'alertname="(\w+)"', test["expr"]), bool(test["exp_samples"])) for test in each)
    return [(name[1], fires) for name, fires in names if name is not None]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_prometheus_takes_the_configuration(name: str) -> None:
    status, told = promtool("check", "config", PROMETHEUS / name)
    assert status == 0, told
    assert "rules found" in told, "it loads the rules"


def test_every_unit_test_of_the_rules_holds() -> None:
    status, told = promtool("test", "rules", TESTS)
    assert status == 0, told


def test_a_rule_that_cannot_fire_is_found(tmp_path: Path) -> None:
    text = (PROMETHEUS / "rules" / "alerts.yml").read_text(encoding="utf-8")
    assert "sluice_worker_ready == 0" in text
    (tmp_path / "broken.yml").write_text(text.replace("sluice_worker_ready == 0", "sluice_worker_ready == 2"))
    units = yaml.safe_load(TESTS.read_text(encoding="utf-8"))
    units |= {"rule_files": ["broken.yml"]}
    units["tests"] = [block for block in units["tests"] if block["name"].startswith("WorkerNotReady")]
    (tmp_path / "test.yml").write_text(yaml.safe_dump(units))
    status, told = promtool("test", "rules", tmp_path / "test.yml")
    assert status != 0
    assert "WorkerNotReady" in told


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_unit_tests_and_a_runbook(name: str) -> None:
    assert (name, True) in expectations(), "what makes it fire"
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert all(len(part.split()) > 3 for part in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:])


def test_there_are_runbooks_for_alerts_only_and_they_name_each_other_rightly() -> None:
    assert sorted(path.stem for path in RUNBOOKS.glob("*.md")) == NAMES
    settings = {f"SLUICE_{name.upper()}" for name in Settings.model_fields}
    for path in RUNBOOKS.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z]+[a-z]*)+)`", text))
        assert named <= {*NAMES}, path.name
        assert set(re.findall(r"SLUICE_[A-Z_]+", text)) <= settings, path.name
        assert set(re.findall(r"sluice_[a-z_]+", text)) <= {*OF_WORKER, *OF_EXPORTER}, path.name


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']} {rule['labels']['severity']}")
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert (ROOT / rule["annotations"]["runbook_url"]).is_file()
    assert rule["annotations"]["runbook_url"] == f"ops/runbooks/{rule['alert']}.md"


def test_rules_ask_for_metrics_that_exist() -> None:
    parts = {"_bucket": "histogram", "_count": "histogram"}
    known = {"up", *OF_EXPORTER, *(rule["record"] for rule in rules() if "record" in rule)}
    for row in OF_WORKER.values():
        known |= {row.name, *(row.name + part for part, kind in parts.items() if row.kind == kind)}
    asked = {str(each.name) for rule in rules() for each in selectors(parse(rule["expr"]))}
    assert asked - known == set()


def test_the_four_alerts_of_the_requirements_are_there() -> None:
    """002-45 failure rate, 002-46 schema validation, 002-47 backlog, 002-48 connectivity."""
    wanted = {"EventFailureRateHigh", "SchemaValidationFailures", "LagTooHigh", "BrokerUnreachable"}
    assert wanted | {"RegistryUnreachable"} <= set(NAMES)


def test_the_alerts_that_the_field_study_asks_for_are_there() -> None:
    """design/field-study-ecosystem.md 1.9."""
    wanted = {"WorkerDown", "WorkerNotReady", "LagGrowing", "LagTooHigh", "LatencySLOBurn", "DeadLetters"}
    wanted |= {"DeadLetterSpike", "RebalanceStorm", "TableRecoverySlow", "NoEvents", "SendErrors"}
    assert wanted <= set(NAMES)


def test_the_document_lists_every_alert_and_what_the_exporter_tells() -> None:
    text = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    assert [name for name in (*NAMES, *OF_EXPORTER) if name not in text] == []
