"""The views of real workers: keys that the other one owns, takeover, tokens, health (contracts N46, N49, N62)."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from ops.setup import setup
from ops.stack.local import LocalStack, Ports
from streams.codec import Codec
from streams.events import UsageEvent, UsageQuotaSetRequested
from streams.metric_names import METRICS
from streams.registry import Registry
from streams.routes import INDEX
from streams.settings import Settings
from streams.topics import USAGE_COMMANDS, USAGE_METERED, partition_for
from tests.faults.processes import Worker, until

pytestmark = pytest.mark.broker

PARTITIONS = 4
TOKEN = "operator-token"
TENANT_TOKEN = "token-of-tenant-1"
TENANTS = [f"tenant-{number}" for number in range(12)] + ["a/b", "Łódź|東京", "k" * 1024]
READY_S = 60.0


@dataclass
class Answer:
    """What a worker answered."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def get(worker: Worker, path: str, token: str | None = TOKEN) -> Answer:
    """Ask a worker; status 0 where nobody listens."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{worker.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=15) as response:  # noqa: S310
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())
    except OSError:
        return Answer(0, {}, b"{}")


def post(worker: Worker, path: str, body: dict[str, str]) -> int:
    """Send a command, and return the status of the answer."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    url = f"http://127.0.0.1:{worker.port}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=45) as response:  # noqa: S310
        return int(response.status)


def ready(worker: Worker) -> bool:
    return get(worker, "/health/ready").status == 200


def assigned(worker: Worker) -> int:
    """Return how many partitions of usage a worker has recovered; 0 where it is not ready."""
    answer = get(worker, "/health/ready")
    if answer.status != 200:
        return 0
    [state] = [check for check in answer.json["checks"] if check["name"] == "state"]
    return int(state["data"]["usage"]["recovered"])


def usage_path(tenant: str) -> str:
    return f"/usage/{quote(tenant, safe='')}"


