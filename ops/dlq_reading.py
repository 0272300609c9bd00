"""Reads dead letter topics with a consumer that joins no group and commits nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ops import offsets
from ops.dlq_fold import Letters
from ops.dlq_letters import Place, Stored, source_of
from ops.errors import NotThere, OpsError
from ops.offsets import CHECK, Source, answers
from ops.setup import admin_client, partitions
from streams.settings import Settings
from streams.topics import dead_letter_topic

SILENCE_S = 30.0
AT_ONCE = 1_000

Spans = dict[Source, tuple[int, int | None]]
"""First and last offset of each partition; None: to its end."""


def source_topics(settings: Settings, topic: str | None = None) -> list[str]:
    """Return the topics that have a dead letter topic: all of them, or the one that is named.

    Raises:
        OpsError: the brokers do not answer, or do not have it, or have it with another number of partitions.
    """
    there = partitions(settings)
    if topic is None:
        # Not those of other people on the same brokers, whose keys are spread otherwise.
        return sorted(
            name for name in there if there[name] == there.get(dead_letter_topic(name)) == settings.partitions
        )
    name = source_of(topic)
    for each in (name, dead_letter_topic(name)):
        if each not in there:
            raise NotThere(
                f"There is no topic {each}.",
                "`sluice dlq list` shows those that have dead letters; `sluice setup` makes ours.",
            )
        if there[each] != settings.partitions:
            raise OpsError(
                f"{each} has {there[each]} partitions, and SLUICE_PARTITIONS is {settings.partitions}.",
                "Set it to what the workers have: keys find their partition by it.",
            )
    return [name]


def read_letters(
    settings: Settings, topics: Sequence[str], known: Mapping[str, Letters] | None = None
) -> dict[str, Letters]:
    """Return all letters of some topics (without ``.dlq``), by topic.

    Args:
        settings: of the cluster.
        topics: which.
        known: what was returned before; it is read on from there, and changed. It may be of other topics.

    Raises:
        OpsError: the brokers do not answer.
    """
    ends = bounds(
        settings, [(dead_letter_topic(topic), n) for topic in topics for n in range(settings.partitions)]
    )
    found = {topic: (known or {}).get(topic) or Letters(topic) for topic in topics}
    for (name, number), (low, high) in ends.items():
        letters = found[source_of(name)]
        if letters.next.get(number, 0) > high:
            found[letters.topic] = Letters(letters.topic)  # the topic was made anew
        elif letters.next.get(number, 0) > 0:
            letters.forget(number, low)
    spans: Spans = {
        (name, number): (found[source_of(name)].next.get(number, 0), None) for name, number in ends
    }
    _read(settings, spans, lambda stored: found[source_of(stored.place.topic)].take(stored))
    return found


def fetch(settings: Settings, places: Iterable[Place]) -> dict[Place, Stored]:
    """Return the records at some places; one that retention has removed is left out. Raises OpsError."""
    wanted = set(places)
    spans: Spans = {}
    for topic, number, offset in wanted:
        first, last = spans.get((topic, number), (offset, offset))
        spans[topic, number] = (min(first, offset), max(last or 0, offset))
    found: dict[Place, Stored] = {}

    def take(stored: Stored) -> None:
        if stored.place in wanted:
            found[stored.place] = stored

    _read(settings, spans, take)
    return found


def reader(settings: Settings, more: Mapping[str, Any] | None = None) -> Consumer:
    """Return a consumer that joins no group, commits nothing and tells where a partition ends.

    Args:
        settings: of the cluster.
        more: librdkafka's options beside those.
    """
    return Consumer(
        {
            **settings.librdkafka_config(),
            "group.id": f"{settings.app_id}-dlq",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # where retention removes what is just being asked for
            "fetch.wait.max.ms": 50,
            "log_level": 0,
            **(more or {}),
        }
    )


def _read(settings: Settings, spans: Spans, take: Callable[[Stored], None]) -> None:
    """Hand over every record from the first to the last offset of each partition; None: to its end."""
    ends = bounds(settings, spans)
    consumer = reader(settings)
    try:
        starts = [
            TopicPartition(topic, number, min(max(low, spans[topic, number][0]), high))
            for (topic, number), (low, high) in ends.items()
        ]
        with answers():
            consumer.assign(starts)
            _drain(consumer, {place: last for place, (_, last) in spans.items()}, take)
    finally:
        consumer.close()


def _drain(consumer: Consumer, lasts: Mapping[Source, int | None], take: Callable[[Stored], None]) -> None:
    open_, heard = dict(lasts), time.monotonic()
    while open_:
        messages = consumer.consume(AT_ONCE, 0.05)
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_S:
            raise OpsError(f"The brokers have said nothing for {SILENCE_S:.0f} s.", CHECK)
        for message in messages:
            place = Place(message.topic() or "", message.partition() or 0, message.offset() or 0)
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 its only name
                    raise KafkaException(error)
                open_.pop(place[:2], None)
            elif place[:2] in open_:
                last = open_[place[:2]]
                if last is None or place.offset <= last:
                    take(_stored(place, message))
                if last is not None and place.offset >= last:
                    del open_[place[:2]]


def _stored(place: Place, message: Any) -> Stored:
    return Stored(place, message.timestamp()[1], message.key(), message.value(), message.headers() or ())


def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Return the end of each partition of a topic. Raises OpsError."""
    ends = bounds(settings, [(topic, number) for number in range(settings.partitions)])
    return {number: high for (_, number), (_, high) in ends.items()}


def bounds(settings: Settings, places: Iterable[Source]) -> dict[Source, tuple[int, int]]:
    """Return the first offset and the end of each partition. Raises OpsError."""
    return offsets.bounds(admin_client(settings), places)
