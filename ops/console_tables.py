"""What the tables of one worker hold, in short: quotas, stock, points and alerts, for an operator or for one tenant.

Reading goes on all the time while somebody looks, a few aggregates at a time with pauses ten times as long, so that
it takes a tenth of the event loop at most, however many aggregates there are; with more of them the numbers are
older.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from streams.failures import classify
from streams.reading import Reader, Recovering, StoredState
from streams.topics import key_of, parts_of
from tables.alerts_views import alerts
from tables.loyalty_names import HEAD as CUSTOMER
from tables.loyalty_tiers import TIERS
from tables.stock_views import SUMS, summary
from tables.usage_views import usage_quotas

log = logging.getLogger(__name__)

SHARE = 10
AGAIN_S = 1.0
"""The shortest time from one reading of the tables to the next."""
WANTED_S = 5.0
"""So long after somebody has last asked, reading ends."""
SHOWN = 8
ALERTS_SHOWN = 6
POINTS = ("balance", "pending", "earned", "redeemed", "reversed")
QUOTAS = ("t", "m|", "d|", "r|")
"""The names that the records begin with which ``usage_quotas`` reads."""


class Quota(BaseModel):
    """How much of a quota is used in its period; numbers are texts, exact."""

    tenant: str
    quota_id: str
    meter: str
    subject: str
    unit: str | None
    value: str
    limit: str | None
    percent: float
    period: str


class Stock(BaseModel):
    """A product in a warehouse; numbers are texts, exact."""

    tenant: str
    product: str
    warehouse: str
    uom: str | None
    on_hand: str
    available: str
    reorder_point: str | None
    low: bool


class Customer(BaseModel):
    """A customer's points."""

    tenant: str
    customer: str
    tier: str
    balance: int


class Loyalty(BaseModel):
    """All customers."""

    tiers: dict[str, int] = {}
    balance: int = 0
    pending: int = 0
    earned: int = 0
    redeemed: int = 0
    reversed: int = 0
    best: list[Customer] = []


class AlertRow(BaseModel):
    """One alert."""

    tenant: str
    alert_type: str
    subject: str
    status: str
    severity: str
    description: str
    since: str | None
    last_seen: str


class Alerts(BaseModel):
    """How many there are by status, and the latest."""

    statuses: dict[str, int] = {}
    latest: list[AlertRow] = []


class Domains(BaseModel):
    """What the tables hold. ``tenants``, ``products`` and ``customers`` tell how many there are in all."""

    tenants: int = 0
    quotas: list[Quota] = []
    products: int = 0
    low: int = 0
    stock: list[Stock] = []
    customers: int = 0
    loyalty: Loyalty = Loyalty()
    alerts: Alerts = Alerts()


def merged(parts: Iterable[Domains]) -> Domains:
    """Return what the tables of all workers hold, from each one's part: the first of each list, and the sums."""
    parts = list(parts)
    statuses: Counter[str] = Counter()
    for part in parts:
        statuses.update(part.alerts.statuses)
    return Domains(
        tenants=sum(part.tenants for part in parts),
        quotas=_first(SHOWN, (row for part in parts for row in part.quotas), _fullest),
        products=sum(part.products for part in parts),
        low=sum(part.low for part in parts),
        stock=_first(SHOWN, (row for part in parts for row in part.stock), _most_urgent),
        customers=sum(part.customers for part in parts),
        loyalty=_loyalty(part.loyalty for part in parts),
        alerts=Alerts(
            statuses=dict(statuses),
            latest=_first(ALERTS_SHOWN, (row for part in parts for row in part.alerts.latest), _latest),
        ),
    )


def _first(count: int, rows: Iterable[Any], order: Callable[[Any], Any]) -> list[Any]:
    return heapq.nsmallest(count, rows, key=order)


def _fullest(row: Quota) -> tuple[Any, ...]:
    return (-row.percent, row.tenant, row.quota_id, row.subject)


def _most_urgent(row: Stock) -> tuple[Any, ...]:
    """Order by what is left above the reorder point, in shares of it; what has none by how much there is."""
    point = Decimal(row.reorder_point or 0)
    share = Decimal(row.available) / point if point else Decimal(0)
    return (not row.low, not point, share, -Decimal(row.on_hand), row.tenant, row.product, row.warehouse)


def _latest(row: AlertRow) -> tuple[Any, ...]:
    return (-datetime.fromisoformat(row.last_seen).timestamp(), row.tenant, row.alert_type, row.subject)


def _richest(row: Customer) -> tuple[Any, ...]:
    return (-row.balance, row.tenant, row.customer)


def _loyalty(parts: Iterable[Loyalty]) -> Loyalty:
    parts, tiers = list(parts), dict.fromkeys((tier for tier, _ in TIERS), 0)
    for part in parts:
        for tier, count in part.tiers.items():
            tiers[tier] = tiers.get(tier, 0) + count
    sums = {name: sum(getattr(part, name) for part in parts) for name in POINTS}
    return Loyalty(
        tiers=tiers, best=_first(SHOWN, (row for part in parts for row in part.best), _richest), **sums
    )


