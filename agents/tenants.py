"""Whose data a view shows where its path does not say: the tenant of the query, or the caller's own."""

from __future__ import annotations

from pydantic import Field

from agents.answers import Text
from streams.keys import DEFAULT_TENANT
from streams.web_views import Call, PageQuery, Query


class TenantQuery(Query):
    """Which tenant's data."""

    tenant: Text | None = Field(
        None,
        description=f"Whose data; the caller's own, or {DEFAULT_TENANT!r} for one that reads every tenant's.",
    )


class TenantPageQuery(PageQuery, TenantQuery):
    """Which tenant's data, and which part of the list."""


def tenant_of(call: Call) -> str:
    """Return the tenant that a call with a ``TenantQuery`` is about.

    Raises:
        Forbidden: the caller does not read this tenant's data.
    """
    asked: TenantQuery = call.query
    tenant = asked.tenant or call.caller.tenant or DEFAULT_TENANT
    call.caller.may_read(tenant)
    return tenant
