"""The AsyncAPI document is one by AsyncAPI's own schema, says what the code does, and its examples can be sent."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastavro.schema import to_parsing_canonical_form
from jsonschema import Draft7Validator  # type: ignore[import-untyped]
from pydantic import SecretStr

from ops.reference.asyncapi import document
from ops.reference.model import Message, channels
from streams.codec import Codec
from streams.events import RECORDS
from streams.failures import Failure, dead_letter_headers
from streams.routes import INDEX
from streams.settings import Settings
from streams.topics import Topic, all_topics, dead_letter_topic
from streams.validation import errors_of
from tests.contract.offline import TOPIC, offline_codec

SCHEMA = Path(__file__).with_name("asyncapi") / "3.1.0.json"
FOUND = [channel for channel in channels(INDEX) if channel.purpose != "changelog"]
MESSAGES = {message.name: message for channel in FOUND for message in channel.messages}
BY_NAME = pytest.mark.parametrize("name", sorted(MESSAGES))


def made(**settings: Any) -> dict[str, Any]:
    return document(Settings.read(**settings), INDEX, "1.2.3")


@cache
def default() -> dict[str, Any]:
    return made()


def described(name: str) -> dict[str, Any]:
    """Return a message as the document has it, its trait's headers included."""
    message: dict[str, Any] = default()["components"]["messages"][name]
    [trait] = (resolved(each["$ref"]) for each in message["traits"])
    own = message.get("headers", {}).get("properties", {})
    headers = {**trait["headers"], "properties": trait["headers"]["properties"] | own}
    return message | {"headers": headers}


def resolved(reference: str) -> Any:
    node: Any = default()
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for part in node.values():
            yield from references(part)
    elif isinstance(node, list):
        for part in node:
            yield from references(part)


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    return Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    found = offline_codec(tmp_path_factory.mktemp("codec"))
    asyncio.run(found.prepare((TOPIC, message.struct) for message in MESSAGES.values()))
    return found


# --- the document ---------------------------------------------------------------------------------------------------


def test_the_document_is_one_by_the_schema_of_asyncapi(validator: Draft7Validator) -> None:
    assert [f"{list(error.path)}: {error.message[:200]}" for error in validator.iter_errors(default())] == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("channels", "usage.metered", "adress"), "usage.metered"),
        (("channels", "usage.metered", "bindings", "kafka", "partition"), 4),
        (("operations", "receiveUsageEvent", "action"), "recieve"),
        (("servers", "kafka", "bindings", "kafka", "bindingVersion"), "9"),
    ],
)
def test_a_document_with_a_mistake_is_refused(
    validator: Draft7Validator, place: tuple[str, ...], value: Any
) -> None:
    # One channel is enough: what else it refers to is another test's.
    wrong = {
        **default(),
        "channels": {"usage.metered": copy.deepcopy(default()["channels"]["usage.metered"])},
        "operations": {"receiveUsageEvent": copy.deepcopy(default()["operations"]["receiveUsageEvent"])},
        "servers": copy.deepcopy(default()["servers"]),
        "components": {},
    }
    assert validator.is_valid(wrong)
    node = wrong
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = value
    assert not validator.is_valid(wrong)


def test_every_reference_leads_somewhere() -> None:
    found = set(references({part: default()[part] for part in ("channels", "operations")}))
    found |= {
        each for message in default()["components"]["messages"].values() for each in references(message)
    }
    assert len(found) > 200
    for reference in found:
        resolved(reference)


def test_every_topic_but_the_changelogs_is_a_channel_as_setup_makes_it() -> None:
    shown = made(partitions=8, replication_factor=3, app_id="shop")["channels"]
    topics = {topic.name: topic for topic in all_topics("shop") if not topic.name.endswith("-changelog")}
    assert list(shown) == list(topics)
    for name, topic in topics.items():
        kafka = shown[name]["bindings"]["kafka"]
        assert (shown[name]["address"], kafka["topic"]) == (name, name)
        assert (kafka["partitions"], kafka["replicas"]) == (8, 3)
        assert configured(kafka["topicConfiguration"]) == topic.config


def configured(shown: dict[str, Any]) -> dict[str, str]:
    """Return a topic's configuration as Kafka takes it."""
    return {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in shown.items()}


def test_every_channel_carries_the_records_of_its_topic() -> None:
    for topic in all_topics():
        if not topic.name.endswith("-changelog"):
            names = [name.rpartition(".")[2] for name in topic.records] or ["DeadLetter"]
            assert list(default()["channels"][topic.name]["messages"]) == names


