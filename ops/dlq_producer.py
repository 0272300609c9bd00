"""Sends events and marks their letters in one transaction, and takes that right from everybody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import KafkaError, KafkaException, Producer

from ops.dlq_letters import (
    EDITED,
    LETTER,
    REPLAYED_FROM,
    RESOLVED,
    SELECTION,
    Stored,
    original_headers,
    text_of,
)
from ops.errors import OpsError, Outdated
from ops.offsets import CHECK
from streams.settings import Settings
from streams.topics import partition_for

TRANSACTION_MS = 15_000
"""A tool that dies with its transaction open holds back the readers of its partitions for this long."""
MOST_BYTES = 64 * 1024 * 1024
"""A letter may be larger than its topic takes, for it may have come compressed; so it goes compressed again."""


class Resent(NamedTuple):
    """What is sent to the topic of the event."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    edited: bool = False


Rewrite = Callable[[Stored], Resent]


def original(stored: Stored) -> Resent:
    """Return an event as it came: key, value and headers byte for byte, and where its letter is."""
    headers = [*original_headers(stored.headers), (REPLAYED_FROM, str(stored.place).encode())]
    return Resent(stored.key, stored.value, headers)


def home_of(key: bytes | None, stored: Stored, partitions: int) -> int:
    """Return the partition of a key; without a key the one in which the event was."""
    if key:
        return partition_for(key, partitions)
    came_from = text_of(stored.headers, "__streams.errors.partition") or ""
    return (int(came_from) if came_from.isdecimal() else stored.place.partition) % partitions


class Sender:
    """The right to resolve the letters of one topic, which the next one who asks for it takes away."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            settings.librdkafka_config()
            | {
                # Not of the app: the letters of a topic are one list, whoever works on it.
                "transactional.id": f"sluice-dlq-{topic}",
                "transaction.timeout.ms": TRANSACTION_MS,
                "message.max.bytes": MOST_BYTES,
                "compression.type": "gzip",
                "linger.ms": 5,
                "log_level": 0,
                "error_cb": lambda error: None,  # what matters is raised
            }
        )

    def __enter__(self) -> Self:
        """Take the right; whoever had it sends nothing more, and what it had not committed is aborted."""
        self._try(lambda: self._producer.init_transactions(30))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.purge()

    def send(self, steps: Sequence[tuple[Stored, Resent | None, int]], selection: str, how: str) -> None:
        """Send events and mark their letters in one transaction.

        Args:
            steps: letter, its event (None: only mark it) and the partition that it goes to.
            selection, how: what the markers say.

        Raises:
            OpsError: nothing of it was done, or, where the brokers did not answer in time, all or nothing.
        """
        self._try(self._producer.begin_transaction)
        try:
            for stored, resent, number in steps:
                if resent is not None:
                    self._produce(self._topic, number, resent.key, resent.value, resent.headers)
                place, edited = stored.place, resent is not None and resent.edited
                marker = marker_headers(stored, selection, how, edited=edited)
                self._produce(place.topic, place.partition, stored.key, None, marker)
            self._commit()
        except KafkaException as failure:
            self._abort(failure.args[0])
            raise refused(failure.args[0], self._topic) from failure

    def _produce(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes | None]],
    ) -> None:
        given: Any = headers
        self._producer.produce(topic, value, key, partition, headers=given)

    def _commit(self) -> None:
        for _ in range(3):
            try:
                return self._producer.commit_transaction(TRANSACTION_MS / 1000)
            except KafkaException as failure:
                if not failure.args[0].retriable():
                    raise
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 its only name

    def _abort(self, error: KafkaError) -> None:
        if error.txn_requires_abort():
            self._try(lambda: self._producer.abort_transaction(30))

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except KafkaException as failure:
            raise refused(failure.args[0], self._topic) from failure


def marker_headers(
    stored: Stored, selection: str, how: str, *, edited: bool
) -> list[tuple[str, bytes | None]]:
    """Return the headers of the record that says what became of a letter."""
    marks = [(RESOLVED, how), (LETTER, str(stored.place)), (SELECTION, selection)]
    return [(name, text.encode()) for name, text in (*marks, *([(EDITED, "true")] if edited else []))]


def refused(error: KafkaError, topic: str) -> OpsError:
    """Return what an error of the producer's means for the one who sends."""
    if error.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH):  # noqa: SLF001
        return Outdated(
            f"Somebody else has begun to replay or discard dead letters of {topic}.",
            "Look at them with `sluice dlq list`, and run this again: what is done is skipped.",
        )
    if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return OpsError(
            f"This login may not use the transactional id sluice-dlq-{topic}.",
            "Allow it to write and describe that id.",
        )
    return OpsError(
        f"The broker did not take the events: {error.str()}.",
        f"{CHECK} Then run this again: what is done is skipped.",
    )
