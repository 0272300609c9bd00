"""What the exporter asks the brokers: how far the workers' group is, who is in it, and how many dead letters are open.

in     the ends of the source topics and of their dead letter topics, the group's offsets and members
out    ``Seen``

Nothing here joins the group or commits, and no worker needs to run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from ops.dlq_fold import Letters, Query, matching
from ops.dlq_reading import read_letters, reader
from ops.offsets import ANSWER_S, Source, answers, bounds, committed
from ops.setup import admin_client, partitions
from streams.routes import INDEX
from streams.settings import Settings
from streams.topics import dead_letter_topic


@dataclass(frozen=True, slots=True)
class Behind:
    """How far the group is behind the end of a partition.

    Attributes:
        records: those that are not committed.
        seconds: age of the oldest of them, by the broker's clock; 0 where there is none.
    """

    records: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the brokers found.

    Attributes:
        lag: by partition of the source topics that exist.
        members: workers in the group.
        open_letters: dead letters that are neither replayed nor discarded, by source topic.
    """

    lag: dict[Source, Behind] = field(default_factory=dict)
    members: int = 0
    open_letters: dict[str, int] = field(default_factory=dict)


class Brokers:
    """Looks at the cluster again and again; what was read of dead letters is kept between the looks.

    Args:
        settings: of the cluster and the group.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = sorted({route.topic.name for route in INDEX.routes})
        self._letters: dict[str, Letters] = {}
        self._depths: dict[str, int] = {}
        self._spans: dict[Source, tuple[int, int]] = {}
        self._waiting: dict[Source, tuple[int, int | None]] = {}

    def look(self) -> Seen:
        """Return what there is now. Raises OpsError where the brokers do not answer."""
        there = partitions(self._settings)
        admin = admin_client(self._settings)
        spans = self._ends(admin, there)
        sources = {place: span for place, span in spans.items() if place[0] in self._topics}
        done = committed(admin, self._settings.app_id, sources)
        with answers():
            lag = self._lag(sources, done)
            members = members_of(admin, self._settings.app_id)
        return Seen(lag, members, self._count_letters(spans))

    def _ends(self, admin: AdminClient, there: Mapping[str, int]) -> dict[Source, tuple[int, int]]:
        names = [*self._topics, *map(dead_letter_topic, self._topics)]
        return bounds(admin, [(name, n) for name in names if name in there for n in range(there[name])])

    def _lag(
        self, spans: Mapping[Source, tuple[int, int]], done: Mapping[Source, int]
    ) -> dict[Source, Behind]:
        next_ = {place: max(done.get(place, 0), low) for place, (low, _) in spans.items()}
        behind = {place: next_[place] for place, (_, end) in spans.items() if next_[place] < end}
        # What was found behind an offset stays true, save for the finding that nothing is there.
        known = {
            place: (offset, at)
            for place, (offset, at) in self._waiting.items()
            if at is not None and behind.get(place) == offset
        }
        asked = {place: offset for place, offset in behind.items() if place not in known}
        found = append_times(self._settings, asked)
        self._waiting = known | {place: (offset, found.get(place)) for place, offset in asked.items()}
        lag = dict.fromkeys(spans, Behind())
        for place, (offset, at) in self._waiting.items():
            if at is not None:  # else there are only marks of transactions, which no worker commits
                lag[place] = Behind(spans[place][1] - offset, max(0.0, time.time() - at / 1000))
        return lag

    def _count_letters(self, spans: Mapping[Source, tuple[int, int]]) -> dict[str, int]:
        """Return the open letters by source topic; only the topics that have changed are read."""
        for topic in self._topics:
            name = dead_letter_topic(topic)
            places = {place: span for place, span in spans.items() if place[0] == name}
            if len(places) == self._settings.partitions and not places.items() <= self._spans.items():
                self._letters |= read_letters(self._settings, [topic], self._letters)
                self._depths[topic] = len(matching(self._letters[topic], Query()))
                self._spans |= places
        return dict(self._depths)


def members_of(admin: AdminClient, group: str) -> int:
    """Return how many members a group has; none where there is no such group.

    Raises:
        KafkaException: the broker refuses.
        TimeoutError: no answer.
    """
    [answer] = admin.describe_consumer_groups([group]).values()
    try:
        return len(answer.result(ANSWER_S).members)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return 0
        raise


def append_times(settings: Settings, offsets: Mapping[Source, int]) -> dict[Source, int]:
    """Return when the first record at or after an offset of each partition was appended, in milliseconds.

    A partition that has none there is left out.

    Raises:
        KafkaException: the broker refuses.
        TimeoutError: no answer.
    """
    found: dict[Source, int] = {}
    if not offsets:
        return found
    # One record of each is wanted, and librdkafka would fetch 64 MB ahead.
    consumer = reader(settings, {"fetch.message.max.bytes": 65_536, "queued.max.messages.kbytes": 1_024})
    try:
        consumer.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        left, deadline = set(offsets), time.monotonic() + ANSWER_S
        while left:
            if time.monotonic() > deadline:
                raise TimeoutError
            for message in consumer.consume(100, 0.05):
                place = (message.topic() or "", message.partition() or 0)
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 its only name
                    raise KafkaException(error)
                if place in left:
                    left.remove(place)
                    consumer.incremental_unassign([TopicPartition(*place)])
                    if error is None:
                        found[place] = message.timestamp()[1]
    finally:
        consumer.close()
    return found
