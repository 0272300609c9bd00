"""The benchmark itself works: every suite, with a few events, on a broker of its own. No figure is judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ops.stack.local import LocalStack, Ports
from tests.bench import report
from tests.bench.__main__ import measure
from tests.bench.cluster import Cluster
from tests.bench.suites import SUITES
from tests.bench.trials import TINY

pytestmark = pytest.mark.bench

FIGURES_OF = {
    "throughput": ("ratios",),
    "usage": ("usage_events_per_s",),
    "stock": ("stock_commands_per_s", "stock_large_ratio"),
    "loyalty": ("loyalty_events_per_s",),
    "latency": ("p95_ms_at_10k",),
    "rate": ("max_rate_p95_100ms",),
    "recovery": ("recovery_records_per_s", "restart_s_rocksdict", "memory_mb_per_million_keys"),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A stack for the benchmark alone: it deletes the project's topics between runs."""
    with LocalStack(tmp_path_factory.mktemp("bench-stack"), Ports.free()) as stack:
        stack.start()
        with closing(Cluster(stack.bootstrap_servers, stack.registry_url)) as cluster:
            yield cluster


LONG = {"stock_large_ratio"}
"""Figures that take workers of their own, as others do in the same way: left out of the shortest run."""


def test_every_suite_answers_for_its_figures() -> None:
    assert set(FIGURES_OF) == set(SUITES)
    assert {name for names in FIGURES_OF.values() for name in names} == set(report.FIGURES)


@pytest.mark.parametrize("suite", [suite for suite in FIGURES_OF if suite != "throughput"])
def test_a_suite_measures_its_figures(suite: str, cluster: Cluster, tmp_path: Path) -> None:
    found = measure(cluster, tmp_path, TINY, [suite], ["sluice"], tmp_path / "bench.json")
    report.show(found)
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written["failures"] == []
    assert {name for name in report.FIGURES if written[name] is not None} == set(FIGURES_OF[suite]) - LONG
    assert written[suite]


def test_the_peers_job_is_compared_with_each_other_system(cluster: Cluster, tmp_path: Path) -> None:
    found = measure(
        cluster, tmp_path, TINY, ["throughput"], ["sluice", "faust", "bare"], tmp_path / "bench.json"
    )
    assert [name for name in report.FIGURES if found[name] is not None] == ["ratios"]
    assert set(found["ratios"]) == {"faust", "bare"}
    rows = found["throughput"]
    assert rows["sluice"]["outputs"]["max"] == rows["bare"]["outputs"]["max"] == TINY.events
    assert set(rows["sluice"]["rate"]) == {"min", "median", "max"}
