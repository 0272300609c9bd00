"""The views of notifications over HTTP.

in     GET /notifications, /notifications/{notification_id}     tables/notification_views.py
out    the models below, or the error body of contracts 3.0
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from agents.answers import Text
from agents.tenants import TenantPageQuery, TenantQuery, tenant_of
from streams.reading import StoredState
from streams.topics import key_of
from streams.web_errors import NotFound
from streams.web_lists import Spread
from streams.web_peers import Part
from streams.web_views import Call, PaginatedResult, View
from tables import notification_views

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TABLE: Final = "notification"

Status = Literal["PENDING", "SCHEDULED", "SENDING", "SENT", "DELIVERED", "FAILED", "CANCELLED", "EXPIRED"]
Channel = Literal["EMAIL", "SMS", "PUSH", "WEBHOOK", "IN_APP", "LOG"]


class NotificationsQuery(TenantPageQuery):
    """Which notifications."""

    recipient: Text | None = Field(None, description="Only to this address.")
    status: Status | None = None
    channel: Channel | None = None
    batch: Text | None = Field(None, description="Only of this batch.")

    def text(self) -> dict[str, str]:
        """Return the parameters as the read model takes them."""
        return self.model_dump(exclude_none=True, exclude={"page", "per_page", "tenant"})


class NotificationItem(BaseModel):
    """A notification, without its text."""

    notification_id: str
    tenant_id: str
    status: str
    channel: str
    recipient: str
    priority: str
    batch_id: str | None
    accepted_at: datetime
    changed_at: datetime = Field(description="When the status was reached.")
    send_at: datetime | None
    expires_at: datetime | None
    attempts: int
    max_attempts: int
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    provider_id: str | None
    possibly_duplicate: bool = Field(
        description="It may have been sent more than once, under one idempotency key."
    )
    error_code: str | None
    last_error: str | None
    reason: str | None = Field(description="Why it was cancelled or expired.")


class Notifications(PaginatedResult[NotificationItem]):
    """Notifications, those accepted last first."""


async def notification(call: Call) -> BaseModel:
    """Return one notification."""
    tenant = tenant_of(call)
    state = call.reader.state(TABLE, key_of(tenant, call.path["notification_id"]))
    found = None if state is None else notification_views.notification(state)
    if found is None:
        raise NotFound("there is no such notification, or it was forgotten")
    return NotificationItem.model_validate(found)


async def notifications(call: Call) -> BaseModel:
    """Return a tenant's notifications, those accepted last first."""
    asked: NotificationsQuery = call.query
    query = asked.text()

    def model(found: list[tuple[str, StoredState]]) -> list[dict[str, Any]]:
        return notification_views.notifications((state for _, state in found), query)

    return await NOTIFICATIONS.read(call, model, key_of(tenant_of(call), ""))


def _accepted_last_first(item: NotificationItem) -> tuple[int, str]:
    return -((item.accepted_at - EPOCH) // timedelta(microseconds=1)), item.notification_id


NOTIFICATIONS: Final = Spread(
    TABLE, NotificationItem, Part[NotificationItem], Notifications, _accepted_last_first
)
LISTED: Final = (400, 503)
KEYED: Final = (400, 404, 503)

# fmt: off
VIEWS: Final = (
    #    path                                handler        answer            query               table  failures
    View("/notifications",                   notifications, Notifications,    NotificationsQuery, TABLE, LISTED),
    View("/notifications/{notification_id}", notification,  NotificationItem, TenantQuery,        TABLE, KEYED),
)
# fmt: on
