"""What the workers have still to process, as the broker knows it: of all workers, and right now."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from ops.errors import OpsError
from ops.setup import admin_client, partitions
from streams.settings import Settings


class Lag:
    """Counts records of some topics that no worker of the group has committed.

    Args:
        settings: of the cluster and the group.
        topics: names of source topics.

    Raises:
        OpsError: no broker lets us in, or a topic is not there.
    """

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        there = partitions(settings)
        for topic in topics:
            if topic not in there:
                raise OpsError(f"There is no topic {topic}.", "Run `sluice setup`.")
        self._sources = [TopicPartition(topic, number) for topic in topics for number in range(there[topic])]
        self._group = settings.app_id
        self._admin = admin_client(settings)

    def count(self) -> int:
        """Return how many records are not processed, that is stored in the tables and committed. Raises OpsError."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = ConsumerGroupTopicPartitions(self._group, self._sources)
        try:
            ends = self._admin.list_offsets({source: latest for source in self._sources})
            [committed] = self._admin.list_consumer_group_offsets([asked]).values()
            done = {
                (source.topic, source.partition): max(0, source.offset)
                for source in committed.result().topic_partitions
            }
            return sum(
                end.result().offset - done.get((source.topic, source.partition), 0)
                for source, end in ends.items()
            )
        except KafkaException as error:
            raise OpsError(
                f"The broker refused: {error.args[0].str()}.", "Check it with `sluice doctor`."
            ) from error
