"""What usage rules answer with: facts that are folded, and builders of those that are published.

A folded fact carries the *new values* of records, never differences, so folding it twice is folding it once
and roll-ups are assigned, not incremented (contracts 3.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from streams.events import (
    UsageAdjustment,
    UsageAggregateAdjusted,
    UsageAggregateClosed,
    UsageAggregateUpdated,
    UsageBucket,
    UsageCostLine,
    UsageEvent,
    UsageEventRejected,
    UsageMoney,
)
from tables.exact import EXACT
from tables.facts import caused_by
from tables.state import Record, State
from tables.usage_names import BucketId
from tables.usage_windows import HOUR, moment

add = EXACT.add
subtract = EXACT.subtract
multiply = EXACT.multiply
ZERO = Decimal(0)
QUANTITY_STEP = Decimal("0.000001")
MONEY_STEP = Decimal("0.000000000001")

LATE_EVENT = "LATE_EVENT"
FUTURE_TIMESTAMP = "FUTURE_TIMESTAMP"
VALIDATION_FAILED = "VALIDATION_FAILED"
UNKNOWN_UNIT = "UNKNOWN_UNIT"
COST_MISMATCH = "COST_MISMATCH"
NOT_FOUND = "NOT_FOUND"
CONFLICT = "CONFLICT"


class Counted(NamedTuple):
    """A usage event was counted; its void needs the rest.

    Attributes:
        records: new values of records by name.
        bucket: name of the bucket that holds it.
        quantity: quantity counted.
        cost: what it added to the bucket's cost: an amount stated by its producer, or units with or without a
            price from the table.
    """

    records: dict[str, Record | None]
    bucket: str
    quantity: Decimal
    cost: UsageCostLine


class Assigned(NamedTuple):
    """Records got new values: a definition, a close, a void."""

    records: dict[str, Record | None]


class Draft:
    """A state with changes on top, for rules that change a record more than once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.records: dict[str, Record | None] = {}

    def get(self, name: str) -> Record | None:
        return self.records[name] if name in self.records else self._state.get(name)

    def put(self, name: str, record: Record | None) -> None:
        self.records[name] = record

    def names(self, prefix: str = "") -> Iterator[str]:
        for name in list(self._state.names(prefix)):
            if name not in self.records:
                yield name
        for name, record in list(self.records.items()):
            if record is not None and name.startswith(prefix):
                yield name

    def recall(self, event_id: str) -> str | None:
        return self._state.recall(event_id)


def present(state: State | Draft, name: str) -> Any:
    """Return a record that must exist.

    Raises:
        LookupError: it does not: the state is not what these rules wrote.
    """
    record = state.get(name)
    if record is None:
        raise LookupError(f"state lacks the record {name!r}; rebuild the table from its changelog")
    return record


def money(number: Decimal) -> Decimal:
    """Return an amount at the scale of the contracts (12), half even."""
    # By position: with the context's name before it, this takes 0.24 us in place of 0.09.
    return number.quantize(MONEY_STEP, None, EXACT)


def rejected(event: Any, at: datetime, code: str, message: str) -> UsageEventRejected:
    """Return the refusal of an event or a command.

    Args:
        event: what is refused.
        at: its append time.
        code: reason code, such as LATE_EVENT.
        message: cause and remedy.
    """
    kind = type(event)
    return UsageEventRejected(
        timestamp=at,
        tenant_id=event.tenant_id,
        rejected_event_id=event.event_id,
        rejected_type=event.event_type if kind is UsageEvent else kind.TYPE,
        reason_code=code,
        message=message,
        event_timestamp=event.timestamp,
        envelope=caused_by(event),
    )


def totals(lines: Sequence[UsageCostLine]) -> tuple[UsageMoney, ...]:
    """Return one amount per currency, in the order of the currencies; what has no price yet is left out."""
    if len(lines) == 1 and lines[0].currency:
        return (UsageMoney(currency=lines[0].currency, amount=lines[0].amount),)
    sums: dict[str, Decimal] = {}
    for line in lines:
        if line.currency:
            known = sums.get(line.currency)
            sums[line.currency] = line.amount if known is None else add(known, line.amount)
    return tuple(UsageMoney(currency=name, amount=sums[name]) for name in sorted(sums))


def bucket_fields(which: BucketId, bucket: UsageBucket) -> dict[str, Any]:
    """Return the fields that every published fact about a bucket has."""
    return {
        "period": "HOUR",
        "start": moment(which.start),
        "end": moment(which.start + HOUR),
        "meter": which.meter,
        "unit": which.unit,
        "service_name": which.service,
        "user_id": which.user,
        "model": which.model,
        "count": bucket.count,
        "sum": bucket.sum,
        "max": bucket.max,
        "costs": totals(bucket.costs),
        "late_adjustments": bucket.late_adjustments,
    }


def updated(event: UsageEvent, at: datetime, which: BucketId, bucket: UsageBucket) -> UsageAggregateUpdated:
    """Return the current value of an open bucket, as ``event`` left it."""
    # Its period is HOUR by default: with one more name in this call, Python would make a dict for it (0.6 us).
    return UsageAggregateUpdated(
        timestamp=at,
        tenant_id=event.tenant_id,
        start=moment(which.start),
        end=moment(which.start + HOUR),
        meter=which.meter,
        unit=which.unit,
        service_name=which.service,
        user_id=which.user,
        model=which.model,
        count=bucket.count,
        sum=bucket.sum,
        max=bucket.max,
        costs=totals(bucket.costs),
        late_adjustments=bucket.late_adjustments,
        envelope=caused_by(event),
    )


def closed(cause: Any, at: datetime, which: BucketId, bucket: UsageBucket) -> UsageAggregateClosed:
    """Return the value of a bucket at its close, which ``cause`` brought about."""
    return UsageAggregateClosed(
        timestamp=at, tenant_id=cause.tenant_id, envelope=caused_by(cause), **bucket_fields(which, bucket)
    )


def difference(new: tuple[UsageCostLine, ...], old: tuple[UsageCostLine, ...]) -> tuple[UsageMoney, ...]:
    """Return what cost changed by, per currency; currencies that did not change are left out."""
    before = {entry.currency: entry.amount for entry in totals(old)}
    after = {entry.currency: entry.amount for entry in totals(new)}
    changes = {
        name: subtract(after.get(name, ZERO), before.get(name, ZERO)) for name in sorted({*before, *after})
    }
    return tuple(UsageMoney(currency=name, amount=amount) for name, amount in changes.items() if amount)


def adjusted(
    reason: UsageAdjustment,
    cause: Any,
    cause_event_id: str,
    at: datetime,
    which: BucketId,
    before: UsageBucket | None,
    after: UsageBucket,
) -> UsageAggregateAdjusted:
    """Return what a bucket changed by, and its new value.

    Args:
        reason: LATE, VOID or REPRICE.
        cause: the event or command that was handled.
        cause_event_id: the late, the voided or the price event.
        at: append time of ``cause``.
        which: the bucket.
        before: its value before, None where there was none.
        after: its new value.
    """
    return UsageAggregateAdjusted(
        timestamp=at,
        tenant_id=cause.tenant_id,
        reason=reason,
        delta=subtract(after.sum, ZERO if before is None else before.sum),
        delta_count=after.count - (0 if before is None else before.count),
        delta_costs=difference(after.costs, () if before is None else before.costs),
        cause_event_id=cause_event_id,
        envelope=caused_by(cause),
        **bucket_fields(which, after),
    )
