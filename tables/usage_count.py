"""How one usage event is counted (contracts 3.5).

An event is counted in exactly one bucket: the hour of its own time, of its meter, service, user, model and
unit. In the common case, no quota on the meter and the bucket known, that is the one record read and written.
Times to compare with are append times (``at``); the event's own time only says which bucket it belongs to.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from streams.events import (
    UsageBucket,
    UsageCost,
    UsageCostLine,
    UsageCostMismatchDetected,
    UsageEvent,
    UsageHour,
    UsageMeter,
    UsageRoute,
    UsageTenant,
)
from tables.facts import caused_by, changed
from tables.state import Record, State
from tables.usage_facts import (
    COST_MISMATCH,
    FUTURE_TIMESTAMP,
    LATE_EVENT,
    UNKNOWN_UNIT,
    VALIDATION_FAILED,
    ZERO,
    Counted,
    add,
    adjusted,
    closed,
    money,
    rejected,
    updated,
)
from tables.usage_names import TENANT, BucketId, bucket_name, hour_name, meter_name
from tables.usage_prices import cost_problem, mismatch, price_for, with_cost
from tables.usage_quotas import count_in_quotas
from tables.usage_windows import CLOSES_AFTER, EPOCH, HOUR, QUARTER, hour_start, moment

MAX_AGE = timedelta(days=35)
"""Older events are refused, and dead-lettered so that they can be sent again with the override."""
MAX_SKEW = timedelta(minutes=5)
FROM_FUTURE = -MAX_SKEW
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Nothing is older, whatever its metadata says: it is a clock that was never set."""
MAX_QUANTITY = Decimal("1E+18")
"""Quantities stay below; so no sum of real ones leaves the 38 digits of the contracts."""
ONE = Decimal(1)
UPDATE_EVERY = timedelta(seconds=1)
OVERRIDE = "sluice.allow_late"
"""Metadata key:

With the value ``true`` an event of any age is counted. Who redrives a dead letter sets it.
"""


new_tuple = tuple.__new__
"""Makes a named tuple in half the time of its own constructor (0.1 us), which is one more Python call."""


def count(state: State, event: UsageEvent, at: datetime) -> tuple[Any, ...]:
    """Decide a usage event: counted in its bucket and quotas, or rejected.

    It is written for speed: a call costs a hundredth of the time that an event may take, and so does a
    name made where it could have been remembered.
    """
    age = at - event.timestamp
    if age > MAX_AGE or age < FROM_FUTURE:
        untimely = _untimely(event, age)
        if untimely is not None:
            return (rejected(event, at, *untimely),)
    unfit = misstated(event)
    if unfit:
        return (rejected(event, at, VALIDATION_FAILED, unfit),)
    tenant: UsageTenant | None = state.get(TENANT)
    which = locate(tenant, event)
    known: UsageMeter | None = state.get(meter_name(which.meter))
    if known is not None and known.unit != which.unit and known.unit is not None:
        message = f"the meter counts {known.unit!r}; send that unit, or define another meter for this one"
        return (rejected(event, at, UNKNOWN_UNIT, message),)
    facts: list[Any] = []
    if event.cost is not None and (expected := mismatch(event.cost, event.quantity)) is not None:
        if tenant is not None and tenant.reject_cost_mismatch:
            message = "cost.amount is not quantity x rate; correct it, or let the tenant accept mismatches"
            return (rejected(event, at, COST_MISMATCH, message),)
        facts.append(_mismatch(event, event.cost, at, which.meter, expected))
    cost = cost_of(state, tenant, event, which)
    name = bucket_name(*which)
    before: UsageBucket | None = state.get(name)
    late = at >= moment(which.start + CLOSES_AFTER) or (before is not None and before.closed)
    emit = not late and (before is None or at - before.emitted_at >= UPDATE_EVERY)
    after = _added(before, event, cost, at, emit, late)
    records: dict[str, Record | None] = {name: after}
    if emit:
        facts.append(updated(event, at, which, after))
    elif late:
        if before is not None and not before.closed:
            facts.append(closed(event, at, which, before))
        facts.append(adjusted("LATE", event, event.event_id, at, which, before, after))
    if known is None or known.unit is None:
        known = UsageMeter(unit=which.unit) if known is None else changed(known, unit=which.unit)
        records[meter_name(which.meter)] = known
    if known.scopes:
        value = ONE if known.aggregation == "COUNT" else event.quantity
        zone = "UTC" if tenant is None else tenant.time_zone
        facts += count_in_quotas(state, records, zone, which, known, value, event, at)
    if before is None and not late and state.get(hour_name(which.start)) is None:
        due = moment(which.start + CLOSES_AFTER)
        records[hour_name(which.start)] = UsageHour(start=moment(which.start), closes_at=due, due_at=due)
    return (new_tuple(Counted, (records, name, event.quantity, cost)), *facts)


