"""The parts that compiled readers and writers of Avro bodies are made of.

Nothing here knows a schema. Positions are offsets into the whole frame, so that no body is ever copied out of
it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, Rounded
from struct import unpack
from typing import TypeVar

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXACT = Context(prec=38, traps=[Inexact, Rounded, InvalidOperation, Overflow])
"""Arithmetic of ``decimal(38, n)``: what does not fit raises, nothing is rounded silently."""

WIDE = Context(prec=120, traps=[Inexact, Rounded, InvalidOperation, Overflow])
"""Room for shifting a decimal's point before it is rounded to its scale."""

REMEMBERED = 4096

K = TypeVar("K")
V = TypeVar("V")


class Malformed(ValueError):
    """The bytes are not a body of their schema."""


class Memory(dict[K, V]):
    """What was made of values that repeat, such as rates; looking up is 5 x faster than making it again.

    A full memory takes nothing new, because replacing costs more than it saves where most values are new. It is
    emptied once in a while, so that it follows what is being sold.
    """

    def __init__(self, make: Callable[[K], V]) -> None:
        super().__init__()
        self._make = make
        self._missed = 0

    def __missing__(self, value: K) -> V:
        made = self._make(value)
        if len(self) < REMEMBERED:
            self[value] = made
        else:
            self._missed += 1
            if self._missed > 50 * REMEMBERED:
                self._missed = 0
                self.clear()
        return made


def decimal_reader(scale: int) -> Callable[[bytes], Decimal]:
    """Return what makes decimals of one scale of their bytes."""
    unit = Decimal(1).scaleb(-scale)

    def read(body: bytes) -> Decimal:
        return EXACT.multiply(int.from_bytes(body, "big", signed=True), unit)

    return read


def long(body: bytes, at: int) -> tuple[int, int]:
    """Return the long that begins at ``at`` and the position after it."""
    value = shift = 0
    while shift < 64:
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise Malformed("a number is longer than 64 bits")


def span(body: bytes, at: int) -> tuple[int, int]:
    """Return where a string or bytes begins and ends whose length stands at ``at``."""
    size, at = long(body, at)
    end = at + size
    if size < 0 or end > len(body):
        raise Malformed("a length goes beyond the end")
    return at, end


def block(body: bytes, at: int) -> tuple[int, int]:
    """Return the number of items in the block of an array or map at ``at``, and where the items begin.

    Every item takes at least a byte, so a count above what is left is refused before anything is allocated
    for it.
    """
    count, at = long(body, at)
    if count < 0:
        count = -count
        _, at = long(body, at)
    if count > len(body) - at:
        raise Malformed("a count goes beyond the end")
    return count, at


def moment(body: bytes, at: int) -> tuple[datetime, int]:
    """Return the timestamp-micros at ``at`` and the position after it."""
    micros, at = long(body, at)
    try:
        return EPOCH + timedelta(microseconds=micros), at
    except OverflowError as error:
        raise Malformed("a timestamp is outside the years 1 to 9999") from error


def tables() -> tuple[tuple[int | None, ...], tuple[int | None, ...], tuple[int | None, ...]]:
    """Return the look-up tables for the four 16-bit words of an eight-byte timestamp.

    A word holds two groups of seven bits. None stands where the bytes do not have the shape that the fast
    reader takes (a positive number below 2**52 microseconds in exactly eight bytes), so that adding it up
    raises TypeError.
    """
    first: list[int | None] = [None] * 65536
    middle: list[int | None] = [None] * 65536
    last: list[int | None] = [None] * 65536
    for low in range(128):
        for high in range(128):
            value, more = low | high << 7, low | 128 | high << 8
            middle[more | 32768] = value
            if not low & 1:
                first[more | 32768] = value >> 1
            if 0 < high and value < 2048:
                last[more] = value
    return tuple(first), tuple(middle), tuple(last)


FIRST, MIDDLE, LAST = tables()


def upper_half(body: bytes) -> int:
    """Return what the last four of the eight bytes of a timestamp stand for: the same for two minutes.

    Raises:
        TypeError, struct.error: the bytes do not have the shape that the fast reader takes.
    """
    low, high = unpack("<2H", body)
    return MIDDLE[low] << 27 | LAST[high] << 41  # type: ignore[no-any-return]


STEP = tuple(size // 2 + 1 if size < 128 and not size & 1 else None for size in range(256))
"""First byte of a string to the distance to its end; None where the length takes more than that byte."""

DECIMALS = {scale: Memory(decimal_reader(scale)) for scale in range(39)}
BOOLEANS = {0: False, 1: True}
