"""Customers and their points as a service (001-35 to 001-38)."""

from __future__ import annotations

from typing import Any

from agents.client_service import Service, as_dict, result
from streams.events import (
    CustomerProfileProvided,
    CustomerProfileRequested,
    CustomerValidated,
    CustomerValidationRequested,
    LoyaltyInfoProvided,
    LoyaltyInfoRequested,
    LoyaltyPointsUpdateRequested,
)


class CustomerClient(Service):
    """Customers of a tenant."""

    async def get_customer_profile(
        self, customer_id: str, include_preferences: bool = False
    ) -> dict[str, Any]:
        """Return a customer's profile; ``preferences`` is None where they were not asked for.

        Raises:
            Rejected: NOT_FOUND.
        """
        fields = {"customer_id": customer_id, "include_preferences": include_preferences}
        command = self.command(CustomerProfileRequested, fields)
        return as_dict(result(await self.ask(command), CustomerProfileProvided))

    async def validate_customer(self, customer_id: str) -> dict[str, Any]:
        """Return whether a customer exists and is active: ``valid``, and why not in ``reason``."""
        command = self.command(CustomerValidationRequested, {"customer_id": customer_id})
        return as_dict(result(await self.ask(command), CustomerValidated))

    async def get_loyalty_info(self, customer_id: str) -> dict[str, Any]:
        """Return a customer's points: ``balance``, ``pending``, ``debt``, ``tier`` and when some expire next.

        Raises:
            Rejected: NOT_FOUND.
        """
        command = self.command(LoyaltyInfoRequested, {"customer_id": customer_id})
        return as_dict(result(await self.ask(command), LoyaltyInfoProvided))

    async def update_loyalty_points(
        self, customer_id: str, points_change: int, reason: str, **further: Any
    ) -> None:
        """Earn points, or redeem them where the change is negative.

        Args:
            further: other fields of ``LoyaltyPointsUpdateRequested``: ``transaction_id`` (the same one is the same
                change), ``activates_at``, ``expires_at``, ``reference`` ...

        Raises:
            Rejected: INSUFFICIENT_POINTS and others; nothing was changed.
        """
        fields = {"customer_id": customer_id, "points_change": points_change, "reason": reason, **further}
        await self.ask(self.command(LoyaltyPointsUpdateRequested, fields, "transaction_id"))
