"""The local stack itself: real processes, started, disturbed and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from ops.errors import OpsError
from ops.stack import class_cache
from ops.stack.artifacts import cache_dir
from ops.stack.local import PARTS, LocalStack, Part, Ports
from tests.faults.processes import until

pytestmark = pytest.mark.broker

LEADERLESS = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


def make_topic(stack: LocalStack, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    for created in admin.create_topics([NewTopic(name, 1, 1)]).values():
        created.result()


def high_watermark(stack: LocalStack, topic: str) -> int:
    """Return where the only partition of a topic ends, once it has a leader: a broker that starts elects it last."""
    consumer = Consumer({"bootstrap.servers": stack.bootstrap_servers, "group.id": "watermark"})

    def ends() -> list[int]:
        try:
            return [int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1])]
        except KafkaException as exc:
            if exc.args[0].code() not in LEADERLESS:
                raise
            return []

    try:
        [end] = until(ends, 30, "a leader")
        return int(end)
    finally:
        consumer.close()


def produce(stack: LocalStack, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "acks": "all"})
    failures: list[object] = []
    producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(30) == 0
    assert failures == []


def test_the_stack_listens_on_loopback_only(stack: LocalStack) -> None:
    assert [row["state"] for row in stack.status()] == ["ready", "ready"]
    for part in ("kafka", "registry"):
        pid = stack.pid(part)
        listening = [c for c in psutil.Process(pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_runs_from_its_class_cache_where_that_was_made_and_finds_no_fault_with_it(
    stack: LocalStack, part: Part
) -> None:
    pid = stack.pid(part)
    assert set(class_cache.options(part, cache_dir())) <= set(psutil.Process(pid).cmdline())
    logs = stack.data_dir / "logs"
    log = {"kafka": logs / "kafka.out", "registry": logs / "registry.log"}[part]
    assert "[aot" not in log.read_text(errors="replace")


def test_a_second_start_of_a_running_stack_changes_nothing(stack: LocalStack) -> None:
    before = stack.pid("kafka"), stack.pid("registry")
    LocalStack(stack.data_dir, stack.ports).start()
    assert (stack.pid("kafka"), stack.pid("registry")) == before


def test_a_topic_nobody_declared_is_not_made(broker: LocalStack, unique: str) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 1500})
    failures: list[object] = []
    producer.produce(unique, b"value", on_delivery=lambda error, _: failures.append(error))
    producer.flush(10)
    assert failures[0] is not None
    assert (
        unique
        not in AdminClient({"bootstrap.servers": broker.bootstrap_servers}).list_topics(timeout=10).topics
    )


def test_records_and_schemas_survive_a_restart_of_the_whole_stack(breakable: LocalStack, unique: str) -> None:
    stack = breakable
    make_topic(stack, unique)
    produce(stack, unique, b"value")
    versions = f"{stack.registry_url}/subjects/{unique}-value/versions"
    registered = requests.post(versions, json={"schema": '"string"'}, timeout=10).json()
    stack.stop()
    stack.start()
    assert high_watermark(stack, unique) == 1
    assert requests.post(versions, json={"schema": '"string"'}, timeout=10).json() == registered


def test_a_killed_broker_comes_back_with_what_it_had_acknowledged(breakable: LocalStack, unique: str) -> None:
    make_topic(breakable, unique)
    produce(breakable, unique, b"value")
    breakable.kill_kafka()
    assert breakable.pid("kafka") is None
    breakable.start_kafka()
    assert high_watermark(breakable, unique) == 1


def test_a_paused_broker_answers_again_when_it_is_resumed(breakable: LocalStack, unique: str) -> None:
    make_topic(breakable, unique)
    breakable.pause_kafka()
    pid = breakable.pid("kafka")
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, 20, "the pause")
    breakable.resume_kafka()
    produce(breakable, unique, b"value")
    assert high_watermark(breakable, unique) == 1


def test_disturbing_a_broker_that_does_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="kafka does not run"):
        LocalStack(tmp_path, Ports.free()).pause_kafka()


@pytest.mark.parametrize("name", ["kafka", "controller", "registry", "management"])
def test_a_taken_port_is_refused_before_anything_is_started(name: str, tmp_path: Path) -> None:
    ports = Ports.free()
    port = getattr(ports, name)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        stack = LocalStack(tmp_path, ports)
        with pytest.raises(OpsError, match=f"Port {port} .* is taken by") as refusal:
            stack.start()
    assert f"--{name}-port" in refusal.value.remedy
    assert stack.state.read() == {}


def test_the_broker_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    ports = Ports.free()
    program = (
        "import sys, time; from pathlib import Path; from ops.stack.local import LocalStack, Ports\n"
        "LocalStack(Path(sys.argv[1]), Ports(*map(int, sys.argv[2:]))).start_kafka()\n"
        "print('up', flush=True); time.sleep(600)"
    )
    numbers = map(str, (ports.kafka, ports.controller, ports.registry, ports.management))
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), *numbers], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        stack = LocalStack(tmp_path, ports)
        pid = stack.pid("kafka")
        assert pid is not None
        os.kill(owner.pid, signal.SIGKILL)
    until(lambda: stack.pid("kafka") is None and not psutil.pid_exists(pid), 20, "the broker's end")
