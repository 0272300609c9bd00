"""The example for Kubernetes is valid by Kubernetes' own schemas, fits together, and names what there is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import typer.main
import yaml  # type: ignore[import-untyped]
from aiohttp import web

from ops import k8s_rules
from ops.cli import app as cli
from ops.exporter import Exporter
from streams.settings import Settings
from streams.web_auth import check_binding
from streams.worker import DRAIN_S
from tests.unit.deploy.files import DOCKERFILE, ROOT, SERVICES, settings_of
from tests.unit.streams.web_world import World, a_world

FOLDER = ROOT / "ops" / "k8s"
FIXED = {"POD_NAMESPACE"}
"""Variables of a pod that are no settings: others refer to them."""


def documents(name: str) -> list[dict[str, Any]]:
    """Return the resources of a folder."""
    files = sorted((FOLDER / name).glob("*.yaml"))
    return [each for file in files for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


BASE = [each for each in documents("base") if each["kind"] != "Kustomization"]
MONITORING = [each for each in documents("monitoring") if each["kind"] != "Kustomization"]


def one(kind: str, name: str) -> dict[str, Any]:
    [found] = [
        each for each in [*BASE, *MONITORING] if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    return found


WORKER = one("StatefulSet", "sluice-worker")["spec"]
EXPORTER = one("Deployment", "sluice-exporter")["spec"]
SETUP = one("Job", "sluice-setup")["spec"]
PODS = {"worker": WORKER["template"], "exporter": EXPORTER["template"], "setup": SETUP["template"]}
EACH_POD = pytest.mark.parametrize("name", sorted(PODS))


def container(name: str) -> dict[str, Any]:
    [found] = PODS[name]["spec"]["containers"]
    return dict(found)


def variables(name: str) -> dict[str, Any]:
    """Return the variables of a pod: texts, or where they come from."""
    shared = one("ConfigMap", container(name)["envFrom"][0]["configMapRef"]["name"])["data"]
    return {
        **shared,
        **{each["name"]: each.get("value", each.get("valueFrom")) for each in container(name)["env"]},
    }


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", BASE, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_a_resource_is_valid_by_kubernetes_own_schema(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_probe_is_refused() -> None:
    wrong = copy.deepcopy(one("StatefulSet", "sluice-worker"))
    [pod] = wrong["spec"]["template"]["spec"]["containers"]
    pod["livenesProbe"] = pod.pop("livenessProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", ["base", "monitoring"])
def test_kustomization_has_every_file_of_its_folder(name: str) -> None:
    made = yaml.safe_load((FOLDER / name / "kustomization.yaml").read_text(encoding="utf-8"))
    files = {file.name for file in (FOLDER / name).glob("*.yaml")} - {"kustomization.yaml"}
    resources = set(made["resources"])
    assert {each for each in resources if each.endswith(".yaml")} == files
    assert all((FOLDER / name / each).exists() for each in resources)


def test_the_rules_of_the_operator_are_those_of_prometheus() -> None:
    assert k8s_rules.TARGET.read_text(encoding="utf-8") == k8s_rules.text(), "run `make generate`"
    assert one("PrometheusRule", "sluice")["spec"]["groups"]


# --- how they fit ---------------------------------------------------------------------------------------------------


def selectors() -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Yield what is selected by, and the labels that are meant."""
    labels = {name: pod["metadata"]["labels"] for name, pod in PODS.items()}
    yield WORKER["selector"]["matchLabels"], labels["worker"]
    yield EXPORTER["selector"]["matchLabels"], labels["exporter"]
    yield one("PodDisruptionBudget", "sluice-worker")["spec"]["selector"]["matchLabels"], labels["worker"]
    for service, pod in (("sluice-worker", "worker"), ("sluice", "worker"), ("sluice-exporter", "exporter")):
        yield one("Service", service)["spec"]["selector"], labels[pod]
    [spread] = PODS["worker"]["spec"]["topologySpreadConstraints"]
    yield spread["labelSelector"]["matchLabels"], labels["worker"]
    for name in ("sluice-worker", "sluice-exporter"):
        wanted = one("ServiceMonitor", name)["spec"]["selector"]["matchLabels"]
        yield wanted, one("Service", name)["metadata"]["labels"]


def test_selectors_find_what_they_are_for_and_nothing_else() -> None:
    for wanted, labels in selectors():
        assert wanted == labels
    assert len({tuple(pod["metadata"]["labels"].items()) for pod in PODS.values()}) == len(PODS)


def test_services_and_monitors_name_ports_that_there_are() -> None:
    for service, pod in (("sluice-worker", "worker"), ("sluice", "worker"), ("sluice-exporter", "exporter")):
        [port] = one("Service", service)["spec"]["ports"]
        assert port["targetPort"] in {each["name"] for each in container(pod)["ports"]}
    for name in ("sluice-worker", "sluice-exporter"):
        [endpoint] = one("ServiceMonitor", name)["spec"]["endpoints"]
        assert endpoint["port"] == one("Service", name)["spec"]["ports"][0]["name"]


