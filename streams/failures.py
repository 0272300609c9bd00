"""What a failure means, in one place: poison, retryable or fatal; when to retry; what a dead letter says.

Poison goes to ``<topic>.dlq`` at once, a retryable failure parks its key and is tried again, a fatal one
stops the worker. Nothing here does I/O, and no text made here holds a key or value of an event (contracts
3.0, field study 1.5).
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from random import Random
from typing import Literal

from streams.times import time_of

Kind = Literal["poison", "retryable", "fatal"]
Headers = Sequence[tuple[str, bytes | None]]

RETRYABLE_CODES = frozenset({"TIMEOUT", "RATE_LIMIT", "TEMPORARY_FAILURE"})
"""003-32; every other code is final."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an event was not processed.

    Attributes:
        kind: poison, retryable or fatal.
        code: a code of contracts 3.0.
        message: the cause, without anything of the event's key or value.
        retry_after_ms: the earliest retry that the cause asked for.
        patient: retried for as long as it lasts, whatever the retry policy says: the cause is an outage, not the event.
        exception: class name of the exception, for the dead letter.
        stacktrace: where it was raised; file names and lines only.
    """

    kind: Kind
    code: str
    message: str
    retry_after_ms: int | None = None
    patient: bool = False
    exception: str = ""
    stacktrace: str = ""


class ClassifiedError(Exception):
    """An exception that says itself what it means. Its message holds nothing of an event's key or value."""

    kind: Kind = "poison"
    code = "VALIDATION_FAILED"

    def __init__(self, message: str, *, code: str | None = None, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.retry_after_ms = retry_after_ms


class PoisonFailure(ClassifiedError):
    """The event can never be processed."""


class RetryableFailure(ClassifiedError):
    """The same event may go through later."""

    kind: Kind = "retryable"
    code = "TEMPORARY_FAILURE"


class FatalFailure(ClassifiedError):
    """The worker cannot go on: whatever it did next could be wrong. It exits and is started again."""

    kind: Kind = "fatal"
    code = "INVARIANT_VIOLATION"


def classify(error: BaseException) -> Failure:
    """Return what an exception raised while an event was processed means.

    Rules are pure, so an exception they raise is raised again by every retry: it is poison. Only what waits
    for the outside world (time-outs, connections) is retryable. What concerns the process (memory, the
    interpreter) is fatal.
    """
    name = type(error).__name__
    if isinstance(error, ClassifiedError):
        found = Failure(error.kind, error.code, str(error), error.retry_after_ms)
    elif isinstance(error, TimeoutError):
        found = Failure("retryable", "TIMEOUT", "no answer in time")
    elif isinstance(error, ConnectionError):
        found = Failure("retryable", "TEMPORARY_FAILURE", f"a connection failed ({name})")
    elif isinstance(error, (MemoryError, SystemError)) or not isinstance(error, Exception):
        found = Failure("fatal", "INVARIANT_VIOLATION", f"the process itself is in trouble ({name})")
    elif isinstance(error, (ValueError, ArithmeticError)):
        found = Failure("poison", "VALIDATION_FAILED", f"the rules cannot take this event ({name})")
    else:
        found = Failure(
            "poison", "INVARIANT_VIOLATION", f"the rules failed on this event ({name}); this is a defect"
        )
    full_name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    return replace(found, exception=full_name, stacktrace=stack_of(error))


def stack_of(error: BaseException) -> str:
    """Return where an exception was raised, without the values that its text or the source line may show.

    The pipeline's own frames are left out: it takes a key that it has just met another way than one it knows, and
    a replay must write the same bytes.
    """
    frames = traceback.extract_tb(error.__traceback__)
    shown = [frame for frame in frames if not frame.filename.endswith("/streams/partition.py")]
    return "\n".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in shown)


