"""``sluice reset``: process everything again from the beginning, as Kafka's application reset tool does it.

All workers must be stopped. Offsets of the sources go to the earliest record, changelogs are emptied, local
state is removed; outputs stay, and get the same events again under the same ids.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from ops.errors import OpsError
from ops.setup import TIMEOUT, admin_client, create, partitions
from streams.routes import INDEX
from streams.settings import Settings
from streams.topics import Topic, all_topics, changelog_topic, tables

GONE = "GROUP_ID_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a reset will do.

    Attributes:
        offsets: source partitions with the earliest offset to go to.
        changelogs: changelogs to empty.
        folders: local state to remove.
    """

    offsets: list[TopicPartition]
    changelogs: list[Topic]
    folders: list[Path]

    def rows(self) -> list[dict[str, Any]]:
        """Return the plan for a listing."""
        return [
            *(
                {"action": "rewind", "target": f"{o.topic}[{o.partition}]", "to": o.offset}
                for o in self.offsets
            ),
            *({"action": "empty", "target": topic.name, "to": None} for topic in self.changelogs),
            *({"action": "remove", "target": str(folder), "to": None} for folder in self.folders),
        ]


def plan(settings: Settings) -> Plan:
    """Return what a reset would do. Raises OpsError when no broker answers or a worker still runs."""
    admin = admin_client(settings)
    existing = partitions(settings)
    refuse_running_workers(admin, settings.app_id)
    sources = [
        TopicPartition(topic, number)
        for topic in sorted({route.topic.name for route in INDEX.routes})
        for number in range(existing.get(topic, 0))
    ]
    first = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
    earliest = admin.list_offsets({source: first for source in sources}) if sources else {}
    names = {changelog_topic(table, settings.app_id) for table in tables()}
    return Plan(
        [TopicPartition(s.topic, s.partition, earliest[s].result().offset) for s in sources],
        [topic for topic in all_topics(settings.app_id) if topic.name in names and topic.name in existing],
        [
            folder
            for folder in (settings.data_dir / "state", settings.data_dir / "workers")
            if folder.exists()
        ],
    )


def refuse_running_workers(admin: AdminClient, group: str) -> None:
    """Raise OpsError while the consumer group has members."""
    try:
        found = admin.describe_consumer_groups([group])[group].result()
    except KafkaException as error:
        if error.args[0].name() == GONE:
            return
        raise OpsError(
            f"The broker refused: {error.args[0].str()}.", "Check the rights of this user."
        ) from error
    if found.state not in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD):
        raise OpsError(
            f"{len(found.members)} workers of {group} are still members of the group.",
            "Stop them all. A killed one stays a member until its session ends (SLUICE_SESSION_TIMEOUT_S).",
        )


def execute(plan: Plan, settings: Settings) -> None:
    """Carry out a plan. Raises OpsError when the broker refuses a step; it may then be run again."""
    admin = admin_client(settings)
    try:
        if plan.offsets:
            wanted = ConsumerGroupTopicPartitions(settings.app_id, plan.offsets)
            for future in admin.alter_consumer_group_offsets([wanted]).values():
                future.result()
        for folder in plan.folders:
            shutil.rmtree(folder)
        _empty(plan.changelogs, admin, settings)
    except KafkaException as error:
        raise OpsError(
            f"The broker refused: {error.args[0].str()}.", "Mend that and run it again."
        ) from error


def _empty(changelogs: list[Topic], admin: AdminClient, settings: Settings) -> None:
    if not changelogs:
        return
    names = [topic.name for topic in changelogs]
    for future in admin.delete_topics(names, operation_timeout=TIMEOUT).values():
        future.result()
    deadline = time.monotonic() + TIMEOUT
    while set(names) & partitions(settings).keys():
        if time.monotonic() > deadline:
            raise OpsError("The broker did not delete the changelogs in time.", "Run it again.")
        time.sleep(0.1)
    create(changelogs, admin, settings)
