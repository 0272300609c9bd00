"""What two sendings of one business command have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any
from zlib import crc32

import msgspec

_BLANK = {"event_id": "", "timestamp": datetime(1970, 1, 1, tzinfo=UTC), "envelope": None}
_encode = msgspec.msgpack.Encoder().encode


@cache
def _blank(struct: type) -> dict[str, Any]:
    return {name: value for name, value in _BLANK.items() if name in struct.__struct_fields__}  # type: ignore[attr-defined]


def body_checksum(event: Any) -> int:
    """Return a checksum of what a command asks for: all but its event id, its time and its envelope.

    Whoever repeats a command after a failure makes it anew, with the time of then and perhaps another event id; the
    business id, or the event id, and this tell whether it is the same command.
    """
    struct: Any = type(event)
    return crc32(_encode(msgspec.structs.replace(event, **_blank(struct))))
