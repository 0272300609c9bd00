"""Benefits and the reservations of limited ones (contracts 3.2)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import (
    CatalogBenefitChanged,
    CatalogBenefitRedeemed,
    CatalogBenefitRedeemRequested,
    CatalogBenefitReleased,
    CatalogBenefitReleaseRequested,
    CatalogBenefitReserved,
    CatalogBenefitReserveRequested,
    CatalogBenefitSnapshot,
    CatalogCommandRejected,
    CatalogReservationExpireRequested,
)
from tables.catalog_names import BENEFIT, RESERVATIONS, benefit_key, product_key, reservation_name
from tables.catalog_reservations import expiry_of
from tests.unit.tables.catalog_world import Shop
from tests.unit.tables.scenario import NOON, TENANT

DAY = timedelta(days=1)
KEY = benefit_key(TENANT, "spring")


def snapshot(shop: Shop) -> CatalogBenefitSnapshot:
    found = shop.catalogue[CatalogBenefitSnapshot, KEY]
    assert isinstance(found, CatalogBenefitSnapshot)
    return found


def refusal(facts: list[Any]) -> CatalogCommandRejected:
    (fact,) = facts
    assert isinstance(fact, CatalogCommandRejected)
    assert fact.message
    assert fact.benefit_id == "spring"
    return fact


def reserve(shop: Shop, reservation_id: str, redemptions: int = 1, **more: Any) -> list[Any]:
    return shop.send(
        CatalogBenefitReserveRequested(
            **shop.common(),
            benefit_id="spring",
            reservation_id=reservation_id,
            redemptions=redemptions,
            **more,
        )
    )


def release(shop: Shop, reservation_id: str) -> list[Any]:
    command = CatalogBenefitReleaseRequested(
        **shop.common(), benefit_id="spring", reservation_id=reservation_id
    )
    return shop.send(command)


def redeem(shop: Shop, reservation_id: str) -> list[Any]:
    command = CatalogBenefitRedeemRequested(
        **shop.common(), benefit_id="spring", reservation_id=reservation_id
    )
    return shop.send(command)


def reserved(shop: Shop) -> int:
    return int(shop.of(KEY).get(BENEFIT).reserved)


def timers(shop: Shop) -> list[Any]:
    """Let the timers of the benefit send what is due now."""
    facts: list[Any] = []
    for name, record in list(shop.of(KEY).records.items()):
        due = shop.of(KEY).aggregate.due(name, record)
        if due is not None and due <= shop.at:
            facts += shop.send(shop.of(KEY).aggregate.on_due(KEY, name, record))
    return facts


def test_a_benefit_is_defined_told_and_held_by_every_worker() -> None:
    shop = Shop()
    (fact,) = shop.grant(
        "spring", "PERCENT", tiers=[("10", "7"), ("5", "5")], product_ids=("tea", "cup", "tea"), priority=3
    )
    assert isinstance(fact, CatalogBenefitChanged)
    assert [tier.min_quantity for tier in fact.terms.tiers] == [Decimal(5), Decimal(10)], (
        "tiers in their order"
    )
    assert fact.terms.product_ids == ("cup", "tea")
    assert (fact.terms.priority, fact.terms.effective_from, fact.version, fact.exhausted) == (
        3,
        NOON,
        1,
        False,
    )
    assert (snapshot(shop).terms, snapshot(shop).version) == (fact.terms, 1)


def test_a_benefit_and_a_product_with_the_same_id_are_two() -> None:
    shop = Shop()
    shop.define("spring")
    shop.grant("spring", "PERCENT", percent="5")
    assert KEY != product_key(TENANT, "spring")
    assert len(shop.catalogue) == 2


def test_a_new_definition_replaces_the_old_one_and_keeps_its_beginning_and_its_count() -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5", max_redemptions=3)
    reserve(shop, "o1", 2)
    shop.later(days=1)
    shop.grant("spring", "FIXED", amount="2.50", currency="EUR", max_redemptions=3, expected_version=1)
    terms = snapshot(shop).terms
    assert (terms.kind, terms.percent, terms.amount, terms.effective_from) == (
        "FIXED",
        None,
        Decimal("2.50"),
        NOON,
    )
    assert (snapshot(shop).version, reserved(shop)) == (2, 2)


def test_a_definition_decided_on_another_version_is_a_conflict() -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5", expected_version=0)
    assert (
        refusal(shop.grant("spring", "PERCENT", percent="6", expected_version=0)).reason_code
        == "VERSION_CONFLICT"
    )


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("UNKNOWN", {}),
        ("PERCENT", {}),
        ("PERCENT", {"percent": "0"}),
        ("PERCENT", {"percent": "100.000001"}),
        ("PERCENT", {"percent": "5", "tiers": [("1", "5")]}),
        ("PERCENT", {"tiers": [("1", "101")]}),
        ("PERCENT", {"tiers": [("1", "5"), ("1", "6")]}),
        ("PERCENT", {"tiers": [("0", "5")]}),
        ("FIXED", {}),
        ("FIXED", {"amount": "5"}),
        ("FIXED", {"amount": "5", "currency": "euro"}),
        ("FIXED", {"amount": "-5", "currency": "EUR"}),
        ("FIXED", {"amount": "5.001", "currency": "EUR"}),
        ("FIXED", {"amount": "5.5", "currency": "JPY"}),
        ("FIXED", {"tiers": [("1", "0")], "currency": "EUR"}),
        ("BUY_X_GET_Y", {"buy_quantity": 2}),
        ("BUY_X_GET_Y", {"buy_quantity": 0, "get_quantity": 1}),
        ("BUY_X_GET_Y", {"buy_quantity": 2, "get_quantity": 1, "percent": "120"}),
        ("BUY_X_GET_Y", {"buy_quantity": 2, "get_quantity": 1, "tiers": [("1", "5")]}),
        ("FREE_SHIPPING", {"min_subtotal": "50"}),
        ("FREE_SHIPPING", {"max_redemptions": 0}),
        ("FREE_SHIPPING", {"effective_to": NOON}),
        ("FREE_SHIPPING", {"product_ids": tuple(map(str, range(1001)))}),
        ("FREE_SHIPPING", {"customer_tiers": tuple(map(str, range(101)))}),
    ],
)
def test_a_definition_that_cannot_be_is_refused(kind: Any, fields: dict[str, Any]) -> None:
    shop = Shop()
    assert refusal(shop.grant("spring", kind, **fields)).reason_code == "VALIDATION_FAILED"
    assert shop.catalogue == {}


def test_a_limited_benefit_is_reserved_to_its_limit_and_no_further() -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5", max_redemptions=3)
    (fact,) = reserve(shop, "o1", 2, customer_id="c1", order_id="order-1")
    assert isinstance(fact, CatalogBenefitReserved)
    assert (fact.redemptions, fact.reserved, fact.max_redemptions) == (2, 2, 3)
    assert (fact.customer_id, fact.order_id, fact.expires_at) == ("c1", "order-1", None)
    over = refusal(reserve(shop, "o2", 2))
    assert (over.reason_code, "1 redemptions are left" in over.message) == ("EXHAUSTED", True)


def test_every_worker_hears_when_the_last_one_is_taken_and_when_there_is_one_again() -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5", max_redemptions=2)
    assert len(reserve(shop, "o1")) == 1
    taken = reserve(shop, "o2")
    assert [type(fact) for fact in taken] == [CatalogBenefitReserved, CatalogBenefitChanged]
    assert taken[1].exhausted
    assert snapshot(shop).exhausted
    assert snapshot(shop).version == 1, "the definition is the same"
    given_back = release(shop, "o1")
    assert [type(fact) for fact in given_back] == [CatalogBenefitReleased, CatalogBenefitChanged]
    assert not snapshot(shop).exhausted
    assert len(release(shop, "o2")) == 1
    assert reserved(shop) == 0


def test_a_reservation_is_made_once_and_released_once() -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5", max_redemptions=5)
    reserve(shop, "o1", 2)
    assert refusal(reserve(shop, "o1", 2)).reason_code == "CONFLICT"
    assert reserved(shop) == 2
    (fact,) = release(shop, "o1")
    assert isinstance(fact, CatalogBenefitReleased)
    assert (fact.redemptions, fact.reason, fact.reserved) == (2, "REQUESTED", 0)
    assert refusal(release(shop, "o1")).reason_code == "NOT_FOUND"


def test_a_lower_limit_keeps_what_is_reserved_and_lets_nothing_more_in() -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5", max_redemptions=5)
    reserve(shop, "o1", 4)
    shop.grant("spring", "PERCENT", percent="5", max_redemptions=2)
    assert (reserved(shop), snapshot(shop).exhausted) == (4, True)
    assert "0 redemptions are left" in refusal(reserve(shop, "o2")).message
    release(shop, "o1")
    assert not snapshot(shop).exhausted


def test_a_benefit_without_limit_is_counted_too() -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5")
    (fact,) = reserve(shop, "o1", 1_000)
    assert isinstance(fact, CatalogBenefitReserved)
    assert (fact.reserved, fact.max_redemptions) == (1_000, None)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"redemptions": 0}, "VALIDATION_FAILED"),
        ({"redemptions": 10**6 + 1}, "VALIDATION_FAILED"),
        ({"ttl_seconds": 0}, "VALIDATION_FAILED"),
        ({"ttl_seconds": 31 * 86_400 + 1}, "VALIDATION_FAILED"),
        ({"reservation_id": ""}, "VALIDATION_FAILED"),
    ],
)
def test_a_reservation_that_cannot_be_is_refused(fields: dict[str, Any], code: str) -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5")
    assert refusal(reserve(shop, **{"reservation_id": "o1", **fields})).reason_code == code


def test_what_is_unknown_is_not_found() -> None:
    shop = Shop()
    assert refusal(reserve(shop, "o1")).reason_code == "NOT_FOUND"
    shop.grant("spring", "PERCENT", percent="5")
    assert refusal(redeem(shop, "o1")).reason_code == "NOT_FOUND"
    assert refusal(release(shop, "o1")).reason_code == "NOT_FOUND"


@pytest.mark.parametrize(
    "terms",
    [{"active": False}, {"effective_from": NOON + DAY}, {"effective_from": NOON - DAY, "effective_to": NOON}],
)
def test_a_benefit_that_is_not_in_force_is_not_reserved(terms: dict[str, Any]) -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5", **terms)
    assert refusal(reserve(shop, "o1")).reason_code == "NOT_IN_FORCE"


def test_a_reservation_with_a_time_is_released_when_it_is_over() -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5", max_redemptions=1)
    (fact, _) = reserve(shop, "o1", ttl_seconds=900)
    assert fact.expires_at == NOON + timedelta(seconds=900)
    shop.later(seconds=899)
    assert timers(shop) == []
    shop.later(seconds=1)
    (released, changed) = timers(shop)
    assert isinstance(released, CatalogBenefitReleased)
    assert (released.reason, released.reserved) == ("EXPIRED", 0)
    assert not changed.exhausted
    assert timers(shop) == []


def test_a_redeemed_reservation_does_not_expire_and_can_still_be_given_back() -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5", max_redemptions=2)
    reserve(shop, "o1", ttl_seconds=900)
    asked = expiry_of(KEY, reservation_name("o1"), shop.of(KEY).get(reservation_name("o1")))
    (fact,) = redeem(shop, "o1")
    assert isinstance(fact, CatalogBenefitRedeemed)
    assert (fact.redemptions, fact.reserved) == (1, 1)
    shop.later(seconds=900)
    assert timers(shop) == []
    assert shop.send(asked) == [], "the timer had asked before"
    assert redeem(shop, "o1") == [fact.__class__(**{**fields(fact), **again(shop)})], (
        "once redeemed it stays so"
    )
    release(shop, "o1")
    assert reserved(shop) == 0


def fields(fact: Any) -> dict[str, Any]:
    return {name: getattr(fact, name) for name in fact.__struct_fields__}


def again(shop: Shop) -> dict[str, Any]:
    """Return what differs in an answer given later."""
    return {
        "timestamp": shop.at,
        "envelope": shop.of(KEY).published[-1].envelope,
    }


def test_a_timer_that_asks_early_late_or_for_another_one_changes_nothing() -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5", max_redemptions=1)
    reserve(shop, "o|1", ttl_seconds=900)
    name = reservation_name("o|1")
    asked = expiry_of(KEY, name, shop.of(KEY).get(name))
    assert (asked.tenant_id, asked.benefit_id, asked.reservation_id) == (TENANT, "spring", "o|1")
    assert shop.send(asked) == [], "it is not over yet"
    once_more = expiry_of(KEY, name, shop.of(KEY).get(name))
    assert once_more.event_id != asked.event_id, "the first one would be dropped as a duplicate"
    release(shop, "o|1")
    shop.later(seconds=900)
    assert shop.send(asked) == [], "it was released"
    reserve(shop, "o2", ttl_seconds=1)
    assert shop.of(KEY).aggregate.due(BENEFIT, shop.of(KEY).get(BENEFIT)) is None
    other = CatalogReservationExpireRequested(
        timestamp=shop.at, benefit_id="spring", reservation_id="o2", tenant_id=TENANT, expires_at=shop.at
    )
    assert shop.send(other) == [], "it has another time now"


def test_a_reservation_without_a_time_has_no_timer() -> None:
    shop = Shop()
    shop.grant("spring", "PERCENT", percent="5")
    reserve(shop, "o1")
    name = reservation_name("o1")
    with pytest.raises(LookupError, match="no due time"):
        expiry_of(KEY, name, shop.of(KEY).get(name))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "release", "redeem", "wait", "limit"]),
        st.integers(0, 3),
        st.integers(1, 4),
    ),
    max_size=15,
)


@settings(max_examples=60)
@given(STEPS)
def test_what_is_counted_is_what_the_reservations_hold_and_never_grows_past_the_limit(
    steps: list[tuple[str, int, int]],
) -> None:
    shop = Shop()
    limit = 6
    shop.grant("spring", "PERCENT", percent="5", max_redemptions=limit)
    for step, which, number in steps:
        before = reserved(shop)
        if step == "reserve":
            reserve(shop, f"o{which}", number, ttl_seconds=600 if number % 2 else None)
        elif step == "release":
            release(shop, f"o{which}")
        elif step == "redeem":
            redeem(shop, f"o{which}")
        elif step == "wait":
            shop.later(seconds=300 * number)
            timers(shop)
        else:
            limit = number
            shop.grant("spring", "PERCENT", percent="5", max_redemptions=limit)
        state = shop.of(KEY)
        held = sum(state.get(name).redemptions for name in state.names(RESERVATIONS))
        assert reserved(shop) == held
        assert reserved(shop) <= max(limit, before)
        assert snapshot(shop).exhausted == (reserved(shop) >= limit)
