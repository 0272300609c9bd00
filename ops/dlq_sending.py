"""Replays and discards: events go out and their letters are marked in one transaction, all or nothing.

The transactions of a topic have one id, so whoever begins takes the right to send from everybody who had it before. It
is taken before the markers are read: what another one has committed is seen, and what it has not will never be. So an
event is replayed once, however many people press the button and wherever a process dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ops.dlq_fold import Letters
from ops.dlq_letters import DISCARDED, OPEN, REPLAYED, Letter, Place, Stored, key_text
from ops.dlq_producer import Resent, Rewrite, Sender, home_of, original
from ops.dlq_reading import fetch, read_letters, source_topics
from ops.dlq_selection import Selection
from streams.settings import Settings

CHUNK = 500
CHUNK_BYTES = 8 * 1024 * 1024
"""A transaction holds back the readers of its partitions, so each is short."""
SENT, SKIPPED, GONE = "sent", "skipped", "gone"


@dataclass(frozen=True, slots=True)
class Row:
    """What was done with a letter.

    Attributes:
        result: ``sent``, ``discarded``, ``skipped`` (it was resolved before) or ``gone`` (retention has removed it).
        detail: where it went, or what had become of it.
    """

    letter: str
    origin: str
    key: str
    result: str
    detail: str


def resolve(
    settings: Settings,
    selection: Selection,
    how: str,
    *,
    again: bool = False,
    rewrite: Rewrite = original,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Row]:
    """Replay or discard the letters of a selection that are open; return what was done with each.

    Args:
        settings: of the cluster.
        selection: which letters.
        how: ``replayed`` or ``discarded``.
        again: also those that were resolved before.
        rewrite: what is sent of a letter that is replayed.
        progress: told how many letters are done.

    Raises:
        OpsError: nothing, or only the letters before some one, were done; run again, it does the rest.
    """
    source_topics(settings, selection.topic)
    with Sender(settings, selection.topic) as sender:
        letters = read_letters(settings, [selection.topic])[selection.topic]
        wanted, rows = sorted_out(selection, letters, again=again)
        progress(len(rows))
        for chunk in chunks(wanted):
            found = fetch(settings, [letter.place for letter in chunk])
            steps: list[tuple[Stored, Resent | None, int]] = []
            for letter in chunk:
                stored = found.get(letter.place)
                if stored is None:
                    rows.append(_row(letter, GONE, "retention has removed it"))
                    continue
                resent = rewrite(stored) if how == REPLAYED else None
                number = home_of(resent.key, stored, settings.partitions) if resent is not None else -1
                steps.append((stored, resent, number))
                detail = f"{selection.topic}[{number}]" if resent is not None else ""
                rows.append(_row(letter, SENT if resent is not None else DISCARDED, detail))
            sender.send(steps, selection.name, how)
            progress(len(rows))
    return rows


def sorted_out(selection: Selection, letters: Letters, *, again: bool) -> tuple[list[Letter], list[Row]]:
    """Return the letters of a selection that are to be resolved, in order, and a row for each of the others.

    Raises:
        OpsError: other letters are in their places.
    """
    rows: list[Row] = []
    wanted: set[Place] = set()
    for picked, letter in selection.found_in(letters):
        if letter is None:
            place = str(selection.place(picked))
            rows.append(Row(place, picked.origin, "", GONE, "retention has removed it"))
        elif letters.state(letter) == OPEN or again:
            wanted.add(letter.place)
        else:
            done = letters.resolutions(letter)[-1]
            rows.append(_row(letter, SKIPPED, f"{done.how} {done.at:%Y-%m-%d %H:%M:%S} UTC"))
    return [letter for letter in letters.in_order() if letter.place in wanted], rows


def chunks(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """Cut letters into what one transaction sends."""
    chunk: list[Letter] = []
    size = 0
    for letter in letters:
        if chunk and (len(chunk) == CHUNK or size + letter.size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(letter)
        size += letter.size
    if chunk:
        yield chunk


def _row(letter: Letter, result: str, detail: str) -> Row:
    return Row(str(letter.place), letter.origin, key_text(letter.key), result, detail)
