"""What the terminal and the web port have in common: trying out a selection, and preparing an edited event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ops import dlq_edit
from ops.dlq_fold import left_behind
from ops.dlq_letters import Letter, Stored
from ops.dlq_producer import Resent, Rewrite, original
from ops.dlq_reading import fetch, read_letters, source_topics
from ops.dlq_rehearsal import rehearse
from ops.dlq_selection import Selection
from ops.dlq_sending import chunks, sorted_out
from ops.dlq_show import decoded, find
from streams.routes import INDEX
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class TriedOut:
    """What would come of a selection.

    Attributes:
        rows: ``Foreseen`` of each event in the order of sending; then those that are not sent.
        behind: at most so many records are not in the state yet with which that was found out.
        left_behind: places of open letters that came before these and have the same keys.
    """

    rows: list[dict[str, Any]]
    behind: int
    left_behind: list[str]


def try_out(
    settings: Settings,
    selection: Selection,
    *,
    again: bool = False,
    rewrite: Rewrite = original,
    progress: Callable[[int], None] = lambda done: None,
) -> TriedOut:
    """Return what would come of replaying a selection; nothing is sent. Arguments as of ``dlq_sending.resolve``."""
    source_topics(settings, selection.topic)
    letters = read_letters(settings, [selection.topic])[selection.topic]
    wanted, others = sorted_out(selection, letters, again=again)

    def records() -> Iterator[tuple[Letter, Stored]]:
        for chunk in chunks(wanted):
            found = fetch(settings, [letter.place for letter in chunk])
            yield from ((letter, found[letter.place]) for letter in chunk if letter.place in found)

    foreseen, behind = rehearse(settings, selection.topic, records(), rewrite=rewrite, progress=progress)
    rows = [each.as_json() for each in foreseen]
    rows += [
        {
            "letter": row.letter,
            "origin": row.origin,
            "key": row.key,
            "outcome": row.result,
            "message": row.detail,
        }
        for row in others
    ]
    return TriedOut(rows, behind, [str(letter.place) for letter in left_behind(letters, wanted)])


def prepared(settings: Settings, edit: dlq_edit.Edit) -> tuple[Selection, Rewrite]:
    """Return the selection of an edit's letter, and what is sent in place of its event.

    Raises:
        OpsError: with everything that is wrong with the event; or it is not the letter's.
    """
    letters, letter, stored = find(settings, edit.letter)
    [was] = decoded(settings, [stored])
    event = dlq_edit.edited(edit, letter, was)
    route = dlq_edit.route_of(INDEX, letters.topic, event)
    value = dlq_edit.framed(settings, route, event)

    def rewrite(stored: Stored) -> Resent:
        return dlq_edit.resent(stored, route, event, value)

    return Selection.of(letters.topic, [letter]), rewrite
