"""Names of the catalogue's records, and the keys of its aggregates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from streams.keys import key_of, parts_of

PRODUCT = "p"
BENEFIT = "b"
PRICES = "w|"
RESERVATIONS = "r|"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def product_key(tenant: str, product_id: str) -> str:
    """Return the key of a product."""
    return key_of(tenant, product_id)


def benefit_key(tenant: str, benefit_id: str) -> str:
    """Return the key of a benefit: three parts, so that a product with the same id has another one."""
    return key_of(tenant, "benefit", benefit_id)


def request_key(tenant: str, request_id: str) -> str:
    """Return the key of a request, which has no state of its own."""
    return key_of(tenant, request_id)


def of_product(event: Any) -> str:
    """Return the key of a command or fact about a product."""
    return product_key(event.tenant_id, event.product_id)


def of_benefit(event: Any) -> str:
    """Return the key of a command or fact about a benefit."""
    return benefit_key(event.tenant_id, event.benefit_id)


def of_request(event: Any) -> str:
    """Return the key of a request or of its answer."""
    return request_key(event.tenant_id, event.request_id)


def of_refused(fact: Any) -> str:
    """Return the key of the command that was refused: of the three ids, the one there is."""
    if fact.request_id:
        return of_request(fact)
    return of_benefit(fact) if fact.benefit_id else of_product(fact)


def benefit_of(key: str) -> tuple[str, str]:
    """Return tenant and id of the benefit whose key this is."""
    tenant, _, benefit_id = parts_of(key)
    return tenant, benefit_id


def prices_prefix(price_list: str, currency: str) -> str:
    """Return how the names of the prices of one list in one currency begin."""
    return f"{PRICES}{key_of(price_list, currency)}|"


def price_name(price_list: str, currency: str, effective_from: datetime) -> str:
    """Return the name of a price's record."""
    return f"{prices_prefix(price_list, currency)}{(effective_from - EPOCH) // MICROSECOND}"


def reservation_name(reservation_id: str) -> str:
    """Return the name of a reservation's record."""
    return RESERVATIONS + reservation_id
