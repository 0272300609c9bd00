"""Reservations of limited benefits (contracts 3.2): taken and given back like stock, never counted by a calculation."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from streams.events import (
    CatalogBenefit,
    CatalogBenefitRedeemed,
    CatalogBenefitRedeemRequested,
    CatalogBenefitReleased,
    CatalogBenefitReleaseRequested,
    CatalogBenefitReserved,
    CatalogBenefitReserveRequested,
    CatalogReleaseReason,
    CatalogReservation,
    CatalogReservationExpireRequested,
)
from tables.catalog_benefits import MAX_COUNT, is_exhausted, told
from tables.catalog_facts import (
    CONFLICT,
    EXHAUSTED,
    NOT_FOUND,
    NOT_IN_FORCE,
    VALIDATION_FAILED,
    Assigned,
    Problem,
    holds,
    id_problem,
    rejected,
)
from tables.catalog_names import BENEFIT, benefit_of, reservation_name
from tables.facts import caused_by, changed
from tables.state import State

LONGEST_TTL = 31 * 24 * 3600
"""Seconds."""

NO_RESERVATION = "the benefit has no such reservation; it may have expired or been released"


def reserve(state: State, event: CatalogBenefitReserveRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a reservation: all redemptions that are asked for, or none."""
    benefit: CatalogBenefit | None = state.get(BENEFIT)
    if benefit is None:
        return (rejected(event, at, NOT_FOUND, "there is no such benefit; define it first"),)
    name = reservation_name(event.reservation_id)
    problem = _unfit(event) or _refused(event, at, benefit, taken=state.get(name) is not None)
    if problem is not None:
        return (rejected(event, at, *problem),)
    expires = None if event.ttl_seconds is None else at + timedelta(seconds=event.ttl_seconds)
    after = changed(benefit, reserved=benefit.reserved + event.redemptions)
    reservation = CatalogReservation(redemptions=event.redemptions, expires_at=expires)
    fact = CatalogBenefitReserved(
        timestamp=at,
        tenant_id=event.tenant_id,
        benefit_id=event.benefit_id,
        reservation_id=event.reservation_id,
        redemptions=event.redemptions,
        expires_at=expires,
        customer_id=event.customer_id,
        order_id=event.order_id,
        reserved=after.reserved,
        max_redemptions=after.terms.max_redemptions,
        envelope=caused_by(event),
    )
    return Assigned({BENEFIT: after, name: reservation}), fact, *_turned(event, at, benefit, after)


def _unfit(event: CatalogBenefitReserveRequested) -> Problem | None:
    if not 1 <= event.redemptions <= MAX_COUNT:
        return Problem(VALIDATION_FAILED, f"redemptions are 1 to {MAX_COUNT}")
    if event.ttl_seconds is not None and not 1 <= event.ttl_seconds <= LONGEST_TTL:
        return Problem(VALIDATION_FAILED, f"ttl_seconds is 1 to {LONGEST_TTL}; leave it out for no end")
    return id_problem(reservation_id=event.reservation_id)


def _refused(
    event: CatalogBenefitReserveRequested, at: datetime, benefit: CatalogBenefit, *, taken: bool
) -> Problem | None:
    terms = benefit.terms
    if taken:
        return Problem(CONFLICT, "the reservation exists; release it first, or choose another id")
    if not terms.active or not holds(terms.effective_from, terms.effective_to, at):
        return Problem(NOT_IN_FORCE, "the benefit is not in force now; calculate the order anew")
    left = None if terms.max_redemptions is None else max(0, terms.max_redemptions - benefit.reserved)
    if left is not None and event.redemptions > left:
        return Problem(
            EXHAUSTED, f"{left} redemptions are left; calculate the order anew without the benefit"
        )
    return None


