"""How commands speak: listings as tables or JSON, progress of downloads, refusals with cause and remedy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from ops.errors import OpsError
from ops.stack import artifacts

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Row = dict[str, Any]


def listing(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool, title: str = "") -> None:
    """Print rows: as a JSON array with every field, or as a table of ``columns``."""
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2, default=str) + "\n")
        return
    table = Table(title=title or None, box=None, header_style="bold", title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    out.print(table)


def refuse(error: OpsError) -> None:
    """Print why a command cannot go on and what to do."""
    err.print(f"[bold red]sluice:[/] {_plain(error.cause)}")
    err.print(f"        {_plain(error.remedy)}")


def finding(ok: bool, name: str, detail: str, remedy: str) -> None:
    """Print the outcome of one check, with the remedy below where it failed."""
    out.print(f"{'[green]✓[/]' if ok else '[red]✗[/]'} [bold]{name:10}[/] {_plain(detail)}")
    if remedy:
        out.print(f"  {'':10} → {_plain(remedy)}")


@contextmanager
def downloads(cache: Path) -> Iterator[artifacts.Progress]:
    """Show one bar for all that the stack still has to download; nothing when it is all there."""
    lock = artifacts.read_lock()
    absent = [a for part in artifacts.ROOTS for a in artifacts.missing(part, cache, lock)]
    if not absent:
        yield lambda _: None
        return
    total = sum(a.size for a in absent)
    err.print(f"First run: downloading Kafka and Apicurio Registry ({total / 1e6:.0f} MB) into {cache}")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("Downloading", total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar towards ``total``; the yielded function sets how much is done."""
    with Progress(TextColumn(what), BarColumn(), MofNCompleteColumn(), console=err, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={item}" for name, item in value.items())
    return "" if value is None else _plain(str(value))


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
