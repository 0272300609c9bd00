"""Products and effective-dated prices (contracts 3.2)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import (
    CatalogCommandRejected,
    CatalogPrice,
    CatalogPriceChanged,
    CatalogPriceSetRequested,
    CatalogProductChanged,
    CatalogProductSnapshot,
    CatalogProductUpsertRequested,
)
from tables import catalog_products
from tables.catalog import decide
from tables.catalog_names import PRICES, product_key
from tests.unit.tables.catalog_world import Shop
from tests.unit.tables.scenario import NOON, TENANT, Scenario

DAY = timedelta(days=1)
TEA = product_key(TENANT, "tea")


def snapshot(shop: Shop, product_id: str = "tea") -> CatalogProductSnapshot:
    found = shop.catalogue[CatalogProductSnapshot, product_key(TENANT, product_id)]
    assert isinstance(found, CatalogProductSnapshot)
    return found


def refusal(facts: list[Any]) -> CatalogCommandRejected:
    (fact,) = facts
    assert isinstance(fact, CatalogCommandRejected)
    assert fact.message
    return fact


def spans(shop: Shop) -> list[tuple[int, int | None, Decimal]]:
    """Return the prices of tea in its snapshot: first and last day from noon, and the amount."""
    return [
        (
            (price.effective_from - NOON) // DAY,
            None if price.effective_to is None else (price.effective_to - NOON) // DAY,
            price.amount,
        )
        for price in snapshot(shop).prices
    ]


def test_a_product_is_defined_told_and_held_by_every_worker() -> None:
    shop = Shop()
    (fact,) = shop.define("tea", name="Green tea", attributes={"leaf": "green"}, stock_managed=False)
    assert isinstance(fact, CatalogProductChanged)
    assert (fact.name, fact.status, fact.attributes, fact.stock_managed, fact.version) == (
        "Green tea",
        "ACTIVE",
        {"leaf": "green"},
        False,
        1,
    )
    assert fact.envelope is not None
    assert fact.envelope.causation_id == "e1"
    held = snapshot(shop)
    assert (held.product_id, held.name, held.version, held.prices) == ("tea", "Green tea", 1, ())


def test_a_new_definition_replaces_the_old_one_and_keeps_the_prices() -> None:
    shop = Shop()
    shop.define("tea", name="Tea", attributes={"leaf": "green"})
    shop.price("3.50")
    shop.define("tea", name="Tea, loose", status="INACTIVE")
    held = snapshot(shop)
    assert (held.name, held.status, held.attributes, held.version) == ("Tea, loose", "INACTIVE", {}, 3)
    assert spans(shop) == [(0, None, Decimal("3.50"))]


def test_a_command_decided_on_another_version_is_a_conflict() -> None:
    shop = Shop()
    assert isinstance(shop.define(expected_version=0)[0], CatalogProductChanged)
    assert isinstance(shop.price("1", expected_version=1)[0], CatalogPriceChanged)
    assert refusal(shop.define(expected_version=1)).reason_code == "VERSION_CONFLICT"
    assert refusal(shop.price("2", expected_version=1)).reason_code == "VERSION_CONFLICT"
    assert refusal(shop.define("cup", expected_version=1)).reason_code == "VERSION_CONFLICT"


@pytest.mark.parametrize(
    "fields",
    [
        {"product_id": ""},
        {"product_id": "x" * 201},
        {"status": "UNKNOWN"},
        {"attributes": {str(number): "" for number in range(501)}},
        {"attributes": {"text": "x" * 50_001}},
    ],
)
def test_a_definition_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    shop = Shop()
    given_fields = {"product_id": "tea", **fields}
    facts = shop.send(CatalogProductUpsertRequested(**shop.common(), **given_fields))
    fact = refusal(facts)
    assert (fact.reason_code, fact.product_id) == ("VALIDATION_FAILED", given_fields["product_id"])
    assert fact.rejected_type == "catalog.product.upsert_requested"


def test_a_price_is_set_from_now_on_and_told() -> None:
    shop = Shop()
    shop.define()
    (fact,) = shop.price("3.50", price_list="wholesale")
    assert isinstance(fact, CatalogPriceChanged)
    assert fact.price == CatalogPrice(
        price_list="wholesale", currency="EUR", amount=Decimal("3.50"), effective_from=NOON, version=2
    )
    assert (fact.removed, fact.version) == (False, 2)


def test_a_price_of_zero_is_a_price() -> None:
    shop = Shop()
    shop.define()
    shop.price("0")
    assert spans(shop) == [(0, None, Decimal(0))]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"amount": Decimal("-0.01")}, "VALIDATION_FAILED"),
        ({"amount": Decimal("1E+12")}, "VALIDATION_FAILED"),
        ({"currency": "eur"}, "VALIDATION_FAILED"),
        ({"currency": ""}, "VALIDATION_FAILED"),
        ({"price_list": "x" * 101}, "VALIDATION_FAILED"),
        ({"effective_to": NOON}, "VALIDATION_FAILED"),
        ({"effective_from": NOON, "effective_to": NOON - DAY}, "VALIDATION_FAILED"),
        ({"product_id": "unknown"}, "NOT_FOUND"),
        ({"remove": True}, "NOT_FOUND"),
    ],
)
def test_a_price_that_cannot_be_is_refused(fields: dict[str, Any], code: str) -> None:
    shop = Shop()
    shop.define()
    whole = {"product_id": "tea", "currency": "EUR", "amount": Decimal(1), **fields}
    assert refusal(shop.send(CatalogPriceSetRequested(**shop.common(), **whole))).reason_code == code


def test_a_later_price_ends_nothing_silently() -> None:
    shop = Shop()
    shop.define()
    shop.price("3", effective_from=NOON)
    clash = refusal(shop.price("4", effective_from=NOON + 10 * DAY))
    assert clash.reason_code == "CONFLICT"
    assert "until further notice" in clash.message
    assert spans(shop) == [(0, None, Decimal(3))]


def test_a_price_set_again_from_its_beginning_is_replaced_and_so_ended() -> None:
    shop = Shop()
    shop.define()
    shop.price("3", effective_from=NOON)
    shop.price("3", effective_from=NOON, effective_to=NOON + 10 * DAY)
    shop.price("4", effective_from=NOON + 10 * DAY)
    assert spans(shop) == [(0, 10, Decimal(3)), (10, None, Decimal(4))]
    assert [price.version for price in snapshot(shop).prices] == [3, 4]


def test_a_price_set_again_may_not_grow_over_the_next_one() -> None:
    shop = Shop()
    shop.define()
    shop.price("3", effective_from=NOON, effective_to=NOON + DAY)
    shop.price("4", effective_from=NOON + DAY)
    assert (
        refusal(shop.price("3", effective_from=NOON, effective_to=NOON + 2 * DAY)).reason_code == "CONFLICT"
    )
    assert refusal(shop.price("3", effective_from=NOON)).reason_code == "CONFLICT"


def test_a_price_before_an_open_one_needs_an_end() -> None:
    shop = Shop()
    shop.define()
    shop.price("4", effective_from=NOON + DAY)
    assert refusal(shop.price("3", effective_from=NOON)).reason_code == "CONFLICT"
    shop.price("3", effective_from=NOON, effective_to=NOON + DAY)
    assert spans(shop) == [(0, 1, Decimal(3)), (1, None, Decimal(4))]


def test_other_lists_and_currencies_have_prices_of_their_own() -> None:
    shop = Shop()
    shop.define()
    shop.price("3")
    shop.price("4", currency="USD")
    shop.price("2", price_list="wholesale")
    assert [(price.price_list, price.currency) for price in snapshot(shop).prices] == [
        ("", "EUR"),
        ("", "USD"),
        ("wholesale", "EUR"),
    ]


def test_a_price_taken_back_makes_room_for_another() -> None:
    shop = Shop()
    shop.define()
    shop.price("3", effective_from=NOON)
    (fact,) = shop.price("0", effective_from=NOON, remove=True)
    assert isinstance(fact, CatalogPriceChanged)
    assert fact.removed
    assert fact.price.amount == Decimal(3), "what was taken back, not what the command held"
    assert spans(shop) == []
    shop.price("4", effective_from=NOON - DAY)
    assert spans(shop) == [(-1, None, Decimal(4))]


def test_the_snapshot_leaves_out_what_ended_long_ago_and_the_state_does_not() -> None:
    shop = Shop()
    shop.define()
    shop.price("3", effective_from=NOON - 9 * DAY, effective_to=NOON - 5 * DAY)
    shop.price("4", effective_from=NOON - 5 * DAY, effective_to=NOON - timedelta(hours=1))
    shop.price("5", effective_from=NOON)
    assert spans(shop) == [(-5, -1, Decimal(4)), (0, None, Decimal(5))]
    assert (
        refusal(shop.price("6", effective_from=NOON - 8 * DAY, effective_to=NOON - 7 * DAY)).reason_code
        == "CONFLICT"
    )


def test_a_snapshot_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_products, "MAX_PRICES", 10)
    shop = Shop()
    shop.define()
    for number in range(10):
        shop.price("1", price_list=str(number))
    assert refusal(shop.price("1", price_list="one more")).reason_code == "VALIDATION_FAILED"
    shop.price("2", price_list="7", effective_from=NOON)
    assert len(snapshot(shop).prices) == 10


def test_the_catalogue_refuses_events_of_others() -> None:
    with pytest.raises(LookupError, match="correct its row"):
        decide(Scenario(), snapshot_of_nothing(), NOON)


def snapshot_of_nothing() -> CatalogProductSnapshot:
    return CatalogProductSnapshot(timestamp=NOON, tenant_id=TENANT, product_id="tea", version=1)


SPANS = st.tuples(
    st.integers(0, 6), st.none() | st.integers(0, 7), st.booleans(), st.sampled_from(["EUR", "USD"])
)


@settings(max_examples=60)
@given(st.lists(SPANS, max_size=12))
def test_no_overlapping_prices_are_ever_stored(commands: list[tuple[int, int | None, bool, str]]) -> None:
    shop = Shop()
    shop.define()
    for first, last, remove, currency in commands:
        end = None if last is None else NOON + last * DAY
        shop.price("1", currency=currency, effective_from=NOON + first * DAY, effective_to=end, remove=remove)
        kept = [shop.of(TEA).get(name).price for name in shop.of(TEA).names(PRICES)]
        assert sorted(kept, key=repr) == sorted(snapshot(shop).prices, key=repr)
        for day in range(9):
            at = NOON + day * DAY + timedelta(hours=1)
            for name in ("EUR", "USD"):
                holding = [
                    price
                    for price in kept
                    if price.currency == name
                    and price.effective_from <= at
                    and (price.effective_to is None or at < price.effective_to)
                ]
                assert len(holding) <= 1
