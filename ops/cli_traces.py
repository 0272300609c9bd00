"""``sluice replay`` and ``sluice verify``: real traces in, and whether the right numbers came out."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ops import console
from ops.cli_options import DATA_DIR, DataDir, Json, settings_of
from ops.errors import OpsError

replay_app = typer.Typer(no_args_is_help=True, help="Send a real trace as events.")
verify_app = typer.Typer(
    no_args_is_help=True,
    help="Compare what the workers' views show with a count made from a trace's file alone.",
)
RetailFile = Annotated[
    Path, typer.Argument(help="CSV file: InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,...")
]
Tenant = Annotated[
    str, typer.Option(help="Whose shop it is. Each tenant has goods and customers of its own.")
]
Rows = Annotated[
    int | None,
    typer.Option(min=0, help="Only the first N rows of the file, after the goods of the whole file."),
]
SHOP = "shop"
SHOWN = 50
"""Differences in a table; JSON has all."""


@replay_app.callback()
def _replay() -> None:
    """Send a real trace as events."""


@verify_app.callback()
def _verify() -> None:
    """Compare what the workers' views show with a count made from a trace's file alone."""


@replay_app.command("llm-trace")
def replay_llm_trace(
    file: Annotated[Path, typer.Argument(help="CSV file: TIMESTAMP,ContextTokens,GeneratedTokens.")],
    rate: Annotated[float | None, typer.Option(min=0.1, help="Events per second; default 500.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.001, help="Multiple of the trace's own speed.")] = None,
    copy: Annotated[int, typer.Option(min=0, help="Send the n-th further copy, with ids of its own.")] = 0,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Send an LLM service's requests as usage events, shifted so that the last one falls on now.

    Sent again, the same rows are the same events and count once.
    """
    from ops.replay import Replay
    from ops.traces import LlmTrace

    if rate is not None and speed is not None:
        raise OpsError("--rate and --speed were both given.", "Give one of them.")
    trace = LlmTrace(file, copy)
    with console.counting("Sending rows", len(trace)) as count:
        replay = Replay(settings_of(data_dir), trace)
        sent = replay.run(rate=rate if speed else rate or 500.0, speed=speed, progress=count)
    row = {"trace": trace.name, "rows": len(trace), "events": sent}
    console.listing([row], ["trace", "rows", "events"], as_json=as_json)


@replay_app.command("online-retail")
def replay_online_retail(
    file: RetailFile,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Commands per second; default 2000.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.001, help="Multiple of the shop's own speed.")] = None,
    tenant: Tenant = SHOP,
    rows: Rows = None,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Send a shop's invoices as commands to stock and loyalty.

    Times are shifted so that the last row falls on now: what expires 30 days after row 0 lasts for weeks.

    A line that is sold is allocated by FEFO, for a day at most, and leaves at once; one that is returned comes back.

    Sent again, the same rows are the same commands and change nothing. `sluice verify online-retail` counts them.
    """
    from ops.replay import Replay
    from ops.retail_trace import RetailTrace

    if rate is not None and speed is not None:
        raise OpsError("--rate and --speed were both given.", "Give one of them.")
    trace = RetailTrace(file, tenant)
    replay = Replay(settings_of(data_dir), trace)
    trace.refuse_spoiled(replay.journal, datetime.now(UTC))
    end = trace.end_of(rows)
    with console.counting("Sending goods and rows", end) as count:
        sent = replay.run(rate=rate if speed else rate or 2000.0, speed=speed, end_row=end, progress=count)
    row = {"trace": trace.name, "rows": trace.file_rows(end), "commands": sent}
    console.listing([row], ["trace", "rows", "commands"], as_json=as_json)


@verify_app.command("online-retail")
def verify_online_retail(
    file: RetailFile,
    tenant: Tenant = SHOP,
    rows: Rows = None,
    url: Annotated[
        str | None, typer.Option(help="Any worker's web port; default the one that the settings name.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds that workers may need to process the rest and be ready.")
    ] = 60.0,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Compare every product's pieces per lot and every customer's points with a count made from the file alone.

    It waits until the workers have processed all commands, then reads their views (with SLUICE_WEB_TOKEN).

    Exit status 0: no differences. 1: some, which are listed.
    """
    from ops.replay import Replay
    from ops.retail_trace import RetailTrace
    from ops.retail_truth import truth
    from ops.verify import verify

    settings = settings_of(data_dir)
    trace = RetailTrace(file, tenant)
    rows = len(trace.rows) if rows is None else min(rows, len(trace.rows))
    wanted = truth(trace.rows, rows)
    began = time.monotonic()
    url = url or f"http://{settings.web_host}:{settings.web_port}"
    with console.counting("Comparing", len(wanted.lots) + len(wanted.accounts)) as count:
        differences = [asdict(found) for found in verify(settings, wanted, tenant, url, wait, count)]
    summary = {
        "rows": rows,
        "products": len(wanted.lots),
        "customers": len(wanted.accounts),
        "differences": len(differences),
        "seconds": round(time.monotonic() - began, 1),
    }
    if as_json:
        console.listing([{**summary, "differences": differences}], [], as_json=True)
    else:
        if differences:
            columns = ["kind", "subject", "what", "expected", "found"]
            console.listing(
                differences[:SHOWN], columns, as_json=False, title=f"{len(differences)} differences"
            )
        console.listing([summary], list(summary), as_json=False)
    if differences:
        done = trace.file_rows(Replay(settings, trace).journal.done)
        if done != rows:
            console.err.print(
                f"The replay from here has come to row {done}; compare as many with --rows {done}."
            )
        raise typer.Exit(1)
