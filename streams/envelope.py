"""What travels in a record's headers: CloudEvents in binary mode, and ids that a replay makes again.

Names are those of the CloudEvents Kafka binding (``ce_*``; contracts 3.0, F18). The value stays an Avro
frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID, uuid5

try:
    # The interpreter's own: hashlib's goes through OpenSSL, which takes twice as long for so few bytes.
    from _sha1 import sha1  # type: ignore[import-not-found]
except ImportError:
    from hashlib import sha1

Headers = Sequence[tuple[str, bytes | None]]

NAMESPACE = uuid5(UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8"), "urn:sluice:derived")
"""Namespace of derived ids (under the standard URL namespace). Changing it changes every derived id."""

_SEED = sha1(NAMESPACE.bytes, usedforsecurity=False)


def derived_id(topic: str, partition: int, offset: int, index: int | str) -> str:
    """Return the id of output number ``index`` of the event at these coordinates.

    The same as ``str(uuid5(NAMESPACE, "topic/partition/offset/index"))`` at a third of the time: a replay
    decides the same outputs and gives them the same ids, so consumers drop what they have seen.
    """
    digest = _SEED.copy()
    digest.update(f"{topic}/{partition}/{offset}/{index}".encode())
    text = digest.hexdigest()
    # Version 5 in the 13th digit, and 10 in the two upper bits of the 17th: RFC 4122.
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def trace_headers(headers: Headers) -> list[tuple[str, bytes]]:
    """Return the W3C trace headers among ``headers``, to be passed on as they are."""
    return [(name, value) for name, value in headers if name in ("traceparent", "tracestate") and value]


def deprecation_headers(struct: type) -> list[tuple[str, str]]:
    """Return what events of a deprecated record say of it: since when, and the type to use (contracts 000-16)."""
    deprecated: tuple[str, str] | None = getattr(struct, "DEPRECATED", None)
    return list(zip(("ce_deprecated", "ce_successor"), deprecated or (), strict=False))


def time_text(time: datetime) -> bytes:
    """Return ``time.isoformat()``, of a time in UTC at a third of the 0.8 us: the text of its second is remembered."""
    if time.tzinfo is not UTC or not time.microsecond:
        return time.isoformat().encode()
    since = time - _EPOCH
    return b"%b.%06d+00:00" % (_second(since.days, since.seconds), since.microseconds)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1024)
def _second(days: int, seconds: int) -> bytes:
    return (_EPOCH + timedelta(days, seconds)).replace(tzinfo=None).isoformat().encode()


CeHeaders = Callable[..., list[tuple[str, bytes]]]


def ce_headers(struct: type, source: str, schema_id: int | None = None) -> CeHeaders:
    """Return the function that makes the headers of one record type; made once, called for every event.

    Args:
        struct: an event's generated type; its ``TYPE`` is the ``ce_type`` unless a call names another.
        source: ``ce_source``, who publishes.
        schema_id: the id in the frame, for ``ce_dataschema``.

    The function is ``(event_id, time, key, tenant_id, *, event_type="", correlation_id="", causation_id="",
    trace=())`` with the key as bytes.
    """
    static = [
        ("ce_specversion", b"1.0"),
        ("content-type", b"application/avro"),
        ("ce_source", source.encode()),
    ]
    if schema_id is not None:
        static.append(("ce_dataschema", f"urn:sluice:schema:{schema_id}".encode()))
    static += [(name, value.encode()) for name, value in deprecation_headers(struct)]
    default_type: bytes = struct.TYPE.encode()  # type: ignore[attr-defined]
    static_and_type = (*static, ("ce_type", default_type))

    last_time: datetime | None = None
    ce_time = ("ce_time", b"")

    def make(
        event_id: str,
        time: datetime,
        key: bytes,
        tenant_id: str,
        event_type: str = "",
        correlation_id: str = "",
        causation_id: str = "",
        trace: Iterable[tuple[str, bytes]] = (),
    ) -> list[tuple[str, bytes]]:
        nonlocal last_time, ce_time
        if time is not last_time:  # events of one batch share their time
            last_time, ce_time = time, ("ce_time", time_text(time))
        headers = [
            *((*static, ("ce_type", event_type.encode())) if event_type else static_and_type),
            ("ce_id", event_id.encode()),
            ce_time,
            ("ce_partitionkey", key),
            ("ce_tenantid", tenant_id.encode()),
            *trace,
        ]
        if correlation_id:
            headers.append(("ce_correlationid", correlation_id.encode()))
        if causation_id:
            headers.append(("ce_causationid", causation_id.encode()))
        return headers

    return make
