"""Stock as a service (001-20 to 001-24): each operation is a command, and its result the fact that answers it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from agents.client_service import Service, as_dict, result
from streams.events import (
    StockAllocationAllocated,
    StockAllocationPartiallyAllocated,
    StockAllocationReleaseRequested,
    StockAllocationRequested,
    StockAvailabilityChecked,
    StockAvailabilityCheckRequested,
    StockMovementRecordRequested,
    StockProductValidated,
    StockProductValidationRequested,
)


class StockClient(Service):
    """Stock of products in warehouses."""

    async def validate_product(self, product_id: str) -> dict[str, Any]:
        """Return whether a product exists and its stock is managed: ``valid``, and why not in ``message``."""
        command = self.command(StockProductValidationRequested, {"product_id": product_id})
        return as_dict(result(await self.ask(command), StockProductValidated))

    async def check_availability(
        self, product_id: str, quantity: Decimal, warehouse_id: str
    ) -> dict[str, Any]:
        """Return what is ``available``, and whether that is ``sufficient``. It is a hint: only allocating decides."""
        fields = {"product_id": product_id, "quantity": quantity, "warehouse_id": warehouse_id}
        command = self.command(StockAvailabilityCheckRequested, fields)
        return as_dict(result(await self.ask(command), StockAvailabilityChecked))

    async def allocate_stock(
        self, product_id: str, quantity: Decimal, warehouse_id: str, strategy: str = "FEFO", **further: Any
    ) -> dict[str, Any]:
        """Reserve stock; return the ``allocation_id``, what was ``allocated`` and from which lots.

        Args:
            strategy: FEFO, FIFO, LIFO, or LOT with a ``lot_id``.
            further: other fields of ``StockAllocationRequested``: ``request_id`` (the same one is the same
                reservation), ``allow_partial``, ``ttl_seconds``, ``order_id`` ...

        Raises:
            Rejected: INSUFFICIENT_STOCK and others; nothing was reserved.
        """
        fields = {"product_id": product_id, "quantity": quantity, "warehouse_id": warehouse_id}
        command = self.command(StockAllocationRequested, {**fields, "strategy": strategy, **further})
        reply = await self.ask(command)
        return as_dict(result(reply, StockAllocationAllocated, StockAllocationPartiallyAllocated))

    async def record_movement(self, movement_data: dict[str, Any]) -> str:
        """Record a movement and return its id.

        Args:
            movement_data: fields of ``StockMovementRecordRequested``: ``type`` (ENTRY, EXIT, ADJUSTMENT, TRANSFER_OUT
                ...), ``product_id``, ``warehouse_id``, ``quantity``, ``lot_id`` ...; the same ``movement_id`` is the
                same movement.
        """
        command = self.command(StockMovementRecordRequested, movement_data)
        await self.ask(command)
        movement_id: str = command.movement_id or command.event_id
        return movement_id

    async def release_allocation(self, allocation_id: str) -> None:
        """Give a reservation back. Again, or of one that is not there, it changes nothing: compensation is safe."""
        await self.ask(self.command(StockAllocationReleaseRequested, {"allocation_id": allocation_id}))
