"""What was measured, as JSON for programs and as tables for people."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDTH = 150
"""Columns where the output is no terminal and would be folded at 80."""

Report = dict[str, Any]

FIGURES = (
    "ratios",
    "usage_events_per_s",
    "stock_commands_per_s",
    "stock_large_ratio",
    "loyalty_events_per_s",
    "p95_ms_at_10k",
    "max_rate_p95_100ms",
    "recovery_records_per_s",
    "restart_s_rocksdict",
    "memory_mb_per_million_keys",
)
"""Keys that every report has; null where their suite was not run."""


def empty(sizes: Any) -> Report:
    """Return a report with nothing measured yet."""
    return {
        "sizes": {name: getattr(sizes, name) for name in sizes.__slots__},
        "machine": {
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "failures": [],
        **dict.fromkeys(FIGURES),
    }


def spread(values: Iterable[float], digits: int = 1) -> dict[str, float]:
    """Return minimum, median and maximum."""
    known = sorted(values)
    return {
        "min": round(known[0], digits),
        "median": round(statistics.median(known), digits),
        "max": round(known[-1], digits),
    }


def write(found: Report, path: Path) -> None:
    """Write the report; the file changes at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(found, indent=2) + "\n")
    draft.replace(path)


def show(found: Report) -> None:
    """Print the tables."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    _rows(console, "Peers' job at full load", found.get("throughput"), ("rate", "cpu_ms", "rss_mb"))
    for name in ("usage", "stock", "loyalty"):
        title = f"{name.capitalize()} pipeline at full load"
        _rows(console, title, found.get(name), ("rate", "cpu_ms", "rss_mb"))
    timed = ("p50_ms", "p95_ms", "p99_ms", "max_ms", "lag_growth_per_s", "lost", "cores")
    _rows(console, "Latency at a fixed rate", found.get("latency"), timed)
    _rows(
        console,
        "Rate stepped up",
        found.get("rate"),
        ("p50_ms", "p95_ms", "p99_ms", "lag_growth_per_s", "lost"),
    )
    _rows(console, "A table comes back", found.get("recovery"), ("records", "rate", "ready_s", "rss_mb"))
    table = Table("figure", "median", title="Figures")
    for name in FIGURES:
        value = found[name]
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
        table.add_row(name, text)
    console.print(table)
    for failure in found["failures"]:
        console.print(f"[red]failed[/red] {escape(failure)}")


def _rows(
    console: Console, title: str, part: Mapping[str, Mapping[str, Any]] | None, columns: Sequence[str]
) -> None:
    if not part:
        return
    table = Table(title=f"{title}: minimum · median · maximum")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in part.items():
        table.add_row(name, *(_cell(row.get(column)) for column in columns))
    console.print(table)
    for name, row in part.items():
        if "note" in row:
            console.print(f"  {name}: {row['note']}", style="dim")


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        texts = [_number(value[key]) for key in ("min", "median", "max")]
        return texts[0] if len(set(texts)) == 1 else " · ".join(texts)
    return "" if value is None else _number(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}".removesuffix(".0")
