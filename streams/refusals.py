"""Why the pipeline does not apply an event: what its dead letter and its reply say."""

from __future__ import annotations

from typing import Any

from streams.codec import NeedsSchema, Undecodable
from streams.failures import Failure, Kind


def unroutable(event: Any, topic: str) -> Failure:
    """Return why an event of a topic has no route: it could not be decoded, or nobody answers its type."""
    if isinstance(event, NeedsSchema):
        message = f"schema {event.schema_id} is not known here and the registry cannot be asked"
        return Failure("retryable", "TEMPORARY_FAILURE", message, patient=True)
    if isinstance(event, Undecodable):
        kind: Kind = "retryable" if event.retryable else "poison"
        return Failure(kind, event.code, event.message, patient=event.retryable)
    return Failure("poison", "UNKNOWN_RECORD", f"{type(event).__name__} is not an event of topic {topic}")


def bad_key(key: bytes | None) -> Failure:
    """Return what is wrong with a key that no aggregate can have."""
    if not key:
        return Failure("poison", "MISSING_KEY", "the record has no key; key it by its aggregate")
    return Failure("poison", "VALIDATION_FAILED", "the record's key contains a NUL byte")


def refusal(code: str) -> Failure:
    """Return the failure of an event that a rule refused, and that is a dead letter as well."""
    return Failure("poison", code, "the event was refused; see the rejected event with its causation id")


KEY_MISMATCH = Failure("poison", "KEY_MISMATCH", "the record's key is not the key of its event's aggregate")
OVERSIZED = Failure("poison", "OVERSIZED", "the event is larger than SLUICE_MAX_EVENT_BYTES")
CONFLICT = Failure("poison", "DUPLICATE_CONFLICT", "another event was applied under the same event id")
LOST = Failure(
    "poison", "KEY_MISMATCH", "a rerouted record arrived in a wrong partition again; did the count change?"
)
FOLLOWING = Failure("retryable", "SEQUENCE_PARKED", "an earlier event of its key waits")
TOO_MANY_PARKED = Failure("poison", "SEQUENCE_PARKED", "too many events wait for this key")
