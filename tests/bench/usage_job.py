"""The full usage pipeline at full load: quotas of two scopes for every tenant, prices, exact cost, dedupe."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zlib import crc32

from streams import topics
from streams.events import UsageEvent, UsagePriceSetRequested, UsageQuotaSetRequested
from tests.bench import workload
from tests.bench.pipeline_job import Frames, Ids, Job, Load, writer
from tests.bench.throughput import micros_since

TENANTS = 1_000
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


def usage_job(count: int, number: int) -> Job:
    """Return the job of ``count`` events in run ``number``, whose ids are other ones in each run."""

    def events(ids: Ids) -> Frames:
        stamps = micros_since(time.time() - count / 1_000, 1_000, count)
        return workload.Events(ids[UsageEvent], TENANTS).make(f"usage-{number}", stamps)

    commands = (UsageQuotaSetRequested, UsagePriceSetRequested)
    return Job(
        "usage",
        Load(topics.USAGE_COMMANDS.name, commands, definitions),
        Load(topics.USAGE_METERED.name, (UsageEvent,), events),
        (topics.USAGE_EVENTS.name, topics.ALERTS.name),
    )


def definitions(ids: Ids) -> Frames:
    """Yield the commands: for every tenant a price of each meter, a quota of its own and one for each user.

    The tenant's quota is crossed by some hundred thousand tokens, so that thresholds fire in every run.
    """
    write_quota, write_price = (writer(record, ids[record]) for record in ids)
    now = datetime.now(UTC)
    for tenant in map(workload.tenant_name, range(TENANTS)):
        base: dict[str, Any] = {"timestamp": now, "tenant_id": tenant, "envelope": None}
        for meter in workload.METERS:
            price: dict[str, Any] = {
                "resource_type": meter,
                "model": None,
                "unit": "tokens",
                "currency": "USD",
            }
            price |= {"rate": Decimal("0.000002"), "effective_from": EPOCH}
            yield tenant, write_price({**base, **price, "event_id": _id(tenant, meter)})
        quotas = (
            ("tenant-month", "tokens.input", "TENANT", "MONTH"),
            ("user-day", "tokens.output", "USER", "DAY"),
        )
        for quota, meter, scope, period in quotas:
            given: dict[str, Any] = {
                "quota_id": quota,
                "meter": meter,
                "scope": scope,
                "period": period,
                "subject": None,
            }
            given |= {
                "limit": Decimal(300_000),
                "thresholds": [80, 100],
                "absolute_thresholds": [],
                "hard": False,
            }
            yield tenant, write_quota({**base, **given, "event_id": _id(tenant, quota)})


def _id(tenant: str, what: str) -> str:
    return f"{crc32(what.encode()):08x}-{tenant}"
