"""docker-compose.yml keeps our rules, and names what there is; compose's own loader reads it in tests/deploy."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml  # type: ignore[import-untyped]
from pydantic import SecretStr

from ops.cli import app as cli
from ops.stack import kafka
from ops.stack.artifacts import read_lock
from streams.failures import FatalFailure
from streams.settings import Settings
from streams.web_auth import check_binding
from streams.worker import DRAIN_S
from tests.unit.deploy.files import COMPOSE, DOCKERFILE, ROOT, SERVICES, settings_of

ONCE = {"setup", "replay-usage", "replay-shop"}
"""Services that end."""
OURS = {*ONCE, "worker", "exporter"}
EACH = pytest.mark.parametrize("name", sorted(SERVICES))


def seconds(text: str) -> float:
    """Return a duration of compose's."""
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()  # type: ignore[union-attr]
    return timedelta(**{{"s": "seconds", "m": "minutes"}[unit]: int(number)}).total_seconds()


def environment(name: str) -> dict[str, str]:
    found: dict[str, str] = SERVICES[name].get("environment", {})
    return found


# --- every service --------------------------------------------------------------------------------------------------


@EACH
def test_a_service_has_no_right_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert service["user"] not in ("root", "0")
    assert service.get("read_only", False) is (name != "kafka")  # the file says why


@EACH
def test_a_service_has_limits_and_its_log_does_not_grow_for_ever(name: str) -> None:
    service = SERVICES[name]
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


@EACH
def test_a_service_that_stays_is_asked_how_it_is_and_one_that_ends_is_not_started_again(name: str) -> None:
    service = SERVICES[name]
    if name in ONCE:
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert seconds(check["timeout"]) <= seconds(check["interval"])
    assert {"retries", "start_period"} <= check.keys()


@EACH
def test_a_service_ends_in_its_own_time(name: str) -> None:
    allowed = seconds(SERVICES[name]["stop_grace_period"])
    assert allowed > (DRAIN_S if name in OURS else 10)


@EACH
def test_ports_are_on_loopback_only(name: str) -> None:
    assert [port for port in SERVICES[name].get("ports", ()) if not port.startswith("127.0.0.1:")] == []


def test_no_two_services_want_one_port() -> None:
    wanted = [
        port.split(":")[1].split("-") for service in SERVICES.values() for port in service.get("ports", ())
    ]
    taken = [number for ends in wanted for number in range(int(ends[0]), int(ends[-1]) + 1)]
    assert len(set(taken)) == len(taken) > 0


