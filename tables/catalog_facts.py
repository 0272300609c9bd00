"""What the rules of the catalogue answer with: facts that are folded, refusals, and what names a version."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from streams.events import CatalogCommandRejected
from tables.facts import caused_by
from tables.state import Record

VALIDATION_FAILED = "VALIDATION_FAILED"
NOT_FOUND = "NOT_FOUND"
CONFLICT = "CONFLICT"
VERSION_CONFLICT = "VERSION_CONFLICT"
EXHAUSTED = "EXHAUSTED"
NOT_IN_FORCE = "NOT_IN_FORCE"

LONGEST_ID = 200
PRIME = 2**127 - 1


class Assigned(NamedTuple):
    """Records got new values."""

    records: dict[str, Record | None]


class Problem(NamedTuple):
    """Why something is refused.

    Attributes:
        code: reason code, such as NOT_FOUND.
        message: cause and remedy.
    """

    code: str
    message: str


def rejected(event: Any, at: datetime, code: str, message: str) -> CatalogCommandRejected:
    """Return the refusal of a command; it names the aggregate that the command was for."""
    ids = {name: getattr(event, name, "") for name in ("request_id", "benefit_id", "product_id")}
    if ids["request_id"]:
        ids["product_id"] = ""
    return CatalogCommandRejected(
        timestamp=at,
        tenant_id=event.tenant_id,
        rejected_event_id=event.event_id,
        rejected_type=event.TYPE,
        reason_code=code,
        message=message,
        envelope=caused_by(event),
        **ids,
    )


def id_problem(**ids: str) -> Problem | None:
    """Return what is wrong with the ids of a command, by name, or None."""
    for name, value in ids.items():
        if not 0 < len(value) <= LONGEST_ID:
            return Problem(VALIDATION_FAILED, f"{name} has 1 to {LONGEST_ID} characters")
    return None


def version_problem(expected: int | None, version: int) -> Problem | None:
    """Return the conflict of a command that was decided on another version, or None."""
    if expected is None or expected == version:
        return None
    message = f"the version is {version}, not {expected}; read it again and decide anew"
    return Problem(VERSION_CONFLICT, message)


def window_problem(start: datetime, end: datetime | None) -> Problem | None:
    """Return what is wrong with a time span, or None."""
    if end is None or start < end:
        return None
    return Problem(VALIDATION_FAILED, "effective_to does not lie after effective_from")


def holds(start: datetime, end: datetime | None, at: datetime) -> bool:
    """Return whether ``at`` lies in a time span, whose end is not part of it."""
    return start <= at and (end is None or at < end)


def name_of(parts: Iterable[str]) -> str:
    """Return a short name for a set of texts: the same for the same set, another for another one.

    It is their residue by a large prime. Nobody gains by making two sets meet: it guards nothing.
    """
    text = "\n".join(sorted(parts))
    return format(int.from_bytes(b"\x01" + text.encode(), "big") % PRIME, "032x")
