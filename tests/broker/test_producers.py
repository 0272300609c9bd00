"""Producers in any language: each example is built from nothing, run on a real broker, and counted by a real worker."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4
from zlib import crc32

import msgspec
import pytest
from confluent_kafka import Producer

from ops.setup import setup
from ops.stack.local import LocalStack
from streams.codec import Codec
from streams.events import StockEntryRequested, UsageEvent
from streams.keys import key_of
from streams.registry import Registry
from streams.settings import Settings
from streams.topics import STOCK_COMMANDS, USAGE_METERED, dead_letter_topic, partition_for
from tests.faults.cluster import PARTITIONS, Reader, Stored, environment_of, read, settings_of
from tests.faults.processes import Worker, until

pytestmark = pytest.mark.broker

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
METERED = USAGE_METERED.name
HEADERS = {
    "ce_specversion",
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_partitionkey",
    "ce_tenantid",
    "ce_dataschema",
    "content-type",
}
WAIT_S = 60.0
BUILD_S = 240.0


# --- building -----------------------------------------------------------------------------------------------------


def program(name: str) -> str:
    """Return where a program is."""
    found = shutil.which(name)
    assert found, f"{name} is not on the PATH; tests/tools.sh installs what the tests run"
    return found


def executed(command: list[str], folder: Path, **variables: str) -> str:
    """Return what a command prints."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **variables}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=BUILD_S, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
    return done.stdout


def python(_: Path) -> list[str]:
    return [sys.executable, str(EXAMPLES / "send_usage.py")]


def java(folder: Path) -> list[str]:
    jars = executed([sys.executable, "jars.py"], folder).strip()
    executed(
        [program("javac"), "-Xlint:all", "-Werror", "-cp", jars, "-d", "classes", "SendUsage.java"], folder
    )
    return [program("java"), "-cp", os.pathsep.join([jars, "classes"]), "SendUsage"]


