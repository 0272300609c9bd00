"""The broker and registry of a benchmark, and its topics."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from streams.topics import Topic

PARTITIONS = 4
NO_LEADER_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._NOENT,
)
TIMEOUT_S = 60


class Cluster:
    """Topics, offsets and schemas, seen from outside of every system under test."""

    def __init__(self, bootstrap: str, registry_url: str) -> None:
        self.bootstrap = bootstrap
        self.registry_url = registry_url
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._registry = SchemaRegistryClient({"url": registry_url})

    def close(self) -> None:
        """Close the connections to the registry; those to the broker go with the object."""
        self._registry.close()

    def create(self, topics: Iterable[Topic]) -> None:
        """Create topics with PARTITIONS partitions; those that exist stay as they are."""
        wanted = [NewTopic(topic.name, PARTITIONS, 1, config=topic.config) for topic in topics]
        for future in self._admin.create_topics(wanted).values():
            try:
                future.result(TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

    def delete(self, names: Iterable[str]) -> None:
        """Delete the topics of a trial, so that the disk holds one trial at a time; missing ones are no error."""
        wanted = list(names)
        if not wanted:
            return
        for future in self._admin.delete_topics(wanted).values():
            try:
                future.result(TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise

    def names(self, containing: str) -> list[str]:
        """Return the topics whose name contains a text, such as the changelogs that a system made for itself."""
        return [name for name in self._admin.list_topics(timeout=TIMEOUT_S).topics if containing in name]

    def ends(self, topic: str) -> list[int]:
        """Return the end offset of each partition.

        Raises:
            KafkaException: the broker does not answer, or a new topic has no leader for too long.
        """
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(topic, number): latest for number in range(PARTITIONS)}
        limit = time.monotonic() + TIMEOUT_S
        while True:
            found = self._admin.list_offsets(wanted, request_timeout=TIMEOUT_S)
            try:
                return [future.result(TIMEOUT_S).offset for future in found.values()]
            except KafkaException as error:
                if error.args[0].code() not in NO_LEADER_YET or time.monotonic() > limit:
                    raise
            # A client that once saw a topic without a leader may go on believing it for a minute.
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap})
            time.sleep(0.05)

    def records(self, topic: str) -> int:
        """Return how many records were written to a topic that keeps them all."""
        return sum(self.ends(topic))

    def committed(self, group: str, topic: str) -> int:
        """Return the sum of the offsets that a group has committed for a topic."""
        from confluent_kafka import ConsumerGroupTopicPartitions

        wanted = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        [future] = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, wanted)]
        ).values()
        return sum(max(0, partition.offset) for partition in future.result(TIMEOUT_S).topic_partitions)

    def register(self, subject: str, text: str) -> int:
        """Register a schema and return its id."""
        return int(self._registry.register_schema(subject, Schema(text, "AVRO")))


def get_text(url: str, timeout_s: float = 2.0) -> str | None:
    """Return what a worker's web port answers with status 200, or None."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:  # noqa: S310
            return response.read().decode() if response.status == 200 else None
    except (urllib.error.URLError, OSError, json.JSONDecodeError):
        return None
