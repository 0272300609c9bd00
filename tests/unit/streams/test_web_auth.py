"""Who may read what, and where the port may be bound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from streams.events import Alert, UsageEvent
from streams.failures import FatalFailure
from streams.settings import Settings
from streams.topics import key_of
from streams.web import advertised_url, faust_web_options
from tests.unit.streams.web_world import PARTITIONS, World, a_world

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TOKENS = {"token-of-acme": "acme", "token-of-other": "other"}
OPERATOR = {"Authorization": "Bearer operator"}
ACME = {"Authorization": "Bearer token-of-acme"}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with a_world(tmp_path, monkeypatch, 2, web_token="operator", web_tenant_tokens=TOKENS) as world:
        await world.assign(range(2), range(2, PARTITIONS))
        for tenant in ("acme", "other"):
            event = UsageEvent(timestamp=NOON, event_type="call", quantity=Decimal(1), tenant_id=tenant)
            world.apply("usage", tenant, event, NOON)
            alert = Alert(
                timestamp=NOON,
                tenant_id=tenant,
                event_type="alerts.quota_exceeded",
                alert_type="quota_exceeded",
                subject="q",
                started_at=NOON,
                status="firing",
            )
            world.apply("alerts", key_of(tenant, "quota_exceeded", "q"), alert, NOON)
        yield world


PROTECTED = [
    "/",
    "/openapi.json",
    "/metrics",
    "/alerts",
    "/alerts/acme%7Cquota_exceeded%7Cq",
    "/usage/acme",
    "/usage/acme/users/u",
    "/usage/acme/quotas",
    "/usage/acme/cost",
    "/nothing",
]


WRONG = [
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    "Basic operator",
    "operator",
    "Bearer operator2",
    "Bearer öperator",
]


async def test_nothing_is_read_without_the_token(world: World) -> None:
    for path in PROTECTED:
        for given in WRONG:
            answer = await world.get(path, headers={"Authorization": given} if given else None)
            assert (answer.status, answer.code) == (401, "UNAUTHENTICATED")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert b"acme" not in answer.body


async def test_the_health_checks_need_no_token(world: World) -> None:
    assert (await world.get("/health/live")).status == 200
    assert (await world.get("/health/ready")).status == 503


async def test_the_operator_reads_everything(world: World) -> None:
    for worker in (0, 1):
        assert (await world.get("/alerts", worker, OPERATOR)).json["total"] == 2
        for path in ("/usage/acme", "/usage/other", "/metrics", "/", "/openapi.json"):
            assert (await world.get(path, worker, OPERATOR)).status == 200


async def test_a_tenants_token_reads_that_tenant_on_every_worker(world: World) -> None:
    for worker in (0, 1):
        assert (await world.get("/usage/acme", worker, ACME)).status == 200
        listed = (await world.get("/alerts", worker, ACME)).json
        assert [item["tenant_id"] for item in listed["items"]] == ["acme"]
        assert listed["total"] == 1


OF_OTHERS = [
    "/usage/other",
    "/usage/other/cost",
    "/usage/other/quotas",
    "/usage/other/users/u",
    "/usage/nobody",
    "/alerts/other%7Cquota_exceeded%7Cq",
    "/alerts?tenant=other",
    "/metrics",
]


async def test_a_tenants_token_is_refused_whatever_is_not_its_own(world: World) -> None:
    for path in OF_OTHERS:
        for worker in (0, 1):
            answer = await world.get(path, worker, ACME)
            assert (answer.status, answer.code) == (403, "FORBIDDEN")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "worker.example"])
def test_a_port_on_the_network_needs_a_token(host: str) -> None:
    with pytest.raises(FatalFailure, match=r"SLUICE_WEB_TOKEN.*SLUICE_WEB_ALLOW_OPEN"):
        faust_web_options(Settings(web_host=host))
    assert faust_web_options(Settings(web_host=host, web_token="t"))["web_bind"] == host
    assert faust_web_options(Settings(web_host=host, web_tenant_tokens={"t": "acme"}))["web_bind"] == host
    assert faust_web_options(Settings(web_host=host, web_allow_open=True))["web_bind"] == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_port_on_this_machine_needs_none(host: str) -> None:
    assert faust_web_options(Settings(web_host=host))["web_bind"] == host


def test_by_default_the_port_is_on_this_machine_only() -> None:
    assert faust_web_options(Settings())["web_bind"] == "127.0.0.1"


def test_other_workers_are_told_an_address_that_they_can_reach() -> None:
    assert advertised_url(Settings()) == "http://127.0.0.1:6066"
    assert advertised_url(Settings(web_host="::1", web_port=7000)) == "http://[::1]:7000"
    assert advertised_url(Settings(advertised_url="https://w1.example:444/")) == "https://w1.example:444"
    assert "0.0.0.0" not in advertised_url(Settings(web_host="0.0.0.0"))


async def test_without_tokens_a_page_of_another_name_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path, monkeypatch, advertised_url="http://worker-1.example:6066") as world:
        for host in ("evil.example", "evil.example:6066", "127.0.0.1.evil.example", "0.0.0.0"):
            answer = await world.get("/metrics", headers={"Host": host})
            assert (answer.status, answer.code) == (403, "FORBIDDEN")
            assert (await world.get("/health/live", headers={"Host": host})).status == 200
        for host in ("127.0.0.1:6066", "localhost", "[::1]:6066", "worker-1.example:6066"):
            assert (await world.get("/metrics", headers={"Host": host})).status == 200
    async with a_world(tmp_path, monkeypatch, web_token="t") as world:
        answer = await world.get("/metrics", headers={"Host": "proxy.example", "Authorization": "Bearer t"})
        assert answer.status == 200