def go(folder: Path) -> list[str]:
    # Unoptimised and without C: half of the time that it takes otherwise.
    build = [program("go"), "build", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o", "send_usage", "."]
    executed(build, folder, CGO_ENABLED="0")
    return [str(folder / "send_usage")]


def node(folder: Path) -> list[str]:
    executed([program("npm"), "ci", "--no-audit", "--no-fund"], folder)
    executed([program("npm"), "run", "build"], folder)
    return [program("node"), "send_usage.js"]


def curl(_: Path) -> list[str]:
    program("curl")
    return [str(EXAMPLES / "curl" / "send_usage.sh")]


BUILDS = {"go": go, "node": node, "java": java, "python": python, "curl": curl}
"""The slowest first: they are built while the others run."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[tuple[list[str], Path]]]]:
    """Build every example in a copy of its folder; a future each, so that the stack can start meanwhile."""
    root = tmp_path_factory.mktemp("producers")

    def build(language: str) -> tuple[list[str], Path]:
        source, folder = EXAMPLES / language, root / language
        if source.exists():
            tracked = shutil.ignore_patterns("node_modules", "*.js", "*.class")
            shutil.copytree(source, folder, ignore=tracked)
        else:
            folder.mkdir()
        return BUILDS[language](folder), folder

    with ThreadPoolExecutor(2) as pool:
        yield {language: pool.submit(build, language) for language in BUILDS}


# --- the worker ---------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """A worker, and what lies on its broker."""

    settings: Settings
    stack: LocalStack
    worker: Worker

    def events(self, tenant: str) -> list[Stored]:
        """Return the records of usage under a tenant's key."""
        return [stored for stored in read(self.settings, METERED) if stored.key == tenant.encode()]

    def letters(self, tenant: str) -> dict[str, int]:
        """Return how many dead letters a tenant's key has in this application, by reason."""
        group = self.settings.app_id.encode()
        found: dict[str, int] = {}
        for letter in read(self.settings, dead_letter_topic(METERED)):
            if letter.key == tenant.encode() and letter.header("sluice.dlq.consumer-group") == group:
                reason = (letter.header("sluice.dlq.reason") or b"").decode()
                found[reason] = found.get(reason, 0) + 1
        return found

    def used(self, tenant: str) -> tuple[Decimal, int] | None:
        """Return how much a tenant used in how many events, as the view shows it; None where it shows nothing."""
        page = self.worker.page(f"/usage/{quote(tenant, safe='')}")
        if page is None or not page["items"]:
            return None
        [item] = page["items"]
        return Decimal(item["sum"]), item["count"]

    def await_used(self, tenant: str, quantity: str, events: int) -> None:
        """Return once a tenant's usage is so much in so many events."""
        until(lambda: self.used(tenant) == (Decimal(quantity), events), WAIT_S, f"the usage of {tenant}")

    def post(self, body: Any, kind: str = "application/cloudevents+json") -> tuple[int, Any]:
        """Return status and answer of POST /events."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.worker.port}/events",
            json.dumps(body).encode(),
            {"Content-Type": kind},
        )
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="module")
def site(built: object, stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    settings = settings_of(stack, f"producers-{uuid4().hex[:8]}", folder)
    asyncio.run(setup(settings))
    variables = {**environment_of(stack), "SLUICE_APP_ID": settings.app_id}
    worker = Worker("w1", "worker", folder, variables, module="ops.cli", ready_path="/health/ready")
    try:
        worker.start()
        until(worker.ready, WAIT_S, "the worker")
        yield Site(settings, stack, worker)
    finally:
        worker.stop()


def tenant_of(language: str) -> str:
    """Return a tenant whose key murmur2 puts elsewhere than CRC32 does, and which is no ASCII."""
    names = (f"{language}-Łódź-{number}-{uuid4().hex[:4]}" for number in count())
    return next(name for name in names if home(name) != crc32(name.encode()) % PARTITIONS)


def home(tenant: str) -> int:
    return partition_for(tenant.encode(), PARTITIONS)


# --- the examples -------------------------------------------------------------------------------------------------


@pytest.mark.timeout(BUILD_S)
@pytest.mark.parametrize("language", list(reversed(BUILDS)))
def test_an_examples_events_lie_where_they_belong_and_are_counted(
    site: Site, built: Mapping[str, Future[tuple[list[str], Path]]], language: str
) -> None:
    command, folder = built[language].result()
    tenant = tenant_of(language)
    # The script sends two events, and the first one of them once more.
    runs, events, total = (("150",), 2, "300") if language == "curl" else (("150", "2.5"), 2, "152.5")
    printed = "".join(
        executed(
            [*command, tenant, quantity],
            folder,
            SLUICE_BOOTSTRAP_SERVERS=site.stack.bootstrap_servers,
            SLUICE_REGISTRY_URL=site.stack.registry_url,
            WORKER=f"http://127.0.0.1:{site.worker.port}",
        )
        for quantity in runs
    )
    if language == "curl":
        assert '"taken":2,"failed":0,"results":[{"status":202' in printed
    site.await_used(tenant, total, events)
    decode, found = Reader(UsageEvent.RECORD), site.events(tenant)
    assert {stored.partition for stored in found} == {home(tenant)}
    ids = set()
    for stored in found:
        assert stored.value is not None
        event = decode(stored.value)
        headers = {name: (value or b"").decode() for name, value in stored.headers}
        assert HEADERS <= set(headers) <= HEADERS | {"ce_correlationid"}
        assert (stored.value[0], headers["content-type"]) == (0, "application/avro")
        assert headers["ce_dataschema"] == f"urn:sluice:schema:{int.from_bytes(stored.value[1:5], 'big')}"
        assert (headers["ce_id"], headers["ce_type"]) == (event["event_id"], event["event_type"])
        assert headers["ce_partitionkey"] == headers["ce_tenantid"] == event["tenant_id"] == tenant
        assert headers["ce_source"] == f"{language}-example" == event["service_name"]
        assert headers["ce_specversion"] == "1.0"
        assert abs(datetime.fromisoformat(headers["ce_time"]) - event["timestamp"]).total_seconds() < 0.001
        assert headers["ce_id"] in printed
        ids.add(headers["ce_id"])
    assert len(ids) == events
    assert site.letters(tenant) == {}


# --- compression --------------------------------------------------------------------------------------------------


async def frames(settings: Settings, topic: str, events: Sequence[Any]) -> list[bytes]:
    registry = Registry(settings)
    codec = Codec(registry)
    try:
        await codec.prepare([(topic, type(event)) for event in events])
        return [codec.encode(event, topic) for event in events]
    finally:
        await registry.close()


def test_what_producers_compress_is_read_whatever_their_codec(site: Site) -> None:
    tenant = tenant_of("compressed")
    event = UsageEvent(
        timestamp=datetime.now(UTC), event_type="api_call", quantity=Decimal(1), tenant_id=tenant
    )
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        # As many as make the batch smaller: librdkafka sends it compressed only then.
        events = [msgspec.structs.replace(event, event_id=f"{codec}-{number}") for number in range(20)]
        producer = Producer(site.settings.librdkafka_config() | {"compression.type": codec})
        for frame in asyncio.run(frames(site.settings, METERED, events)):
            producer.produce(METERED, frame, tenant.encode(), home(tenant))
        assert producer.flush(30) == 0
    site.await_used(tenant, "80", 80)


# --- POST /events -------------------------------------------------------------------------------------------------


def cloud_event(tenant: str, number: int, quantity: str) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": "usage.metered.api_call",
        "id": f"{tenant}-{number}",
        "source": "/tests",
        "time": datetime.now(UTC).isoformat(),
        "tenantid": tenant,
        "data": {"resource_type": "calls", "quantity": quantity, "unit": "calls"},
    }


def test_an_event_that_is_posted_twice_counts_once_and_one_that_is_wrong_stops_no_other(site: Site) -> None:
    tenant = tenant_of("http")
    first = cloud_event(tenant, 1, "5")
    status, taken = site.post(first)
    assert (status, taken["topic"], taken["partition"]) == (202, METERED, home(tenant))
    batch = [first, cloud_event(tenant, 2, "five"), cloud_event(tenant, 3, "0.5")]
    status, answer = site.post(batch, "application/cloudevents-batch+json")
    results = [each["status"] for each in answer["results"]]
    assert (status, results) == (207, [202, 400, 202])
    assert answer["results"][1]["error"]["details"][0]["field"] == "data.quantity"
    site.await_used(tenant, "5.5", 2)
    offsets = [(stored.partition, stored.offset) for stored in site.events(tenant)]
    assert offsets == [(each["partition"], each["offset"]) for each in [taken, *answer["results"][::2]]]
    assert site.letters(tenant) == {}


def test_a_command_that_is_posted_again_without_its_time_is_done_once(site: Site) -> None:
    tenant = tenant_of("http")
    data = {"product_id": "tea", "warehouse_id": "w1", "quantity": "10"}
    told = {"type": "stock.entry.requested", "id": f"{tenant}-1", "tenantid": tenant, "data": data}
    for _ in range(2):
        assert site.post(told, "application/json")[0] == 202
    assert site.post(told | {"id": f"{tenant}-2"}, "application/json")[0] == 202
    path = f"/stock/tea/w1?tenant={quote(tenant)}"
    until(lambda: (site.worker.page(path) or {}).get("on_hand") == "20", WAIT_S, "the stock")


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_what_a_producer_gets_wrong_becomes_of_it_what_the_documents_say(site: Site) -> None:
    tenant, other = tenant_of("wrong"), tenant_of("other")
    assert site.post(cloud_event(tenant, 1, "1"))[0] == 202
    [good] = site.events(tenant)
    assert good.value is not None
    wrong = [
        (
            b"\x00\x7f\xff\xff\xff" + good.value[5:],
            tenant,
            home(tenant),
        ),  # an id that the registry does not have
        (good.value[5:], tenant, home(tenant)),
        (b'{"quantity": 1}', tenant, home(tenant)),
        (good.value, other, home(other)),  # the key of another aggregate
        (good.value, "", 0),
        # librdkafka's own place for the key; under the same id it counts once, and so shows that it was read
        (good.value, tenant, crc32(tenant.encode()) % PARTITIONS),
    ]
    entry = StockEntryRequested(
        timestamp=datetime.now(UTC),
        tenant_id=tenant,
        product_id="tea",
        warehouse_id="w1",
        quantity=Decimal(10),
        event_id=f"{tenant}-entry",
    )
    [stocked] = asyncio.run(frames(site.settings, STOCK_COMMANDS.name, [entry]))
    producer = Producer(site.settings.librdkafka_config())
    for value, key, partition in wrong:
        producer.produce(METERED, value, key.encode(), partition)
    # The key of a producer that knows no tenants, in the place that any murmur2 client gives it
    producer.produce(STOCK_COMMANDS.name, stocked, b"tea|w1", home("tea|w1"))
    assert producer.flush(30) == 0
    expected = {"UNKNOWN_SCHEMA_ID": 1, "NOT_FRAMED": 2}
    until(lambda: site.letters(tenant) == expected, WAIT_S, "the dead letters")
    until(lambda: site.letters(other) == {"KEY_MISMATCH": 1}, WAIT_S, "the dead letter of the other key")
    until(lambda: site.letters("").get("MISSING_KEY") == 1, WAIT_S, "the dead letter without a key")

    def forwarded() -> bool:
        return any(stored.header("x-rerouted") for stored in site.events(tenant))

    until(forwarded, WAIT_S, "the record in the wrong partition was forwarded")
    assert {stored.partition for stored in site.events(tenant) if stored.header("x-rerouted")} == {
        home(tenant)
    }
    site.await_used(tenant, "1", 1)
    path = f"/stock/tea/w1?tenant={quote(tenant)}"
    until(lambda: (site.worker.page(path) or {}).get("on_hand") == "10", WAIT_S, "the stock")
    whole = key_of(tenant, "tea", "w1")
    commands = [stored for stored in read(site.settings, STOCK_COMMANDS.name) if stored.value == stocked]
    assert [(stored.key, stored.partition) for stored in commands if stored.header("x-rerouted")] == [
        (whole.encode(), home(whole))
    ]
