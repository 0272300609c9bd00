"""The views of the tables over HTTP: which aggregate a request is about, who may read it, and its read model.

in     GET /usage/{tenant} and below it        tables/usage_views.py
       GET /alerts, /alerts/{fingerprint}      tables/alerts_views.py
       GET /catalog/...                        agents/catalog_views.py
       GET /customers/...                      agents/customer_views.py
       GET /notifications and below it         agents/notification_views.py
       GET /stock/...                          agents/stock_views.py
out    PaginatedResult, or the error body of contracts 3.0
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel

from agents import catalog_views, customer_views, notification_views, stock_views
from agents.answers import (
    AlertItem,
    Alerts,
    AlertsQuery,
    Cost,
    CostQuery,
    Quotas,
    Usage,
    UsageQuery,
    UserUsage,
)
from streams.reading import StoredState
from streams.topics import key_of, parts_of
from streams.web_errors import INVALID, ErrorDetail, NotFound, ValidationFailed
from streams.web_lists import Spread
from streams.web_peers import Part
from streams.web_views import Call, PageQuery, Query, View, page_of
from tables import alerts_views, usage_views
from tables.readable import QueryError
from tables.usage_names import bucket_id

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Model = dict[str, Any]


def _tenant(call: Call) -> tuple[str, StoredState]:
    """Return the tenant of the path and its state.

    Raises:
        Forbidden, NotFound, and what ``Reader.state`` raises.
    """
    tenant = call.path["tenant"]
    call.caller.may_read(tenant)
    state = call.reader.state("usage", tenant)
    if state is None:
        raise NotFound("nothing was ever metered or defined for this tenant")
    return tenant, state


async def _read(call: Call, state: StoredState, model: Callable[[], Model]) -> Model:
    """Return a read model's answer with its items cut to the page."""
    try:
        found = await call.reader.compute(len(state), model)
    except QueryError as error:
        raise ValidationFailed(INVALID, [ErrorDetail(field=error.field, reason=error.reason)]) from None
    return {**found, **page_of(found["items"], call.query)}


async def usage(call: Call) -> BaseModel:
    """Return a tenant's usage."""
    tenant, state = _tenant(call)
    query = call.query.text()
    return Usage.model_validate(await _read(call, state, lambda: usage_views.usage(state, tenant, query)))


async def user_usage(call: Call) -> BaseModel:
    """Return one user's usage."""
    tenant, state = _tenant(call)
    user, query = call.path["user"], call.query.text()

    def model() -> Model:
        if not any(bucket_id(name).user == user for name in state.names("b|")):
            raise NotFound("nothing was ever metered for this user")
        return usage_views.usage_user(state, tenant, user, query)

    return UserUsage.model_validate(await _read(call, state, model))


async def cost(call: Call) -> BaseModel:
    """Return what a tenant's usage costs."""
    tenant, state = _tenant(call)
    query = call.query.text()
    return Cost.model_validate(await _read(call, state, lambda: usage_views.usage_cost(state, tenant, query)))


async def quotas(call: Call) -> BaseModel:
    """Return a tenant's quotas in the current period."""
    tenant, state = _tenant(call)
    now = datetime.now(UTC)
    found = await _read(call, state, lambda: usage_views.usage_quotas(state, tenant, now))
    return Quotas.model_validate(found)


async def alert(call: Call) -> BaseModel:
    """Return one alert."""
    fingerprint = call.path["fingerprint"]
    call.caller.may_read(parts_of(fingerprint)[0])
    state = call.reader.state("alerts", fingerprint)
    found = None if state is None else alerts_views.alert(fingerprint, state)
    if found is None:
        raise NotFound("there was never an alert with this fingerprint")
    return AlertItem.model_validate(found)


async def alerts(call: Call) -> BaseModel:
    """Return alerts, those seen last first."""
    asked: AlertsQuery = call.query
    query = asked.text()
    if call.caller.tenant is not None:
        call.caller.may_read(query.setdefault("tenant", call.caller.tenant))

    start = key_of(query["tenant"], "") if "tenant" in query else ""
    return await ALERTS.read(call, lambda found: alerts_views.alerts(found, query), start)


def _last_seen_first(item: AlertItem) -> tuple[int, str]:
    return -((item.last_seen - EPOCH) // timedelta(microseconds=1)), item.fingerprint


ALERTS: Final = Spread("alerts", AlertItem, Part[AlertItem], Alerts, _last_seen_first)
KEYED: Final = (400, 404, 503)

# fmt: off
VIEWS: Final = (
    #    path                             handler     answer     query        table     failures
    View("/usage/{tenant}",               usage,      Usage,     UsageQuery,  "usage",  KEYED),
    View("/usage/{tenant}/users/{user}",  user_usage, UserUsage, UsageQuery,  "usage",  KEYED),
    View("/usage/{tenant}/quotas",        quotas,     Quotas,    PageQuery,   "usage",  KEYED),
    View("/usage/{tenant}/cost",          cost,       Cost,      CostQuery,   "usage",  KEYED),
    View("/alerts",                       alerts,     Alerts,    AlertsQuery, "alerts", (400, 503)),
    View("/alerts/{fingerprint}",         alert,      AlertItem, Query,       "alerts", KEYED),
    *catalog_views.VIEWS,
    *customer_views.VIEWS,
    *notification_views.VIEWS,
    *stock_views.VIEWS,
)
# fmt: on