def redeem(state: State, event: CatalogBenefitRedeemRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a redemption: the reservation no longer expires. Once redeemed it stays so."""
    name = reservation_name(event.reservation_id)
    benefit: CatalogBenefit | None = state.get(BENEFIT)
    reservation: CatalogReservation | None = state.get(name)
    if benefit is None or reservation is None:
        return (rejected(event, at, NOT_FOUND, NO_RESERVATION),)
    fact = CatalogBenefitRedeemed(
        timestamp=at,
        tenant_id=event.tenant_id,
        benefit_id=event.benefit_id,
        reservation_id=event.reservation_id,
        redemptions=reservation.redemptions,
        reserved=benefit.reserved,
        max_redemptions=benefit.terms.max_redemptions,
        envelope=caused_by(event),
    )
    if reservation.redeemed:
        return (fact,)
    redeemed = CatalogReservation(redemptions=reservation.redemptions, redeemed=True)
    return Assigned({name: redeemed}), fact


def release(state: State, event: CatalogBenefitReleaseRequested, at: datetime) -> tuple[Any, ...]:
    """Decide a release: what the reservation holds can be reserved again, also once it was redeemed."""
    if state.get(reservation_name(event.reservation_id)) is None:
        return (rejected(event, at, NOT_FOUND, NO_RESERVATION),)
    return _released(state, event, at, "REQUESTED")


def expire(state: State, event: CatalogReservationExpireRequested, at: datetime) -> tuple[Any, ...]:
    """Release a reservation whose time is over; one that was redeemed or released meanwhile is left alone.

    A worker whose clock is ahead asks too early. It then has to ask under a new id, for the old one is known.
    """
    name = reservation_name(event.reservation_id)
    reservation: CatalogReservation | None = state.get(name)
    if reservation is None or reservation.expires_at is None or reservation.expires_at != event.expires_at:
        return ()
    if at < reservation.expires_at:
        return (Assigned({name: changed(reservation, asks=reservation.asks + 1)}),)
    return _released(state, event, at, "EXPIRED")


def _released(state: State, event: Any, at: datetime, reason: CatalogReleaseReason) -> tuple[Any, ...]:
    name = reservation_name(event.reservation_id)
    benefit: CatalogBenefit | None = state.get(BENEFIT)
    reservation: CatalogReservation | None = state.get(name)
    if benefit is None or reservation is None:
        raise LookupError("a reservation without its benefit; rebuild the table from its changelog")
    after = changed(benefit, reserved=benefit.reserved - reservation.redemptions)
    fact = CatalogBenefitReleased(
        timestamp=at,
        tenant_id=event.tenant_id,
        benefit_id=event.benefit_id,
        reservation_id=event.reservation_id,
        redemptions=reservation.redemptions,
        reason=reason,
        reserved=after.reserved,
        max_redemptions=after.terms.max_redemptions,
        envelope=caused_by(event),
    )
    return Assigned({BENEFIT: after, name: None}), fact, *_turned(event, at, benefit, after)


def _turned(event: Any, at: datetime, before: CatalogBenefit, after: CatalogBenefit) -> tuple[Any, ...]:
    """Return what is published when the last redemption is taken, or one is there again.

    Not the count itself: calculations of every worker need to know no more.
    """
    return told(event, at, after) if is_exhausted(before) != is_exhausted(after) else ()


def expiry_of(key: str, name: str, record: CatalogReservation) -> CatalogReservationExpireRequested:
    """Return the command that a reservation's timer sends.

    Raises:
        LookupError: the reservation does not expire.
    """
    if record.expires_at is None:
        raise LookupError(f"record {name!r} has no due time")
    tenant, benefit_id = benefit_of(key)
    return CatalogReservationExpireRequested(
        event_id=f"expire|{key}|{name}|{record.expires_at.isoformat()}|{record.asks}",
        timestamp=record.expires_at,
        tenant_id=tenant,
        benefit_id=benefit_id,
        reservation_id=name.partition("|")[2],
        expires_at=record.expires_at,
    )
