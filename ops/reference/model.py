"""What the reference tells, read from the index of routes, the catalogue of topics and ``avro/``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from streams import topics
from streams.event_schemas import EventSchemas
from streams.events import RECORDS
from streams.routing import Index, Output, Route
from streams.schemas import Contract, Node, contracts, definitions
from streams.topics import Topic
from streams.web_bodies import plain

Purpose = Literal["events", "shared state", "replies", "dead letters", "changelog"]

SENDERS: Final = {topics.NOTIFICATION_DELIVERIES.name: "senders"}
"""Topics that are read by an agent which keeps no table, and so has no row in the index (agents/senders.py)."""


@dataclass(frozen=True, slots=True)
class Message:
    """One record type on one topic.

    Attributes:
        contract: its contract.
        topic: the topic.
        route: the rules that answer it, where a worker reads it.
        output: its row, where a worker publishes it.
        causes: short names of the events in answer to which it may be published, in the order of the index.
    """

    contract: Contract
    topic: Topic
    route: Route | None
    output: Output | None
    causes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The record's short name, which no other record has."""
        return short(self.contract.name)

    @property
    def struct(self) -> type:
        """The generated type."""
        return RECORDS[self.contract.name]

    @property
    def key(self) -> Callable[[Any], str] | None:
        """``event -> key``; None for what only the pipeline itself writes."""
        row = self.route or self.output
        return row.key if row is not None else None

    @property
    def emits(self) -> tuple[str, ...]:
        """Short names of what may be published in answer."""
        return tuple(event.__name__ for event in self.route.emits) if self.route is not None else ()

    @property
    def answered(self) -> bool:
        """Whether it is a command, to which a reply may be asked for."""
        return self.route is not None and self.route.answered


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic.

    Attributes:
        topic: the topic.
        purpose: what it is for.
        messages: what it carries, in the order of the catalogue. Dead letters are records of ``source``, as they came.
        readers: who of a worker reads it: aggregates, ``senders``, or ``every worker``, which holds it whole.
        source: of a dead letter topic: the topic whose records could not be processed.
    """

    topic: Topic
    purpose: Purpose
    messages: tuple[Message, ...]
    readers: tuple[str, ...]
    source: Topic | None = None

    @property
    def described(self) -> bool:
        """Whether there is more to say of it than its row in the overview: its records, and who sends them."""
        return bool(self.messages) and self.purpose != "changelog"


def short(name: str) -> str:
    """Return the last part of a full name."""
    return name.rpartition(".")[2]


def summary(text: str) -> str:
    """Return the first sentence of a text."""
    return text.partition(". ")[0].rstrip(".")


def channels(index: Index, app_id: str = "sluice") -> list[Channel]:
    """Return every topic of an app, in the order of the catalogue: what ``sluice setup`` creates.

    Args:
        index: routes and outputs.
        app_id: names the topics of replies and the changelogs.
    """
    sources = {topics.dead_letter_topic(topic.name): topic for topic in topics.SOURCES}
    shared = {topic.name for topic in index.shared}
    changelogs = {topics.changelog_topic(table, app_id): table for table in topics.tables()}
    replies = topics.replies_of(app_id).name
    found = []
    for topic in topics.all_topics(app_id):
        purpose: Purpose = "events"
        readers: tuple[str, ...] = tuple(
            {route.aggregate.name: None for route in index.routes if route.topic.name == topic.name}
        )
        if topic.name in SENDERS:
            readers = (SENDERS[topic.name],)
        elif topic.name in sources:
            purpose = "dead letters"
        elif topic.name in shared:
            purpose, readers = "shared state", ("every worker",)
        elif topic.name in changelogs:
            purpose, readers = "changelog", (changelogs[topic.name],)
        elif topic.name == replies:
            purpose = "replies"
        found.append(
            Channel(topic, purpose, tuple(_messages(topic, index)), readers, sources.get(topic.name))
        )
    return found


def _messages(topic: Topic, index: Index) -> Iterator[Message]:
    for name in topic.records:
        struct = RECORDS[name]
        routes = {route.event: route for route in index.routes if route.topic.name == topic.name}
        output = index.outputs.get(struct)
        causes = tuple(route.event.__name__ for route in index.routes if struct in route.emits)
        yield Message(contracts()[name], topic, routes.get(struct), output, causes)


def parts(contract: Contract) -> list[dict[str, Any]]:
    """Return the records and enums that are defined in a contract's own file beside it, in the order of their use."""
    known = contracts()
    inner: dict[str, dict[str, Any]] = {}
    for definition in definitions(contract.schema):
        if definition["name"] not in known:
            inner.setdefault(definition["name"], definition)
    domain = contract.name.rpartition(".")[0]
    return [definition for name, definition in inner.items() if name.rpartition(".")[0] == domain]


def type_text(node: Node) -> str:
    """Return what a field holds, in words."""
    if isinstance(node, list):
        return " or ".join(type_text(member) for member in reversed(node))
    if isinstance(node, str):
        return short(node)
    match node.get("logicalType") or node["type"]:
        case "decimal":
            return f"decimal({node['precision']}, {node['scale']})"
        case "timestamp-micros":
            return "time"
        case "array":
            return f"list of {type_text(node['items'])}"
        case "map":
            return f"map of {type_text(node['values'])}"
        case "record" | "enum":
            return short(node["name"])
    return str(node["type"])


def default_text(field: dict[str, Any]) -> str:
    """Return a field's default as JSON has it, or "" where it is required."""
    if "default" not in field:
        return ""
    node, value = field["type"], field["default"]
    if isinstance(node, dict) and node.get("logicalType") == "decimal":
        unscaled = int.from_bytes(value.encode("latin-1"), signed=True)
        value = plain(Decimal(unscaled).scaleb(-node["scale"]))
    return json.dumps(value, ensure_ascii=False)


def retention_text(topic: Topic) -> str:
    """Return how long a topic keeps its records."""
    if topic.cleanup == "compact":
        return "the latest of each key"
    if topic.retention_ms < 0:
        return "for ever"
    days, rest = divmod(topic.retention_ms, topics.DAY_MS)
    return f"{days} days" if not rest else f"{topic.retention_ms / 3_600_000:g} h"


def carriers(found: Iterable[Channel]) -> dict[str, list[str]]:
    """Return the names of the topics that carry each record, by full name."""
    names: dict[str, list[str]] = {}
    for channel in found:
        for message in channel.messages:
            names.setdefault(message.contract.name, []).append(channel.topic.name)
    return names


def versions() -> dict[str, str]:
    """Return the semantic version of every event's contract as it stands, by full name."""
    known = EventSchemas.of_contracts()
    found = {
        name: known.get_latest_schema(contract.type)
        for name, contract in contracts().items()
        if contract.type
    }
    return {name: schema.schema_version for name, schema in found.items() if schema is not None}
