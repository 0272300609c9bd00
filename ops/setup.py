"""``sluice setup``: the topics and schemas a worker needs, made or checked. Running it again changes nothing.

Everything is checked before anything is made, so a refusal leaves the cluster as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from ops.compatibility import reasons
from ops.errors import OpsError
from streams.brokers import BrokerError, find_topics
from streams.registry import (
    Registry,
    RegistryError,
    RegistryForbidden,
    RegistryUnreachable,
    RegistryUntrusted,
)
from streams.settings import Settings
from streams.topics import Topic, all_topics, catalogue

Subject = tuple[str, str, str]
"""Subject, schema text and compatibility level."""

ESSENTIAL = ("cleanup.policy", "message.timestamp.type")
"""Topic settings without which results would be wrong: set on existing topics too; others are left."""

TIMEOUT = 30.0
ANSWER_SECONDS = 10.0
REMEDY = "Nothing was changed. Under avro/, only add fields that have defaults, or make a new record."


async def setup(
    settings: Settings, topics: Iterable[Topic] | None = None, subjects: Iterable[Subject] | None = None
) -> list[dict[str, Any]]:
    """Create the topics and register the schemas that are missing.

    Args:
        settings: where, under which app id, and with how many partitions.
        topics: default: the whole catalogue.
        subjects: default: all that the catalogue's topics carry.

    Returns:
        A row for each: kind (``topic``, ``schema``), name, state (created, changed, unchanged) and
        detail.

    Raises:
        OpsError: no answer, an incompatible schema, or a topic with another number of partitions.
    """
    wanted = list(all_topics(settings.app_id) if topics is None else topics)
    rows = list(catalogue(settings.app_id) if subjects is None else subjects)
    admin = admin_client(settings)
    existing = partitions(settings)
    refuse_other_partitions(wanted, existing, settings.partitions)
    schemas = await register(settings, rows)
    try:
        created = create([topic for topic in wanted if topic.name not in existing], admin, settings)
        changed = _correct([topic for topic in wanted if topic.name in existing], admin)
    except KafkaException as error:
        raise OpsError(
            f"The broker refused: {error.args[0].str()}.", "Check the rights of this user."
        ) from error
    states = dict.fromkeys(created, "created") | dict.fromkeys(changed, "changed")
    detail = f"{settings.partitions} partitions"
    return [
        *(
            {"kind": "topic", "name": t.name, "state": states.get(t.name, "unchanged"), "detail": detail}
            for t in wanted
        ),
        *schemas,
    ]


def admin_client(settings: Settings) -> AdminClient:
    """Return a client that keeps connection errors to itself: they come back as refusals."""
    return AdminClient(settings.librdkafka_config() | {"log_level": 0})


def partitions(settings: Settings, seconds: float = ANSWER_SECONDS) -> dict[str, int]:
    """Return the number of partitions of every topic there is. Raises OpsError when no broker lets us in."""
    try:
        found = find_topics(settings, seconds)
    except BrokerError as error:
        raise OpsError(sentence(error.cause), sentence(error.remedy)) from error
    return {name: len(topic.partitions) for name, topic in found.items()}


def sentence(text: str) -> str:
    """Return part of a message as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:]}."


def refuse_other_partitions(wanted: Sequence[Topic], existing: dict[str, int], count: int) -> None:
    """Raise OpsError when a topic of ours has another number of partitions than the settings say."""
    wrong = {t.name: existing[t.name] for t in wanted if existing.get(t.name, count) != count}
    if wrong:
        told = ", ".join(f"{name} has {found}" for name, found in wrong.items())
        raise OpsError(
            f"SLUICE_PARTITIONS is {count}, but {told} partitions.",
            "Keys find their partition by it: set SLUICE_PARTITIONS to what is there, or use new topics. "
            "Never add partitions in place.",
        )


async def register(settings: Settings, rows: Sequence[Subject]) -> list[dict[str, Any]]:
    """Register the schemas that are missing, and set the compatibility level of every subject.

    Returns:
        A row for each as ``setup`` returns it.

    Raises:
        OpsError: no answer, or a schema that breaks with a registered version; nothing was registered.
    """
    registry = Registry(settings)
    try:
        found = await registry.find(rows)
        known = {subject for subject, schema_id in found.items() if schema_id is not None}
        await _compare([row for row in rows if row[0] in found and row[0] not in known], registry)
        ids = await registry.register_all(rows, found)
    except (RegistryForbidden, RegistryUntrusted) as error:
        raise OpsError(f"{error}.", "Nothing was changed: correct it and run it again.") from error
    except RegistryUnreachable as error:
        raise OpsError(
            f"{error}.", "Start one with `sluice up`, or set SLUICE_REGISTRY_URL and its credentials."
        ) from error
    except RegistryError as error:
        raise OpsError(f"{error}", REMEDY) from error
    finally:
        await registry.close()
    return [
        {
            "kind": "schema",
            "name": subject,
            "state": "unchanged" if subject in known else "created",
            "detail": f"id {ids[subject]}, {level}",
        }
        for subject, _, level in rows
    ]


async def _compare(rows: Sequence[Subject], registry: Registry) -> None:
    """Refuse new versions that do not go together with all registered ones, with field and reason."""
    refused = []
    for subject, text, level in rows:
        history = await registry.versions(subject)
        refused += [f"{subject}: {reason}" for reason in reasons(text, history, level)]
    if refused:
        raise OpsError("\n".join(refused) + ".", REMEDY)


def create(topics: Sequence[Topic], admin: AdminClient, settings: Settings) -> list[str]:
    """Create topics that do not exist; return their names when all have leaders.

    Raises:
        KafkaException: the broker refused.
        OpsError: a topic is not ready in time.
    """
    if not topics:
        return []
    new = [
        NewTopic(t.name, settings.partitions, settings.replication_factor, config=t.config) for t in topics
    ]
    for future in admin.create_topics(new, operation_timeout=TIMEOUT).values():
        future.result()
    names = [topic.name for topic in topics]
    deadline = time.monotonic() + TIMEOUT
    while not _led(names, settings):
        if time.monotonic() > deadline:
            raise OpsError("The new topics have no leaders yet.", "Check the brokers, then run it again.")
        time.sleep(0.05)
    return names


def _led(names: Sequence[str], settings: Settings) -> bool:
    """Tell whether every partition's leader answers for it; metadata name it a moment before it does.

    Each call asks with a client of its own, for one that has once heard of a missing topic goes on believing it.
    """
    admin = admin_client(settings)
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    wanted = {TopicPartition(name, number): latest for name in names for number in range(settings.partitions)}
    return all(future.exception(TIMEOUT) is None for future in admin.list_offsets(wanted).values())


def _correct(topics: Sequence[Topic], admin: AdminClient) -> list[str]:
    """Set the essential settings of topics that somebody else made, and allow their largest batches."""
    if not topics:
        return []
    described = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics])
    found = {resource.name: future.result() for resource, future in described.items()}
    changes = []
    for topic in topics:
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in topic.config.items()
            if _differs(name, value, found[topic.name][name].value)
        ]
        if entries:
            changes.append(ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries))
    for future in admin.incremental_alter_configs(changes).values() if changes else ():
        future.result()
    return [resource.name for resource in changes]


def _differs(name: str, wanted: str, found: str) -> bool:
    if name == "max.message.bytes":
        return int(found) < int(wanted)
    return name in ESSENTIAL and found != wanted
