"""The catalogue of metrics: what Prometheus' own rules want of names, and that the documents are made from it."""

from __future__ import annotations

import re
from pathlib import Path

import promql_parser
import pytest

from ops import exporter_metrics, generate_metrics
from streams.metric_names import LABELS, METRICS, ROWS, MetricRow
from streams.metrics_families import Bounded, Buckets, family

ALL = (*METRICS, *exporter_metrics.METRICS)
EACH = pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
ENDS_OF_SERIES = ("_bucket", "_sum", "_count")


@EACH
def test_a_name_says_type_and_unit_as_prometheus_wants_it(row: MetricRow) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", row.name)
    assert row.name.endswith("_total") == (row.kind == "counter")
    assert not row.name.endswith(ENDS_OF_SERIES)
    base = row.name.removesuffix("_total")
    for unit in ("seconds", "bytes"):
        assert base.endswith(f"_{unit}") == (row.unit == unit)


@EACH
def test_every_label_has_a_meaning(row: MetricRow) -> None:
    assert set(row.labels) <= set(LABELS)
    assert row.help and row.counted


def test_no_name_is_there_twice_and_no_label_is_left_over() -> None:
    assert len(ROWS) == len(METRICS)
    assert {label for row in ALL for label in row.labels} == set(LABELS)


def test_a_metric_without_a_row_cannot_be_made() -> None:
    with pytest.raises(KeyError):
        family("sluice_invented_total", {(): 1})


def test_a_metric_with_other_labels_than_its_row_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="agent"):
        family("sluice_unit_seconds", {(): Buckets()})


def test_a_label_has_no_more_values_than_it_may() -> None:
    bounded = Bounded(2)
    assert [bounded(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]


def test_the_document_is_what_the_catalogue_gives() -> None:
    assert generate_metrics.main(["--check"]) == 0


def test_a_changed_document_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_metrics, "TARGET", tmp_path / "metrics.md")
    assert generate_metrics.main([]) == 0
    assert generate_metrics.main(["--check"]) == 0
    (tmp_path / "metrics.md").write_text("other", encoding="utf-8")
    assert generate_metrics.main(["--check"]) == 1
    assert "ops.generate_metrics" in capsys.readouterr().err


@pytest.mark.parametrize("query", [query for _, query in generate_metrics.QUESTIONS])
def test_the_queries_of_the_document_ask_for_metrics_and_labels_that_exist(query: str) -> None:
    promql_parser.parse(query)
    names = re.findall(r"sluice_\w+", query)
    rows = [ROWS[name if name in ROWS else name.removesuffix("_bucket")] for name in names]
    assert rows
    asked = set(re.findall(r"by \(([\w, ]+)\)", query)[0].split(", ")) if " by (" in query else set()
    asked |= set(re.findall(r"(\w+)=", query))
    assert asked - {"le"} <= {label for row in rows for label in row.labels}
