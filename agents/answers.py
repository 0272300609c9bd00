"""What the views are asked and what they answer, as pydantic models: the source of the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema

from streams.web_views import PageQuery, PaginatedResult, Query
from tables.readable import QueryError
from tables.usage_query import parse

Amount = Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?$", description="A decimal; never a float.")]
Text = Annotated[str, Field(min_length=1)]
"""An empty parameter would be ignored silently."""


def _time(text: str) -> str:
    if not text:
        raise ValueError("empty; leave the parameter out")
    try:
        parse({"from": text}, "UTC")  # whether it lies before `to` depends on the tenant's zone
    except QueryError as error:
        raise ValueError(error.reason) from None
    return text


Time = Annotated[
    str,
    AfterValidator(_time),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}),
]


class _Range(Query):
    meter: Text | None = Field(None, description="Only this meter.")
    from_: Time | None = Field(
        None, alias="from", description="First hour: ISO 8601, or a date in the tenant's time zone."
    )
    to: Time | None = Field(None, description="End, not included.")

    def text(self) -> dict[str, str]:
        """Return the parameters as the read models take them."""
        given = self.model_dump(by_alias=True, exclude_none=True, exclude={"page", "per_page"})
        return {name: str(value) for name, value in given.items()}


class UsageQuery(PageQuery, _Range):
    """Which usage, and how it is divided."""

    window: Literal["hour", "day", "month"] | None = Field(None, description="One item for each.")
    group_by: Literal["user", "model", "service"] | None = Field(None, description="One item for each.")


class CostQuery(PageQuery, _Range):
    """Which costs."""

    currency: Text | None = Field(None, description="Only this currency.")


class AlertsQuery(PageQuery):
    """Which alerts."""

    status: Literal["inactive", "pending", "firing", "resolved"] | None = None
    severity: Literal["info", "warning", "critical"] | None = None
    tenant: Text | None = Field(None, description="Only of this tenant.")
    alert_type: Text | None = Field(None, description="Only of this type, such as quota_exceeded.")

    def text(self) -> dict[str, str]:
        """Return the parameters as the read model takes them."""
        return self.model_dump(exclude_none=True, exclude={"page", "per_page"})


class UsageItem(BaseModel):
    """What was used of one meter, in one window and group where asked for."""

    meter: str
    unit: str
    count: int
    sum: Amount
    max: Amount
    start: datetime | None = Field(None, description="Of the window, where one was asked for.")
    end: datetime | None = None
    user: str | None = Field(None, description="With group_by=user.")
    model: str | None = Field(None, description="With group_by=model.")
    service: str | None = Field(None, description="With group_by=service.")


class MeterCost(BaseModel):
    """What one meter costs in a currency."""

    meter: str
    amount: Amount


class CostItem(BaseModel):
    """What everything costs in one currency; currencies are never added."""

    currency: str
    amount: Amount
    meters: list[MeterCost]


class Unpriced(BaseModel):
    """Units that came without a cost and have no price."""

    meter: str
    unit: str
    quantity: Amount


class _Covered(BaseModel):
    tenant: str
    time_zone: str
    from_: datetime | None = Field(None, alias="from")
    to: datetime | None = None
    watermark: datetime | None = Field(None, description="Latest event time in the answer.")
    late_adjustments: int = Field(description="Events counted after their hour had closed.")


class Usage(PaginatedResult[UsageItem], _Covered):
    """A tenant's usage."""

    window: Literal["hour", "day", "month"] | None = None
    group_by: Literal["user", "model", "service"] | None = None


class UserUsage(Usage):
    """One user's usage and cost."""

    user: str
    cost: list[CostItem]


class Cost(PaginatedResult[CostItem], _Covered):
    """What a tenant's usage costs."""

    unpriced: list[Unpriced]


class Fired(BaseModel):
    """A threshold that was crossed in the period."""

    threshold: str
    value: Amount = Field(description="Usage when it was crossed.")


class QuotaItem(BaseModel):
    """A quota and its usage in the current period."""

    quota_id: str
    meter: str
    unit: str | None
    aggregation: str
    scope: str
    subject: str | None = Field(description="The user or model, where it is about one.")
    limit: Amount | None = Field(description="Null: unlimited.")
    value: Amount
    percent: Amount | None
    thresholds: list[str]
    fired: list[Fired]
    hard: bool
    period: str
    period_start: datetime
    period_end: datetime


class Quotas(PaginatedResult[QuotaItem]):
    """A tenant's quotas."""

    tenant: str
    time_zone: str


class AlertItem(BaseModel):
    """What is known of one fingerprint."""

    fingerprint: str = Field(description="tenant|alert_type|subject, each part percent-encoded.")
    alert_id: str
    alert_type: str
    tenant_id: str
    subject: str
    status: str
    severity: str
    since: datetime
    started_at: datetime
    ended_at: datetime | None
    last_seen: datetime
    count: int
    value: Amount | None
    threshold: Amount | None
    period: str | None
    labels: dict[str, str]
    description: str
    runbook: str | None
    correlation_id: str | None


class Alerts(PaginatedResult[AlertItem]):
    """Alerts, those seen last first."""