def _untimely(event: UsageEvent, age: timedelta) -> tuple[str, str] | None:
    """Return code and message of why an event of this age must not be counted, or None."""
    if age < FROM_FUTURE:
        return (
            FUTURE_TIMESTAMP,
            "timestamp is more than 5 minutes in the future; correct the producer's clock",
        )
    if event.metadata.get(OVERRIDE) != "true" or event.timestamp < OLDEST:
        return LATE_EVENT, f"older than 35 days; redrive it with metadata {OVERRIDE}=true if it must count"
    return None


def misstated(event: UsageEvent) -> str:
    """Return why no bucket can take an event's quantity or cost, or an empty string."""
    quantity = event.quantity
    if not (quantity.is_finite() and ZERO <= quantity < MAX_QUANTITY):
        return "quantity is a number from 0 to below 10^18; to take usage back, void the original event"
    return cost_problem(event.cost) if event.cost is not None else ""


def locate(tenant: UsageTenant | None, event: UsageEvent) -> BucketId:
    """Return the bucket an event belongs to: its local hour, and the meter that counts it.

    Without a definition the meter is the resource type, and the event type where there is none.
    """
    since = event.timestamp - EPOCH
    meter = event.resource_type or kind_of(event.event_type)
    if tenant is None:
        start = (since.days * 24 + since.seconds // HOUR) * HOUR
    else:
        if tenant.routes:
            meter = route(tenant.routes, event.event_type, event.resource_type)
        start = hour_start(tenant.time_zone, since.days * 96 + since.seconds // QUARTER)
    model = event.metadata.get("model_name", "")
    return new_tuple(BucketId, (start, meter, event.service_name, event.user_id, model, event.unit))


@lru_cache(maxsize=1024)
def kind_of(event_type: str) -> str:
    """Return an event type without its topic's prefix, in lower case:

    ``usage.metered.api_call`` is ``api_call``.
    """
    return event_type.strip().lower().removeprefix("usage.metered.")


def route(routes: tuple[UsageRoute, ...], event_type: str, resource: str) -> str:
    """Return the meter that counts events of a type and resource: that of the most specific definition.

    A resource named like a defined meter that does not count this type of event gets a meter of its own,
    ``<type>/<resource>``: every event is counted, and none in a meter that excludes it.
    """
    kind = kind_of(event_type)
    own = resource or kind
    taken = False
    for candidate in routes:
        if candidate.event_type in (None, kind) and candidate.resource_type in (None, resource):
            return candidate.meter
        taken = taken or candidate.meter == own
    return f"{kind}/{own}" if taken else own


def cost_of(state: State, tenant: UsageTenant | None, event: UsageEvent, which: BucketId) -> UsageCostLine:
    """Return an event's cost as a line of its own, which ``with_cost`` adds to those of its bucket.

    It is as stated, else from the price table at the event's time (its amount is left to ``with_cost``),
    else none yet.
    """
    cost = event.cost
    if cost is not None:
        return UsageCostLine(currency=cost.currency, amount=cost.amount, quantity=ZERO)
    currency, rate = "", None
    if tenant is not None and tenant.priced:
        price = price_for(state, event.resource_type, which.unit, which.model, event.timestamp)
        if price is not None:
            currency, rate = price.currency, price.rate
    resource = "" if which.meter == event.resource_type else event.resource_type
    return UsageCostLine(
        currency=currency, amount=ZERO, quantity=event.quantity, rate=rate, resource_type=resource
    )


def _added(
    before: UsageBucket | None,
    event: UsageEvent,
    cost: UsageCostLine,
    at: datetime,
    emit: bool,
    late: bool,
) -> UsageBucket:
    quantity, stamp = event.quantity, event.timestamp
    if before is None:
        return UsageBucket(
            count=1,
            sum=quantity,
            max=quantity,
            last_event_at=stamp,
            emitted_at=at,
            costs=with_cost((), cost),
            closed=late,
            late_adjustments=1 if late else 0,
        )
    largest, last = before.max, before.last_event_at
    return UsageBucket(
        count=before.count + 1,
        sum=add(before.sum, quantity),
        max=quantity if quantity > largest else largest,
        last_event_at=stamp if stamp > last else last,
        emitted_at=at if emit else before.emitted_at,
        costs=with_cost(before.costs, cost),
        closed=late,
        late_adjustments=before.late_adjustments + 1 if late else before.late_adjustments,
    )


def _mismatch(
    event: UsageEvent, cost: UsageCost, at: datetime, meter: str, expected: Decimal
) -> UsageCostMismatchDetected:
    return UsageCostMismatchDetected(
        timestamp=at,
        tenant_id=event.tenant_id,
        mismatched_event_id=event.event_id,
        meter=meter,
        quantity=event.quantity,
        rate=cost.rate,
        amount=cost.amount,
        expected=money(expected),
        currency=cost.currency,
        envelope=caused_by(event),
    )