@EACH
def test_a_service_waits_for_one_that_is_there_on_a_condition_it_can_meet(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        met = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert wait["condition"] == met
        assert set(SERVICES[other].get("profiles", ())) <= set(SERVICES[name].get("profiles", ()))


@EACH
def test_what_is_mounted_is_there_and_what_is_ours_cannot_be_written(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert rest.endswith(":ro")
        elif rest:
            assert source in COMPOSE["volumes"]
    assert set(COMPOSE["volumes"]) == {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
        if ":" in volume and not volume.startswith(".")
    }


# --- versions -------------------------------------------------------------------------------------------------------


def test_broker_and_registry_are_the_versions_of_the_lock() -> None:
    coordinates = [artifact.coordinate.split(":") for artifact in read_lock()]
    [broker] = [version for _, name, version, *_ in coordinates if name == "kafka_2.13"]
    [registry] = [version for _, name, version, *_ in coordinates if name == "apicurio-registry-app"]
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{broker}"
    assert SERVICES["registry"]["image"] == f"apicurio/apicurio-registry:{registry}"


@EACH
def test_no_image_changes_under_its_name(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+$", SERVICES[name]["image"])


def test_our_image_has_the_version_of_the_program() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert {SERVICES[name]["image"] for name in OURS} == {f"sluice:{version}"}
    assert f"--tag sluice:{version} ." in DOCKERFILE


# --- our own services -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_have_settings_that_exist_and_are_accepted(name: str) -> None:
    settings = settings_of(environment(name))
    check_binding(settings)
    assert settings.bootstrap_servers == "kafka:19092"
    assert settings.registry_url == "http://registry:8080/apis/ccompat/v7"


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_our_services_run_is_a_command_with_its_options(name: str) -> None:
    command: Any = typer.main.get_command(cli)
    words = list(SERVICES[name]["command"])
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands")
    assert {word for word in words if word.startswith("--")} <= {
        option for each in command.params for option in each.opts
    }
    assert [word for word in words if word.endswith(".csv") and not (ROOT / word).is_file()] == []


def test_there_can_be_many_workers() -> None:
    worker = SERVICES["worker"]
    assert "container_name" not in worker
    assert worker["volumes"] == [environment("worker")["SLUICE_DATA_DIR"]]  # no name: one for each
    [port] = worker["ports"]
    assert port == "127.0.0.1:6066-6075:6066"  # each takes the next one that is free


def test_workers_and_exporter_are_asked_on_the_port_they_serve() -> None:
    defaults = Settings.model_fields
    for name, port in (
        ("worker", defaults["web_port"].default),
        ("exporter", defaults["exporter_port"].default),
    ):
        assert f"127.0.0.1:{port}/health/ready" in SERVICES[name]["healthcheck"]["test"][-1]
        assert SERVICES[name]["ports"][0].endswith(f":{port}")
        assert str(port) in re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)[0].split()


def test_prometheus_scrapes_workers_and_exporter_by_the_names_they_have_here() -> None:
    config = yaml.safe_load(
        (ROOT / "ops" / "prometheus" / "prometheus.compose.yml").read_text(encoding="utf-8")
    )
    worker, exporter = config["scrape_configs"]
    [found] = worker["dns_sd_configs"]
    assert found["names"] == ["worker"]
    assert f":{found['port']}" in SERVICES["worker"]["ports"][0]
    [target] = exporter["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert SERVICES[host]["ports"][0].endswith(f":{port}")


def test_grafana_finds_what_is_mounted() -> None:
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES["grafana"]["volumes"]}
    folder = ROOT / mounted["/etc/grafana/provisioning"]
    provider = yaml.safe_load((folder / "dashboards" / "sluice.yml").read_text(encoding="utf-8"))
    dashboards = provider["providers"][0]["options"]["path"]
    home = environment("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / mounted[dashboards] / Path(home).relative_to(dashboards)).is_file()
    sources = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"


# --- the broker and the image ---------------------------------------------------------------------------------------


def test_the_broker_is_set_as_the_local_stacks() -> None:
    """Whatever decides about data is the same; threads, folders and addresses are not."""
    local = dict(
        line.split("=", 1) for line in kafka.configuration(Path("data"), 1, 2).splitlines() if "=" in line
    )
    same = [
        "auto.create.topics.enable",
        "default.replication.factor",
        "min.insync.replicas",
        "offsets.topic.replication.factor",
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
        "share.coordinator.state.topic.replication.factor",
        "share.coordinator.state.topic.min.isr",
        "message.max.bytes",
        "replica.fetch.max.bytes",
        "socket.request.max.bytes",
    ]
    given = environment("kafka")
    assert {name: given[f"KAFKA_{name.upper().replace('.', '_')}"] for name in same} == {
        name: local[name] for name in same
    }
    assert given["CLUSTER_ID"] == kafka.CLUSTER_ID


def test_the_image_is_built_from_the_lock_by_the_tool_of_the_makefile_and_runs_as_nobody_in_particular() -> (
    None
):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [version] = re.findall(r"^UV_VERSION := (.*)$", makefile, re.MULTILINE)
    assert f"uv=={version}" in DOCKERFILE
    installs = re.findall(r"uv pip install (?:.*\\\n)*.*", DOCKERFILE)
    assert len(installs) == 2
    for installed in installs:
        assert "constraint requirements.lock" in installed
        assert "--require-hashes" in installed or "--no-deps" in installed
    [user] = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
    assert {SERVICES[name]["user"] for name in OURS} == {user}
    assert f"--uid {user.split(':')[0]} " in DOCKERFILE


def test_what_the_image_copies_is_there_and_is_let_through() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    ignore = (ROOT / "ops" / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    assert {"streams", "tables", "agents", "avro", "ops", "pyproject.toml"} <= names
    for name in names:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignore


def test_a_worker_on_the_network_without_a_token_is_still_refused_where_nobody_allowed_it() -> None:
    """What this file allows, it allows by a variable of its own: without it a token is needed."""
    allowed = environment("worker")
    assert allowed["SLUICE_WEB_ALLOW_OPEN"] == "true"
    with pytest.raises(FatalFailure, match="SLUICE_WEB_TOKEN"):
        check_binding(Settings.read(web_host=allowed["SLUICE_WEB_HOST"]))
    check_binding(Settings.read(web_host=allowed["SLUICE_WEB_HOST"], web_token=SecretStr("t")))
