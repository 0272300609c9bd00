"""The catalogue as a service (001-28 to 001-31)."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from agents.client_customer import CustomerClient
from agents.client_service import Service, as_dict, result
from streams.client import Client, Rejected
from streams.events import (
    BenefitsApplicationRequested,
    CatalogBenefitsCompleted,
    CatalogPricingCompleted,
    CatalogProductInfoProvided,
    CatalogProductsValidated,
    CatalogProductsValidationRequested,
    PricingCalculationRequested,
    ProductInfoRequested,
)

UNKNOWN = ("NOT_FOUND", "CUSTOMER_DELETED")
"""Why a customer is none to the catalogue; who is blocked is known all the same."""


async def with_customer(client: Client, request: Any, timeout: float | None = None) -> Any:
    """Return a request to the catalogue with what the customers' side knows of its customer.

    The rules of the catalogue cannot look it up: customers live under other keys, maybe on other workers.
    """
    if not request.customer_id or request.customer_known is not None:
        return request
    customers = CustomerClient(client, request.tenant_id, timeout)
    validated, tier = await asyncio.gather(
        customers.validate_customer(request.customer_id), _tier(customers, request.customer_id)
    )
    known = validated["reason"] not in UNKNOWN
    return msgspec.structs.replace(request, customer_known=known, customer_tier=tier if known else None)


async def _tier(customers: CustomerClient, customer_id: str) -> str | None:
    try:
        tier: str = (await customers.get_loyalty_info(customer_id))["tier"]
    except Rejected:
        return None  # no such customer, which the other answer says too
    return tier


class CatalogClient(Service):
    """Products, prices and benefits of a tenant."""

    async def get_product_info(self, product_id: str, info_type: str = "BASIC") -> dict[str, Any]:
        """Return what is known of a product.

        Args:
            info_type: BASIC, PRICING, STOCK or FULL.

        Raises:
            Rejected: NOT_FOUND.
        """
        fields = {"product_id": product_id, "info_type": info_type}
        command = self.command(ProductInfoRequested, fields, "request_id")
        return as_dict(result(await self.ask(command), CatalogProductInfoProvided))

    async def calculate_pricing(
        self, items: list[dict[str, Any]], customer_id: str | None = None, **further: Any
    ) -> dict[str, Any]:
        """Return what items cost now: ``lines``, ``total``, ``currency``, and ``valid_until`` when.

        Args:
            items: ``product_id`` and ``quantity`` of each.
            customer_id: who gets their benefits; without one there are none.
            further: other fields of ``PricingCalculationRequested``: ``currency``, ``price_list``, ``request_id``.

        Raises:
            Rejected: unknown products or customer, no price.
        """
        fields = {"items": items, "customer_id": customer_id, **further}
        command = self.command(PricingCalculationRequested, fields, "request_id")
        command = await with_customer(self.client, command, self.timeout)
        return as_dict(result(await self.ask(command), CatalogPricingCompleted))

    async def apply_benefits(
        self, items: list[dict[str, Any]], customer_id: str, **further: Any
    ) -> dict[str, Any]:
        """Return which benefits a customer gets on items: ``applied``, ``skipped`` and why, ``total``.

        Args:
            items, further: as for ``calculate_pricing``.

        Raises:
            Rejected: as for ``calculate_pricing``.
        """
        fields = {"items": items, "customer_id": customer_id, **further}
        command = self.command(BenefitsApplicationRequested, fields, "request_id")
        command = await with_customer(self.client, command, self.timeout)
        return as_dict(result(await self.ask(command), CatalogBenefitsCompleted))

    async def validate_products(self, product_ids: list[str]) -> dict[str, bool]:
        """Return of each product whether it exists and is active."""
        command = self.command(CatalogProductsValidationRequested, {"product_ids": product_ids}, "request_id")
        return dict(result(await self.ask(command), CatalogProductsValidated).products)
