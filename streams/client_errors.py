"""What a client says when it cannot do what it was asked: each with the cause and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ClientError(Exception):
    """Something did not work; the text says why and what to do."""


class Invalid(ClientError):
    """Events cannot be sent as they are. Nothing was sent.

    Attributes:
        errors: everything that is wrong: the event's place in the list and one thing about it, such as a field.
    """

    def __init__(self, errors: Sequence[tuple[int, str]]) -> None:
        self.errors = tuple(errors)
        text = "; ".join(f"event {place}: {reason}" for place, reason in self.errors)
        super().__init__(f"nothing was sent; correct {text}")


class NotSent(ClientError):
    """The broker or the registry did not do its part.

    Attributes:
        uncertain: whether the events may arrive all the same. Sent again under the same ids they count once.
    """

    def __init__(self, message: str, *, uncertain: bool = False) -> None:
        super().__init__(message)
        self.uncertain = uncertain


class RequestTimeout(ClientError):
    """A command was sent, and no reply came in time. It may be applied, or be applied later.

    Attributes:
        event_id: the command's id; repeated under it, the command is answered with its first result.
        correlation_id: what all records of the request have in common.
    """

    def __init__(self, kind: str, seconds: float, event_id: str, correlation_id: str, app_id: str) -> None:
        super().__init__(
            f"no reply to {kind} within {seconds:g} s (correlation id {correlation_id}); the command may be applied "
            f"all the same. See that workers of {app_id} run and keep up, then repeat it under its event id {event_id} "
            "to learn its result"
        )
        self.event_id = event_id
        self.correlation_id = correlation_id


class UnreadableReply(ClientError):
    """A reply came and holds what this program does not know. The command was handled."""


class Closed(ClientError):
    """The client was closed.

    Attributes:
        sent: whether the command had been sent, and its reply was awaited.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class Rejected(ClientError):
    """A rule refused a command: a typed client has no other way to say so.

    Attributes:
        code: the reason, such as INSUFFICIENT_STOCK.
        message: cause and remedy.
        fact: the refusal as it was published.
    """

    def __init__(self, code: str, message: str, fact: Any = None) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.fact = fact


class Failed(ClientError):
    """A command became a dead letter.

    Attributes:
        code: why, such as DUPLICATE_CONFLICT.
        message: cause and remedy.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
