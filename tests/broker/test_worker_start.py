"""How a worker starts, stops and comes back, and what it refuses to start on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient

from ops.stack.local import LocalStack
from ops.stack.processes import free_ports
from tests.faults.processes import Worker, until
from tests.faults.proxy import Proxy
from tests.faults.scenario import Scenario

pytestmark = pytest.mark.broker

NOBODY = "127.0.0.1:9"


def refusal(worker: Worker) -> str:
    """Start a worker that must not start; return what it says."""
    worker.start()
    assert worker.wait(60) == 70
    return worker.log_text()


def test_a_killed_worker_is_ready_again_within_seconds(
    stack: LocalStack, unique: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with Scenario(stack, unique, tmp_path, SLUICE_SESSION_TIMEOUT_S="60") as scenario:
        worker, load = scenario.worker("w1"), scenario.load(events=5_000)
        worker.start()
        until(worker.ready, 60, "the worker")
        load.start()
        load.join(60)
        worker.kill()
        worker.wait(10)
        began = time.monotonic()
        worker.start()
        # A static member gets its partitions back at once; any other waits until the dead one's session ends.
        until(worker.ready, 30, "the worker after its kill")
        took = time.monotonic() - began
        scenario.await_drained()
        _, verdict = scenario.compare(load, worker)
    record_property("seconds until ready after SIGKILL", round(took, 2))
    print(f"ready again {took:.2f} s after SIGKILL")
    assert verdict.problems == []
    assert worker.log_text().count("worker ready") == 2


def test_sigterm_under_load_ends_with_0_within_fifteen_seconds(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    with Scenario(stack, unique, tmp_path) as scenario:
        worker, load = scenario.worker("w1"), scenario.load(events=20_000, rate=5_000)
        worker.start()
        until(worker.ready, 60, "the worker")
        load.start()
        until(lambda: load.sent > 3_000, 60, "load")
        worker.terminate()
        assert worker.wait(15) == 0
        load.join(60)
        worker.start()
        scenario.await_drained()
        _, verdict = scenario.compare(load, worker)
    assert verdict.problems == []
    assert verdict.repeated_outputs == 0, "a drained worker leaves nothing to be done again"


def test_sigterm_ends_within_fifteen_seconds_even_while_the_broker_is_paused(
    breakable: LocalStack, unique: str, tmp_path: Path
) -> None:
    with Scenario(breakable, unique, tmp_path) as scenario:
        worker, load = scenario.worker("w1"), scenario.load(events=10_000, rate=5_000)
        worker.start()
        until(worker.ready, 60, "the worker")
        load.start()
        until(lambda: load.sent > 3_000, 60, "load")
        breakable.pause_kafka()
        try:
            worker.terminate()
            # It cannot store what it has in hand, so it is cut off: 75. Had it nothing in hand, it ends as always.
            assert worker.wait(15) in (0, 75)
        finally:
            breakable.resume_kafka()
        load.join(60)
        worker.start()
        scenario.await_drained()
        _, verdict = scenario.compare(load, worker)
    assert verdict.problems == []


def test_a_changed_partition_count_is_refused(stack: LocalStack, unique: str, tmp_path: Path) -> None:
    with Scenario(stack, unique, tmp_path) as scenario:
        text = refusal(scenario.worker("w1", SLUICE_PARTITIONS="8"))
        assert "do not have SLUICE_PARTITIONS=8 partitions" in text
        assert "set SLUICE_PARTITIONS back" in text


def test_partitions_added_in_place_are_refused(stack: LocalStack, unique: str, tmp_path: Path) -> None:
    with Scenario(stack, unique, tmp_path) as scenario:
        worker = scenario.worker("w1")
        worker.start()
        until(worker.ready, 60, "the worker")
        assert worker.stop() == 0
        admin = AdminClient(scenario.settings.librdkafka_config())
        names = [topic.name for topic in scenario.names.topics]
        for future in admin.create_partitions([NewPartitions(name, 6) for name in names]).values():
            future.result()
        until(
            lambda: all(len(admin.list_topics(timeout=10).topics[name].partitions) == 6 for name in names),
            30,
            "new partitions",
        )
        # Everything has six now, and so has the setting: only the table itself knows that it had four.
        text = refusal(scenario.worker("w2", SLUICE_PARTITIONS="6"))
        assert "was written with 4 partitions and is now used with 6" in text
        assert "Go back to the old number" in text


def test_co_partitioning_that_does_not_hold_is_refused(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    with Scenario(stack, unique, tmp_path) as scenario:
        admin = AdminClient(scenario.settings.librdkafka_config())
        changelog = scenario.names.changelog
        for future in admin.delete_topics([changelog]).values():
            future.result()
        until(lambda: changelog not in admin.list_topics(timeout=10).topics, 30, "deletion")
        for future in admin.create_topics([NewTopic(changelog, 3, 1)]).values():
            future.result()
        until(lambda: changelog in admin.list_topics(timeout=10).topics, 30, "creation")
        text = refusal(scenario.worker("w1"))
        assert f"'{changelog}': 3" in text
        assert "never add partitions in place" in text


def test_a_missing_topic_is_refused(stack: LocalStack, unique: str, tmp_path: Path) -> None:
    with Scenario(stack, unique, tmp_path) as scenario:
        admin = AdminClient(scenario.settings.librdkafka_config())
        dead = scenario.names.dead.name
        for future in admin.delete_topics([dead]).values():
            future.result()
        until(lambda: dead not in admin.list_topics(timeout=10).topics, 30, "deletion")
        text = refusal(scenario.worker("w1"))
        assert f"topics are missing: {dead}; run `sluice setup`" in text


def test_a_deleted_changelog_is_refused_and_not_counted_again_from_zero(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    with Scenario(stack, unique, tmp_path) as scenario:
        worker, load = scenario.worker("w1"), scenario.load(events=500)
        worker.start()
        load.start()
        load.join(60)
        scenario.await_drained()
        assert worker.stop() == 0
        admin = AdminClient(scenario.settings.librdkafka_config())
        changelog = scenario.names.changelog
        [config] = [topic.config for topic in scenario.names.topics if topic.name == changelog]
        for future in admin.delete_topics([changelog]).values():
            future.result()
        until(lambda: changelog not in admin.list_topics(timeout=10).topics, 30, "deletion")
        for future in admin.create_topics([NewTopic(changelog, 4, 1, config=config)]).values():
            future.result()
        until(lambda: changelog in admin.list_topics(timeout=10).topics, 30, "creation")
        text = refusal(scenario.worker("w2"))
        assert "the changelog was deleted" in text
        assert "sluice reset" in text


def test_a_broker_that_is_away_at_start_is_told_with_its_remedy(tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    variables = {"SLUICE_BOOTSTRAP_SERVERS": nowhere, "SLUICE_REGISTRY_URL": f"http://{NOBODY}"}
    worker = Worker("w1", "nobody", tmp_path, {**variables, "FAULTS_BROKER_S": "2"})
    try:
        text = refusal(worker)
    finally:
        worker.stop()
    assert nowhere in text
    assert "sluice up" in text
    assert "Traceback" not in text


def test_a_worker_starts_without_the_registry_when_it_knows_the_schemas(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    with (
        Proxy(stack.registry_url) as proxy,
        Scenario(stack, unique, tmp_path, SLUICE_REGISTRY_URL=proxy.url) as scenario,
    ):
        worker, load = scenario.worker("w1"), scenario.load(events=1_000)
        worker.start()
        until(worker.ready, 60, "the worker")
        assert worker.stop() == 0
        proxy.close()
        load.start()
        load.join(60)
        worker.start()
        scenario.await_drained()
        _, verdict = scenario.compare(load, worker)
    assert verdict.problems == []


def test_a_worker_that_does_not_find_its_schemas_is_refused(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    with Scenario(stack, unique, tmp_path) as scenario:
        worker = scenario.worker("w1", SLUICE_REGISTRY_URL=f"http://{NOBODY}/apis/ccompat/v7")
        text = refusal(worker)
        assert "the schema registry does not answer" in text
        assert "set SLUICE_REGISTRY_URL" in text
        assert "Traceback" not in text
        subject = scenario.names.subjects[0][0]
        with SchemaRegistryClient({"url": stack.registry_url}) as client:
            client.delete_subject(subject)
        text = refusal(scenario.worker("w2"))
        assert f"subject {subject}: the schema registry does not have it" in text
        assert "run `sluice setup` to register it" in text
        assert "Traceback" not in text


def test_a_name_that_is_taken_on_this_machine_is_refused(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    with Scenario(stack, unique, tmp_path) as scenario:
        first = scenario.worker("w1")
        first.start()
        until(first.ready, 60, "the worker")
        text = refusal(scenario.worker("w1"))
        assert "is taken by a running process" in text
        assert first.signal(signal.SIGCONT), "the first one goes on"
