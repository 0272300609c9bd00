"""Books of lots: which lot goes first, kept in small records.

A book is a sorted list of keys in pages of bounded size, so that adding and removing a lot stores one page, however
many lots there are, and who takes from the first lots reads the first pages only. Stock keeps a book of its lots by
date and one by time of arrival (contracts 3.1), loyalty one of its point lots by expiry (contracts 3.3).

A book of one page is that page. A larger one has a directory too, with the pages in order and where each begins.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol

from tables.state import Record

PAGE = 32
"""Most keys of a page."""
FEW = 8
"""A page with fewer keys joins a neighbour that has room."""
ROOMY = 24

WIDTH = 15
"""Characters of a time in a key: hexadecimal microseconds, so that texts sort as the times do."""
NEVER = "f" * WIDTH
BEGINNING = datetime.min.replace(tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""Dates of lots lie before, so that time can be added to them."""
MICROSECOND = timedelta(microseconds=1)


class Records(Protocol):
    """The records that a book is kept in: a state with changes on top."""

    def get(self, name: str) -> Record | None:
        """Return a record, or None."""

    def put(self, name: str, record: Record | None) -> None:
        """Change a record; None deletes it."""


@lru_cache(maxsize=16_384)
def stamp(time: datetime | None) -> str:
    """Return a time as it stands in keys; None, which is never, comes after every time."""
    if time is None:
        return NEVER
    since = time - BEGINNING  # divided by a microsecond, it would take twice the time
    return f"{(since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds:015x}"


@lru_cache(maxsize=1024)
def page_name(book: str, number: int) -> str:
    """Return the name of a page."""
    return f"{book}|{number}"


@dataclass(frozen=True, slots=True)
class Book:
    """One book of an aggregate. All methods work on records given to them.

    Attributes:
        name: name of the directory, and ``<name>|<number>`` that of a page.
        times: how many times a key begins with.
        page: record type of a page, with the field ``keys``.
        directory: record type of the directory, with the fields ``pages`` and ``next``.
        entry: record type of the directory's pages, with the fields ``number`` and ``first``.
    """

    name: str
    times: int
    page: Callable[..., Any]
    directory: Callable[..., Any]
    entry: Callable[..., Any]

    def key(self, lot_id: str, *times: datetime | None) -> str:
        """Return the key of a lot: its times in the order of their weight, then its id. None comes last."""
        return "".join(map(stamp, times)) + lot_id

    def lot_id(self, key: str) -> str:
        """Return whose key it is."""
        return key[WIDTH * self.times :]

    def first(self, records: Records) -> str | None:
        """Return the first key, or None where the book is empty."""
        directory = records.get(self.name)
        page = records.get(page_name(self.name, 0 if directory is None else directory.pages[0].number))
        return None if page is None else str(page.keys[0])

    def walk(self, records: Records, start: str = "", *, reverse: bool = False) -> Iterator[str]:
        """Yield the keys from ``start`` on in order, or all of them backwards; pages are read when it is their turn.

        Nobody may change the book meanwhile.
        """
        directory = records.get(self.name)
        numbers = [0] if directory is None else [page.number for page in directory.pages]
        if reverse:
            for number in reversed(numbers):
                yield from reversed(self._keys(records, number))
            return
        if start and directory is not None:
            numbers = numbers[self._place(directory, start) :]
        for number in numbers:
            keys = self._keys(records, number)
            yield from keys[bisect_left(keys, start) :] if start else keys

    def ids(self, records: Records, start: str = "", *, reverse: bool = False) -> Iterator[str]:
        """Return whose keys ``walk`` yields."""
        return map(self.lot_id, self.walk(records, start, reverse=reverse))

    def insert(self, records: Records, key: str) -> None:
        """Add a key.

        Raises:
            ValueError: it is there already.
        """
        directory = records.get(self.name)
        place = 0 if directory is None else self._place(directory, key)
        number = 0 if directory is None else directory.pages[place].number
        keys = self._keys(records, number)
        index = bisect_left(keys, key)
        if index < len(keys) and keys[index] == key:
            raise ValueError(f"key {key!r} is in the book {self.name!r} already; rebuild the table")
        grown = (*keys[:index], key, *keys[index:])
        if len(grown) > PAGE:
            # What arrives last mostly comes last: then the full page stays full, and only the new one is written.
            cut = PAGE if index == len(keys) else PAGE // 2
            self._split(records, directory, place, grown, cut)
        else:
            records.put(page_name(self.name, number), self.page(keys=grown))

    def remove(self, records: Records, key: str) -> None:
        """Take a key out.

        Raises:
            ValueError: it is not there.
        """
        directory = records.get(self.name)
        place = 0 if directory is None else self._place(directory, key)
        number = 0 if directory is None else directory.pages[place].number
        keys = self._keys(records, number)
        index = bisect_left(keys, key)
        if index == len(keys) or keys[index] != key:
            raise ValueError(f"key {key!r} is not in the book {self.name!r}; rebuild the table")
        rest = keys[:index] + keys[index + 1 :]
        if directory is not None and len(rest) < FEW and len(directory.pages) > 1:
            self._join(records, directory, place, rest)
        elif rest:
            records.put(page_name(self.name, number), self.page(keys=rest))
        else:
            records.put(page_name(self.name, number), None)
            if directory is not None:
                records.put(self.name, None)

    def _keys(self, records: Records, number: int) -> tuple[str, ...]:
        page = records.get(page_name(self.name, number))
        return () if page is None else page.keys

    @staticmethod
    def _place(directory: Any, key: str) -> int:
        """Return the index of the page that holds a key, or would."""
        return max(bisect_right(directory.pages, key, key=_first) - 1, 0)

    def _split(self, records: Records, directory: Any, place: int, keys: tuple[str, ...], cut: int) -> None:
        if directory is None:
            directory = self.directory(pages=(self.entry(number=0, first=""),), next=1)
        pages, new = directory.pages, directory.next
        entry = self.entry(number=new, first=keys[cut])
        records.put(page_name(self.name, pages[place].number), self.page(keys=keys[:cut]))
        records.put(page_name(self.name, new), self.page(keys=keys[cut:]))
        grown = (*pages[: place + 1], entry, *pages[place + 1 :])
        records.put(self.name, self.directory(pages=grown, next=new + 1))

    def _join(self, records: Records, directory: Any, place: int, rest: tuple[str, ...]) -> None:
        """Store a page that has few keys left: with a neighbour's, where one page takes both, or not at all."""
        pages = directory.pages
        other = place - 1 if place else 1
        neighbour = self._keys(records, pages[other].number)
        if rest and len(rest) + len(neighbour) > ROOMY:
            records.put(page_name(self.name, pages[place].number), self.page(keys=rest))
            return
        if rest:
            both = neighbour + rest if place else rest + neighbour
            records.put(page_name(self.name, pages[min(place, other)].number), self.page(keys=both))
        gone = max(place, other) if rest else place
        records.put(page_name(self.name, pages[gone].number), None)
        shrunk = (*pages[:gone], *pages[gone + 1 :])
        records.put(self.name, self.directory(pages=shrunk, next=directory.next))


def _first(entry: Any) -> str:
    return str(entry.first)
