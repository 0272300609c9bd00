"""Names are pinned, keys hash as in Java, and every topic is kept as its purpose needs."""

from __future__ import annotations

from itertools import starmap

import pytest
from aiokafka.partitioner import murmur2 as reference
from hypothesis import example, given
from hypothesis import strategies as st

from streams import topics
from streams.topics import TOPICS, all_topics, catalogue, changelog_topic, key_of, partition_for, parts_of


def test_names_are_what_they_always_were() -> None:
    assert [topic.name for topic in all_topics()] == [
        "usage.metered",
        "usage.commands",
        "usage.events",
        "stock.commands",
        "stock.events",
        "catalog.commands",
        "catalog.events",
        "customer.commands",
        "customer.events",
        "notification.commands",
        "notification.events",
        "notification.deliveries",
        "realtime.push",
        "alerts",
        "catalog.state",
        "notification.state",
        "events.failed",
        "usage.metered.dlq",
        "usage.commands.dlq",
        "usage.events.dlq",
        "stock.commands.dlq",
        "stock.events.dlq",
        "catalog.commands.dlq",
        "catalog.events.dlq",
        "customer.commands.dlq",
        "customer.events.dlq",
        "notification.commands.dlq",
        "notification.events.dlq",
        "notification.deliveries.dlq",
        "realtime.push.dlq",
        "alerts.dlq",
        "sluice.replies",
        "sluice-alerts-changelog",
        "sluice-catalog-changelog",
        "sluice-customer-changelog",
        "sluice-notification-changelog",
        "sluice-stock-changelog",
        "sluice-usage-changelog",
    ]


def test_subjects_are_topic_and_record() -> None:
    subjects = {subject: level for subject, _, level in catalogue()}
    assert subjects["usage.metered-sluice.usage.UsageEvent"] == "FULL_TRANSITIVE"
    assert subjects["events.failed-sluice.platform.FailureEvent"] == "FULL_TRANSITIVE"
    assert subjects["catalog.state-sluice.catalog.CatalogProductSnapshot"] == "FULL_TRANSITIVE"
    assert subjects["sluice-usage-changelog-sluice.usage.UsageBucket"] == "BACKWARD_TRANSITIVE"
    assert subjects["sluice-usage-changelog-sluice.platform.Position"] == "BACKWARD_TRANSITIVE"
    assert len(subjects) == len(list(catalogue())), "no subject stands twice"


def test_a_changelog_belongs_to_its_application() -> None:
    assert changelog_topic("usage") == "sluice-usage-changelog"
    assert changelog_topic("usage", "other") == "other-usage-changelog"
    assert any(subject.startswith("other-usage-changelog-") for subject, _, _ in catalogue("other"))


def test_the_broker_stamps_every_source_with_its_own_clock() -> None:
    for topic in topics.SOURCES:
        assert topic.config["message.timestamp.type"] == "LogAppendTime"
        assert topic.config["cleanup.policy"] == "delete"


def test_dead_letters_are_kept_longer_than_their_topic_and_may_be_larger() -> None:
    for topic in topics.SOURCES:
        dead = TOPICS[topics.dead_letter_topic(topic.name)]
        assert dead.retention_ms > topic.retention_ms
        assert dead.max_message_bytes > topic.max_message_bytes


def test_changelogs_are_compacted_but_not_at_once() -> None:
    changelog = next(topic for topic in all_topics() if topic.name == changelog_topic("usage"))
    assert changelog.config == {
        "cleanup.policy": "compact",
        "message.timestamp.type": "CreateTime",
        "max.message.bytes": str(16 * 1024 * 1024),
        "min.compaction.lag.ms": "3600000",
    }


def test_what_every_worker_reads_whole_is_kept_as_long_as_it_holds() -> None:
    for topic in topics.SHARED:
        assert topic.config["cleanup.policy"] == "compact"
        assert topics.dead_letter_topic(topic.name) not in TOPICS


@given(st.binary(max_size=40))
@example(b"")
@example(b"\xff" * 7)
def test_a_key_hashes_as_kafka_hashes_it(key: bytes) -> None:
    assert topics.murmur2(key) == reference(key) & 0x7FFFFFFF
    assert partition_for(key, 12) == (reference(key) & 0x7FFFFFFF) % 12


def test_known_hashes_of_the_java_client() -> None:
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    assert {key: topics.murmur2(key) for key in known} == {
        key: value & 0x7FFFFFFF for key, value in known.items()
    }


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_any_parts_make_a_key_and_come_back(parts: list[str]) -> None:
    assert parts_of(key_of(*parts)) == tuple(parts)


@given(st.lists(st.text(), min_size=2, max_size=2), st.lists(st.text(), min_size=2, max_size=2))
def test_different_parts_never_make_the_same_key(one: list[str], other: list[str]) -> None:
    assert (key_of(*one) == key_of(*other)) == (one == other)


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (("acme", "quota_exceeded", "gpt-4"), "acme|quota_exceeded|gpt-4"),
        (("a|b", "50%", "é/ "), "a%7Cb|50%25|%C3%A9%2F%20"),
        (("", ""), "|"),
    ],
)
def test_parts_are_percent_encoded(parts: tuple[str, ...], key: str) -> None:
    assert list(starmap(key_of, [parts])) == [key]
