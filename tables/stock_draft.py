"""A product in a warehouse while one command changes it.

Every change of a lot goes through ``Draft.put_lot``, which keeps the sums of the head and the books of lots right: so
the invariants of contracts 3.1 hold whatever a rule does with lots.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from streams.events import (
    StockClaim,
    StockHead,
    StockLot,
    StockLotExpired,
    StockLotStatus,
    StockPolicy,
)
from tables.facts import caused_by, changed
from tables.lots import WIDTH, stamp
from tables.state import Record, State
from tables.stock_facts import NOT_FOUND, ZERO, Changed, Refusal, add, subtract
from tables.stock_names import (
    BY_ARRIVAL,
    BY_DATE,
    EXPECTED,
    HEAD,
    POLICY,
    claim_name,
    lot_name,
    place_of,
)
from tables.stock_values import effective, free, is_over, with_sums

NO_STOCK = StockHead()
NO_POLICY = StockPolicy()


class Draft:
    """The state with a command's changes on top, and the facts that they will be published as.

    Attributes:
        event: the command.
        at: its append time; for a timer's command not earlier than the due time.
        product, warehouse: the aggregate.
        envelope: of the facts.
        head: the sums before the command.
        version: that of the state after the command.
        facts: what is published, in order.
    """

    __slots__ = (
        "_records",
        "_state",
        "at",
        "available",
        "envelope",
        "event",
        "facts",
        "head",
        "in_transit",
        "movements",
        "next_at",
        "on_hand",
        "policy",
        "product",
        "reserved",
        "sum_in",
        "sum_out",
        "uom",
        "version",
        "warehouse",
    )

    def __init__(self, state: State, event: Any, at: datetime) -> None:
        self._state = state
        self._records = Changed()
        self.event = event
        self.at = at
        self.product, self.warehouse = place_of(event)
        self.envelope = caused_by(event)
        self.head: StockHead = state.get(HEAD) or NO_STOCK
        head = self.head
        self.on_hand, self.reserved, self.available = head.on_hand, head.reserved, head.available
        self.sum_in, self.sum_out, self.in_transit = head.sum_in, head.sum_out, head.in_transit
        self.uom = head.uom
        self.next_at = head.next_at
        self.movements = head.movements
        self.version = head.version + 1
        self.policy: StockPolicy = state.get(POLICY) or NO_POLICY
        self.facts: list[Any] = []

    # --- records ------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Record | None:
        """Return a record as it is now."""
        return self._records[name] if name in self._records else self._state.get(name)

    def put(self, name: str, record: Record | None) -> None:
        """Change a record; None deletes it."""
        self._records[name] = record

    def names(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of the records that begin with ``prefix``, in no particular order."""
        for name in self._state.names(prefix):
            if name not in self._records:
                yield name
        for name, record in self._records.items():
            if record is not None and name.startswith(prefix):
                yield name

    # --- lots ---------------------------------------------------------------------------------------------------

    def lot(self, lot_id: str) -> StockLot | None:
        """Return a lot, or None where there is none."""
        found: StockLot | None = self.get(lot_name(lot_id))
        return found

    def known_lot(self, lot_id: str) -> StockLot:
        """Return a lot that a command names.

        Raises:
            Refusal: there is none.
        """
        lot = self.lot(lot_id)
        if lot is None:
            raise Refusal(NOT_FOUND, f"there is no lot {lot_id!r} here, or it is empty; correct the lot's id")
        return lot

    def put_lot(self, lot_id: str, before: StockLot | None, after: StockLot) -> None:
        """Change a lot. One that is empty is deleted; one that can serve is in the books.

        Args:
            lot_id: its id.
            before: as it is now; None where it is new.
            after: as it will be.
        """
        had, has = ZERO if before is None else free(before), free(after)
        if before is None:
            self.on_hand = add(self.on_hand, after.on_hand)
            self.reserved = add(self.reserved, after.reserved)
        else:
            # Most commands change one of both; the other is the same object.
            if after.on_hand is not before.on_hand:
                self.on_hand = subtract(add(self.on_hand, after.on_hand), before.on_hand)
            if after.reserved is not before.reserved:
                self.reserved = subtract(add(self.reserved, after.reserved), before.reserved)
        if had != has:
            self.available = subtract(add(self.available, has), had)
            if not had:
                self._look_at(effective(after))
                BY_DATE.insert(self, BY_DATE.key(lot_id, effective(after), after.received_at))
                BY_ARRIVAL.insert(self, BY_ARRIVAL.key(lot_id, after.received_at))
            elif not has:
                BY_DATE.remove(self, BY_DATE.key(lot_id, effective(after), after.received_at))
                BY_ARRIVAL.remove(self, BY_ARRIVAL.key(lot_id, after.received_at))
        empty = not after.on_hand
        was_expected = before is not None and before.status == "EXPECTED"
        is_expected = after.status == "EXPECTED" and not empty
        if was_expected != is_expected:
            change = EXPECTED.insert if is_expected else EXPECTED.remove
            change(self, EXPECTED.key(lot_id, after.received_at))
            if is_expected:
                self._look_at(after.received_at)
        self._records[lot_name(lot_id)] = None if empty else after

    def hold(self, lot_id: str, lot: StockLot, quantity: Decimal) -> None:
        """Reserve a quantity of a lot, or with a negative one give it back."""
        reserved = add(lot.reserved, quantity)
        if quantity < ZERO and lot.status == "AVAILABLE" and is_over(lot, self.at):
            # Its timer has not come yet: what is given back must not be taken for stock that can serve.
            self.expire(lot_id, lot, reserved)
        else:
            self.put_lot(lot_id, lot, with_sums(lot, lot.on_hand, reserved))

    def expire(self, lot_id: str, lot: StockLot, reserved: Decimal) -> None:
        """Note that a lot's date has come. Its timer then goes through the allocations that hold something of it."""
        after = changed(
            lot,
            reserved=reserved,
            status="QUARANTINED" if lot.status == "QUARANTINED" else "EXPIRED",
            warned=True,
            expired=True,
            due_at=self.at if reserved else None,
        )
        self.put_lot(lot_id, lot, after)
        self.facts.append(
            StockLotExpired(
                expiration_date=lot.expiration_date,
                removal_date=lot.removal_date,
                expired_at=effective(lot) or self.at,
                **self.about(lot_id, after),
            )
        )

    def about(self, lot_id: str, lot: StockLot) -> dict[str, Any]:
        """Return what every fact about what became of a lot says."""
        return {
            "timestamp": self.at,
            "tenant_id": self.event.tenant_id,
            "product_id": self.product,
            "warehouse_id": self.warehouse,
            "lot_id": lot_id,
            "on_hand": lot.on_hand,
            "reserved": lot.reserved,
            "envelope": self.envelope,
        }

    def _look_at(self, date: datetime | None) -> None:
        """Note when a lot arrives or expires."""
        if date is not None and (self.next_at is None or date < self.next_at):
            self.next_at = date

    def settle(self) -> None:
        """Bring the lots up to the command's time, so that what is available is exact.

        Those whose date has come expire, and those that were expected arrive, though their timers may be late.
        """
        if self.next_at is None or self.at < self.next_at:
            return
        now = stamp(self.at)
        while (key := EXPECTED.first(self)) is not None and key[:WIDTH] <= now:
            lot_id = EXPECTED.lot_id(key)
            self.arrive(lot_id, self.known_lot(lot_id))
        while (key := BY_DATE.first(self)) is not None and key[:WIDTH] <= now:
            lot_id = BY_DATE.lot_id(key)
            lot = self.known_lot(lot_id)
            self.expire(lot_id, lot, lot.reserved)
        self.next_at = None
        for book in (EXPECTED, BY_DATE):
            if (key := book.first(self)) is not None:
                lot = self.known_lot(book.lot_id(key))
                self._look_at(lot.received_at if book is EXPECTED else effective(lot))

    def arrive(self, lot_id: str, lot: StockLot) -> None:
        """Note that an expected lot has arrived."""
        status: StockLotStatus = "AVAILABLE"
        self.put_lot(lot_id, lot, changed(lot, status=status, due_at=self.next_date(lot)))

    def next_date(self, lot: StockLot) -> datetime | None:
        """Return when a lot that has arrived wants to be looked at: some days before it expires, then as it does."""
        date = effective(lot)
        if date is None or lot.expired:
            return None
        days = self.policy.expiring_soon_days
        return date - timedelta(days=days) if days and not lot.warned else date

    def claim(self, lot_id: str, sequence: int, suffix: str) -> None:
        """Note that an allocation holds something of a lot."""
        self._records[claim_name(lot_id, sequence)] = StockClaim(allocation=suffix)

    def unclaim(self, lot_id: str, sequence: int) -> None:
        """Note that an allocation holds nothing of a lot any more."""
        self._records[claim_name(lot_id, sequence)] = None

    # --- the whole ----------------------------------------------------------------------------------------------

    def sums(self, low_since: datetime | None) -> StockHead:
        """Return the head after the command."""
        return StockHead(
            uom=self.uom,
            on_hand=self.on_hand,
            reserved=self.reserved,
            available=self.available,
            sum_in=self.sum_in,
            sum_out=self.sum_out,
            in_transit=self.in_transit,
            version=self.version,
            movements=self.movements,
            low_since=low_since,
            next_at=self.next_at,
        )

    def changes(self) -> Changed:
        """Return the records that changed."""
        return self._records
