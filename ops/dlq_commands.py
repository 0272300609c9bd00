"""What the commands of ``sluice dlq`` do, once their options are read: the work is elsewhere, the words are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from ops import console, dlq_edit, dlq_selection
from ops.dlq_fold import Query, left_behind, matching
from ops.dlq_letters import REPLAYED
from ops.dlq_print import print_foreseen, print_letter
from ops.dlq_reading import read_letters, source_topics
from ops.dlq_selection import Selection
from ops.dlq_sending import Row, resolve
from ops.dlq_show import decoded, find, overview, show, summary
from ops.dlq_work import prepared, try_out
from ops.errors import OpsError
from streams.settings import Settings

COLUMNS = ["letter", "reason", "key", "event_type", "at", "attempts", "replays", "state"]
COUNTS = ["topic", "open", "replayed", "discarded", "oldest", "reasons"]


def list_letters(
    settings: Settings, topic: str | None, query: Query, limit: int, save: Path | None, *, as_json: bool
) -> None:
    """Print the letters of a topic, and write them to a file; or how many each topic has."""
    topics = source_topics(settings, topic)
    if topic is None and save is not None:
        raise OpsError("A selection is of one topic.", "Name it: `sluice dlq list TOPIC --save FILE`.")
    found = read_letters(settings, topics)
    if topic is None:
        rows = [row for letters in found.values() if (row := overview(letters, query))]
        console.listing(rows, COUNTS, as_json=as_json)
        return
    [letters] = found.values()
    matches = matching(letters, query)
    shown = matches[:limit]
    if save is not None and not shown:
        raise OpsError("No letter is like that, so there is nothing to save.", "Ask for other ones.")
    console.listing([summary(letters, letter) for letter in shown], COLUMNS, as_json=as_json)
    if len(matches) > len(shown):
        console.err.print(f"{len(matches) - len(shown)} more; --limit shows them.")
    if save is not None:
        selection = Selection.of(letters.topic, shown)
        dlq_selection.save(selection, save)
        console.err.print(f"[green]✓[/] {save} holds these {len(shown)} letters: selection {selection.name}")
        warn([str(letter.place) for letter in left_behind(letters, shown)])


def warn(behind: Sequence[str]) -> None:
    """Say where a later event of a key would go without an earlier one."""
    if behind:
        console.err.print(
            f"[yellow]![/] {len(behind)} open letters came before these and have the same keys, but are not among "
            f"them: {', '.join(behind[:5])}"
        )


def show_letter(settings: Settings, place: str, *, as_json: bool) -> None:
    """Print everything about one letter."""
    found = show(settings, place)
    if as_json:
        console.listing([found], [], as_json=True)
    else:
        print_letter(found)


def write_edit(settings: Settings, place: str, file: Path) -> None:
    """Write the event of a letter to a file."""
    _, letter, stored = find(settings, place)
    [event] = decoded(settings, [stored])
    dlq_edit.save(file, letter, event)
    console.err.print(f"[green]✓[/] Edit `event` in {file}, then: sluice dlq edit --file {file}")


def send_edit(
    settings: Settings, file: Path, *, dry_run: bool, again: bool, yes: bool, as_json: bool
) -> None:
    """Send the event of a file in place of its letter's, or only show what would come of it."""
    edit = dlq_edit.load(file)
    chosen, rewrite = prepared(settings, edit)
    if dry_run:
        rehearse(settings, chosen, again=again, as_json=as_json, rewrite=rewrite)
    else:
        question = f"Send this event to {chosen.topic}, in place of the one at {edit.letter}?"
        act(settings, chosen, REPLAYED, question, yes=yes, again=again, as_json=as_json, rewrite=rewrite)


def act(
    settings: Settings,
    chosen: Selection,
    how: str,
    question: str,
    *,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Replay or discard, unless a person says no (exit status 1), and print what was done with each letter."""
    if not yes and not typer.confirm(question, err=True):
        raise typer.Exit(1)
    with console.counting(f"{how.capitalize()}", len(chosen.letters)) as count:
        rows = resolve(settings, chosen, how, progress=count, **options)
    console.listing([asdict(row) for row in rows], ["letter", "key", "result", "detail"], as_json=as_json)
    console.err.print(f"[green]✓[/] {told(rows)}")


def told(rows: Sequence[Row]) -> str:
    """Return how many letters ended in which way."""
    results = [row.result for row in rows]
    return ", ".join(f"{results.count(result)} {result}" for result in dict.fromkeys(results))


def rehearse(settings: Settings, chosen: Selection, *, as_json: bool, **options: Any) -> None:
    """Print what would come of the letters of a selection."""
    with console.counting("Dry run", len(chosen.letters)) as count:
        found = try_out(settings, chosen, progress=count, **options)
    if as_json:
        console.listing(found.rows, [], as_json=True)
    else:
        print_foreseen(found.rows)
    if found.behind > 1:
        console.err.print(
            f"[yellow]![/] The state may be up to {found.behind} records of {chosen.topic} behind."
        )
    warn(found.left_behind)
    console.err.print("Nothing was sent.")
