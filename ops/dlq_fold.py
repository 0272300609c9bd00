"""All letters of a topic with what became of them, and in which order they go again.

A worker that dies may write a dead letter twice, and so does ``sluice reset``: what has the same origin and the same
bytes is one letter, and a marker of one is a marker of both.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ops.dlq_letters import (
    EDITED,
    LETTER,
    OPEN,
    ORIGIN,
    RESOLVED,
    SELECTION,
    Letter,
    Stored,
    key_text,
    letter_of,
    place_of,
    text_of,
)
from streams.times import time_of

Identity = tuple[str, str]
"""Origin and digest of a letter."""


class Resolution(NamedTuple):
    """What became of a letter: how, when, with which selection, and whether the event was edited before."""

    how: str
    at: datetime
    selection: str
    edited: bool


class Letters:
    """All letters of a topic, with what became of them. Feed it every record of the dead letter topic, from the first.

    Attributes:
        topic: the topic of the events, without ``.dlq``.
        next: by partition, the offset after the last record that was taken in.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.next: dict[int, int] = {}
        self._letters: dict[Identity, Letter] = {}
        self._at: dict[tuple[int, int], Identity] = {}
        self._resolutions: dict[Identity, list[Resolution]] = {}

    def __len__(self) -> int:
        return len(self._letters)

    def take(self, stored: Stored) -> None:
        """Take in a record; those of one partition in the order of their offsets."""
        self.next[stored.place.partition] = stored.place.offset + 1
        how = text_of(stored.headers, RESOLVED)
        if how is not None and text_of(stored.headers, ORIGIN) is None:
            self._mark(stored, how)
            return
        letter = letter_of(stored)
        identity = (letter.origin, letter.digest)
        self._letters.setdefault(identity, letter)
        self._at[stored.place.partition, stored.place.offset] = identity

    def _mark(self, stored: Stored, how: str) -> None:
        headers = stored.headers
        try:
            place = place_of(text_of(headers, LETTER) or "")
        except ValueError:
            return  # nobody of ours wrote this
        identity = self._at.get((place.partition, place.offset))
        if identity is None:
            return  # retention has removed the letter
        selection, edited = text_of(headers, SELECTION) or "", text_of(headers, EDITED) is not None
        done = Resolution(how, time_of(stored.timestamp), selection, edited)
        self._resolutions.setdefault(identity, []).append(done)

    def forget(self, partition: int, offset: int) -> None:
        """Drop the letters of a partition before an offset: retention has removed them."""
        gone = [
            identity
            for identity, letter in self._letters.items()
            if letter.place.partition == partition and letter.place.offset < offset
        ]
        for identity in gone:
            del self._letters[identity]
            self._resolutions.pop(identity, None)

    def at(self, partition: int, offset: int) -> Letter | None:
        """Return the letter at a place, or None where there is none."""
        identity = self._at.get((partition, offset))
        return None if identity is None else self._letters.get(identity)

    def of_origin(self, origin: str) -> list[Letter]:
        """Return the letters of the event that was at ``origin``."""
        return [letter for (text, _), letter in self._letters.items() if text == origin]

    def resolutions(self, letter: Letter) -> Sequence[Resolution]:
        """Return what became of a letter, the latest last."""
        return self._resolutions.get((letter.origin, letter.digest), ())

    def state(self, letter: Letter) -> str:
        """Return whether a letter is open, replayed or discarded."""
        done = self.resolutions(letter)
        return done[-1].how if done else OPEN

    def in_order(self) -> list[Letter]:
        """Return the letters as they may be sent: those of a partition by offset, partitions merged by time.

        The letters of one key are in one partition, save those that producers had sent to a wrong one.
        """
        partitions: dict[int, list[Letter]] = {}
        for letter in self._letters.values():
            partitions.setdefault(letter.place.partition, []).append(letter)
        for each in partitions.values():
            each.sort(key=lambda letter: letter.place.offset)
        return list(
            heapq.merge(*(each for _, each in sorted(partitions.items())), key=lambda letter: letter.at)
        )


@dataclass(frozen=True, slots=True)
class Query:
    """Which letters are wanted.

    Attributes:
        reason: only those with this code.
        key: only those of this key, as ``key_text`` gives it.
        since: only those written at this time or later.
        resolved: also those that were replayed or discarded.
    """

    reason: str | None = None
    key: str | None = None
    since: datetime | None = None
    resolved: bool = False

    def wants(self, letter: Letter, state: str) -> bool:
        """Return whether a letter is one of them."""
        return (
            (self.resolved or state == OPEN)
            and (self.reason is None or letter.reason == self.reason)
            and (self.key is None or key_text(letter.key) == self.key)
            and (self.since is None or letter.at >= self.since)
        )


def matching(letters: Letters, query: Query) -> list[Letter]:
    """Return the letters that a query wants, in order."""
    return [letter for letter in letters.in_order() if query.wants(letter, letters.state(letter))]


def left_behind(letters: Letters, chosen: Iterable[Letter]) -> list[Letter]:
    """Return the open letters that are not chosen, though a later one of their key is."""
    wanted = {letter.place for letter in chosen}
    found: list[Letter] = []
    waiting: dict[bytes | None, list[Letter]] = {}
    for letter in letters.in_order():
        if letter.place in wanted:
            found += waiting.pop(letter.key, ())
        elif letter.key and letters.state(letter) == OPEN:
            waiting.setdefault(letter.key, []).append(letter)
    return found
