"""Setup, replay, reset and doctor, on a stack of their own: they make topics under their real names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType
from typer.testing import CliRunner

from ops.cli import app
from ops.doctor import examine
from ops.errors import OpsError
from ops.replay import Replay
from ops.reset import execute, plan
from ops.setup import setup
from ops.stack.local import LocalStack, Ports
from ops.traces import LLM_TRACE, LlmTrace, read_llm_trace
from streams.codec import Codec
from streams.registry import Registry
from streams.settings import Settings
from streams.topics import USAGE_METERED, Topic, all_topics, partition_for

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with LocalStack(tmp_path_factory.mktemp("setup"), Ports.free()) as stack:
        stack.start()
        yield stack


@pytest.fixture
def settings(own: LocalStack, tmp_path: Path) -> Settings:
    return Settings(
        bootstrap_servers=own.bootstrap_servers,
        registry_url=own.registry_url,
        data_dir=tmp_path,
        web_port=1,
    )


def admin(settings: Settings) -> AdminClient:
    return AdminClient(settings.librdkafka_config())


def make_topic(settings: Settings, name: str, partitions: int) -> None:
    client = admin(settings)  # held, for its answers never come when it is collected
    for created in client.create_topics([NewTopic(name, partitions, 1)]).values():
        created.result()


def topic_config(settings: Settings, topic: str) -> dict[str, str]:
    client = admin(settings)
    described = client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])
    (future,) = described.values()
    return {name: entry.value for name, entry in future.result().items()}


def run_setup(settings: Settings, **kwargs: Any) -> dict[str, str]:
    return {row["name"]: row["state"] for row in asyncio.run(setup(settings, **kwargs))}


def consume(settings: Settings, topic: str) -> list[Any]:
    """Return every record of a topic."""
    consumer = Consumer(settings.librdkafka_config() | {"group.id": "reader"})
    ends = {
        number: consumer.get_watermark_offsets(TopicPartition(topic, number))[1]
        for number in range(settings.partitions)
    }
    consumer.assign([TopicPartition(topic, number, 0) for number in ends])
    records: list[Any] = []
    while len(records) < sum(ends.values()):
        records += consumer.consume(1000, timeout=0.5)
    consumer.close()
    return records


def test_setup_makes_the_whole_catalogue_and_a_second_run_changes_nothing(settings: Settings) -> None:
    first = run_setup(settings)
    assert {topic.name for topic in all_topics()} <= first.keys()
    assert set(run_setup(settings).values()) == {"unchanged"}
    assert topic_config(settings, "usage.commands")["message.timestamp.type"] == "LogAppendTime"
    assert topic_config(settings, "sluice-usage-changelog")["cleanup.policy"] == "compact"


def test_a_topic_that_somebody_made_otherwise_is_corrected(settings: Settings, unique: str) -> None:
    make_topic(settings, unique, settings.partitions)
    wanted = Topic(unique, "id", ())
    assert run_setup(settings, topics=[wanted], subjects=[]) == {unique: "changed"}
    assert topic_config(settings, unique)["message.timestamp.type"] == "LogAppendTime"
    assert run_setup(settings, topics=[wanted], subjects=[]) == {unique: "unchanged"}


def test_a_topic_with_another_partition_count_is_refused_and_nothing_is_made(
    settings: Settings, unique: str
) -> None:
    make_topic(settings, unique, 1)
    topics = [Topic(unique, "id", ()), Topic(f"{unique}-new", "id", ())]
    with pytest.raises(OpsError, match=f"SLUICE_PARTITIONS is 4, but {unique} has 1") as refusal:
        run_setup(settings, topics=topics, subjects=[])
    assert "set SLUICE_PARTITIONS" in refusal.value.remedy
    assert f"{unique}-new" not in admin(settings).list_topics(timeout=10).topics


def test_an_incompatible_schema_is_refused_with_field_and_reason_and_nothing_is_made(
    settings: Settings, unique: str
) -> None:
    def schema(*fields: dict[str, Any]) -> str:
        return json.dumps({"type": "record", "name": "Event", "fields": fields})

    old = schema({"name": "id", "type": "string"})
    new = schema({"name": "id", "type": "string"}, {"name": "extra", "type": "long"})
    run_setup(settings, topics=[], subjects=[(unique, old, "FULL_TRANSITIVE")])
    with pytest.raises(OpsError, match=f"{unique}: extra is new and has no default"):
        run_setup(settings, topics=[Topic(unique, "id", ())], subjects=[(unique, new, "FULL_TRANSITIVE")])
    assert unique not in admin(settings).list_topics(timeout=10).topics


def test_the_replay_sends_what_the_file_holds_and_a_second_one_sends_the_same(settings: Settings) -> None:
    run_setup(settings)
    rows = read_llm_trace(LLM_TRACE)
    assert Replay(settings, LlmTrace(LLM_TRACE)).run() == 2 * len(rows)
    assert Replay(settings, LlmTrace(LLM_TRACE)).run() == 2 * len(rows)
    records = consume(settings, USAGE_METERED.name)
    assert len(records) == 4 * len(rows)
    values: dict[bytes, set[bytes]] = {}
    for record in records:
        headers = dict(record.headers())
        values.setdefault(headers["ce_id"], set()).add(record.value())
        assert record.partition() == partition_for(record.key(), settings.partitions)
        assert headers["ce_type"] == b"usage.metered.model_inference"
        assert headers["ce_tenantid"] == record.key()
    assert len(values) == 2 * len(rows)
    assert all(len(distinct) == 1 for distinct in values.values())
    decoded = asyncio.run(_decoded(settings, [next(iter(value)) for value in values.values()]))
    totals = {
        kind: sum(event.quantity for event in decoded if event.resource_type == kind)
        for kind in ("tokens.input", "tokens.output")
    }
    assert totals == {
        "tokens.input": sum(row.context for row in rows),
        "tokens.output": sum(row.generated for row in rows),
    }
    (last_at,) = {stretch.last_at for stretch in Replay(settings, LlmTrace(LLM_TRACE)).journal.stretches}
    assert max(event.timestamp for event in decoded).isoformat() == last_at


async def _decoded(settings: Settings, values: list[bytes]) -> list[Any]:
    registry = Registry(settings)
    codec = Codec(registry)
    await codec.resolve({int.from_bytes(value[1:5], "big") for value in values})
    await registry.close()
    return list(codec.decode_batch(values))


@pytest.mark.parametrize("rate", [1, 200], ids=["between two chunks", "within a chunk"])
def test_a_replay_that_was_stopped_knows_what_it_sent_and_goes_on_from_there(
    rate: int, settings: Settings
) -> None:
    run_setup(settings)
    pauses, told = 0, [0]

    def stop_at_the_third(_seconds: float) -> bool:
        nonlocal pauses
        pauses += 1
        return pauses == 3

    stopped = Replay(settings, LlmTrace(LLM_TRACE, copy=rate), wait=stop_at_the_third)
    sent = stopped.run(rate=rate, progress=told.append)
    done = stopped.journal.done
    # Rows that are late are sent without a pause: on a busy machine there are more than three of them.
    assert 3 <= done < len(stopped.trace)
    assert (sent, told[-1]) == (2 * done, done)
    again = Replay(settings, LlmTrace(LLM_TRACE, copy=rate))
    assert again.run(first_row=done) == 2 * (len(again.trace) - done)
    first, *_, last = again.journal.stretches
    assert (first.first, last.end) == (0, len(again.trace))


def test_a_replay_to_a_registry_without_schemas_is_refused(settings: Settings, unique: str) -> None:
    elsewhere = settings.model_copy(update={"registry_url": settings.registry_url + "/nothing"})
    with pytest.raises(OpsError) as refusal:
        Replay(elsewhere, LlmTrace(LLM_TRACE)).run()
    assert "sluice setup" in refusal.value.remedy


def test_reset_shows_its_plan_and_refuses_while_a_worker_is_a_member(settings: Settings) -> None:
    run_setup(settings)
    member = Consumer(settings.librdkafka_config() | {"group.id": settings.app_id})
    member.subscribe([USAGE_METERED.name])
    member.poll(10)
    try:
        with pytest.raises(OpsError, match="1 workers of sluice are still members"):
            plan(settings)
    finally:
        member.close()
    rows = plan(settings).rows()
    assert {"action": "empty", "target": "sluice-usage-changelog", "to": None} in rows
    assert {"action": "rewind", "target": "usage.metered[0]", "to": 0} in rows


def test_reset_rewinds_the_sources_empties_changelogs_and_keeps_outputs(settings: Settings) -> None:
    run_setup(settings)
    for topic in ("sluice-usage-changelog", "usage.events"):
        send(settings, topic)
    (settings.data_dir / "state").mkdir()
    outputs = len(consume(settings, "usage.events"))
    execute(plan(settings), settings)
    assert not (settings.data_dir / "state").exists()
    assert consume(settings, "sluice-usage-changelog") == []
    assert topic_config(settings, "sluice-usage-changelog")["cleanup.policy"] == "compact"
    assert len(consume(settings, "usage.events")) == outputs
    group = Consumer(settings.librdkafka_config() | {"group.id": settings.app_id})
    committed = group.committed([TopicPartition(USAGE_METERED.name, n) for n in range(4)], timeout=10)
    group.close()
    assert [position.offset for position in committed] == [0, 0, 0, 0]


def send(settings: Settings, topic: str) -> None:
    producer = Producer(settings.librdkafka_config())
    producer.produce(topic, b"value", b"key")
    assert producer.flush(10) == 0


def test_the_doctor_finds_all_but_the_worker_in_order(settings: Settings) -> None:
    run_setup(settings)
    found = {row["check"]: row for row in examine(settings)}
    assert [name for name, row in found.items() if not row["ok"]] == ["worker"]
    assert found["worker"]["remedy"] == "Start one with `sluice worker`."


def test_the_doctor_names_a_remedy_for_everything_that_is_missing(settings: Settings) -> None:
    nowhere = settings.model_copy(
        update={"bootstrap_servers": "127.0.0.1:1", "registry_url": "http://127.0.0.1:1"}
    )
    failed = {row["check"]: row["remedy"] for row in examine(nowhere) if not row["ok"]}
    assert failed.keys() == {"broker", "topics", "registry", "schemas", "worker"}
    assert all(failed.values())


def test_the_commands_list_as_json_and_find_the_local_stack_by_themselves(own: LocalStack) -> None:
    runner = CliRunner()
    where = ["--data-dir", str(own.data_dir), "--json"]

    def rows(*command: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(runner.invoke(app, [*command, *where]).stdout)
        return found

    assert [row["state"] for row in rows("status")] == ["ready", "ready"]
    assert {row["kind"] for row in rows("setup")} == {"topic", "schema"}
    assert any(row["check"] == "broker" and row["ok"] for row in rows("doctor"))
    state = own.data_dir / "state" / "worker-1"
    state.mkdir(parents=True)
    assert {row["action"] for row in rows("reset", "--dry-run")} == {"rewind", "empty", "remove"}
    assert runner.invoke(app, ["reset", *where], input="n\n").exit_code == 1
    assert state.exists(), "neither a plan nor a no changes anything"
    assert runner.invoke(app, ["reset", "--yes", *where]).exit_code == 0
    assert not state.exists()