class Tables:
    """Reads the tables of this worker again and again, for one audience.

    Args:
        reader: of this worker's state.
        names: the tables that the worker has.
        tenant: whose data; None: everybody's.
    """

    def __init__(self, reader: Reader, names: Iterable[str], tenant: str | None) -> None:
        self._reader = reader
        self._tenant = tenant
        readers = {
            "usage": self._usage,
            "stock": self._stock,
            "customer": self._customer,
            "alerts": self._alerts,
        }
        self._readers = [readers[name] for name in names if name in readers]
        self._latest = Domains()
        self._wanted_until = 0.0
        self._reading: asyncio.Task[None] | None = None

    def latest(self) -> Domains:
        """Return what was read last, each table to its end, and read on for a while."""
        self._wanted_until = asyncio.get_running_loop().time() + WANTED_S
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return self._latest

    def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < self._wanted_until:
            began = loop.time()
            for read in self._readers:
                try:
                    self._latest = self._latest.model_copy(update=await read())
                except Recovering:
                    continue  # the assignment changes; what was read before is shown until it is settled
                except Exception as error:
                    failure = classify(error)  # the exception's own text may hold what a record holds
                    log.error(
                        "the console cannot read a table: %s\n%s", failure.exception, failure.stacktrace
                    )
            await asyncio.sleep(max(0.0, began + AGAIN_S - loop.time()))

    async def _usage(self) -> dict[str, Any]:
        tenants, rows = 0, []
        async for tenant, state in self._states("usage", self._tenant or "", QUOTAS):
            if self._tenant not in (None, tenant):
                continue
            tenants += 1
            for item in usage_quotas(state, tenant, datetime.now(UTC))["items"]:
                rows.append(
                    Quota(
                        **{
                            name: item[name]
                            for name in ("quota_id", "meter", "unit", "value", "limit", "period")
                        },
                        tenant=tenant,
                        subject=item["subject"] or "",
                        percent=float(item["percent"] or 0),
                    )
                )
            rows = _first(SHOWN, rows, _fullest)
        return {"tenants": tenants, "quotas": rows}

    async def _stock(self) -> dict[str, Any]:
        products, low, rows = 0, 0, []
        async for key, state in self._states("stock", self._own_keys(), SUMS):
            found = summary(key, state)
            if found is None:
                continue
            products += 1
            low += found["low"]
            names = ("uom", "on_hand", "available", "reorder_point", "low")
            rows.append(
                Stock(
                    tenant=parts_of(key)[0],
                    product=found["product_id"],
                    warehouse=found["warehouse_id"],
                    **{name: found[name] for name in names},
                )
            )
            rows = _first(SHOWN, rows, _most_urgent) if len(rows) > 8 * SHOWN else rows
        return {"products": products, "low": low, "stock": _first(SHOWN, rows, _most_urgent)}

    async def _customer(self) -> dict[str, Any]:
        customers, loyalty = 0, Loyalty(tiers=dict.fromkeys((tier for tier, _ in TIERS), 0))
        async for key, state in self._states("customer", self._own_keys(), (CUSTOMER,)):
            head = state.get(CUSTOMER)
            if head is None:
                continue
            customers += 1
            loyalty.tiers[head.tier] = loyalty.tiers.get(head.tier, 0) + 1
            for name in POINTS:
                setattr(loyalty, name, getattr(loyalty, name) + getattr(head, name))
            tenant, customer = parts_of(key)
            loyalty.best.append(
                Customer(tenant=tenant, customer=customer, tier=head.tier, balance=head.balance)
            )
            if len(loyalty.best) > 8 * SHOWN:
                loyalty.best = _first(SHOWN, loyalty.best, _richest)
        loyalty.best = _first(SHOWN, loyalty.best, _richest)
        return {"customers": customers, "loyalty": loyalty}

    async def _alerts(self) -> dict[str, Any]:
        statuses: Counter[str] = Counter()
        rows: list[AlertRow] = []
        names = ("alert_type", "subject", "status", "severity", "description", "since", "last_seen")
        async for fingerprint, state in self._states("alerts", self._own_keys(), ("",)):
            for item in alerts([(fingerprint, state)], {}):
                statuses[item["status"]] += 1
                rows.append(AlertRow(tenant=item["tenant_id"], **{name: item[name] for name in names}))
            rows = _first(ALERTS_SHOWN, rows, _latest) if len(rows) > 8 * ALERTS_SHOWN else rows
        return {"alerts": Alerts(statuses=dict(statuses), latest=_first(ALERTS_SHOWN, rows, _latest))}

    def _own_keys(self) -> str:
        return "" if self._tenant is None else key_of(self._tenant, "")

    async def _states(
        self, table: str, start: str, prefixes: Sequence[str]
    ) -> AsyncIterator[tuple[str, StoredState]]:
        """Yield the key and the state of each aggregate of this worker whose key begins with ``start``.

        Raises:
            Recovering: the assignment is changing.
        """
        began = time.perf_counter()
        async for chunk in self._reader.chunks(table, start, prefixes):
            for each in chunk:
                yield each
            spent = time.perf_counter() - began
            await asyncio.sleep(SHARE * spent)
            began = time.perf_counter()
