"""The one exception of `ops`: what went wrong and what a person does about it."""

from __future__ import annotations

from collections.abc import Sequence


class OpsError(Exception):
    """A command cannot go on.

    Attributes:
        cause: what is wrong, as a sentence.
        remedy: what to do about it, as a sentence.
    """

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause} {remedy}")
        self.cause = cause
        self.remedy = remedy


class Invalid(OpsError):
    """What was given is wrong.

    Attributes:
        details: each field that is wrong, and why.
    """

    def __init__(self, cause: str, remedy: str, details: Sequence[tuple[str, str]] = ()) -> None:
        listed = "".join(f"\n{field}: {reason}" for field, reason in details)
        super().__init__(f"{cause}{listed}", remedy)
        self.details = list(details)


class NotThere(OpsError):
    """What was named does not exist, or no longer."""


class Outdated(OpsError):
    """What was asked for does not fit what there is by now."""