def test_a_worker_receives_what_is_routed_and_sends_what_has_an_output() -> None:
    operations = default()["operations"]
    received = {
        operation["messages"][0]["$ref"]
        for operation in operations.values()
        if operation["action"] == "receive"
    }
    sent = {
        operation["messages"][0]["$ref"] for operation in operations.values() if operation["action"] == "send"
    }
    routed = {place(route.topic, route.event) for route in INDEX.routes}
    shared = {place(topic, RECORDS[name]) for topic in INDEX.shared for name in topic.records}
    orders = "#/channels/notification.deliveries/messages/NotificationDeliveryOrdered"
    assert received == routed | shared | {orders}
    letters = {dead_letter_topic(route.topic.name) for route in INDEX.routes} | {
        "notification.deliveries.dlq"
    }
    assert sent == (
        {place(output.topic, output.event) for output in INDEX.outputs.values()}
        | {f"#/channels/{name}/messages/DeadLetter" for name in letters}
        | {"#/channels/sluice.replies/messages/Reply"}
    )


def place(topic: Topic, event: type) -> str:
    return f"#/channels/{topic.name}/messages/{event.__name__}"


def test_commands_and_nothing_else_are_answered_on_the_topic_of_replies() -> None:
    answered = {
        operation["messages"][0]["$ref"].rpartition("/")[2]: operation["reply"]["channel"]["$ref"]
        for operation in default()["operations"].values()
        if "reply" in operation
    }
    assert answered == {
        route.event.__name__: "#/channels/sluice.replies" for route in INDEX.routes if route.answered
    }
    for name in answered:
        assert "ce_replyto" in described(name)["headers"]["properties"]


def test_brokers_registry_and_login_are_those_of_the_settings_without_the_password() -> None:
    shown = made(
        bootstrap_servers="one:9092,two:9092",
        registry_url="https://registry:8443/api",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="worker",
        sasl_password=SecretStr("geheim"),
        web_token=SecretStr("operator-token"),
        tls=True,
    )
    assert [server["host"] for server in shown["servers"].values()] == ["one:9092", "two:9092"]
    for server in shown["servers"].values():
        assert server["protocol"] == "kafka-secure"
        assert server["bindings"]["kafka"]["schemaRegistryUrl"] == "https://registry:8443/api"
    assert shown["components"]["securitySchemes"] == {"sasl": {"type": "scramSha512"}}
    text = json.dumps(shown)
    assert not [secret for secret in ("geheim", "operator-token", '"worker"') if secret in text]


def test_a_document_of_a_cluster_with_a_login_is_valid_too(validator: Draft7Validator) -> None:
    shown = made(sasl_mechanism="PLAIN", sasl_username="u", sasl_password=SecretStr("p"))
    shown["components"]["messages"] = {}
    assert validator.is_valid(shown)


# --- records --------------------------------------------------------------------------------------------------------


@BY_NAME
def test_the_schema_of_a_record_is_its_contract(name: str) -> None:
    payload = described(name)["payload"]
    assert payload["schemaFormat"] == "application/vnd.apache.avro;version=1.9.0"
    contract = MESSAGES[name].contract.schema
    assert to_parsing_canonical_form(payload["schema"]) == to_parsing_canonical_form(contract)
    assert [field.get("default") for field in payload["schema"]["fields"]] == [
        field.get("default") for field in contract["fields"]
    ]


@BY_NAME
def test_the_example_of_a_record_can_be_sent_and_comes_back_the_same(name: str, codec: Codec) -> None:
    message, [example] = MESSAGES[name], described(name)["examples"]
    assert errors_of(message.contract.schema, example["payload"]) == []
    event: Any = msgspec.json.decode(json.dumps(example["payload"]), type=message.struct)
    assert codec.decode(codec.encode(event, TOPIC)) == event
    key = described(name)["bindings"]["kafka"]["key"]["examples"][0]
    assert key_of(message, event, example) == key
    assert all(key.split("|"))


def key_of(message: Message, event: Any, example: dict[str, Any]) -> str:
    """Return the key under which an event travels; a reply has that of its command."""
    return message.key(event) if message.key is not None else str(example["headers"]["ce_causationid"])


@BY_NAME
def test_the_headers_of_an_example_are_those_that_are_described(name: str) -> None:
    headers, [example] = described(name)["headers"], described(name)["examples"]
    strict = {**headers, "additionalProperties": False}
    assert [error.message for error in Draft7Validator(strict).iter_errors(example["headers"])] == []
    if name != "Reply":
        assert (
            example["headers"]["ce_partitionkey"]
            == described(name)["bindings"]["kafka"]["key"]["examples"][0]
        )
        assert example["headers"]["ce_id"] == example["payload"]["event_id"]


def test_dead_letters_have_the_headers_that_are_described() -> None:
    failure = Failure(
        "poison", "NOT_FRAMED", "the first byte is 1", exception="Broken", stacktrace="at line 1"
    )
    written = dead_letter_headers(
        [("ce_id", b"1")],
        failure,
        topic="usage.metered",
        partition=1,
        offset=2,
        attempts=1,
        timestamp_ms=0,
        consumer_group="sluice",
        agent="usage",
    )
    headers = {name: (value or b"").decode() for name, value in written}
    strict = {**described("DeadLetter")["headers"], "additionalProperties": False}
    assert [error.message for error in Draft7Validator(strict).iter_errors(headers)] == []
    assert not Draft7Validator(strict).is_valid({"ce_id": "1"})
