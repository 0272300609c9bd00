"""Dead letters: the original record as it came with what happened to it, and a report without its payload."""

from __future__ import annotations

from typing import Any

from streams.events import FailureError, FailureEvent, FailureOriginal
from streams.failures import Failure, dead_letter_headers
from streams.keys import DEFAULT_TENANT
from streams.outbox import Outgoing, Target
from streams.parking import Waiting, attempts_of
from streams.publisher import Publisher
from streams.times import time_of
from streams.topics import dead_letter_topic


class DeadLetters:
    """Makes the dead letters of one table partition."""

    def __init__(self, publisher: Publisher, consumer_group: str, agent: str) -> None:
        self._publisher = publisher
        self._consumer_group = consumer_group
        self._agent = agent

    def of(
        self, topic: str, number: int, record: Any, event: Any, failure: Failure
    ) -> list[tuple[Target, Outgoing]]:
        """Return what is sent in place of an event that cannot be processed: the same bytes at every replay.

        Args:
            topic, number, record: the event's record and where it is.
            event: what was decoded of it.
            failure: why it is dead.
        """
        headers = dead_letter_headers(
            list(record.headers),
            failure,
            topic=topic,
            partition=number,
            offset=record.offset,
            attempts=attempts_of(record),
            timestamp_ms=record.timestamp,
            consumer_group=self._consumer_group,
            agent=self._agent,
            first_failure=record.first_failure if isinstance(record, Waiting) else None,
        )
        dead: Outgoing = (record.key, record.value, headers, record.timestamp)
        letter: tuple[Target, Outgoing] = ((dead_letter_topic(topic), number), dead)
        failed = self._report(topic, number, record, event, failure)
        report = self._publisher.publish(failed, topic, number, record, "failed", event, key=record.key)
        return [letter, report] if report is not None else [letter]

    def _report(self, topic: str, number: int, record: Any, event: Any, failure: Failure) -> FailureEvent:
        appended = time_of(record.timestamp)
        kind = type(event)
        return FailureEvent(
            timestamp=appended,
            tenant_id=getattr(event, "tenant_id", None) or DEFAULT_TENANT,
            error=FailureError(
                code=failure.code,
                message=failure.message,
                details={
                    "agent": self._agent,
                    "attempts": str(attempts_of(record)),
                    "exception": failure.exception or failure.code,
                },
                retryable=failure.kind == "retryable",
                retry_after_ms=failure.retry_after_ms,
            ),
            original=FailureOriginal(
                topic=topic,
                partition=number,
                offset=record.offset,
                timestamp=appended,
                event_id=getattr(event, "event_id", ""),
                event_type=getattr(event, "event_type", "") or getattr(kind, "TYPE", ""),
                record=getattr(kind, "RECORD", ""),
            ),
        )