class Group:
    """Two workers on a stack of their own, and the events that were sent to them."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.stack = stack
        self.settings = Settings.read(
            bootstrap_servers=stack.bootstrap_servers,
            registry_url=stack.registry_url,
            partitions=PARTITIONS,
            data_dir=folder / "tools",
        )
        asyncio.run(setup(self.settings))
        self.first, self.second = (self.worker(f"w{number}", folder) for number in (1, 2))
        self.metered = dict.fromkeys(TENANTS, 0)

    def worker(self, name: str, folder: Path, **environment: str) -> Worker:
        """Return a worker that is not started yet."""
        return Worker(
            name,
            "worker",
            folder,
            {
                "SLUICE_APP_ID": self.settings.app_id,
                "SLUICE_BOOTSTRAP_SERVERS": self.stack.bootstrap_servers,
                "SLUICE_REGISTRY_URL": self.stack.registry_url,
                "SLUICE_PARTITIONS": str(PARTITIONS),
                "SLUICE_SESSION_TIMEOUT_S": "4",
                "SLUICE_WEB_TOKEN": TOKEN,
                "SLUICE_WEB_TENANT_TOKENS": json.dumps({TENANT_TOKEN: "tenant-1"}),
                **environment,
            },
            module="ops.cli",
        )

    def start(self) -> None:
        """Start both workers and wait until they share the partitions."""
        for worker in (self.first, self.second):
            if worker.pid is None:
                worker.start()
        until(lambda: assigned(self.first) and assigned(self.second), READY_S, "both workers ready")

    def send(self, quantity: int) -> None:
        """Meter ``quantity`` for every tenant, with a quota that it exceeds, and wait until it is counted."""
        now = datetime.now(UTC)
        events: list[tuple[str, str, Any]] = []
        for tenant in TENANTS:
            quota = UsageQuotaSetRequested(
                timestamp=now,
                tenant_id=tenant,
                quota_id="q",
                meter="calls",
                limit=Decimal(1),
                thresholds=(100,),
            )
            event = UsageEvent(
                timestamp=now,
                event_type="api_call",
                quantity=Decimal(quantity),
                tenant_id=tenant,
                resource_type="calls",
                unit="calls",
            )
            events += [(USAGE_COMMANDS.name, tenant, quota), (USAGE_METERED.name, tenant, event)]
            self.metered[tenant] += quantity
        asyncio.run(self._produce(events))
        until(
            lambda: all(self.right(self.first, tenant) for tenant in TENANTS),
            READY_S,
            "everything is counted",
        )

    async def _produce(self, events: list[tuple[str, str, Any]]) -> None:
        registry = Registry(self.settings)
        codec = Codec(registry)
        await codec.prepare({(topic, type(event)) for topic, _, event in events})
        producer = Producer(self.settings.librdkafka_config())
        for topic, key, event in events:
            raw = key.encode()
            producer.produce(topic, codec.encode(event, topic), raw, partition_for(raw, PARTITIONS))
        assert producer.flush(30) == 0
        await registry.close()

    def right(self, worker: Worker, tenant: str) -> bool:
        """Return whether a worker answers a tenant's whole usage; whatever else it answers must be honest."""
        answer = get(worker, usage_path(tenant))
        if answer.status == 200:
            assert answer.json["tenant"] == tenant
            return [Decimal(item["sum"]) for item in answer.json["items"]] == [Decimal(self.metered[tenant])]
        assert answer.status in (0, 404, 503), answer.body
        return False

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over both workers."""
        return sum(
            sample.value
            for worker in (self.first, self.second)
            for family in text_string_to_metric_families(get(worker, "/metrics").body.decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    folder = tmp_path_factory.mktemp("views")
    with LocalStack(folder / "stack", Ports.free()) as stack:
        stack.start()
        group = Group(stack, folder)
        try:
            group.start()
            group.send(5)
            yield group
        finally:
            group.first.stop()
            group.second.stop()


def test_every_worker_answers_for_every_key(group: Group) -> None:
    owned = [assigned(worker) for worker in (group.first, group.second)]
    assert sum(owned) == PARTITIONS
    assert min(owned) > 0
    for tenant in TENANTS:
        for worker in (group.first, group.second):
            assert group.right(worker, tenant), tenant
    for worker in (group.first, group.second):
        assert get(worker, usage_path("nobody")).status == 404


def test_alerts_of_all_workers_are_in_one_list_on_each(group: Group) -> None:
    def complete(worker: Worker) -> bool:
        answer = get(worker, "/alerts?status=firing&per_page=200")
        return answer.status == 200 and {item["tenant_id"] for item in answer.json["items"]} == set(TENANTS)

    until(lambda: complete(group.first), READY_S, "an alert for each tenant")
    assert complete(group.second)
    lists = [get(worker, "/alerts?per_page=7&page=2").json for worker in (group.first, group.second)]
    assert lists[0] == lists[1]
    assert (lists[0]["total"], len(lists[0]["items"]), lists[0]["has_next"]) == (len(TENANTS), 7, True)
    for item in lists[0]["items"]:
        for worker in (group.first, group.second):
            assert get(worker, f"/alerts/{quote(item['fingerprint'], safe='')}").json == item


def test_tokens_are_asked_for_by_the_worker_that_is_asked(group: Group) -> None:
    for worker in (group.first, group.second):
        for path in ("/", "/metrics", "/openapi.json", "/alerts", usage_path("tenant-1")):
            assert get(worker, path, token=None).status == 401
            assert get(worker, path, token="wrong-token").status == 401
        assert get(worker, "/health/live", token=None).status == 200
        assert get(worker, usage_path("tenant-1"), token=TENANT_TOKEN).status == 200
        assert get(worker, usage_path("tenant-2"), token=TENANT_TOKEN).status == 403
        listed = get(worker, "/alerts", token=TENANT_TOKEN).json
        assert {item["tenant_id"] for item in listed["items"]} == {"tenant-1"}


def test_fausts_own_pages_are_not_there(group: Group) -> None:
    for path in (
        "/table/",
        "/table/usage/",
        "/table/usage/tenant-1/",
        "/router/",
        "/router/usage/",
        "/graph/",
    ):
        assert get(group.first, path).status == 404


def test_metrics_show_the_lag_of_each_partition_in_work(group: Group) -> None:
    def shown() -> bool:
        texts = [get(worker, "/metrics").body.decode() for worker in (group.first, group.second)]
        lags = [
            line
            for text in texts
            for line in text.splitlines()
            if line.startswith("sluice_consumer_lag_records{")
        ]
        return len(lags) == len(sources) * PARTITIONS and all(line.endswith(" 0.0") for line in lags)

    sources = {route.topic.name for route in INDEX.routes}
    until(shown, READY_S, "no lag on any partition of any source")
    text = get(group.first, "/metrics").body.decode()
    assert "sluice_worker_ready 1.0" in text
    assert "tenant-" not in text


def test_promtool_finds_no_fault_and_every_metric_of_the_catalogue_is_there(group: Group) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing; run tests/tools.sh, or install Debian's package prometheus"
    movement = {"movement_id": "m-1", "product_id": "tea", "warehouse_id": "WH1", "quantity": "10"}
    assert post(group.first, "/stock/entries?wait=30s", movement) == 201
    text = get(group.first, "/metrics").body
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    shown = re.findall(r"^# TYPE (\S+) (\S+)$", text.decode(), re.MULTILINE)
    assert sorted(shown) == sorted((row.name, row.kind) for row in METRICS)


def test_the_workers_of_a_group_count_every_event_once(group: Group) -> None:
    count = len(TENANTS)
    assert group.total("sluice_events_processed_total", topic=USAGE_METERED.name, outcome="done") == count
    assert group.total("sluice_usage_events_total", meter="other") == count
    assert group.total("sluice_facts_total", event_type="usage.quota.threshold_reached") == count
    assert group.total("sluice_table_partitions", table="usage") == PARTITIONS
    assert group.total("sluice_rebalance_seconds_total") > 0
    assert group.total("sluice_records_sent_total", producer="changelog", outcome="acknowledged") > 0
    assert group.total("sluice_records_sent_total", outcome="failed") == 0


def test_the_keys_of_a_killed_worker_are_unavailable_until_somebody_has_recovered_them(group: Group) -> None:
    group.second.kill()
    group.second.wait(10)
    lost = [tenant for tenant in TENANTS if not group.right(group.first, tenant)]
    assert lost, "the killed worker owned some"
    for path in (usage_path(lost[0]), "/alerts"):
        answer = get(group.first, path)
        if answer.status != 200:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.json["error"]["code"] == "TEMPORARY_FAILURE"
    group.start()
    until(lambda: all(group.right(group.first, tenant) for tenant in TENANTS), READY_S, "all is back")
    assert all(group.right(group.second, tenant) for tenant in TENANTS)


def test_what_is_in_the_state_is_counted_once_by_whoever_owns_it_now(group: Group) -> None:
    def counted() -> bool:
        quotas = group.total("sluice_usage_quotas", used="100+")
        return quotas == group.total("sluice_alerts_firing", severity="critical") == len(TENANTS)

    until(counted, READY_S, "a census of the new owners")


def test_partitions_that_move_are_answered_rightly_or_not_at_all(group: Group) -> None:
    group.second.kill()
    group.second.wait(10)
    until(lambda: assigned(group.first) == PARTITIONS, READY_S, "the first worker took over")
    assert all(group.right(group.first, tenant) for tenant in TENANTS)
    group.second.start()
    # ``right`` fails on any answer that is neither right nor an honest 503.
    while not (assigned(group.first) and assigned(group.second)):
        for tenant in TENANTS:
            for worker in (group.first, group.second):
                answer = get(worker, usage_path(tenant))
                assert answer.status in (0, 200, 503), answer.body
                if answer.status == 200:
                    assert group.right(worker, tenant) or get(worker, usage_path(tenant)).status == 503
    group.send(3)
    for worker in (group.first, group.second):
        assert all(group.right(worker, tenant) for tenant in TENANTS)


def test_a_worker_whose_broker_hangs_is_alive_and_not_ready(group: Group) -> None:
    group.stack.pause_kafka()
    try:

        def told() -> bool:
            answer = get(group.first, "/health/ready")
            down = {check["name"] for check in answer.json["checks"] if check["status"] == "DOWN"}
            return answer.status == 503 and "broker" in down

        until(told, READY_S, "ready fails")
        assert get(group.first, "/health/live").status == 200
    finally:
        group.stack.resume_kafka()
    until(lambda: ready(group.first) and ready(group.second), READY_S, "ready again")


def test_a_worker_that_would_be_open_to_the_network_does_not_start(group: Group, tmp_path: Path) -> None:
    open_to_all = {"SLUICE_WEB_HOST": "0.0.0.0", "SLUICE_WEB_TENANT_TOKENS": "{}"}
    worker = group.worker("w3", tmp_path, **open_to_all)
    worker._environment.pop("SLUICE_WEB_TOKEN")
    worker.start()
    assert worker.wait(60) != 0
    text = " ".join(worker.log.read_text().split())
    assert "SLUICE_WEB_TOKEN" in text
    assert "SLUICE_WEB_ALLOW_OPEN" in text