class RetryStrategy(Enum):
    """How the delay grows (001-15)."""

    NONE = "none"
    FIXED_DELAY = "fixed_delay"
    EXPONENTIAL_BACKOFF = "exponential_backoff"
    LINEAR_BACKOFF = "linear_backoff"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a retryable failure is tried again (001-16).

    Attributes:
        strategy: how the delay grows.
        max_attempts: attempts in all, the first one included.
        initial_delay_seconds: before the second attempt.
        max_delay_seconds: cap of every delay; None: no cap.
        backoff_multiplier: growth of the exponential strategy.
        jitter: shorten each delay by up to half, so that events that failed together do not come back
            together.
    """

    strategy: RetryStrategy = RetryStrategy.EXPONENTIAL_BACKOFF
    max_attempts: int = 3
    initial_delay_seconds: float = 1.0
    max_delay_seconds: float | None = None
    backoff_multiplier: float = 2.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or self.initial_delay_seconds < 0 or self.backoff_multiplier < 1:
            raise ValueError("a retry policy needs max_attempts >= 1, initial delay >= 0 and multiplier >= 1")

    @classmethod
    def default(cls) -> RetryPolicy:
        """001-17: exponential, 3 attempts, 1 s, at most 60 s."""
        return cls(max_delay_seconds=60.0)

    @classmethod
    def no_retry(cls) -> RetryPolicy:
        """001-18: one attempt."""
        return cls(RetryStrategy.NONE, max_attempts=1, initial_delay_seconds=0.0)

    @classmethod
    def aggressive_retry(cls) -> RetryPolicy:
        """001-19: exponential, 5 attempts, 1 s, at most 300 s."""
        return cls(max_attempts=5, max_delay_seconds=300.0)

    @classmethod
    def events(cls) -> RetryPolicy:
        """003-31: exponential, 3 attempts, 1 s, at most 30 s."""
        return cls(max_delay_seconds=30.0)

    def exhausted(self, attempts: int) -> bool:
        """Return whether no attempt follows after ``attempts`` of them."""
        return attempts >= self.max_attempts or self.strategy is RetryStrategy.NONE

    def delay(self, attempt: int, seed: str | None = None) -> float:
        """Return the seconds to wait after failed attempt number ``attempt`` (the first is 1).

        Args:
            attempt: number of the attempt that failed.
            seed: with the same seed and attempt the delay is the same, so that a replay waits as long as the
                run it repeats; None draws a fresh one.
        """
        delay = self._planned(max(1, attempt))
        if not self.jitter or delay == 0:
            return delay
        if seed is None:
            return delay * Random().uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        digest = hashlib.sha256(f"{seed}#{attempt}".encode()).digest()
        return delay * (0.5 + int.from_bytes(digest[:6], "big") / (1 << 49))

    def _planned(self, attempt: int) -> float:
        if self.strategy is RetryStrategy.NONE:
            return 0.0
        delay = self.initial_delay_seconds
        if self.strategy is RetryStrategy.LINEAR_BACKOFF:
            delay *= attempt
        elif self.strategy is RetryStrategy.EXPONENTIAL_BACKOFF:
            # The exponent is bounded because a float overflows at attempt 1025.
            delay *= self.backoff_multiplier ** min(attempt - 1, 64)
        return delay if self.max_delay_seconds is None else min(delay, self.max_delay_seconds)


POLICIES = {
    "default": RetryPolicy.default(),
    "no_retry": RetryPolicy.no_retry(),
    "aggressive": RetryPolicy.aggressive_retry(),
    "events": RetryPolicy.events(),
}
"""The policies by the name that settings use."""


def dead_letter_headers(
    original: Headers,
    failure: Failure,
    *,
    topic: str,
    partition: int,
    offset: int,
    attempts: int,
    timestamp_ms: int,
    consumer_group: str,
    agent: str,
    first_failure: datetime | None = None,
    stacktrace: bool = True,
) -> list[tuple[str, bytes | None]]:
    """Return the headers of a dead letter: the original ones byte for byte, then what happened.

    The names ``__streams.errors.*`` are those of Kafka Streams (KIP-1034), with text for every value, so that
    tools for its dead letters read ours. An event that was dead-lettered before keeps both sets; the later
    one counts.

    Args:
        original: the event's headers.
        failure: why it is dead.
        topic, partition, offset: where the event is.
        attempts: attempts made.
        timestamp_ms: the event's timestamp in its topic, which stands in for ``first_failure`` where that is
            None, so that a replay writes the same bytes.
        consumer_group, agent: who gave up.
        first_failure: when the first attempt failed.
        stacktrace: add where the exception was raised.
    """
    first = first_failure or time_of(timestamp_ms)
    texts = {
        "__streams.errors.exception": failure.exception or failure.code,
        "__streams.errors.message": failure.message,
        "__streams.errors.topic": topic,
        "__streams.errors.partition": str(partition),
        "__streams.errors.offset": str(offset),
        "sluice.dlq.reason": failure.code,
        "sluice.dlq.attempts": str(attempts),
        "sluice.dlq.first-failure": first.isoformat(),
        "sluice.dlq.consumer-group": consumer_group,
        "sluice.dlq.agent": agent,
        "sluice.dlq.id": f"{topic}/{partition}/{offset}",
    }
    if stacktrace and failure.stacktrace:
        texts["__streams.errors.stacktrace"] = failure.stacktrace
    return [*original, *((name, text.encode()) for name, text in texts.items())]
