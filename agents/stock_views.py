"""The views of stock over HTTP.

in     GET /stock, /stock/{product}/{warehouse} and below it, /stock/{product}, /stock/low,
       /stock/allocations/{allocation_id}                                             tables/stock_views.py
out    agents/stock_answers.py, or the error body of contracts 3.0

``low`` and ``allocations`` are words of the paths (contracts 3.1). A product of that name, as any other, is shown by
``/stock?product=``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final

from pydantic import BaseModel

from agents.stock_answers import (
    Allocation,
    Availability,
    AvailabilityQuery,
    Lots,
    LotsQuery,
    Movements,
    Stock,
    StockItem,
    StockItems,
    StockQuery,
)
from agents.tenants import TenantPageQuery, TenantQuery, tenant_of
from streams.reading import StoredState
from streams.topics import key_of
from streams.web_errors import NotFound
from streams.web_lists import Spread
from streams.web_peers import Part
from streams.web_views import Call, View, page_of
from tables import stock_views
from tables.stock_names import LOTS, MOVEMENTS, allocation_name, allocation_of
from tables.stock_views import SUMS, SUMS_AND_LOTS

TABLE: Final = "stock"
UNKNOWN = "nothing is known of this product in this warehouse; check both ids and the tenant"
FORGOTTEN = "there is no such allocation, or it ended over a day ago; check its id and the tenant"


def _state(call: Call, *prefixes: str) -> tuple[str, StoredState]:
    """Return the key of the path's product and warehouse, and the records of its state that begin so."""
    key = key_of(tenant_of(call), call.path["product"], call.path["warehouse"])
    state = call.reader.state(TABLE, key, prefixes)
    if state is None:
        raise NotFound(UNKNOWN)
    return key, state


async def stock(call: Call) -> BaseModel:
    """Return a product in a warehouse with its lots."""
    key, state = _state(call, *SUMS_AND_LOTS)
    found = await call.reader.compute(len(state), lambda: stock_views.stock(key, state))
    return Stock.model_validate(_known(found))


async def availability(call: Call) -> BaseModel:
    """Return what can be allocated of a product in a warehouse, now or at a time."""
    asked: AvailabilityQuery = call.query
    _, state = _state(call, *SUMS_AND_LOTS)
    at = datetime.now(UTC) if asked.at is None else asked.at.astimezone(UTC)
    found = await call.reader.compute(len(state), lambda: stock_views.availability(state, asked.quantity, at))
    return Availability.model_validate(_known(found))


async def lots(call: Call) -> BaseModel:
    """Return the lots of a product in a warehouse."""
    asked: LotsQuery = call.query
    key, state = _state(call, *SUMS, LOTS)
    version = _known(stock_views.summary(key, state))["version"]
    found = await call.reader.compute(len(state), lambda: stock_views.lots(state, asked.status))
    return Lots.model_validate({**page_of(found, asked), "version": version})


async def movements(call: Call) -> BaseModel:
    """Return the latest movements of a product in a warehouse."""
    _, state = _state(call, *SUMS, MOVEMENTS)
    return Movements.model_validate(page_of(stock_views.movements(state), call.query))


async def allocation(call: Call) -> BaseModel:
    """Return an allocation; its id tells the product and the warehouse."""
    tenant = tenant_of(call)
    allocation_id = call.path["allocation_id"]
    parts = allocation_of(allocation_id)
    if parts is None:
        raise NotFound(FORGOTTEN)
    key = key_of(tenant, parts.product_id, parts.warehouse_id)
    state = call.reader.state(TABLE, key, (allocation_name(parts.suffix),))
    found = None if state is None else stock_views.allocation(state, allocation_id, parts.suffix)
    if found is None:
        raise NotFound(FORGOTTEN)
    return Allocation.model_validate(found)


async def everything(call: Call) -> BaseModel:
    """Return a tenant's stock: all of it, or of one product or warehouse, or what is low."""
    asked: StockQuery = call.query
    product = () if asked.product is None else (asked.product,)

    def model(states: list[tuple[str, StoredState]]) -> list[dict[str, Any]]:
        return stock_views.stocks(states, asked.warehouse, asked.low)

    return await BY_PRODUCT.read(call, model, key_of(tenant_of(call), *product, ""))


async def warehouses(call: Call) -> BaseModel:
    """Return a product in all warehouses."""
    start = key_of(tenant_of(call), call.path["product"], "")
    return await BY_PRODUCT.read(call, stock_views.stocks, start)


async def low(call: Call) -> BaseModel:
    """Return the stock that is low, what has been so longest in front."""
    start = key_of(tenant_of(call), "")
    return await LONGEST_LOW_FIRST.read(call, lambda states: stock_views.stocks(states, low=True), start)


BY_PRODUCT: Final = Spread(
    TABLE, StockItem, Part[StockItem], StockItems, attrgetter("product_id", "warehouse_id"), SUMS
)
LONGEST_LOW_FIRST: Final = Spread(
    TABLE, StockItem, Part[StockItem], StockItems, attrgetter("low_since", "product_id", "warehouse_id"), SUMS
)


def _known(found: dict[str, Any] | None) -> dict[str, Any]:
    if found is None:
        raise NotFound(UNKNOWN)
    return found


LISTED: Final = (400, 503)
KEYED: Final = (400, 404, 503)

# fmt: off
VIEWS: Final = (
    #    path                                       handler       answer        query              table  failures
    View("/stock",                                  everything,   StockItems,   StockQuery,        TABLE, LISTED),
    View("/stock/low",                              low,          StockItems,   TenantPageQuery,   TABLE, LISTED),
    View("/stock/allocations/{allocation_id}",      allocation,   Allocation,   TenantQuery,       TABLE, KEYED),
    View("/stock/{product}",                        warehouses,   StockItems,   TenantPageQuery,   TABLE, LISTED),
    View("/stock/{product}/{warehouse}",            stock,        Stock,        TenantQuery,       TABLE, KEYED),
    View("/stock/{product}/{warehouse}/availability", availability, Availability, AvailabilityQuery, TABLE, KEYED),
    View("/stock/{product}/{warehouse}/lots",       lots,         Lots,         LotsQuery,         TABLE, KEYED),
    View("/stock/{product}/{warehouse}/movements",  movements,    Movements,    TenantPageQuery,   TABLE, KEYED),
)
# fmt: on
