"""Senders: carry out the orders of notifications, in every worker beside its agents.

in     notification.deliveries   NotificationDeliveryOrdered     key: tenant|notification_id
       notification.state        NotificationOptOut, held by every worker
state  none; the group <app_id>-senders knows how far it is (streams/effects.py)
out    notification.commands     NotificationDeliveryReported
       realtime.push             RealtimeMessage, of channel IN_APP
fail   notification.deliveries.dlq, events.failed
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

from agents.sender_ports import InAppSender, LogSender, NoProvider, Port, Result, failed, provider_key
from agents.sender_smtp import SmtpSender
from agents.sender_webhook import WebhookSender
from streams.app import SluiceApp
from streams.effects import Effects, Kind
from streams.events import NotificationDeliveryOrdered, NotificationDeliveryReported, NotificationOptOut
from streams.settings import Settings
from streams.topics import NOTIFICATION_COMMANDS, NOTIFICATION_DELIVERIES
from tables.facts import caused_by
from tables.notification_optout import address_key, wants_none

log = logging.getLogger(__name__)

URGENCY: Final = {"LOW": 0, "HIGH": 2}
LIMIT_S: Final = 120.0
"""No port takes so long. One that does has a defect, and must not hold up the others."""


def build(app: SluiceApp) -> Senders | None:
    """Add the senders to a worker's app, unless its settings or its index leave them out."""
    if not app.settings.senders or NotificationDeliveryOrdered not in app.index.outputs:
        return None
    senders = Senders(app)
    app.companions.append(senders)
    return senders


class Senders:
    """The ports and the service that carries orders to them."""

    def __init__(self, app: SluiceApp) -> None:
        self._settings = app.settings
        self._shared = app.replica
        self._session: aiohttp.ClientSession | None = None
        self._ports: dict[str, Port] = {}
        kind = Kind(
            name="senders",
            orders=NOTIFICATION_DELIVERIES,
            order=NotificationDeliveryOrdered,
            answers=NOTIFICATION_COMMANDS,
            answer=NotificationDeliveryReported,
            fresh=app.settings.notification_max_age,
            urgency=lambda order: URGENCY.get(order.priority, 1),
        )
        self._effects = Effects(app, kind, self.perform)

    async def start(self) -> None:
        """Open the ports and begin to take orders."""
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._ports = ports(self._settings, self._session)
        await self._effects.start()

    async def stop(self) -> None:
        """Finish what is being sent."""
        await self._effects.stop()
        if self._session is not None:
            await self._session.close()

    async def perform(self, order: NotificationDeliveryOrdered, doubtful: bool) -> Sequence[Any]:
        """Make the attempt that an order asks for, unless it comes too late; return what to publish.

        Args:
            order: one attempt.
            doubtful: an earlier sender may have made it.
        """
        now = datetime.now(UTC)
        late = too_late(order, now, self._settings)
        result = await self._attempt(order) if not late else Result("EXPIRED", error=late)
        report = NotificationDeliveryReported(
            timestamp=now,
            tenant_id=order.tenant_id,
            notification_id=order.notification_id,
            outcome=result.outcome,
            attempt=order.attempt,
            order_id=order.event_id,
            retryable=result.retryable,
            retry_after_ms=result.retry_after_ms,
            provider_id=result.provider_id,
            error_code=result.error_code,
            error=result.error,
            possibly_duplicate=doubtful or result.uncertain,
            envelope=caused_by(order),
        )
        return *result.publish, report

    async def _attempt(self, order: NotificationDeliveryOrdered) -> Result:
        wanted = self._shared.get(NotificationOptOut, address_key(order.tenant_id, order.recipient))
        if wants_none(wanted, order.channel):
            return failed("OPTED_OUT", "the recipient wants no notifications on this channel")
        port = self._ports.get(order.channel)
        if port is None:
            return failed("NO_PROVIDER", f"this worker does not know the channel {order.channel}; update it")
        try:
            return await asyncio.wait_for(port.send(order, provider_key(order)), LIMIT_S)
        except TimeoutError:
            return failed("TIMEOUT", "the attempt took too long", retryable=True, uncertain=True)
        except Exception as error:
            # Its text may hold the recipient; the line where it was raised is in no text of ours.
            log.error(
                "the port of %s failed with %s: a defect",
                order.channel,
                type(error).__name__,
                extra={"event_id": order.event_id, "agent": "senders"},
            )
            message = f"the port failed ({type(error).__name__}); this is a defect"
            return failed("INVARIANT_VIOLATION", message, retryable=True, uncertain=True)


def too_late(order: NotificationDeliveryOrdered, now: datetime, settings: Settings) -> str:
    """Return why an order is not carried out any more, or an empty string.

    An order of last week is no wish of today: it comes from a rebuild, from offsets that were reset, or from senders
    that were away.
    """
    if order.expires_at is not None and now >= order.expires_at:
        return "it expired before a sender came to it"
    if now - order.timestamp > settings.notification_max_age:
        return "the order is older than SLUICE_NOTIFICATION_MAX_AGE; if it is still wanted, send another one"
    return ""


def ports(settings: Settings, session: aiohttp.ClientSession) -> dict[str, Port]:
    """Return the port of each channel."""
    timeout = settings.send_timeout_s

    def by_webhook(url: str | None, setting: str) -> Port:
        return WebhookSender(session, timeout, url=url) if url is not None else NoProvider(setting)

    return {
        "LOG": LogSender(),
        "IN_APP": InAppSender(),
        "EMAIL": SmtpSender(settings) if settings.smtp_host is not None else NoProvider("SLUICE_SMTP_HOST"),
        "WEBHOOK": WebhookSender(session, timeout, allow=settings.webhook_allow),
        "SMS": by_webhook(settings.sms_webhook, "SLUICE_SMS_WEBHOOK"),
        "PUSH": by_webhook(settings.push_webhook, "SLUICE_PUSH_WEBHOOK"),
    }
