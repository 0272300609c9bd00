"""The demo's live picture, and the same in one line where there is no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ops.demo_shop import commands
from ops.demo_watch import Watch

FIXED_LINES = 25
"""Lines of the picture that are always there; what a terminal has beyond them goes to tenants and alerts."""

COLOURS = {"ready": "green", "running": "green", "starting": "yellow", "stopped": "red"}


@dataclass(slots=True)
class Progress:
    """How far a replay is: rows of the trace, and what it is called."""

    name: str
    rows: int
    done: int = 0
    note: str = ""


def line(watch: Watch, sources: Sequence[Progress]) -> str:
    """Return the state in one line. The sources are the LLM trace and the shop's week."""
    llm, shop = sources
    now = watch.pipeline
    return (
        f"rows {llm.done}/{llm.rows}  shop {shop.done}/{shop.rows}  "
        f"events {sum(now['outcomes'].values()):.0f}  {now['rate']:.0f}/s  "
        f"lag {now['lag']:.0f}  P95 {_ms(now['latency']['p95'])}  alerts {watch.firing} firing  {llm.note}"
    )


def screen(
    watch: Watch,
    sources: Sequence[Progress],
    parts: list[dict[str, Any]],
    urls: dict[str, str],
    height: int,
) -> RenderableType:
    """Return the whole picture, for a terminal with ``height`` lines."""
    spare = max(4, height - FIXED_LINES)
    return Group(
        Panel(Group(_parts(parts), _replays(sources)), title="Sluice", title_align="left", box=box.ROUNDED),
        _numbers(watch),
        _shop(watch),
        _quotas(watch, spare - spare // 2),
        _alerts(watch, spare // 2),
        _urls(urls),
        Text("Ctrl-C stops everything; the next run goes on from here.", style="dim"),
    )


def _parts(parts: list[dict[str, Any]]) -> Text:
    text = Text()
    for part in parts:
        text.append("● ", style=COLOURS.get(part["state"], "white"))
        text.append(f"{part['part']} {part['state']}   ")
    return text


def _replays(sources: Sequence[Progress]) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    for progress in sources:
        bar = ProgressBar(total=progress.rows, completed=progress.done, width=24)
        told = f"row {progress.done:,} of {progress.rows:,} of {progress.name}  {progress.note}"
        grid.add_row(bar, Text(told, no_wrap=True, overflow="ellipsis"))
    return grid


def _shop(watch: Watch) -> RenderableType:
    """Return what the shop's commands came to, in one line."""
    taken = commands(watch.counts.by_topic())
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("  Shop  ", style="bold")
    text.append(f"{taken['stock']:,} stock, {taken['loyalty']:,} loyalty commands; {watch.shop.told()}")
    return text


def _numbers(watch: Watch) -> RenderableType:
    now = watch.pipeline
    outcomes = now["outcomes"]
    grid = Table(box=None, header_style="dim", padding=(0, 2))
    cells = {
        "events/s": f"{now['rate']:,.0f}",
        "lag": f"{now['lag']:,.0f}",
        "P95": _ms(now["latency"]["p95"]),
        "events": f"{sum(outcomes.values()):,.0f}",
        "duplicates": f"{outcomes.get('duplicate', 0):,.0f}",
        "dead letters": f"{now['dead']:,.0f}",
        "published": f"{sum(watch.counts.by_route().values()):,.0f}",
        "tokens": f"{sum(watch.usage.values()):,.0f}",
    }
    for name in cells:
        grid.add_column(name, justify="right")
    grid.add_row(*(Text(cell, style="bold") for cell in cells.values()))
    return grid


def _quotas(watch: Watch, count: int) -> RenderableType:
    table = Table(box=None, header_style="dim", padding=(0, 2), title="Top tenants against quota")
    table.title_justify, table.title_style = "left", "bold"
    for name in ("tenant", "meter", "used", "limit", "", ""):
        table.add_column(name, justify="right" if name in ("used", "limit") else "left")
    for item in watch.quotas[: min(count, 10)]:
        percent = float(item["percent"] or 0)
        colour = "red" if percent >= 100 else "yellow" if percent >= 80 else "green"
        bar = ProgressBar(total=100, completed=min(percent, 100), width=24, complete_style=colour)
        used, limit = float(item["value"]), float(item["limit"] or 0)
        table.add_row(item["tenant"], item["meter"], f"{used:,.0f}", f"{limit:,.0f}", bar, f"{percent:.0f} %")
    return table


def _alerts(watch: Watch, count: int) -> RenderableType:
    table = Table(box=None, header_style="dim", padding=(0, 2), title=f"Last alerts ({watch.firing} firing)")
    table.title_justify, table.title_style = "left", "bold"
    for name in ("seen", "status", "severity", "tenant", "what"):
        table.add_column(name, no_wrap=True)
    for item in watch.alerts[:count]:
        seen = datetime.fromisoformat(item["last_seen"]).astimezone().strftime("%H:%M:%S")
        colour = "red" if item["status"] == "firing" else "green"
        what = item["description"] or f"{item['alert_type']} {item['subject']}"
        table.add_row(
            seen, Text(item["status"], style=colour), item["severity"], item["tenant_id"], Text(what)
        )
    return table


def _urls(urls: dict[str, str]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for name, url in urls.items():
        grid.add_row(Text(name, style="dim"), url)
    return Panel(grid, title="Look", title_align="left", box=box.ROUNDED)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
