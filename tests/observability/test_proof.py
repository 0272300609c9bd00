"""A real Prometheus scrapes a real worker and the exporter, and every query that we ship is asked: none is empty."""

from __future__ import annotations

import asyncio
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.exporter_metrics import METRICS
from ops.exporter_reading import Behind, Brokers
from ops.generate_metrics import QUESTIONS
from ops.setup import setup
from ops.stack.local import LocalStack
from ops.stack.processes import free_ports
from streams.settings import Settings
from streams.topics import USAGE_METERED, partition_for
from tests.faults.cluster import environment_of, settings_of
from tests.faults.processes import Worker, until
from tests.faults.proxy import Proxy
from tests.observability.boards import boards, queries, rules, variables
from tests.observability.load import OLD, Load
from tests.observability.programs import program
from tests.observability.prometheus import Prometheus, configuration
from tests.observability.promql import pieces, plain

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

TOKEN = "operator-token"
READY_S = 60.0
Samples = dict[tuple[str, ...], float]

RARE = (
    'sluice_events_processed_total{outcome="duplicate"}',
    'sluice_events_processed_total{outcome="rerouted"}',
    'sluice_events_processed_total{outcome="parked"}',
    'sluice_events_refused_total{agent="stock"}',
    'sluice_events_refused_total{agent="customer"}',
    'sluice_dead_letters_total{reason="NOT_FRAMED"}',
    'sluice_dead_letters_total{reason="LATE_EVENT"}',
    'sluice_retries_total{outcome="done"}',
    'sluice_usage_late_events_total{outcome="refused"}',
    'sluice_facts_total{event_type="usage.quota.threshold_reached"}',
    'sluice_facts_total{event_type="stock.level.low"}',
    'sluice_loyalty_points_total{movement="issued"}',
    'sluice_loyalty_points_total{movement="redeemed"}',
    'sluice_events_processed_total{agent="alerts"}',
    'sluice_client_requests_total{outcome="replied"}',
    'sluice_effects_total{outcome="answered"}',
    'sluice_web_requests_total{status="404"}',
    'sluice_dead_letters_open{topic="usage.metered"}',
    "sluice_rebalances_total",
    "sluice_group_members",
)
"""What the load must have caused: the proof would prove little of an idle worker."""


@dataclass
class Scene:
    """An exporter, a worker that does not run yet, and their cluster."""

    settings: Settings
    exporter: Worker
    exporter_port: int
    worker: Worker
    registry: Proxy
    load: Load
    folder: Path

    def scrape(self, token: str | None = TOKEN) -> str:
        """Return what the exporter tells. Raises OSError where it refuses."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{self.exporter_port}/metrics"
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            found: str = answer.read().decode()
            return found

    def told(self) -> dict[str, Samples]:
        """Return the exporter's samples, by name and by the values of their labels in the order of the rows."""
        found: dict[str, Samples] = {}
        order = {row.name: row.labels for row in METRICS}
        for family in text_string_to_metric_families(self.scrape()):
            for sample in family.samples:
                labels = tuple(sample.labels[name] for name in order.get(sample.name, ()))
                found.setdefault(sample.name, {})[labels] = sample.value
        return found

    def looks(self) -> bool:
        """Whether the exporter has asked the brokers."""
        try:
            return "sluice_group_members" in self.told()
        except OSError:
            assert self.exporter.pid is not None, self.exporter.log_text()
            return False


