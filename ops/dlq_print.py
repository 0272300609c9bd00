"""Dead letters and dry runs as a person reads them on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from ops import console

MOST_BYTES = 2_048
"""Bytes of an event that cannot be decoded; JSON has all."""

COLOURS = {"done": "green", "duplicate": "cyan", "skipped": "cyan", "gone": "cyan", "parked": "yellow"}


def print_letter(found: Mapping[str, Any]) -> None:
    """Print everything about one letter."""
    for name in (
        "letter",
        "origin",
        "state",
        "key",
        "event_type",
        "event_id",
        "at",
        "attempts",
        "first_failure",
    ):
        line(f"{name.replace('_', ' '):14} ", found[name])
    line("reason         ", f"{found['reason']}: {found['message']}", "red")
    line("given up by    ", f"{found['agent']} of {found['consumer_group']}")
    for title in ("exception", "stacktrace"):
        if found[title]:
            line(f"{title:14} ", found[title].replace("\n", "\n" + " " * 15))
    for each in found["history"]:
        line("history        ", each)
    for header in found["headers"]:
        line("header         ", f"{header['name']}: {header['value']}")
    if found["record"] is not None:
        line("record         ", found["record"])
        console.out.print(Text(json.dumps(found["event"], indent=2, ensure_ascii=False)))
    else:
        line("not decodable  ", found["undecodable"])
        for each in dump(bytes.fromhex(found["hex"])):
            console.out.print(Text(each))


def line(name: str, value: Any, colour: str = "") -> None:
    """Print a name and its value, which may hold anything."""
    console.out.print(Text.assemble((name, "bold"), (str(value), colour)), soft_wrap=True)


def dump(value: bytes) -> Iterator[str]:
    """Yield the lines of a hexadecimal dump."""
    for start in range(0, min(len(value), MOST_BYTES), 16):
        part = value[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{start:06x}  {part.hex(' '):47}  {text}"
    if len(value) > MOST_BYTES:
        yield f"... {len(value) - MOST_BYTES} more bytes; --json has all"


def print_foreseen(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what would come of each event: its outcome, what it publishes and what it changes."""
    for row in rows:
        colour = COLOURS.get(row["outcome"], "red")
        why = ": ".join(text for text in (row.get("code", ""), row["message"]) if text)
        title = [(f"{row['letter']}  ", "bold"), (f"{row['key']}  ", ""), (row["outcome"], colour)]
        console.out.print(Text.assemble(*title, ("  " + why if why else "", "")), soft_wrap=True)
        for each in effects(row):
            console.out.print(Text(f"    {each}"), soft_wrap=True)


def effects(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for all that an event would publish and change."""
    for fact in row.get("facts", ()):
        where = f"{fact['topic']}[{fact['partition']}]"
        yield f"→ {where} {fact['record'].rpartition('.')[2]} {compact(fact['event'])}"
    if row.get("dead_letter"):
        yield f"→ a dead letter: {row['dead_letter']}"
    for change in row.get("changes", ()):
        yield f"~ {change['kind']} {change['name']}: {difference(change['before'], change['after'])}"
    for timer in row.get("timers", ()):
        yield f"~ timer of {timer['name']}: {timer['due'] or 'none any more'}"


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """Return what changes of a record's fields."""
    if after is None:
        return "removed"
    if before is None:
        return f"new {compact(after)}"
    names = [name for name in after if before.get(name) != after[name]]
    return ", ".join(f"{name} {compact(before.get(name))} → {compact(after[name])}" for name in names)


def compact(value: Any) -> str:
    """Return a value as JSON on one line; fields that are null are left out."""
    if isinstance(value, Mapping):
        value = {name: part for name, part in value.items() if part is not None}
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
