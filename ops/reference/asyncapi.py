"""The AsyncAPI 3 document: topics, records, keys, headers, and who sends and receives them, from a worker's view.

It is made from the index of routes, the catalogue of topics and ``avro/``. Changelogs are left out: they are the
workers' own, and nobody else may read or write them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from ops.reference.asyncapi_headers import (
    COMMAND,
    DEAD_LETTER,
    EVENT,
    REPLY,
    REQUEST,
    TRAITS,
    example_headers,
)
from ops.reference.examples import example, payload
from ops.reference.model import Channel, Message, channels, summary
from streams.replies import REPLY_TO
from streams.routing import Index
from streams.settings import Settings
from streams.topics import dead_letter_topic, replies_of

VERSION: Final = "3.1.0"
KAFKA: Final = "0.5.0"
"""Version of the bindings."""
AVRO: Final = "application/vnd.apache.avro;version=1.9.0"
DEAD: Final = "DeadLetter"
STRATEGY: Final = "TopicRecordNameStrategy"
"""Subjects are ``<topic>-<record>``."""

TEXT: Final = {
    "title": "Sluice",
    "description": (
        "What travels between Sluice and everybody else, seen from a worker: what it receives and what it sends.\n\n"
        "A value is an Avro record in Confluent's framing: byte 0, the schema's id in four bytes, the body. A key is "
        "text in UTF-8; its parts are percent-encoded and joined by `|`. The partition is the key's murmur2 hash, as "
        "in Kafka's Java client; with librdkafka set `partitioner=murmur2_random`. Headers are those of CloudEvents "
        "in binary mode. Examples show a record as JSON: decimals and times as text."
    ),
}


def document(settings: Settings, index: Index, version: str) -> dict[str, Any]:
    """Return the AsyncAPI document of an app.

    Args:
        settings: where its brokers and its registry are, its id, and how many partitions and replicas topics have.
        index: routes and outputs.
        version: of the program.
    """
    found = [channel for channel in channels(index, settings.app_id) if channel.purpose != "changelog"]
    messages = {each.name: message_object(each) for channel in found for each in channel.messages}
    servers = _servers(settings)
    return {
        "asyncapi": VERSION,
        "info": {**TEXT, "version": version},
        "defaultContentType": "application/avro",
        "servers": servers,
        "channels": {channel.topic.name: _channel(channel, settings, servers) for channel in found},
        "operations": dict(_operations(found, settings)),
        "components": {
            "messages": {**messages, DEAD: _dead_letter()},
            "messageTraits": TRAITS,
            "correlationIds": {
                "correlation": {
                    "description": "Shared by all records that follow from one request.",
                    "location": "$message.header#/ce_correlationid",
                }
            },
            **_security(settings),
        },
    }


def _servers(settings: Settings) -> dict[str, Any]:
    server: dict[str, Any] = {
        "protocol": "kafka-secure" if settings.encrypted else "kafka",
        "bindings": {
            "kafka": {
                "schemaRegistryUrl": settings.registry_url,
                "schemaRegistryVendor": "confluent",  # whose API it has, whoever made it
                "bindingVersion": KAFKA,
            }
        },
    }
    if settings.sasl_mechanism is not None:
        server["security"] = [{"$ref": "#/components/securitySchemes/sasl"}]
    hosts = settings.bootstrap_servers.split(",")
    return {
        "kafka" if number == 1 else f"kafka{number}": {"host": host, **server}
        for number, host in enumerate(hosts, start=1)
    }


def _security(settings: Settings) -> dict[str, Any]:
    kinds = {"PLAIN": "plain", "SCRAM-SHA-256": "scramSha256", "SCRAM-SHA-512": "scramSha512"}
    if settings.sasl_mechanism is None:
        return {}
    return {"securitySchemes": {"sasl": {"type": kinds[settings.sasl_mechanism]}}}


def _channel(channel: Channel, settings: Settings, servers: Iterable[str]) -> dict[str, Any]:
    topic = channel.topic
    configuration = topic.config
    kept: dict[str, Any] = {"cleanup.policy": [topic.cleanup], "max.message.bytes": topic.max_message_bytes}
    if "retention.ms" in configuration:
        kept["retention.ms"] = topic.retention_ms
    others = {name: value for name, value in configuration.items() if name not in kept}
    names = [DEAD] if channel.purpose == "dead letters" else [each.name for each in channel.messages]
    return {
        "address": topic.name,
        "title": topic.name,
        "description": _purpose(channel),
        "servers": [{"$ref": f"#/servers/{server}"} for server in servers],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "tags": [{"name": channel.purpose}],
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": settings.partitions,
                "replicas": settings.replication_factor,
                # The rest of the configuration: the binding knows no other names, and this one allows them.
                "topicConfiguration": kept | others,
                "bindingVersion": KAFKA,
            }
        },
    }


def _purpose(channel: Channel) -> str:
    if channel.source is not None:
        return (
            f"Records of {channel.source.name} that could not be processed, byte for byte, with the reason."
        )
    if channel.purpose == "shared state":
        return f"The latest record of each key; every worker holds it whole. Key: {channel.topic.key}."
    if channel.purpose == "replies":
        return f"Answers to commands that name a partition of this topic in their header {REPLY_TO}."
    read = f" Read by {', '.join(channel.readers)}." if channel.readers else ""
    return f"Key: {channel.topic.key}.{read}"


def message_object(message: Message) -> dict[str, Any]:
    """Return what the document says of one record on one topic."""
    contract, event = message.contract, example(message.contract)
    key = message.key(event) if message.key is not None else REQUEST
    trait = COMMAND if message.answered else REPLY if message.topic.name.endswith(".replies") else EVENT
    told = [str(contract.schema.get("doc", ""))]
    if message.route is not None and message.route.identity is not None:
        told.append("Known by an id of its own as well as by its event's: sent again, it is done once.")
    if deprecated := contract.deprecated:
        told.append(f"Deprecated since {deprecated.since}: send {deprecated.successor}.")
    return {
        "name": message.name,
        "title": message.name,
        "summary": summary(told[0]),
        "description": " ".join(told),
        "contentType": "application/avro",
        "correlationId": {"$ref": "#/components/correlationIds/correlation"},
        "headers": {"type": "object", "properties": {"ce_type": _type(message)}},
        "payload": {"schemaFormat": AVRO, "schema": _apart(contract.schema)},
        "traits": [{"$ref": f"#/components/messageTraits/{trait}"}],
        "tags": [{"name": contract.name.split(".")[1]}],
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": message.topic.key, "examples": [key]},
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "4",
                "schemaLookupStrategy": STRATEGY,
                "bindingVersion": KAFKA,
            }
        },
        "examples": [
            {
                "name": message.name,
                "summary": f"under the key {key}",
                "headers": example_headers(event, key, trait),
                "payload": payload(event),
            }
        ],
        **({"x-deprecated": True} if contract.deprecated else {}),
    }


def _apart(node: Any) -> Any:
    """Return an Avro schema with names and namespaces apart: AsyncAPI's schema takes no dot in a name."""
    if isinstance(node, list):
        return [_apart(member) for member in node]
    if not isinstance(node, dict):
        return node
    parted = {part: _apart(value) for part, value in node.items() if part != "default"}
    if node.get("type") in ("record", "enum"):
        space, _, name = node["name"].rpartition(".")
        parted = {"type": node["type"], "name": name, "namespace": space} | {**parted, "name": name}
    return parted | ({"default": node["default"]} if "default" in node else {})


