"""Setup and worker against brokers and a registry that ask for TLS and a login, by settings alone (issue 3, item 1)."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from confluent_kafka import Producer

from ops.errors import OpsError
from ops.replay import Replay
from ops.stack.local import LocalStack
from ops.traces import LLM_TRACE, LlmTrace
from streams.brokers import BrokerRefused, BrokerUnreachable, find_topics
from streams.codec import Codec
from streams.events import UsageEvent
from streams.registry import Registry
from streams.settings import Settings
from streams.topics import USAGE_METERED, all_topics
from tests.broker.secure import (
    PLAIN_PASSWORD,
    REGISTRY_PASSWORD,
    SCRAM_PASSWORD,
    Authority,
    SecureCluster,
)
from tests.faults.processes import ROOT, Worker, until

pytestmark = pytest.mark.broker

READY_S = 60.0
REFUSED_S = 20.0
"""A refusal must come long before the 30 s that a worker waits for a broker; starting Python is part of it."""

FEW = 4
"""Logins that may be refused before a command gives up: hundreds of schemas are asked for once one was answered."""

Fields = dict[str, str]

WAYS: dict[str, Callable[[SecureCluster], Fields]] = {
    "plain": lambda cluster: cluster.login("PLAIN", PLAIN_PASSWORD),
    "scram": lambda cluster: cluster.login("SCRAM-SHA-512", SCRAM_PASSWORD),
    "certificate": lambda cluster: cluster.certificate(),
}


def environment(fields: Fields) -> dict[str, str]:
    return {f"SLUICE_{name.upper()}": value for name, value in fields.items()}


class Tools:
    """Commands and a worker against the cluster; whatever they print or store is searched for secrets.

    Attributes:
        sent: by tenant, the sum of what was metered so far.
    """

    def __init__(self, cluster: SecureCluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.sent: dict[str, int] = {}
        more = {"SLUICE_APP_ID": "sluice", "SLUICE_LOG_LEVEL": "DEBUG"}
        self.worker = Worker("secure", "worker", folder, more, module="ops.cli")

    def run(self, command: str, fields: Fields, data: str = "tools") -> tuple[int, str]:
        """Run a command of ``sluice`` to its end; return its exit status and everything it printed, on one line."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli", command, "--data-dir", str(self.folder / data)],
            cwd=ROOT,
            env=inherited | environment(fields) | {"SLUICE_LOG_LEVEL": "DEBUG"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
        )
        self.search("what it printed", done.stdout + done.stderr)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def refused(self, command: str, fields: Fields) -> str:
        """Run a command that must be refused, and soon; return what it printed."""
        started = time.monotonic()
        status, text = self.run(command, fields, data="nothing-is-known-here")
        assert status == 1, text
        assert time.monotonic() - started < REFUSED_S
        assert "Traceback" not in text
        assert "rdkafka#" not in text, "librdkafka's own log lines, one with every try"
        return text

    def search(self, where: str, text: str) -> None:
        """Find no secret in ``text``, broken into lines or not."""
        bare = re.sub(r"\s", "", text)
        found = [number for number, secret in enumerate(self.cluster.secrets()) if secret in bare]
        assert not found, f"secrets {found} are in {where}"

    def search_files(self) -> None:
        """Find no secret in anything that a command or a worker wrote."""
        written = [path for path in self.folder.rglob("*") if path.is_file()]
        assert {"registry-cache.json", "secure.log"} <= {path.name for path in written}
        for path in written:
            self.search(str(path), path.read_text(errors="replace"))


