"""What the workers have still to process, as the broker knows it: of all workers, and right now."""

from __future__ import annotations

from collections.abc import Sequence

from ops.errors import OpsError
from ops.offsets import bounds, committed
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
        self._sources = [(topic, number) for topic in topics for number in range(there[topic])]
        self._group = settings.app_id
        self._admin = admin_client(settings)

    def count(self) -> int:
        """Return how many records are not processed, that is stored in the tables and committed. Raises OpsError."""
        # In this order: what is processed in between counts once more, and never as less than nothing.
        done = committed(self._admin, self._group, self._sources)
        spans = bounds(self._admin, self._sources)
        return sum(end - max(done.get(source, 0), first) for source, (first, end) in spans.items())
