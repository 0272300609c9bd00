"""Taking a usage event back:

A negative entry in its bucket, and a record that it was voided (contracts 3.5).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from streams.events import (
    UsageBucket,
    UsageCostLine,
    UsageEvent,
    UsageEventVoided,
    UsageEventVoidRequested,
    UsageMeter,
    UsageMoney,
    UsageTenant,
    UsageVoid,
)
from tables.facts import caused_by, changed
from tables.state import State
from tables.usage_alarms import Change
from tables.usage_count import MAX_SKEW, OLDEST, cost_of, locate, misstated
from tables.usage_facts import (
    CONFLICT,
    NOT_FOUND,
    VALIDATION_FAILED,
    ZERO,
    Assigned,
    Counted,
    Draft,
    adjusted,
    money,
    multiply,
    rejected,
    subtract,
)
from tables.usage_names import TENANT, bucket_id, bucket_name, decode, encode, meter_name, void_name
from tables.usage_prices import with_cost
from tables.usage_quotas import count_in_quotas, recount_in_quotas
from tables.usage_windows import moment

REFUSED = "-"
"""Memo of an event that was refused: it is remembered, and there is nothing to void."""
UNKNOWN = "this event was not counted here, or too long ago; send it along as `original`"


class Entry(NamedTuple):
    """What an event added: the name of its bucket, its quantity and its cost, as ``Counted`` has them."""

    bucket: str
    quantity: Decimal
    cost: UsageCostLine


def memo_of(fact: Counted) -> str:
    """Return what to keep with an event's id, so that it can be voided by its id alone."""
    cost = fact.cost
    rate, resource = cost.rate, cost.resource_type
    # With !s, a number is told in a third of the time that its __format__ takes.
    return (
        f"{fact.quantity!s}|{cost.amount!s}|{'' if rate is None else rate!s}|{encode(cost.currency)}"
        f"|{encode(resource) if resource else ''}|{fact.bucket}"
    )


def entry_of(memo: str) -> Entry:
    """Return what :func:`memo_of` was given."""
    quantity, amount, rate, currency, resource, bucket = memo.split("|", 5)
    units = Decimal(quantity)
    stated = bool(currency) and not rate
    cost = UsageCostLine(
        currency=decode(currency),
        amount=Decimal(amount),
        quantity=ZERO if stated else units,
        rate=Decimal(rate) if rate else None,
        resource_type=decode(resource),
    )
    return Entry(bucket, units, cost)


def void(state: State, event: UsageEventVoidRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a void: a negative entry, or a refusal when the event is unknown or was voided already."""
    target = event.voided_event_id
    if not target or not event.reason:
        return (rejected(event, at, VALIDATION_FAILED, "a void needs a voided_event_id and a reason"),)
    if state.get(void_name(target)) is not None:
        return (rejected(event, at, CONFLICT, "this event was voided already"),)
    entry = _entry(state, event, at)
    before: UsageBucket | None = None if entry is None else state.get(entry.bucket)
    if entry is None or before is None or before.count < 1 or before.sum < entry.quantity:
        return (rejected(event, at, NOT_FOUND, UNKNOWN),)
    line = _line(before.costs, entry)
    if line is None:
        return (rejected(event, at, NOT_FOUND, UNKNOWN),)
    return _taken_back(state, event, at, entry, before, line)


def _entry(state: State, event: UsageEventVoidRequested, at: datetime) -> Entry | None:
    memo = state.recall(event.voided_event_id)
    if memo == REFUSED:
        return None
    if memo:
        return entry_of(memo)
    original: UsageEvent | None = event.original
    if original is None or original.event_id != event.voided_event_id:
        return None
    if original.tenant_id != event.tenant_id or misstated(original):
        return None
    if not OLDEST <= original.timestamp <= at + MAX_SKEW:
        return None
    tenant: UsageTenant | None = state.get(TENANT)
    which = locate(tenant, original)
    return Entry(bucket_name(*which), original.quantity, cost_of(state, tenant, original, which))


def _line(lines: tuple[UsageCostLine, ...], entry: Entry) -> UsageCostLine | None:
    """Return the cost line that holds an entry, or None where none can.

    What the price table priced, or had no price for, may have been priced anew since: then the units are
    taken from whichever line of the resource still holds as many.
    """
    cost = entry.cost
    if not cost.quantity and cost.currency and cost.rate is None:
        stated = [line for line in lines if line.currency == cost.currency and line.rate is None]
        return stated[0] if stated and stated[0].amount >= cost.amount else None
    held = [
        line
        for line in lines
        if line.resource_type == cost.resource_type
        and (line.rate is not None or not line.currency)
        and line.quantity >= entry.quantity
    ]
    same = [line for line in held if (line.currency, line.rate) == (cost.currency, cost.rate)]
    return next(iter(same or held), None)


def _taken_back(
    state: State,
    event: UsageEventVoidRequested,
    at: datetime,
    entry: Entry,
    before: UsageBucket,
    line: UsageCostLine,
) -> tuple[Any, ...]:
    which = bucket_id(entry.bucket)
    stated = line.rate is None and bool(line.currency)
    units, amount = (ZERO, -entry.cost.amount) if stated else (-entry.quantity, ZERO)
    lines = with_cost(before.costs, changed(line, amount=amount, quantity=units))
    after = changed(
        before,
        count=before.count - 1,
        sum=subtract(before.sum, entry.quantity),
        max=before.max if before.count > 1 else ZERO,
        costs=lines if before.count > 1 else (),
    )
    draft = Draft(state)
    draft.put(entry.bucket, after)
    meter: UsageMeter | None = state.get(meter_name(which.meter))
    facts: list[Any] = []
    if meter is not None and meter.scopes and meter.unit == which.unit:
        tenant: UsageTenant | None = state.get(TENANT)
        zone = "UTC" if tenant is None else tenant.time_zone
        if meter.aggregation != "MAX":
            value = Decimal(-1) if meter.aggregation == "COUNT" else -entry.quantity
            facts = count_in_quotas(state, draft.records, zone, which, meter, value, event, at)
        elif after.max < before.max:
            facts = recount_in_quotas(draft, zone, which, meter, Change(event, at))
    voided = UsageVoid(
        at=at,
        bucket=entry.bucket,
        quantity=entry.quantity,
        reason=event.reason,
        command_id=event.event_id,
    )
    draft.put(void_name(event.voided_event_id), voided)
    change = adjusted("VOID", event, event.voided_event_id, at, which, before, after)
    return (Assigned(draft.records), _voided(event, at, entry, line), change, *facts)


def _voided(
    event: UsageEventVoidRequested, at: datetime, entry: Entry, line: UsageCostLine
) -> UsageEventVoided:
    which = bucket_id(entry.bucket)
    amount = entry.cost.amount if line.rate is None else money(multiply(entry.quantity, line.rate))
    return UsageEventVoided(
        timestamp=at,
        tenant_id=event.tenant_id,
        voided_event_id=event.voided_event_id,
        reason=event.reason,
        meter=which.meter,
        start=moment(which.start),
        quantity=entry.quantity,
        cost=UsageMoney(currency=line.currency, amount=amount) if line.currency else None,
        envelope=caused_by(event),
    )