@pytest.fixture(scope="module")
def scene(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    run, folder = f"t{uuid4().hex[:10]}", tmp_path_factory.mktemp("proof")
    settings = settings_of(stack, run, folder)
    asyncio.run(setup(settings))
    port = free_ports(1)[0]
    token = {"SLUICE_WEB_TOKEN": TOKEN}
    variables = environment_of(stack, SLUICE_EXPORTER_PORT=str(port), **token)
    exporter = Worker("exporter", "exporter", folder, variables | {"SLUICE_APP_ID": run}, module="ops.cli")
    with Proxy(stack.registry_url) as registry:
        variables = environment_of(stack, SLUICE_APP_ID=run, **token)
        variables["SLUICE_REGISTRY_URL"] = registry.url
        worker = Worker("w1", "worker", folder, variables, module="ops.cli", ready_path="/health/ready")
        load = Load(settings, f"http://127.0.0.1:{worker.port}", TOKEN, run)
        try:
            exporter.start()
            yield Scene(settings, exporter, port, worker, registry, load, folder)
        finally:
            worker.stop()
            exporter.stop()


@pytest.fixture(scope="module")
def prometheus(scene: Scene) -> Iterator[Prometheus]:
    """Prometheus, with a worker that has been through the load."""
    token = scene.folder / "token"
    token.write_text(TOKEN)
    targets = {
        "127.0.0.1:6066": f"127.0.0.1:{scene.worker.port}",
        "127.0.0.1:9308": f"127.0.0.1:{scene.exporter_port}",
    }
    scene.worker.start()
    with Prometheus(scene.folder / "prometheus", configuration(targets, token)) as server:
        until(server.ready, READY_S, "Prometheus")
        until(lambda: scene.load.ask("/health/ready") == 200, READY_S, "the worker")
        scene.load.domains()
        scene.load.usage(10, repeated=True)
        scene.load.usage(1, age=OLD)
        scene.load.poison()
        scene.load.misrouted()
        scene.registry.close()
        scene.load.of_newer_schema()
        until(lambda: server.values("sum(sluice_parked_keys) > 0"), 30, "a key that waits for the registry")
        scene.registry.open()
        yield server


def shipped() -> dict[str, str]:
    """Return every part of every query that must have data, by where it stands."""
    found: dict[str, str] = {}
    for name, board in boards().items():
        for where, expr in queries(board):
            found |= {f"{name}: {where} ({part})": part for part in pieces(plain(expr))}
    for rule in rules():
        name = rule.get("alert") or rule["record"]
        found |= {f"{name} ({part})": part for part in pieces(rule["expr"])}
        if "record" in rule:
            found[name] = rule["record"]
    return found | {f"docs/metrics.md: {question}": query for question, query in QUESTIONS}


def without_data(server: Prometheus, asked: dict[str, str]) -> dict[str, str]:
    """Return the queries that have no data now."""
    return {where: expr for where, expr in asked.items() if not server.values(expr)}


def test_lag_is_told_while_no_worker_runs(scene: Scene) -> None:
    until(scene.looks, READY_S, "the exporter's first look")
    place = (USAGE_METERED.name, str(partition_for(scene.load.tenant.encode(), scene.settings.partitions)))
    before = scene.told()["sluice_group_lag_records"]
    assert sum(name == USAGE_METERED.name for name, _ in before) == scene.settings.partitions

    scene.load.usage(7)
    until(
        lambda: scene.told()["sluice_group_lag_records"][place] == before[place] + 7,
        READY_S,
        "the lag of what was sent",
    )
    told = scene.told()
    assert told["sluice_group_lag_seconds"][place] > 0
    assert told["sluice_group_members"] == {(): 0}
    assert told["sluice_broker_reachable"] == told["sluice_registry_reachable"] == {(): 1}


def test_the_exporter_asks_for_the_operators_token(scene: Scene) -> None:
    for token in (None, "another"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            scene.scrape(token)


def test_what_the_exporter_tells_is_clean(scene: Scene) -> None:
    command = [program("promtool"), "check", "metrics"]
    done = subprocess.run(
        command, input=scene.scrape(), capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_load_makes_rare_series_exist(scene: Scene, prometheus: Prometheus) -> None:
    left = set(RARE)

    def all_there() -> bool:
        left.difference_update({expr for expr in left if prometheus.values(f"{expr} > 0")})
        return not left

    try:
        until(all_there, READY_S, "rare series")
    except TimeoutError:
        assert left == set()


def test_every_query_of_panels_annotations_rules_and_documents_has_data(
    scene: Scene, prometheus: Prometheus
) -> None:
    left = shipped()

    def all_there() -> bool:
        scene.load.usage(5)
        for where in left.keys() - without_data(prometheus, left).keys():
            del left[where]
        return not left

    try:
        until(all_there, READY_S, "data")
    except TimeoutError:
        assert left == {}


def test_every_variable_offers_something(prometheus: Prometheus) -> None:
    offered = {
        (name, variable): prometheus.offers(query)
        for name, board in boards().items()
        for variable, query in variables(board)
    }
    assert [each for each, values in offered.items() if not values] == []
    assert set(offered["overview", "job"]) == {"sluice-worker", "sluice-exporter"}


def test_a_group_that_is_done_has_no_lag_behind_the_end_of_a_transaction(
    scene: Scene, prometheus: Prometheus
) -> None:
    taken_in = f'sum(sluice_events_processed_total{{topic="{USAGE_METERED.name}"}})'
    before = prometheus.values(taken_in)
    scene.load.in_transaction()
    until(lambda: prometheus.values(taken_in) > before, READY_S, "the event is processed")
    brokers = Brokers(scene.settings)
    until(lambda: set(brokers.look().lag.values()) == {Behind()}, READY_S, "no lag")


def test_a_planted_query_on_a_missing_metric_is_found(prometheus: Prometheus) -> None:
    good, bad = "sum(sluice_worker_ready)", "sum(rate(sluice_wonders_total[10s])) or vector(0)"
    planted = {where: part for where, expr in (("good", good), ("bad", bad)) for part in pieces(expr)}
    assert list(without_data(prometheus, planted)) == ["bad"]


def test_prometheus_evaluates_every_rule_and_no_alert_of_a_healthy_worker_fires(
    prometheus: Prometheus,
) -> None:
    evaluated = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(evaluated) == len(rules())
    assert [(rule["name"], rule.get("lastError")) for rule in evaluated if rule["health"] != "ok"] == []
    firing = {rule["name"] for rule in evaluated if rule.get("state") == "firing"}
    assert firing <= {"SchemaValidationFailures"}, "the load's own poison"
