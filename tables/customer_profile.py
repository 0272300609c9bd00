"""Who a customer is: the profile, and whether the customer may be dealt with (contracts 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from streams.events import (
    CustomerHead,
    CustomerPreferences,
    CustomerProfile,
    CustomerProfileProvided,
    CustomerProfileRequested,
    CustomerProfileUpdated,
    CustomerProfileUpsertRequested,
    CustomerValidated,
    CustomerValidationRequested,
)
from tables.facts import caused_by, changed
from tables.loyalty_account import Account
from tables.loyalty_checks import (
    CUSTOMER_BLOCKED,
    CUSTOMER_DELETED,
    MAX_TEXT,
    NOT_FOUND,
    UNKNOWN_CUSTOMER,
    VALIDATION_FAILED,
    Refused,
    check_version,
)
from tables.loyalty_names import HEAD, PREFERENCES, PROFILE
from tables.loyalty_reversals import waiting_count
from tables.state import State

MAX_ENTRIES: Final = 100
"""Attributes of a profile, and preferences, each."""

REASONS: Final = {"ACTIVE": "", "DELETED": CUSTOMER_DELETED}


def provide(state: State, event: CustomerProfileRequested, at: datetime) -> tuple[Any, ...]:
    """Answer with a customer's profile.

    Raises:
        Refused: there is no such customer.
    """
    head: CustomerHead | None = state.get(HEAD)
    profile: CustomerProfile | None = state.get(PROFILE)
    if head is None or profile is None:
        raise Refused(NOT_FOUND, UNKNOWN_CUSTOMER)
    preferences = _preferences(state) if event.include_preferences else None
    provided = CustomerProfileProvided(
        timestamp=at,
        tenant_id=event.tenant_id,
        customer_id=event.customer_id,
        status=head.status,
        preferences=preferences,
        version=head.version,
        envelope=caused_by(event),
        **_fields(profile),
    )
    return (provided,)


def validate(state: State, event: CustomerValidationRequested, at: datetime) -> tuple[Any, ...]:
    """Answer whether a customer exists and is active. To be unknown is an answer, not a refusal."""
    head: CustomerHead | None = state.get(HEAD)
    reason = NOT_FOUND if head is None else REASONS.get(head.status, CUSTOMER_BLOCKED)
    validated = CustomerValidated(
        timestamp=at,
        tenant_id=event.tenant_id,
        customer_id=event.customer_id,
        valid=not reason,
        reason=reason,
        envelope=caused_by(event),
    )
    return (validated,)


def upsert(state: State, event: CustomerProfileUpsertRequested, at: datetime) -> tuple[Any, ...]:
    """Make or change a customer.

    Raises:
        Refused: it is not possible.
    """
    head: CustomerHead | None = state.get(HEAD)
    check_version(head, event)
    if event.status == "UNKNOWN":
        raise Refused(VALIDATION_FAILED, "status is ACTIVE, BLOCKED or DELETED")
    known: CustomerProfile = state.get(PROFILE) or CustomerProfile(created_at=at, updated_at=at)
    profile = CustomerProfile(
        name=_text("name", event.name, known.name),
        email=_text("email", event.email, known.email),
        phone=_text("phone", event.phone, known.phone),
        locale=_text("locale", event.locale, known.locale),
        attributes=_merged("attributes", known.attributes, event.attributes),
        created_at=known.created_at,
        updated_at=at,
    )
    preferences = _merged("preferences", _preferences(state), event.preferences)
    account = Account(state, _beginning(state) if head is None else head, event, at)
    if event.status:
        account.head = changed(account.head, status=event.status)
    account.put(PREFERENCES, CustomerPreferences(values=preferences) if preferences else None)
    _put(account, profile, preferences, None if head is None else head.status)
    return account.done()


def newcomer(state: State, event: Any, at: datetime) -> Account:
    """Return the account of a customer who is made because ``event`` says so."""
    account = Account(state, _beginning(state), event, at)
    _put(account, CustomerProfile(created_at=at, updated_at=at), {}, None)
    return account


def _beginning(state: State) -> CustomerHead:
    return CustomerHead(status="ACTIVE", waiting=waiting_count(state))


def _put(
    account: Account, profile: CustomerProfile, preferences: dict[str, str], previous: str | None
) -> None:
    account.put(PROFILE, profile)
    account.add(
        CustomerProfileUpdated,
        status=account.head.status,
        preferences=preferences,
        previous_status=previous,
        **_fields(profile),
    )


def _fields(profile: CustomerProfile) -> dict[str, Any]:
    return {name: getattr(profile, name) for name in profile.__struct_fields__}


def _preferences(state: State) -> dict[str, str]:
    known: CustomerPreferences | None = state.get(PREFERENCES)
    return {} if known is None else known.values


def _text(field: str, new: str | None, old: str) -> str:
    if new is None:
        return old
    if len(new) > MAX_TEXT:
        raise Refused(VALIDATION_FAILED, f"{field} has at most {MAX_TEXT} characters")
    return new


def _merged(field: str, old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    merged = {name: value for name, value in {**old, **new}.items() if value}
    if len(merged) > MAX_ENTRIES:
        raise Refused(VALIDATION_FAILED, f"{field} are at most {MAX_ENTRIES}")
    if any(len(name) > MAX_TEXT or len(value) > MAX_TEXT for name, value in merged.items()):
        raise Refused(VALIDATION_FAILED, f"names and values of {field} have at most {MAX_TEXT} characters")
    return merged
