"""Answers to commands (001-43, peer-features F25): who asks names, in the header ``ce_replyto``, where it listens.

A reply is sent after the command's state is stored: who has it may read what it wrote. It is kept with the command's id
while that is remembered, so that a repeated command is answered with its first result. A reply that gets lost with its
worker is had again by repeating the command under the same id.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

from streams.codec import Codec
from streams.envelope import Headers, derived_id
from streams.events import Reply, ReplyFact
from streams.failures import Failure
from streams.keys import DEFAULT_TENANT
from streams.outbox import Outgoing, Target
from streams.publisher import header
from streams.routing import is_refusal
from streams.schemas import contracts
from streams.times import time_of
from streams.topics import replies_of
from streams.trace_context import Continue, passed_on

REPLY_TO: Final = "ce_replyto"
REQUEST_ID: Final = "ce_requestid"
"""Header that comes back as it is: two who ask under one command id each find their own reply by it."""
DUPLICATE: Final = "ce_duplicate"
"""Header of a reply: ``true`` where the command had been applied before."""

MOST_REQUEST_ID = 128

FACT_BYTES = 100
MOST_FACTS = 512 * 1024
"""Bytes of facts in a reply. It is kept with the command's id, and must fit into its topic; the facts' own has all."""

ALREADY_APPLIED: Final = "DUPLICATE"
TOO_LARGE: Final = "FACTS_TOO_LARGE"
_TYPE: Final = contracts()[Reply.RECORD].type.encode()


class Replies:
    """Makes the replies of one worker. Where no topic of replies is registered, it can still say that nobody asks."""

    def __init__(self, codec: Codec, app_id: str, partitions: int, trace: Continue = passed_on) -> None:
        self._trace = trace
        self._topic = replies_of(app_id).name
        self._source = app_id.encode()
        self._targets: dict[str, Target] = {}
        if codec.knows(self._topic, Reply):
            self._encode = codec.encoder(self._topic, Reply)
            self._targets = {f"{self._topic}/{n}": (self._topic, n) for n in range(partitions)}

    def target(self, headers: Headers) -> Target | None:
        """Return where an answer is awaited, or None: nowhere, or outside of this application's topic of replies.

        A producer must not be able to have us write to any topic it names.
        """
        place = header(headers, REPLY_TO) if headers else None
        return None if place is None else self._targets.get(place)

    def answer(
        self, topic: str, number: int, record: Any, event: Any, facts: Sequence[tuple[Any, Target, Outgoing]]
    ) -> bytes:
        """Return the reply to a command that was answered with ``facts``: each with where it went and as what."""
        refused = next((fact for fact, _, _ in facts if is_refusal(type(fact))), None)
        status = "OK" if refused is None else "REJECTED"
        code, message = getattr(refused, "reason_code", ""), getattr(refused, "message", "")
        told = tuple(
            ReplyFact(record=type(fact).RECORD, topic=target[0], value=outgoing[1] or b"")
            for fact, target, outgoing in facts
        )
        sizes = accumulate(len(fact.value) + FACT_BYTES for fact in told)
        fit = sum(size <= MOST_FACTS for size in sizes)
        if fit < len(told):
            topics = ", ".join(sorted({fact.topic for fact in told[fit:]}))
            message = (
                message or f"{len(told) - fit} further facts do not fit into a reply; read them from {topics}"
            )
            told, code = told[:fit], code or TOO_LARGE
        return self._frame(
            topic, number, record, event, status=status, code=code, message=message, facts=told
        )

    def failed(self, topic: str, number: int, record: Any, event: Any, failure: Failure) -> bytes:
        """Return the reply to a command that became a dead letter."""
        return self._frame(
            topic, number, record, event, status="FAILED", code=failure.code, message=failure.message
        )

    def applied_before(self, topic: str, number: int, record: Any, event: Any) -> bytes:
        """Return the reply to a repeated command at whose first time nobody had asked for a reply."""
        message = "the command was applied before; its result was not kept, because no reply was asked for"
        return self._frame(topic, number, record, event, status="OK", code=ALREADY_APPLIED, message=message)

    def _frame(self, topic: str, number: int, record: Any, event: Any, **content: Any) -> bytes:
        reply = Reply(
            timestamp=time_of(record.timestamp),
            tenant_id=getattr(event, "tenant_id", DEFAULT_TENANT),
            **content,
        )
        return self._encode(reply, derived_id(topic, number, record.offset, "reply"))

    def outgoing(
        self, topic: str, number: int, record: Any, event: Any, value: bytes, *, duplicate: bool
    ) -> Outgoing:
        """Return a reply as a record. Its key is the command's id, which the one who asks waits for."""
        asked = getattr(event, "event_id", "") or header(record.headers, "ce_id") or ""
        envelope = getattr(event, "envelope", None)
        correlation = (envelope and envelope.correlation_id) or header(record.headers, "ce_correlationid")
        headers: list[tuple[str, bytes | None]] = [
            ("ce_specversion", b"1.0"),
            ("ce_type", _TYPE),
            ("ce_source", self._source),
            ("ce_causationid", asked.encode()),
            ("ce_correlationid", (correlation or asked).encode()),
        ]
        request_id = header(record.headers, REQUEST_ID)
        if request_id is not None and len(request_id) <= MOST_REQUEST_ID:
            headers.append((REQUEST_ID, request_id.encode()))
        if duplicate:
            headers.append((DUPLICATE, b"true"))
        headers += self._trace(record.headers, topic, number, record.offset)
        return asked.encode(), value, headers, record.timestamp
