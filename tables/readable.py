"""What people read: decimals and times as text, and what is wrong with a view's parameter."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal


class QueryError(ValueError):
    """A parameter of a view cannot be used.

    Attributes:
        field: the parameter.
        reason: cause and remedy.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def text(number: Decimal) -> str:
    """Return a decimal as people write it: no exponent, no trailing zeros."""
    plain = format(number, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("", "-0") else plain


def iso(time: datetime | None) -> str | None:
    """Return a time as the views write it: ISO 8601 in UTC with a Z."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