def _type(message: Message) -> dict[str, Any]:
    if hasattr(message.struct, "event_type"):
        return {"type": "string", "description": "The event's own event_type, where it has one."}
    return {"type": "string", "const": message.contract.type}


def _dead_letter() -> dict[str, Any]:
    return {
        "name": DEAD,
        "title": DEAD,
        "summary": "A record that could not be processed",
        "description": "Key, value and headers are those of the record that failed, byte for byte; headers follow that "
        "say what happened. `sluice dlq` shows and replays them.",
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary", "description": "The value as it came."},
        "traits": [{"$ref": f"#/components/messageTraits/{DEAD_LETTER}"}],
        "bindings": {
            "kafka": {"key": {"type": "string", "description": "The record's own."}, "bindingVersion": KAFKA}
        },
    }


def _operations(found: Sequence[Channel], settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    replies = replies_of(settings.app_id).name
    dead = {channel.topic.name for channel in found if channel.purpose == "dead letters"}
    for channel in found:
        topic = channel.topic.name
        for message in channel.messages:
            if channel.readers:
                yield f"receive{message.name}", _receive(channel, message, replies)
            if message.output is not None or channel.purpose == "replies":
                told = f"In answer to {', '.join(message.causes)}." if message.causes else ""
                yield f"send{message.name}", _operation("send", topic, message.name, told)
        if channel.readers and dead_letter_topic(topic) in dead:
            name = "".join(part.title() for part in topic.split("."))
            told = f"A record of {topic} that cannot be processed."
            yield f"send{name}DeadLetter", _operation("send", dead_letter_topic(topic), DEAD, told)


def _operation(action: str, topic: str, message: str, told: str) -> dict[str, Any]:
    operation: dict[str, Any] = {"action": action, "channel": {"$ref": f"#/channels/{topic}"}}
    operation["messages"] = [{"$ref": f"#/channels/{topic}/messages/{message}"}]
    return operation | ({"description": told} if told else {})


def _receive(channel: Channel, message: Message, replies: str) -> dict[str, Any]:
    emits = f" May publish {', '.join(message.emits)}." if message.emits else ""
    told = f"Answered by {', '.join(channel.readers)}.{emits}"
    if channel.purpose == "shared state":
        told = "Held by every worker."
    operation = _operation("receive", channel.topic.name, message.name, told)
    if message.answered:
        operation["reply"] = {
            "channel": {"$ref": f"#/channels/{replies}"},
            "messages": [{"$ref": f"#/channels/{replies}/messages/Reply"}],
        }
    return operation
