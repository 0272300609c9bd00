"""Webhooks against a real HTTP server: keys, retries, and where a notification may make a worker call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agents import sender_webhook
from agents.sender_webhook import WebhookSender, allowed
from ops.stack.processes import free_ports
from tests.unit.agents.test_sender_smtp import order as email_order

Reply = Callable[[], web.Response]


class Provider:
    """Answers with what it is told, one after the other, and then with 204."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[tuple[Any, Any]] = []
        self.hang = asyncio.Event()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.headers.copy(), await request.json()))
        reply = self.replies.pop(0) if self.replies else lambda: web.Response(status=204)
        return reply()

    async def hang_forever(self, _: web.Request) -> web.Response:
        await self.hang.wait()
        return web.Response()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = web.Application()
    app.router.add_post("/in/hook", provider.handle)
    app.router.add_post("/in/hang", provider.hang_forever)
    server = TestServer(app)
    await server.start_server()
    provider.url = str(server.make_url("/in/hook"))
    yield provider
    provider.hang.set()
    await server.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_webhook, "FIRST_DELAY_S", 0.01)


def order(url: str, **more: Any) -> Any:
    return email_order(channel="WEBHOOK", recipient=url, **more)


def sender(session: aiohttp.ClientSession, provider: Provider, **more: Any) -> WebhookSender:
    return WebhookSender(
        session, more.pop("timeout_s", 5), allow=(provider.url.replace("/hook", ""),), **more
    )


async def test_it_posts_the_notification_with_its_idempotency_key(
    session: aiohttp.ClientSession, provider: Provider
) -> None:
    provider.replies = [lambda: web.json_response({"id": "p-7"}, status=201)]
    result = await sender(session, provider).send(order(provider.url), "t|k")
    assert (result.outcome, result.provider_id) == ("SENT", "p-7")
    [(headers, body)] = provider.requests
    assert (headers["Idempotency-Key"], headers["Content-Type"]) == ("t|k", "application/json")
    assert (body["notification_id"], body["attempt"], body["subject"]) == ("n-1", 1, "Grüße")
    assert "recipient" not in body


async def test_a_configured_provider_learns_the_recipient(
    session: aiohttp.ClientSession, provider: Provider
) -> None:
    port = WebhookSender(session, 5, url=provider.url)
    result = await port.send(email_order(channel="SMS", recipient="+41791234567"), "t|k")
    assert result.outcome == "SENT"
    [(_, body)] = provider.requests
    assert (body["recipient"], body["channel"]) == ("+41791234567", "SMS")


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_what_may_pass_is_tried_again_under_the_same_key(
    session: aiohttp.ClientSession, provider: Provider, status: int
) -> None:
    provider.replies = [lambda: web.Response(status=status)] * 2
    result = await sender(session, provider).send(order(provider.url), "t|k")
    assert result.outcome == "SENT"
    assert [headers["Idempotency-Key"] for headers, _ in provider.requests] == ["t|k"] * 3


async def test_after_three_tries_it_is_left_to_the_next_attempt(
    session: aiohttp.ClientSession, provider: Provider
) -> None:
    provider.replies = [lambda: web.Response(status=502)] * 4
    result = await sender(session, provider).send(order(provider.url), "t|k")
    assert (result.outcome, result.error_code, result.retryable) == ("FAILED", "HTTP_502", True)
    assert len(provider.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 404, 410, 301, 307])
async def test_a_refusal_or_a_redirect_is_final(
    session: aiohttp.ClientSession, provider: Provider, status: int
) -> None:
    location = {"Location": "http://169.254.169.254/"}
    provider.replies = [lambda: web.Response(status=status, headers=location)]
    result = await sender(session, provider).send(order(provider.url), "t|k")
    assert (result.outcome, result.error_code, result.retryable) == ("FAILED", f"HTTP_{status}", False)
    assert len(provider.requests) == 1


async def test_a_short_retry_after_is_waited_for(session: aiohttp.ClientSession, provider: Provider) -> None:
    provider.replies = [lambda: web.Response(status=429, headers={"Retry-After": "0"})]
    result = await sender(session, provider).send(order(provider.url), "t|k")
    assert (result.outcome, len(provider.requests)) == ("SENT", 2)


async def test_a_long_retry_after_is_left_to_the_next_attempt(
    session: aiohttp.ClientSession, provider: Provider
) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    for asked, at_least in (("120", 120_000), (later, 590_000), ("9" * 400, 86_400_000)):
        provider.replies = [lambda asked=asked: web.Response(status=503, headers={"Retry-After": asked})]  # type: ignore[misc]
        provider.requests.clear()
        result = await sender(session, provider).send(order(provider.url), "t|k")
        assert (result.retryable, len(provider.requests)) == (True, 1)
        assert result.retry_after_ms is not None
        assert at_least <= result.retry_after_ms <= 86_400_000, "no more than a day"


async def test_a_provider_that_hangs_may_have_done_it(
    session: aiohttp.ClientSession, provider: Provider
) -> None:
    url = provider.url.replace("/hook", "/hang")
    result = await sender(session, provider, timeout_s=0.05).send(order(url), "t|k")
    assert (result.error_code, result.retryable, result.uncertain) == ("TIMEOUT", True, True)


async def test_a_provider_that_is_away_has_not_done_it(session: aiohttp.ClientSession) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/"
    result = await WebhookSender(session, 5, allow=(url,)).send(order(url), "t|k")
    assert (result.error_code, result.retryable, result.uncertain) == ("UNREACHABLE", True, False)
    assert url not in repr(result)


async def test_what_the_operator_does_not_list_is_never_called(
    session: aiohttp.ClientSession, provider: Provider
) -> None:
    result = await WebhookSender(session, 5).send(order(provider.url), "t|k")
    assert (result.error_code, result.retryable) == ("FORBIDDEN", False)
    assert "SLUICE_WEBHOOK_ALLOW" in result.error
    assert provider.requests == []


ALLOWED = ("https://hooks.example.com/in", "http://localhost:8080")


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/in",
        "https://hooks.example.com/in/",
        "https://HOOKS.example.com:443/in/a?b=c",
        "http://localhost:8080/any/thing",
    ],
)
def test_urls_below_a_prefix_are_allowed(url: str) -> None:
    assert allowed(url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/inside",
        "https://hooks.example.com/",
        "https://hooks.example.com/in/../admin",
        "https://hooks.example.com/in/%2e%2e/admin",
        "https://hooks.example.com.evil.example/in",
        "https://hooks.example.com@evil.example/in",
        "https://user:pw@hooks.example.com/in",
        "http://hooks.example.com/in",
        "https://hooks.example.com:8443/in",
        "http://localhost/any",
        "http://localhost:80800/",
        "https://[::1",
        "file:///etc/passwd",
        "",
    ],
)
def test_everything_else_is_not(url: str) -> None:
    assert not allowed(url, ALLOWED)
