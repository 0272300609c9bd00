"""A customer's points while one command is decided: numbers, changed records, ledger lines and facts.

How the numbers add up, after every command (contracts 3.3)::

    earned - redeemed - expired - reversed + restored = balance + pending + held

* ``balance`` is what can be spent: the sum of what the ACTIVE lots have left. It is never negative.
* ``pending`` is what the lots that are not active yet have left.
* ``held`` is the sum of the open holds. Held points are out of their lots, and so out of the balance, but they count as
  redeemed only when they are captured.
* ``reversed`` counts points that were really taken back. Where an earn is taken back whose points were spent, what is
  missing becomes ``debt``; it counts as reversed as it is recovered. So, for the reversals of earns::

      sum of their points = reversed + debt + points of theirs that had expired before, which nobody has to give back

* ``debt`` is recovered from every point that becomes active, before it can be spent: earned, activated, or returned by
  a reversal or a release. So there is no balance while there is debt, unless the balance lies in more lots than one
  command touches; even then it can be spent only as far as it exceeds the debt.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from streams.events import CustomerHead, Envelope, LoyaltyLine, LoyaltyLineKind
from tables.facts import caused_by, changed
from tables.loyalty_names import HEAD, line_name
from tables.state import Record, State


class Assigned(NamedTuple):
    """Records got new values. It holds the values and no differences, so folding it twice is folding it once."""

    records: dict[str, Record | None]


def account_of(state: State, event: Any, at: datetime) -> Account:
    """Return the account of a customer who must exist, because a timer of theirs asks.

    Raises:
        LookupError: the customer is missing: the state is not what these rules wrote.
    """
    head: CustomerHead | None = state.get(HEAD)
    if head is None:
        raise LookupError("a timer asks for a customer without numbers; rebuild the table from its changelog")
    return Account(state, head, event, at)


class Account:
    """A customer's numbers and records with changes on top. It is thrown away where the command is refused.

    Attributes:
        at: append time of the command.
        head: the numbers as they were. What commands rarely change of them (status, tier, how many transactions are
            waited for) is changed here; the others are attributes of the same names.
        version: the customer's version after the command.
        facts: what is to be published, in order.
        records: changed records by name.
    """

    __slots__ = (
        "_state",
        "at",
        "balance",
        "customer_id",
        "debt",
        "earned",
        "envelope",
        "expired",
        "facts",
        "head",
        "held",
        "lines",
        "month",
        "months",
        "pending",
        "records",
        "redeemed",
        "restored",
        "reversed",
        "tenant_id",
        "version",
    )

    def __init__(self, state: State, head: CustomerHead, event: Any, at: datetime) -> None:
        self._state = state
        self.tenant_id: str = event.tenant_id
        self.customer_id: str = event.customer_id
        self.at = at
        self.envelope: Envelope = caused_by(event)
        self.facts: list[Any] = []
        self.records: dict[str, Record | None] = {}
        self.head = head
        self.version = head.version + 1
        self.balance = head.balance
        self.pending = head.pending
        self.held = head.held
        self.debt = head.debt
        self.earned = head.earned
        self.redeemed = head.redeemed
        self.reversed = head.reversed
        self.expired = head.expired
        self.restored = head.restored
        self.lines = head.lines
        self.month = head.month
        self.months = head.months

    def get(self, name: str) -> Record | None:
        """Return a record as the command leaves it so far, or None."""
        return self.records[name] if name in self.records else self._state.get(name)

    def put(self, name: str, record: Record | None) -> None:
        """Change a record; None deletes it."""
        self.records[name] = record

    def add(self, fact: type, envelope: Envelope | None = None, **fields: Any) -> None:
        """Publish a fact about the customer.

        Args:
            fact: its type, which has a version.
            envelope: where the command under way is not its cause.
            fields: its own fields.
        """
        made = fact(
            timestamp=self.at,
            tenant_id=self.tenant_id,
            customer_id=self.customer_id,
            version=self.version,
            envelope=self.envelope if envelope is None else envelope,
            **fields,
        )
        self.facts.append(made)

    def tell(self, fact: Any, envelope: Envelope | None = None) -> None:
        """Publish a fact about points that is made but for its version, its envelope and the numbers beside balance.

        It is ``add`` for what most commands publish, at a quarter of the time.

        Args:
            fact: the fact.
            envelope: where the command under way is not its cause.
        """
        self.facts.append(
            changed(
                fact,
                pending=self.pending,
                held=self.held,
                debt=self.debt,
                version=self.version,
                envelope=self.envelope if envelope is None else envelope,
            )
        )

    @property
    def numbers(self) -> dict[str, Any]:
        """What facts about points say of the account, as the command leaves it so far."""
        return {"balance": self.balance, "pending": self.pending, "held": self.held, "debt": self.debt}

    def line(
        self,
        kind: LoyaltyLineKind,
        subject: str,
        change: int,
        *,
        pending: int = 0,
        held: int = 0,
        reason: str = "",
    ) -> None:
        """Write a line into the ledger and count it in the account.

        Args:
            kind: what happened.
            subject: id of the transaction, the lot or the hold.
            change: of the balance.
            pending: change of what is pending.
            held: change of what is held.
            reason: as the command says.
        """
        self.balance += change
        self.pending += pending
        self.held += held
        self.records[line_name(self.lines)] = LoyaltyLine(
            number=self.lines,
            at=self.at,
            kind=kind,
            transaction_id=subject,
            change=change,
            balance=self.balance,
            pending_change=pending,
            held_change=held,
            reason=reason,
        )
        self.lines += 1

    def done(self) -> tuple[Any, ...]:
        """Return the facts of the command: what is folded, then what is published."""
        self.records[HEAD] = changed(
            self.head,
            version=self.version,
            balance=self.balance,
            pending=self.pending,
            held=self.held,
            debt=self.debt,
            earned=self.earned,
            redeemed=self.redeemed,
            reversed=self.reversed,
            expired=self.expired,
            restored=self.restored,
            lines=self.lines,
            month=self.month,
            months=self.months,
        )
        return (Assigned(self.records), *self.facts)
