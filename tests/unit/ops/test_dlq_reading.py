"""Letters are read on from where reading ended, save where the topic was made anew; what is gone is dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from ops import dlq_reading
from ops.dlq_fold import Letters
from ops.dlq_letters import Stored
from ops.dlq_reading import Spans, read_letters, source_topics
from ops.errors import NotThere, OpsError
from streams.settings import Settings
from tests.unit.ops.dlq_world import DEAD, TOPIC, Dead, places

SETTINGS = Settings(partitions=2)


class Broker:
    """One dead letter topic, of which every read is noted.

    Attributes:
        lows: by partition, the first offset that retention has left.
        reads: the offset of the first record that was asked for, of each partition.
    """

    def __init__(self) -> None:
        self.dead = Dead()
        self.lows = {0: 0, 1: 0}
        self.reads: list[dict[int, int]] = []
        self.topics = {TOPIC: 2, DEAD: 2}

    def bounds(self, settings: Settings, asked: Iterable[tuple[str, int]]) -> Any:
        return {
            (topic, number): (
                self.lows[number],
                sum(record.place.partition == number for record in self.dead.records),
            )
            for topic, number in asked
        }

    def read(self, settings: Settings, spans: Spans, take: Callable[[Stored], None]) -> None:
        self.reads.append({number: first for (_, number), (first, _) in spans.items()})
        for record in self.dead.records:
            first, _ = spans[record.place.topic, record.place.partition]
            if record.place.offset >= max(first, self.lows[record.place.partition]):
                take(record)

    def letters(self, known: dict[str, Letters] | None = None) -> Letters:
        return read_letters(SETTINGS, [TOPIC], known)[TOPIC]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(dlq_reading, "bounds", broker.bounds)
    monkeypatch.setattr(dlq_reading, "_read", broker.read)
    monkeypatch.setattr(dlq_reading, "partitions", lambda settings: broker.topics)
    return broker


def test_what_is_known_is_read_on_and_markers_find_their_letters(broker: Broker) -> None:
    first = broker.dead.die(1)
    known = broker.letters()
    broker.dead.mark(first)
    broker.dead.die(2, partition=0)
    letters = broker.letters({TOPIC: known})
    assert letters is known
    assert broker.reads == [{0: 0, 1: 0}, {0: 0, 1: 1}]
    assert [letters.state(letter) for letter in letters.in_order()] == ["replayed", "open"]


def test_a_topic_that_was_made_anew_is_read_anew(broker: Broker) -> None:
    broker.dead.die(1)
    broker.dead.die(2)
    known = broker.letters()
    broker.dead = Dead()
    broker.dead.die(1, b"other")
    letters = broker.letters({TOPIC: known})
    assert [letter.key for letter in letters.in_order()] == [b"other"]
    assert broker.reads[-1] == {0: 0, 1: 0}


def test_letters_that_retention_has_removed_are_dropped(broker: Broker) -> None:
    for offset in range(3):
        broker.dead.die(offset)
    broker.dead.die(9, partition=0)
    known = broker.letters()
    broker.lows[1] = 2
    letters = broker.letters({TOPIC: known})
    assert places(letters.in_order()) == [(1, 2), (0, 0)]
    assert letters.at(1, 0) is None


def test_topics_without_dead_letters_and_other_partition_counts_are_refused(broker: Broker) -> None:
    assert source_topics(SETTINGS) == [TOPIC]
    assert source_topics(SETTINGS, DEAD) == [TOPIC]
    with pytest.raises(NotThere, match="no topic alerts"):
        source_topics(SETTINGS, "alerts")
    broker.topics["alerts"] = 2
    with pytest.raises(NotThere, match=r"no topic alerts\.dlq"):
        source_topics(SETTINGS, "alerts")
    broker.topics[DEAD] = 3
    assert source_topics(SETTINGS) == []
    with pytest.raises(OpsError, match="has 3 partitions, and SLUICE_PARTITIONS is 2"):
        source_topics(SETTINGS, TOPIC)