def test_the_jobs_have_the_names_that_dashboards_and_rules_know() -> None:
    config = yaml.safe_load((ROOT / "ops" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    monitors = {each["metadata"]["name"] for each in MONITORING if each["kind"] == "ServiceMonitor"}
    assert monitors == {job["job_name"] for job in config["scrape_configs"]}


# --- pods -----------------------------------------------------------------------------------------------------------


@EACH_POD
def test_a_pod_has_no_right_it_does_not_need(name: str) -> None:
    pod, own = PODS[name]["spec"], container(name)["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" in DOCKERFILE
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@EACH_POD
def test_a_pod_asks_for_what_it_needs_and_has_a_limit(name: str) -> None:
    resources = container(name)["resources"]
    assert resources["requests"].keys() == {"cpu", "memory"}
    assert "memory" in resources["limits"]


@EACH_POD
def test_a_pod_runs_our_image_with_a_command_there_is(name: str) -> None:
    group: Any = typer.main.get_command(cli)
    assert container(name)["image"] == SERVICES["worker"]["image"]
    [command] = container(name)["args"]
    assert command in group.commands


@EACH_POD
def test_a_pods_variables_are_settings_that_are_accepted_and_kubernetes_own_are_kept_out(name: str) -> None:
    given = {key: value for key, value in variables(name).items() if key not in FIXED}
    assert given["SLUICE_WEB_TOKEN"] == {"secretKeyRef": {"name": "sluice-web", "key": "token"}}
    url = "http://w-0.sluice-worker.sluice.svc:6066"
    at_start = {"SLUICE_WEB_TOKEN": "t", "SLUICE_GROUP_INSTANCE_ID": "w-0", "SLUICE_ADVERTISED_URL": url}
    settings = settings_of(given | {key: value for key, value in at_start.items() if key in given})
    check_binding(settings)
    assert settings.replication_factor == 3
    # A service sluice-exporter would set SLUICE_EXPORTER_PORT=tcp://...
    assert PODS[name]["spec"]["enableServiceLinks"] is False


@EACH_POD
def test_what_a_pod_writes_to_is_a_volume(name: str) -> None:
    mounted = {each["mountPath"]: each["name"] for each in container(name)["volumeMounts"]}
    assert mounted.keys() == {variables(name)["SLUICE_DATA_DIR"], "/tmp"}
    volumes = {each["name"] for each in PODS[name]["spec"]["volumes"]}
    if name == "worker":
        volumes |= {each["metadata"]["name"] for each in WORKER["volumeClaimTemplates"]}
    assert volumes == set(mounted.values())


def test_a_worker_has_a_name_an_address_and_a_disk_of_its_own_and_keeps_its_partitions_through_a_restart() -> (
    None
):
    given = variables("worker")
    service = one("Service", WORKER["serviceName"])["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"]
    assert given["SLUICE_GROUP_INSTANCE_ID"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    [port] = container("worker")["ports"]
    address = f"http://$(SLUICE_GROUP_INSTANCE_ID).{WORKER['serviceName']}.$(POD_NAMESPACE).svc:{port['containerPort']}"
    assert given["SLUICE_ADVERTISED_URL"] == address
    named = [each["name"] for each in container("worker")["env"]]
    for used in ("SLUICE_GROUP_INSTANCE_ID", "POD_NAMESPACE"):  # Kubernetes knows only what stands before
        assert named.index(used) < named.index("SLUICE_ADVERTISED_URL")
    grace = PODS["worker"]["spec"]["terminationGracePeriodSeconds"]
    assert DRAIN_S < grace < float(given["SLUICE_SESSION_TIMEOUT_S"])
    assert WORKER["podManagementPolicy"] == "Parallel"


def test_one_worker_at_a_time_may_be_taken_away() -> None:
    assert one("PodDisruptionBudget", "sluice-worker")["spec"]["maxUnavailable"] == 1
    assert WORKER["replicas"] > 1


# --- probes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    async with a_world(tmp_path, monkeypatch) as world:
        yield world


def paths(app: web.Application) -> set[str]:
    return {route.resource.canonical for route in app.router.routes() if route.resource is not None}


async def test_a_workers_probes_ask_views_that_need_no_token(world: World) -> None:
    asked = {
        kind: container("worker")[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")
    }
    assert {kind: probe["path"] for kind, probe in asked.items()} == {
        "startup": "/health/live",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }
    described = (await world.get("/openapi.json")).json["paths"]
    for probe in asked.values():
        assert probe["port"] == "web"
        assert "security" not in described[probe["path"]]["get"]
    [port] = container("worker")["ports"]
    assert port == {"name": "web", "containerPort": Settings.model_fields["web_port"].default}


def test_the_exporters_probes_ask_what_it_serves(tmp_path: Path) -> None:
    settings = Settings.read(data_dir=tmp_path)
    served = paths(Exporter(settings).app(settings))
    for kind in ("startup", "liveness", "readiness"):
        assert container("exporter")[f"{kind}Probe"]["httpGet"]["path"] in served
    [port] = container("exporter")["ports"]
    assert port["containerPort"] == Settings.model_fields["exporter_port"].default


def test_a_new_worker_has_time_to_start_before_it_is_started_again() -> None:
    probe = container("worker")["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


@pytest.mark.parametrize("name", ["sluice-worker", "sluice-exporter"])
def test_prometheus_asks_for_metrics_with_the_token(name: str) -> None:
    [endpoint] = one("ServiceMonitor", name)["spec"]["endpoints"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["authorization"]["credentials"] == {"name": "sluice-web", "key": "token"}