@pytest.fixture(scope="module")
def tools(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    with SecureCluster(tmp_path_factory.mktemp("secure-cluster"), stack.registry_url) as cluster:
        yield Tools(cluster, tmp_path_factory.mktemp("secure"))


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that nobody in the cluster knows."""
    return Authority(tmp_path / "stranger", "A stranger")


async def meter(settings: Settings, tenant: str, quantities: list[int]) -> None:
    """Send usage events the way any application would."""
    registry = Registry(settings)
    codec = Codec(registry)
    await codec.prepare([(USAGE_METERED.name, UsageEvent)])
    producer = Producer(settings.librdkafka_config() | {"partitioner": "murmur2_random"})
    for quantity in quantities:
        event = UsageEvent(
            timestamp=datetime.now(UTC),
            event_type="api_call",
            resource_type="calls",
            quantity=Decimal(quantity),
            tenant_id=tenant,
        )
        producer.produce(USAGE_METERED.name, codec.encode(event, USAGE_METERED.name), tenant.encode())
    assert producer.flush(30) == 0
    await registry.close()


def metered(worker: Worker, tenant: str) -> Decimal | None:
    page = worker.page(f"/usage/{tenant}")
    return Decimal(page["items"][0]["sum"]) if page and page["items"] else None


def ready(worker: Worker) -> bool:
    page = worker.page("/health/ready")
    return page is not None and page["status"] == "UP"


@pytest.mark.parametrize("way", WAYS)
def test_setup_and_worker_run_against_a_secured_cluster_by_settings_alone(tools: Tools, way: str) -> None:
    fields = WAYS[way](tools.cluster) | tools.cluster.registry
    refused = tools.cluster.gate.refused
    status, text = tools.run("setup", fields)
    assert (status, f"{len(list(all_topics()))} topics are in place" in text) == (0, True), text
    settings = Settings.read(**fields, data_dir=tools.folder / "producer")
    worker = tools.worker
    worker.start(**environment(fields))
    try:
        asyncio.run(meter(settings, f"tenant-{way}", [1, 20, 300]))
        tools.sent[f"tenant-{way}"] = 321
        until(lambda: metered(worker, f"tenant-{way}") == 321, READY_S, "the events are counted")
        until(lambda: ready(worker), READY_S, "the worker is ready")
        # What the worker before this one counted was read from the changelog.
        assert {tenant: metered(worker, tenant) for tenant in tools.sent} == tools.sent
    finally:
        assert worker.stop() == 0, worker.log_text()
    assert tools.cluster.gate.refused == refused
    tools.search_files()


def without(fields: Fields, *names: str) -> Fields:
    return {name: value for name, value in fields.items() if name not in names}


REFUSALS: dict[str, tuple[Callable[[SecureCluster, Authority], Fields], str, str]] = {
    "a wrong password, PLAIN": (
        lambda cluster, _: cluster.login("PLAIN", SCRAM_PASSWORD),
        "refuses the login",
        "SLUICE_SASL_PASSWORD",
    ),
    "a wrong password, SCRAM": (
        lambda cluster, _: cluster.login("SCRAM-SHA-512", PLAIN_PASSWORD),
        "refuses the login",
        "SLUICE_SASL_PASSWORD",
    ),
    "a mechanism that the broker does not offer": (
        lambda cluster, _: cluster.login("SCRAM-SHA-256", SCRAM_PASSWORD),
        "supported mechanisms: PLAIN,SCRAM-SHA-512",
        "SLUICE_SASL_MECHANISM",
    ),
    "an authority that did not sign the broker's certificate": (
        lambda cluster, stranger: cluster.certificate() | {"kafka_ca": str(stranger.certificate)},
        "is not trusted",
        "SLUICE_KAFKA_CA",
    ),
    "the system's authorities only": (
        lambda cluster, _: without(cluster.login("PLAIN", PLAIN_PASSWORD), "kafka_ca") | {"tls": "true"},
        "is not trusted",
        "SLUICE_KAFKA_CA",
    ),
    "no certificate where one is asked for": (
        lambda cluster, _: without(cluster.certificate(), "kafka_cert", "kafka_key"),
        "asks for another certificate",
        "SLUICE_KAFKA_CERT",
    ),
    "a certificate of a stranger": (
        lambda cluster, stranger: (
            cluster.certificate()
            | dict(zip(("kafka_cert", "kafka_key"), map(str, stranger.issue("client")), strict=True))
        ),
        "asks for another certificate",
        "SLUICE_KAFKA_CERT",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_broker_that_does_not_let_us_in_is_left_at_once_with_cause_and_remedy(
    tools: Tools, stranger: Authority, case: str
) -> None:
    fields, cause, remedy = REFUSALS[case]
    settings = Settings.read(**fields(tools.cluster, stranger))
    with pytest.raises(BrokerRefused) as refusal:
        find_topics(settings, seconds=30.0)
    assert cause in refusal.value.cause
    assert remedy in refusal.value.remedy
    tools.search("the refusal", str(refusal.value))


def test_a_client_without_tls_is_told_of_the_settings_it_may_lack(tools: Tools) -> None:
    fields = without(tools.cluster.login("PLAIN", PLAIN_PASSWORD), "kafka_ca")
    with pytest.raises(BrokerUnreachable, match=r"no broker answers at .*SLUICE_TLS and SLUICE_SASL"):
        find_topics(Settings.read(**fields), seconds=1.0)


@pytest.mark.parametrize(("command", "way"), [("setup", "plain"), ("worker", "scram")])
def test_commands_refuse_a_wrong_password_soon_and_without_showing_it(
    tools: Tools, command: str, way: str
) -> None:
    text = tools.refused(
        command, WAYS[way](tools.cluster) | tools.cluster.registry | {"sasl_password": REGISTRY_PASSWORD}
    )
    assert "refuses the login" in text
    assert "SLUICE_SASL_PASSWORD" in text


def test_a_replay_with_a_wrong_password_is_refused_before_it_sends(tools: Tools, tmp_path: Path) -> None:
    fields = WAYS["plain"](tools.cluster) | tools.cluster.registry | {"sasl_password": REGISTRY_PASSWORD}
    replay = Replay(Settings.read(**fields, data_dir=tmp_path), LlmTrace(LLM_TRACE))
    with pytest.raises(OpsError, match="refuses the login") as refusal:
        replay.run()
    tools.search("the refusal", str(refusal.value))


@pytest.mark.parametrize("command", ["setup", "worker"])
def test_commands_refuse_a_registry_that_wants_a_login(tools: Tools, command: str) -> None:
    before = tools.cluster.gate.refused
    registry = without(tools.cluster.registry, "registry_username", "registry_password")
    text = tools.refused(command, WAYS["certificate"](tools.cluster) | registry)
    assert "refuses the login with 401" in text
    assert "SLUICE_REGISTRY_USERNAME and SLUICE_REGISTRY_PASSWORD" in text
    assert tools.cluster.gate.refused - before <= FEW, "nobody asks again"


def test_setup_refuses_a_wrong_password_of_the_registry(tools: Tools) -> None:
    registry = tools.cluster.registry | {"registry_password": PLAIN_PASSWORD}
    text = tools.refused("setup", WAYS["certificate"](tools.cluster) | registry)
    assert "refuses the login with 401" in text


@pytest.mark.parametrize("command", ["setup", "worker"])
def test_commands_refuse_a_registry_whose_certificate_they_cannot_trust(
    tools: Tools, stranger: Authority, command: str
) -> None:
    registry = tools.cluster.registry | {"registry_ca": str(stranger.certificate)}
    text = tools.refused(command, WAYS["plain"](tools.cluster) | registry)
    assert "the certificate of the schema registry is not trusted" in text
    assert "set SLUICE_REGISTRY_CA" in text
