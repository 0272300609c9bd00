"""Sending by HTTP: a POST with JSON and an ``Idempotency-Key`` header.

A notification names its URL itself, so where a worker may be made to call is a list that its operator writes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from yarl import URL

from agents.sender_ports import Result, failed
from streams.events import NotificationDeliveryOrdered

TRIES = 3
FIRST_DELAY_S = 0.5
MAX_WAIT_S = 5.0
"""A provider that wants more time than this is asked again in another attempt."""
MAX_ASKED_S = 86_400.0
"""However much more."""
MAX_ANSWER = 65_536
AGAIN = frozenset({408, 425, 429})


def allowed(url: str, prefixes: Sequence[str]) -> bool:
    """Return whether a URL lies below one of ``prefixes``.

    Scheme, host and port must be the prefix's own, and its path the beginning of the URL's, whole segments only.
    """
    try:
        target = URL(url)
        return target.user is None and any(_below(target, URL(prefix)) for prefix in prefixes)
    except ValueError:
        return False


def _below(target: URL, prefix: URL) -> bool:
    here, base = target.parts, tuple(part for part in prefix.parts if part)
    inside = here[: len(base)] == base and not {".", ".."} & set(here)
    return inside and (target.scheme, target.host, target.port) == (prefix.scheme, prefix.host, prefix.port)


class WebhookSender:
    """Posts notifications to their own URL, or to one that is configured for the channel."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        timeout_s: float,
        *,
        allow: Sequence[str] = (),
        url: str | None = None,
    ) -> None:
        """Prepare to post.

        Args:
            session: makes the requests.
            timeout_s: of one request.
            allow: prefixes of the URLs that a notification may name.
            url: where all of them go instead.
        """
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._allow = allow
        self._url = url

    async def send(self, order: NotificationDeliveryOrdered, key: str) -> Result:
        url = self._url or order.recipient
        if self._url is None and not allowed(url, self._allow):
            message = "the URL is not below any of SLUICE_WEBHOOK_ALLOW; add it there if it may be called"
            return failed("FORBIDDEN", message)
        uncertain = False
        for attempt in range(1, TRIES + 1):
            result, wait_s = await self._post(url, order, key)
            uncertain = uncertain or result.uncertain
            if not result.retryable or attempt == TRIES or (wait_s or 0) > MAX_WAIT_S:
                break
            await asyncio.sleep(FIRST_DELAY_S * 2 ** (attempt - 1) if wait_s is None else wait_s)
        return _with(result, uncertain, wait_s)

    async def _post(
        self, url: str, order: NotificationDeliveryOrdered, key: str
    ) -> tuple[Result, float | None]:
        """Make one request; return its result and how long the provider wants to be left alone."""
        try:
            async with self._session.post(
                URL(url),
                data=self._body(order),
                headers={"Content-Type": "application/json", "Idempotency-Key": key},
                timeout=self._timeout,
                allow_redirects=False,  # a redirect leads out of what is allowed
            ) as response:
                if 200 <= response.status < 300:
                    return Result("SENT", provider_id=await _id_in(response)), None
                again = response.status in AGAIN or response.status >= 500
                message = f"the provider answered {response.status}"
                result = failed(f"HTTP_{response.status}", message, retryable=again)
                return result, _seconds(response.headers.get("Retry-After"))
        except TimeoutError:
            message = "the provider did not answer in time"
            return failed("TIMEOUT", message, retryable=True, uncertain=True), None
        except aiohttp.InvalidURL:
            return failed("VALIDATION_FAILED", "the URL cannot be called; correct it"), None
        except (aiohttp.ClientError, OSError) as error:
            connected = not isinstance(error, aiohttp.ClientConnectorError)
            message = f"the provider cannot be reached ({type(error).__name__})"
            return failed("UNREACHABLE", message, retryable=True, uncertain=connected), None

    def _body(self, order: NotificationDeliveryOrdered) -> bytes:
        body: dict[str, Any] = {
            "notification_id": order.notification_id,
            "tenant_id": order.tenant_id,
            "channel": order.channel,
            "attempt": order.attempt,
            "priority": order.priority,
            "subject": order.subject,
            "body": order.body,
            "locale": order.locale,
        }
        if self._url is not None:
            body["recipient"] = order.recipient
        return json.dumps(body).encode()


def _with(result: Result, uncertain: bool, wait_s: float | None) -> Result:
    """Return the last try's result with what all of them mean."""
    return Result(
        result.outcome,
        provider_id=result.provider_id,
        error_code=result.error_code,
        error=result.error,
        retryable=result.retryable,
        retry_after_ms=None if wait_s is None or not result.retryable else int(wait_s * 1000),
        uncertain=uncertain,
    )


async def _id_in(response: aiohttp.ClientResponse) -> str:
    """Return the ``id`` of a provider's JSON answer, or an empty string. An answer that breaks off is none."""
    try:
        found = json.loads(await response.content.read(MAX_ANSWER))
    except (ValueError, aiohttp.ClientError, TimeoutError):
        return ""
    return (
        str(found["id"])[:200] if isinstance(found, dict) and isinstance(found.get("id"), str | int) else ""
    )


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, a number or a date; None where it says nothing."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return min(float(retry_after), MAX_ASKED_S)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
