"""The shop's steps as commands to stock and loyalty, for a replay.

Every id is made of invoice, row and lot, so whatever is sent twice is known and changes nothing. Times keep their
distances and are shifted so that the last row falls on now: a lot that expires 30 days after the first row of a week
is good for three weeks more, and what is sent within them finds it as the rules say.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate, chain
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from ops.errors import OpsError
from ops.journal import Journal
from ops.replay import Outgoing
from ops.retail import TENANT, WAREHOUSE, read_online_retail
from ops.retail_steps import Earn, Entry, Return, Reversal, Sale, Step, entries, row_steps
from streams.events import (
    LoyaltyPointsReverseRequested,
    LoyaltyPointsUpdateRequested,
    StockAllocationRequested,
    StockEntryRequested,
    StockExitRequested,
    StockMovementRecordRequested,
)
from streams.topics import CUSTOMER_COMMANDS, STOCK_COMMANDS, key_of
from tables.stock_names import AllocationId

SHELF_LIFE = timedelta(days=30)
"""Of the first lot of each product, from the first row on."""
HOLD_SECONDS = 86_400
"""An exit follows its allocation at once, but a replay that was stopped between the two may go on tomorrow."""


class RetailTrace:
    """The shop's week as a replay takes it: its rows are first the products' lots, then the file's rows.

    Args:
        file: the week.
        tenant: whose shop it is. Another tenant is another shop, which may have its own week.
    """

    records = (
        (STOCK_COMMANDS.name, StockEntryRequested),
        (STOCK_COMMANDS.name, StockAllocationRequested),
        (STOCK_COMMANDS.name, StockExitRequested),
        (STOCK_COMMANDS.name, StockMovementRecordRequested),
        (CUSTOMER_COMMANDS.name, LoyaltyPointsUpdateRequested),
        (CUSTOMER_COMMANDS.name, LoyaltyPointsReverseRequested),
    )

    def __init__(self, file: Path, tenant: str = TENANT) -> None:
        self.rows = read_online_retail(file)
        self._file_name = file.name
        self.tenant = tenant
        lots = entries(self.rows)
        self.lots = len(lots)
        self._steps = [*lots, *row_steps(self.rows)]
        counts = (sum(2 if isinstance(step, Sale) else 1 for step in steps) for steps in self._steps)
        self._before = [0, *accumulate(counts)]

    @property
    def name(self) -> str:
        """What ids are made from: the file's name, with the tenant where it is not the usual one."""
        return self._file_name if self.tenant == TENANT else f"{self._file_name} of {self.tenant}"

    def of_tenant(self, tenant: str) -> RetailTrace:
        """Return the same week in another shop."""
        other = copy(self)
        other.tenant = tenant
        return other

    def __len__(self) -> int:
        return len(self._steps)

    def steps(self) -> Iterator[Step]:
        """Yield what is sent, in order."""
        return chain.from_iterable(self._steps)

    def events_before(self, row: int) -> int:
        """Return how many events the rows before ``row`` have."""
        return self._before[row]

    def seconds(self, row: int) -> float:
        """Return when a row happens, in seconds since the first of the file; all lots come at 0."""
        return (self._at(row) - self.rows[0].at).total_seconds()

    def end_of(self, rows: int | None) -> int:
        """Return the end of the lots and the first ``rows`` rows of the file; of all without a number."""
        return len(self) if rows is None else min(len(self), self.lots + rows)

    def file_rows(self, done: int) -> int:
        """Return how many rows of the file are among the first ``done`` rows of the trace."""
        return max(0, done - self.lots)

    def spoiled_at(self, journal: Journal) -> datetime | None:
        """Return when the goods expire with which a replay began that has not come to the end; None for any other."""
        if not journal.stretches or journal.done >= len(self):
            return None
        last_at = datetime.fromisoformat(journal.stretches[0].last_at)
        return last_at + (self.rows[0].at - self.rows[-1].at) + SHELF_LIFE

    def refuse_spoiled(self, journal: Journal, now: datetime) -> None:
        """Raise OpsError when the goods came in so long ago that the rest of the week would find them expired."""
        expired = self.spoiled_at(journal)
        if expired is not None and now >= expired:
            raise OpsError(
                f"The goods of {self.name} expired at {expired:%Y-%m-%d %H:%M} UTC, and the replay had come to row "
                f"{self.file_rows(journal.done)} of {len(self.rows)} only.",
                "Send the week of another shop: --tenant NAME.",
            )

    def events(self, row: int, last_at: datetime) -> Iterator[Outgoing]:
        """Yield the commands of a row."""
        shift = last_at - self.rows[-1].at
        for step in self._steps[row]:
            yield from self._commands(step, self._at(row) + shift, self.rows[0].at + shift + SHELF_LIFE)

    def _at(self, row: int) -> datetime:
        return self.rows[self.file_rows(row)].at

    def _commands(self, step: Step, at: datetime, spoils_at: datetime) -> Iterator[Outgoing]:
        match step:
            case Entry():
                yield self._entry(step, at, spoils_at if step.perishable else None)
            case Sale():
                yield from self._sale(step, at)
            case Return():
                yield self._return(step, at)
            case Earn():
                yield self._earn(step, at)
            case Reversal():
                yield self._reversal(step, at)

    def _entry(self, step: Entry, at: datetime, expires: datetime | None) -> Outgoing:
        movement = f"in-{step.lot}"
        command = StockEntryRequested(
            event_id=self._id(movement),
            timestamp=at,
            tenant_id=self.tenant,
            movement_id=movement,
            product_id=step.product,
            warehouse_id=WAREHOUSE,
            lot_id=step.lot,
            quantity=Decimal(step.quantity),
            expiration_date=expires,
            reference=self.name,
        )
        return self._to_stock(step.product, command)

    def _sale(self, step: Sale, at: datetime) -> Iterator[Outgoing]:
        line = f"{step.invoice}-{step.row}"
        allocation = str(AllocationId(step.product, WAREHOUSE, line))
        allocate = StockAllocationRequested(
            event_id=self._id(f"allocate-{line}"),
            timestamp=at,
            tenant_id=self.tenant,
            request_id=f"allocate-{line}",
            allocation_id=allocation,
            product_id=step.product,
            warehouse_id=WAREHOUSE,
            quantity=Decimal(step.quantity),
            ttl_seconds=HOLD_SECONDS,
            order_id=step.invoice,
        )
        leave = StockExitRequested(
            event_id=self._id(f"out-{line}"),
            timestamp=at,
            tenant_id=self.tenant,
            movement_id=f"out-{line}",
            product_id=step.product,
            warehouse_id=WAREHOUSE,
            allocation_id=allocation,
            quantity=Decimal(step.quantity),
            reference=step.invoice,
        )
        yield self._to_stock(step.product, allocate)
        yield self._to_stock(step.product, leave)

    def _return(self, step: Return, at: datetime) -> Outgoing:
        movement = f"back-{step.invoice}-{step.row}"
        command = StockMovementRecordRequested(
            event_id=self._id(movement),
            timestamp=at,
            tenant_id=self.tenant,
            movement_id=movement,
            product_id=step.product,
            warehouse_id=WAREHOUSE,
            type="RETURN",
            lot_id=step.lot,
            quantity=Decimal(step.quantity),
            reference=step.invoice,
        )
        return self._to_stock(step.product, command)

    def _earn(self, step: Earn, at: datetime) -> Outgoing:
        transaction = f"purchase-{step.invoice}"
        command = LoyaltyPointsUpdateRequested(
            event_id=self._id(transaction),
            timestamp=at,
            tenant_id=self.tenant,
            transaction_id=transaction,
            customer_id=step.customer,
            points_change=step.points,
            reason=f"purchase:{step.invoice}",
            reference=step.invoice,
            auto_create=True,
        )
        return Outgoing(CUSTOMER_COMMANDS.name, key_of(self.tenant, step.customer), command)

    def _reversal(self, step: Reversal, at: datetime) -> Outgoing:
        transaction = f"return-{step.invoice}"
        command = LoyaltyPointsReverseRequested(
            event_id=self._id(transaction),
            timestamp=at,
            tenant_id=self.tenant,
            transaction_id=transaction,
            customer_id=step.customer,
            original_transaction_id=f"purchase-{step.purchase}",
            points=step.points,
            reason=f"return:{step.invoice}",
        )
        return Outgoing(CUSTOMER_COMMANDS.name, key_of(self.tenant, step.customer), command)

    def _to_stock(self, product: str, command: object) -> Outgoing:
        return Outgoing(STOCK_COMMANDS.name, key_of(self.tenant, product, WAREHOUSE), command)

    def _id(self, what: str) -> str:
        return str(uuid5(NAMESPACE_URL, f"{self.name}#{what}"))
