"""Why a command about a customer is refused, and the checks that many commands have in common (contracts 3.3)."""

from __future__ import annotations

from typing import Any

from streams.events import CustomerHead

VALIDATION_FAILED = "VALIDATION_FAILED"
NOT_FOUND = "NOT_FOUND"
CONFLICT = "CONFLICT"
DUPLICATE_CONFLICT = "DUPLICATE_CONFLICT"
VERSION_CONFLICT = "VERSION_CONFLICT"
INSUFFICIENT_POINTS = "INSUFFICIENT_POINTS"
TOO_MANY_LOTS = "TOO_MANY_LOTS"
CUSTOMER_BLOCKED = "CUSTOMER_BLOCKED"
CUSTOMER_DELETED = "CUSTOMER_DELETED"
ALREADY_REVERSED = "ALREADY_REVERSED"
EXCEEDS_ORIGINAL = "EXCEEDS_ORIGINAL"
HOLD_ENDED = "HOLD_ENDED"

REPEATED = "another transaction or hold has this id; choose a new one"
UNKNOWN_CUSTOMER = "there is no such customer; make one first"

MAX_ID = 200
MAX_TEXT = 500
MAX_POINTS = 10**12
"""Most points of one transaction; a million of them make the most a customer can earn."""
MAX_TOTAL = 10**18
"""Most points that a customer can earn in a life: totals stay within 64 bits."""


class Refused(Exception):
    """A command is refused. Whoever raises it gives up the account with all its changes.

    Attributes:
        code: reason code.
        message: cause and remedy.
        balance: points that can be spent, where that is the reason.
        shortfall: points that are missing.
    """

    def __init__(self, code: str, message: str, balance: int | None = None, shortfall: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.balance = balance
        self.shortfall = shortfall


def check_open(head: CustomerHead) -> None:
    """Raise ``Refused`` where a customer may neither earn nor spend."""
    if head.status == "DELETED":
        raise Refused(CUSTOMER_DELETED, "the customer is deleted; points only expire")
    if head.status != "ACTIVE":
        raise Refused(CUSTOMER_BLOCKED, "the customer is blocked; set the status to ACTIVE first")


def check_version(head: CustomerHead | None, event: Any) -> None:
    """Raise ``Refused`` where a command expects another version of the customer; an unknown one has version 0."""
    version = 0 if head is None else head.version
    if event.expected_version is not None and event.expected_version != version:
        raise Refused(VERSION_CONFLICT, f"the customer has version {version}; read it again and decide anew")


def check_id(name: str, value: str) -> None:
    """Raise ``Refused`` where a transaction or hold cannot have this id."""
    if not 0 < len(value) <= MAX_ID:
        raise Refused(VALIDATION_FAILED, f"{name} has 1 to {MAX_ID} characters")


def check_text(*texts: str | None) -> None:
    """Raise ``Refused`` where a reason or reference is too long to be kept."""
    for text in texts:
        if text is not None and len(text) > MAX_TEXT:
            raise Refused(VALIDATION_FAILED, f"reason and reference have at most {MAX_TEXT} characters")


def check_points(points: int | None) -> None:
    """Raise ``Refused`` where a number of points, if there is one, is not positive."""
    if points is not None and not 0 < points <= MAX_POINTS:
        raise Refused(VALIDATION_FAILED, f"points are 1 to {MAX_POINTS}")
