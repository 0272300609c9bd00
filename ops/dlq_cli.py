"""``sluice dlq``: look at dead letters, mend what killed them, replay or discard them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from ops.cli_options import DATA_DIR, DataDir, Json, settings_of
from ops.errors import OpsError

dlq_app = typer.Typer(no_args_is_help=True, help="Look at dead letters, replay or discard them.")

Chosen = Annotated[Path, typer.Option("--selection", help="File that `sluice dlq list --save` has written.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only show what today's rules would make of the events.")
]
Again = Annotated[bool, typer.Option("--again", help="Also those that were replayed or discarded before.")]
Place = Annotated[
    str,
    typer.Argument(help="usage.metered.dlq/1/42, or the place of the event that died: usage.metered/1/17."),
]

_AGO = re.compile(r"(\d{1,6})([mhd])", re.ASCII).fullmatch
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dlq_app.callback()
def _dlq() -> None:
    """Look at dead letters, replay or discard them."""


def time_of(text: str, now: datetime) -> datetime:
    """Return the time that a text names: ISO 8601 (UTC where it says nothing), or so long ago as ``90m`` or ``2d``.

    Raises:
        OpsError: it is neither.
    """
    ago = _AGO(text)
    if ago is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise OpsError(
            f"{text!r} is no time.",
            "Give one such as 2026-11-20T12:00:00Z, or 90m, 6h or 2d for so long ago.",
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


@dlq_app.command("list")
def list_(
    topic: Annotated[
        str | None, typer.Argument(help="Topic of the events; without one: how many letters each topic has.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only with this code, such as UNKNOWN_SCHEMA_ID.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Only of this key.")] = None,
    since: Annotated[str | None, typer.Option(help="Only since this time, or 90m, 6h, 2d ago.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the oldest first.")] = 1_000,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were resolved.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="Write exactly these letters to a file, for replay and discard.")
    ] = None,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """List the dead letters that are open, oldest first."""
    from ops.dlq_commands import list_letters
    from ops.dlq_fold import Query

    after = None if since is None else time_of(since, datetime.now(UTC))
    query = Query(reason, key, after, everything)
    list_letters(settings_of(data_dir), topic, query, limit, save, as_json=as_json)


@dlq_app.command()
def show(letter: Place, data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Show everything about one dead letter, its event included. Mind who looks over your shoulder."""
    from ops.dlq_commands import show_letter

    show_letter(settings_of(data_dir), letter, as_json=as_json)


@dlq_app.command()
def replay(
    selection: Chosen,
    dry_run: DryRun = False,
    again: Again = False,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Send the events of a selection to their topic again, as they came, each once."""
    from ops.dlq_commands import act, rehearse
    from ops.dlq_letters import REPLAYED
    from ops.dlq_selection import load

    settings, chosen = settings_of(data_dir), load(selection)
    if dry_run:
        rehearse(settings, chosen, again=again, as_json=as_json)
    else:
        question = f"Send the events of {len(chosen.letters)} dead letters to {chosen.topic} again?"
        act(settings, chosen, REPLAYED, question, yes=yes, again=again, as_json=as_json)


@dlq_app.command()
def discard(
    selection: Chosen,
    again: Again = False,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Mark the letters of a selection as done with, without sending anything. They stay until retention takes them."""
    from ops.dlq_commands import act
    from ops.dlq_letters import DISCARDED
    from ops.dlq_selection import load

    chosen = load(selection)
    question = f"Give up {len(chosen.letters)} events of {chosen.topic}?"
    act(settings_of(data_dir), chosen, DISCARDED, question, yes=yes, again=again, as_json=as_json)


@dlq_app.command()
def edit(
    letter: Annotated[str | None, typer.Argument(help="Place of the letter whose event to write.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the event's fields to this file.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Send the event of this file, which you have edited.")
    ] = None,
    dry_run: DryRun = False,
    again: Again = False,
    yes: Yes = False,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Write an event to a file (LETTER --save FILE); send it once you have edited it (--file FILE)."""
    from ops.dlq_commands import send_edit, write_edit

    if letter is not None and save is not None and file is None:
        write_edit(settings_of(data_dir), letter, save)
    elif letter is None and save is None and file is not None:
        send_edit(settings_of(data_dir), file, dry_run=dry_run, again=again, yes=yes, as_json=as_json)
    else:
        raise OpsError(
            "Nothing was said that can be done.",
            "Give LETTER and --save FILE to write an event, or --file FILE to send it.",
        )
