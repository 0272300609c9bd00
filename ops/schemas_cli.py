"""``sluice schemas``: check, diff, list, freeze and register the contracts of ``avro/``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from ops import console
from ops.cli_options import DATA_DIR, DataDir, Json, settings_of
from ops.errors import OpsError
from streams.history import FOLDER, read_manifest

schemas_app = typer.Typer(
    no_args_is_help=True,
    help="The contracts in avro/: what changed, whether it may, and what the registry has of them.",
)
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Ask no registry; compare with the released versions in avro/history."),
]
History = Annotated[Path, typer.Option("--history", help="Folder of the released versions.", hidden=True)]
Record = Annotated[str, typer.Argument(help="Only this record: its name, in full or its last part.")]
REMEDY = (
    "Under avro/, only add fields that have defaults and symbols; for anything else make a new record, ...V2, beside "
    "the old one and mark the old one with sluice.deprecated."
)


@schemas_app.command()
def check(
    offline: Offline = False, history: History = FOLDER, data_dir: DataDir = DATA_DIR, as_json: Json = False
) -> None:
    """Refuse contracts that break producers, consumers or state of any older version.

    Every contract is held against all versions that were released (avro/history) and, unless --offline, against all
    that the registry has, whose own verdict and compatibility levels count too. Nothing is changed.

    Exit status 0: nothing breaks. 1: something does; each row names the field and the reason.
    """
    from ops import schemas
    from streams.schemas import contracts

    levels = schemas.levels()
    rows = schemas.refused_offline(contracts(), levels, history)
    if not offline:
        settings = settings_of(data_dir)
        rows += asyncio.run(schemas.refused(settings))
    if as_json:
        console.listing(rows, [], as_json=True)
    elif rows:
        columns = ["record" if offline else "subject", "field", "reason", "versions"]
        named = [{"subject": row["record"]} | row for row in rows]
        console.listing(named, columns, as_json=False, title=f"{len(rows)} breaking changes")
        console.err.print(REMEDY)
    else:
        of = f"the {len(read_manifest(history))} released versions" + " or of the registry" * (not offline)
        console.err.print(f"[green]✓[/] {len(levels)} contracts break nothing of {of}")
    if rows:
        raise typer.Exit(1)


@schemas_app.command()
def diff(
    record: Record = "",
    offline: Offline = False,
    history: History = FOLDER,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Show each change of the contracts since the newest version in the registry or, --offline, in avro/history."""
    from ops import schemas
    from streams.schemas import contracts

    if offline:
        rows = schemas.changed_offline(contracts(), schemas.levels(), history)
    else:
        rows = asyncio.run(schemas.changed(settings_of(data_dir)))
    if record:
        full = {name for name in contracts() if name == record or name.endswith(f".{record}")}
        if not full:
            raise OpsError(f"There is no record {record} in avro/.", "`sluice schemas list` has the names.")
        rows = [row for row in rows if row["record"] in full]
    if as_json or rows:
        columns = ["record" if offline else "subject", "field", "kind", "reason", "breaking"]
        console.listing(rows, columns, as_json=as_json)
    else:
        console.err.print("[green]✓[/] Nothing changed.")


@schemas_app.command("list")
def list_(
    offline: Offline = False, history: History = FOLDER, data_dir: DataDir = DATA_DIR, as_json: Json = False
) -> None:
    """List every subject: its level, released version and, unless --offline, what the registry has of it."""
    from ops import schemas
    from streams.schemas import contracts

    settings = settings_of(data_dir)
    rows = schemas.listed_offline(contracts(), settings.app_id, history)
    columns = ["subject", "level", "version", "history", "deprecated"]
    if not offline:
        columns[4:4] = ["registry", "id"]
        for row, found in zip(rows, asyncio.run(schemas.registered(settings)), strict=True):
            row |= {"registry": found.state, "id": found.schema_id}
    console.listing(rows, columns, as_json=as_json)


@schemas_app.command()
def freeze(history: History = FOLDER, as_json: Json = False) -> None:
    """Write contracts that changed as released versions into avro/history; part of making a release.

    A released version is never written again. Refuses what `sluice schemas check --offline` refuses.
    """
    from ops import schemas
    from ops.schemas_freeze import freeze as run
    from streams.schemas import contracts

    rows = run(contracts(), schemas.levels(), history)
    if as_json or rows:
        console.listing(rows, ["record", "version", "file"], as_json=as_json)
    if rows:
        console.err.print("The reference tells the versions of today: write it again with `make generate`.")
    else:
        console.err.print("[green]✓[/] Every contract is released as it stands.")


@schemas_app.command()
def register(history: History = FOLDER, data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Register what the registry lacks, and set every subject's compatibility level. `sluice setup` does it too.

    Workers and clients never register: what they publish has to be there (auto.register.schemas=false).
    """
    from ops import schemas
    from ops.setup import register as run
    from streams.schemas import contracts
    from streams.topics import catalogue

    settings = settings_of(data_dir)
    unreleased = {row["record"] for row in schemas.changed_offline(contracts(), schemas.levels(), history)}
    rows = asyncio.run(run(settings, list(catalogue(settings.app_id))))
    new = [row for row in rows if row["state"] != "unchanged"]
    if as_json or new:
        console.listing(rows if as_json else new, ["name", "state", "detail"], as_json=as_json)
    if unreleased:
        console.err.print(
            f"{len(unreleased)} contracts are not in avro/history as they stand; `sluice schemas freeze` belongs "
            "before a release."
        )
    console.err.print(f"[green]✓[/] {len(rows)} schemas are in place")
