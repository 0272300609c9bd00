"""Which benefits a customer gets: in which order, on which lines, and never below zero (contracts 3.2)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import CatalogBenefitsCompleted, CatalogPricingCompleted
from tables.catalog_money import rounded, spread, sum_of
from tests.unit.tables.catalog_world import Shop
from tests.unit.tables.scenario import NOON
from tests.unit.tables.test_catalog_benefits import release, reserve

DAY = timedelta(days=1)


def tea_and_cups() -> Shop:
    """Return a shop with tea at 3.00 and cups at 9.99."""
    shop = Shop()
    shop.sell(("tea", "3"), ("cup", "9.99"))
    return shop


def granted(shop: Shop, *lines: tuple[str, str], **more: Any) -> CatalogBenefitsCompleted:
    return shop.one(shop.benefits(*lines, **more), CatalogBenefitsCompleted)


def applied(found: CatalogBenefitsCompleted) -> list[tuple[str, Decimal]]:
    return [(each.benefit_id, each.discount) for each in found.applied]


def skipped(found: CatalogBenefitsCompleted) -> dict[str, str]:
    return {each.benefit_id: each.reason for each in found.skipped}


def test_a_percentage_comes_off_every_line() -> None:
    shop = tea_and_cups()
    shop.grant("b", "PERCENT", percent="12.5")
    found = granted(shop, ("tea", "1"), ("cup", "1"))
    assert [(line.product_id, line.discount, line.total) for line in found.lines] == [
        ("cup", Decimal("1.25"), Decimal("8.74")),
        ("tea", Decimal("0.38"), Decimal("2.62")),
    ]
    assert (found.subtotal, found.discount, found.total) == (
        Decimal("12.99"),
        Decimal("1.63"),
        Decimal("11.36"),
    )
    assert found.applied[0].product_ids == ("cup", "tea")


def test_a_benefit_is_about_its_products() -> None:
    shop = tea_and_cups()
    shop.grant("b", "PERCENT", percent="50", product_ids=("tea", "pot"))
    assert applied(granted(shop, ("tea", "1"), ("cup", "1"))) == [("b", Decimal("1.50"))]
    assert skipped(granted(shop, ("cup", "1"))) == {"b": "NO_ELIGIBLE_ITEMS"}
    assert skipped(granted(shop)) == {"b": "NO_ELIGIBLE_ITEMS"}


def test_duplicate_lines_are_merged_before_tiers() -> None:
    shop = tea_and_cups()
    shop.grant("b", "PERCENT", tiers=[("3", "10"), ("6", "20")])
    assert skipped(granted(shop, ("tea", "2"))) == {"b": "BELOW_QUANTITY"}
    assert applied(granted(shop, ("tea", "2"), ("tea", "1"))) == [("b", Decimal("0.90"))]
    assert applied(granted(shop, ("tea", "5"), ("tea", "1"), ("cup", "1"))) == [("b", Decimal("3.60"))]


def test_a_fixed_amount_is_divided_over_its_lines_to_the_last_cent() -> None:
    shop = Shop()
    shop.sell(("a", "1"), ("b", "1"), ("c", "1"))
    shop.grant("b", "FIXED", amount="1", currency="EUR")
    found = granted(shop, ("c", "1"), ("b", "1"), ("a", "1"))
    assert [line.discount for line in found.lines] == [Decimal("0.34"), Decimal("0.33"), Decimal("0.33")]
    assert found.total == Decimal(2)


def test_a_fixed_amount_takes_no_more_than_there_is() -> None:
    shop = tea_and_cups()
    shop.grant("b", "FIXED", amount="5", currency="EUR", product_ids=("tea",))
    found = granted(shop, ("tea", "1"), ("cup", "1"))
    assert applied(found) == [("b", Decimal(3))]
    assert [line.total for line in found.lines] == [Decimal("9.99"), Decimal(0)]


def test_the_tiers_of_a_fixed_amount_count_all_its_products() -> None:
    shop = tea_and_cups()
    shop.grant("b", "FIXED", tiers=[("3", "1"), ("5", "2")], currency="EUR")
    assert skipped(granted(shop, ("tea", "1"), ("cup", "1"))) == {"b": "BELOW_QUANTITY"}
    assert applied(granted(shop, ("tea", "2"), ("cup", "3"))) == [("b", Decimal(2))]


def test_an_amount_in_another_currency_does_not_apply() -> None:
    shop = tea_and_cups()
    shop.grant("b", "FIXED", amount="1", currency="USD")
    assert skipped(granted(shop, ("tea", "1"))) == {"b": "CURRENCY_MISMATCH"}


@pytest.mark.parametrize(
    ("quantity", "discount"),
    [("1", None), ("2", None), ("3", "3.00"), ("5", "3.00"), ("6", "6.00"), ("2.9", None), ("3.5", "3.00")],
)
def test_buying_two_gives_the_third_for_nothing(quantity: str, discount: str | None) -> None:
    shop = tea_and_cups()
    shop.grant("b", "BUY_X_GET_Y", buy_quantity=2, get_quantity=1)
    found = granted(shop, ("tea", quantity))
    if discount is None:
        assert skipped(found) == {"b": "BELOW_QUANTITY"}
    else:
        assert applied(found) == [("b", Decimal(discount))]


def test_a_part_of_the_gifts_is_given_too_and_gifts_may_be_cheaper_only() -> None:
    shop = tea_and_cups()
    shop.grant("b", "BUY_X_GET_Y", buy_quantity=2, get_quantity=2, percent="50")
    assert applied(granted(shop, ("tea", "3"))) == [("b", Decimal("1.50"))]
    assert applied(granted(shop, ("tea", "4"))) == [("b", Decimal("3.00"))]


def test_gifts_take_no_more_than_other_benefits_have_left() -> None:
    shop = tea_and_cups()
    shop.grant("a", "PERCENT", percent="90", priority=1)
    shop.grant("b", "BUY_X_GET_Y", buy_quantity=1, get_quantity=1)
    found = granted(shop, ("tea", "2"))
    assert applied(found) == [("a", Decimal("5.40")), ("b", Decimal("0.60"))]
    assert found.total == Decimal(0)


def test_gifts_are_units_of_one_product() -> None:
    shop = tea_and_cups()
    shop.grant("b", "BUY_X_GET_Y", buy_quantity=1, get_quantity=1)
    assert skipped(granted(shop, ("tea", "1"), ("cup", "1"))) == {"b": "BELOW_QUANTITY"}


def test_free_shipping_takes_nothing_off_the_lines() -> None:
    shop = tea_and_cups()
    shop.grant("b", "FREE_SHIPPING", min_subtotal="10", currency="EUR")
    found = granted(shop, ("cup", "1"))
    assert (skipped(found), found.free_shipping) == ({"b": "BELOW_MINIMUM"}, False)
    found = granted(shop, ("cup", "1"), ("tea", "1"))
    assert (found.free_shipping, found.discount) == (True, Decimal(0))
    assert found.applied[0].product_ids == ()


def test_benefits_are_for_their_tiers_of_customers() -> None:
    shop = tea_and_cups()
    shop.grant("b", "PERCENT", percent="10", customer_tiers=("GOLD", "SILVER"))
    assert skipped(granted(shop, ("tea", "1"))) == {"b": "CUSTOMER_TIER"}
    assert skipped(granted(shop, ("tea", "1"), customer_tier="BRONZE")) == {"b": "CUSTOMER_TIER"}
    assert applied(granted(shop, ("tea", "1"), customer_tier="GOLD")) == [("b", Decimal("0.30"))]


def test_benefits_hold_for_their_time() -> None:
    shop = tea_and_cups()
    shop.grant("b", "PERCENT", percent="10", effective_from=NOON + DAY, effective_to=NOON + 2 * DAY)
    shop.grant("off", "PERCENT", percent="10", active=False)
    for at, count in ((NOON, 0), (NOON + DAY, 1), (NOON + 2 * DAY, 0)):
        shop.at = at
        found = granted(shop, ("tea", "1"))
        assert (len(found.applied), found.skipped) == (count, ())


def test_the_higher_priority_applies_first_and_of_equals_the_smaller_id() -> None:
    shop = tea_and_cups()
    shop.grant("a", "PERCENT", percent="10")
    shop.grant("b", "FIXED", amount="1", currency="EUR", priority=5)
    shop.grant("c", "PERCENT", percent="50", priority=5)
    found = granted(shop, ("tea", "1"))
    assert applied(found) == [("b", Decimal("1.00")), ("c", Decimal("1.00")), ("a", Decimal("0.10"))]
    assert found.total == Decimal("0.90")


def test_a_benefit_that_is_not_stackable_applies_alone() -> None:
    shop = tea_and_cups()
    shop.grant("a", "PERCENT", percent="10", priority=2)
    shop.grant("b", "PERCENT", percent="20", priority=1, stackable=False)
    found = granted(shop, ("tea", "1"))
    assert (applied(found), skipped(found)) == ([("a", Decimal("0.30"))], {"b": "NOT_STACKABLE"})
    shop.grant("b", "PERCENT", percent="20", priority=3, stackable=False)
    found = granted(shop, ("tea", "1"))
    assert (applied(found), skipped(found)) == ([("b", Decimal("0.60"))], {"a": "NOT_STACKABLE"})


def test_a_benefit_that_gives_nothing_is_in_nobodys_way() -> None:
    shop = tea_and_cups()
    shop.grant("a", "PERCENT", percent="10", priority=2, stackable=False, product_ids=("pot",))
    shop.grant("b", "PERCENT", percent="100", priority=1)
    shop.grant("c", "FIXED", amount="1", currency="EUR")
    found = granted(shop, ("tea", "1"))
    assert applied(found) == [("b", Decimal("3.00"))]
    assert skipped(found) == {"a": "NO_ELIGIBLE_ITEMS", "c": "NOTHING_LEFT"}


def test_a_calculation_counts_nothing_and_tells_what_must_be_reserved() -> None:
    shop = tea_and_cups()
    shop.grant("b", "PERCENT", percent="10", max_redemptions=1)
    for _ in range(3):
        found = granted(shop, ("tea", "1"))
        assert [(each.benefit_id, each.limited) for each in found.applied] == [("b", True)]


def test_what_is_exhausted_does_not_apply_and_changes_the_version() -> None:
    shop = tea_and_cups()
    shop.grant("spring", "PERCENT", percent="10", max_redemptions=1)
    first = granted(shop, ("tea", "1"))
    reserve(shop, "o1")
    second = granted(shop, ("tea", "1"))
    assert skipped(second) == {"spring": "EXHAUSTED"}
    assert second.benefit_version != first.benefit_version
    assert second.price_version == first.price_version
    release(shop, "o1")
    assert granted(shop, ("tea", "1")).benefit_version == first.benefit_version


def test_a_changed_benefit_changes_the_version() -> None:
    shop = tea_and_cups()
    versions = [granted(shop, ("tea", "1")).benefit_version]
    for percent in ("10", "20"):
        shop.grant("b", "PERCENT", percent=percent)
        versions.append(granted(shop, ("tea", "1")).benefit_version)
    assert len(set(versions)) == 3
    assert all(versions)


def test_another_tenants_benefits_are_unknown() -> None:
    shop = tea_and_cups()
    shop.grant("b", "PERCENT", percent="10")
    key, benefit = next((key, found) for key, found in shop.catalogue.items() if key[1].endswith("|b"))
    shop.catalogue[key[0], "tenant-011|benefit|other"] = benefit
    assert len(granted(shop, ("tea", "1")).applied) == 1


CENTS = st.integers(0, 5000).map(lambda number: Decimal(number).scaleb(-2))
CURRENCIES = st.sampled_from(["EUR", "JPY", "KWD"])
NAMES = ["a", "b", "c", "d"]


@st.composite
def terms(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the definition of a benefit."""
    kind = draw(st.sampled_from(["PERCENT", "FIXED", "BUY_X_GET_Y", "FREE_SHIPPING"]))
    found: dict[str, Any] = {
        "kind": kind,
        "priority": draw(st.integers(-1, 1)),
        "stackable": draw(st.integers(0, 3)) > 0,
        "product_ids": tuple(draw(st.sets(st.sampled_from(NAMES), max_size=2))),
    }
    percent = st.integers(1, 100_000_000).map(lambda number: Decimal(number).scaleb(-6))
    if kind == "PERCENT":
        found["percent"] = draw(percent)
    if kind == "FIXED":
        found |= {"amount": Decimal(draw(st.integers(1, 300))), "currency": draw(CURRENCIES)}
    if kind == "BUY_X_GET_Y":
        found |= {"buy_quantity": draw(st.integers(1, 3)), "get_quantity": draw(st.integers(1, 3))}
        found["percent"] = draw(st.none() | percent)
    return found


QUANTITIES = st.integers(1, 12_000_000).map(lambda number: Decimal(number).scaleb(-6))
LINES = st.lists(st.tuples(st.sampled_from(NAMES), QUANTITIES), max_size=6)


@settings(max_examples=60)
@given(
    st.lists(terms(), max_size=4),
    LINES,
    st.lists(CENTS, min_size=4, max_size=4),
    CURRENCIES,
    st.randoms(use_true_random=False),
)
def test_whatever_applies_the_lines_add_up_and_their_order_tells_nothing(
    benefits: list[dict[str, Any]],
    lines: list[tuple[str, Decimal]],
    amounts: list[Decimal],
    currency: str,
    random: Any,
) -> None:
    shop = Shop()
    shop.sell(*((name, str(amount)) for name, amount in zip(NAMES, amounts, strict=True)), currency=currency)
    for number, each in enumerate(benefits):
        shop.grant(f"b{number}", **each)
    wanted = [(name, str(quantity)) for name, quantity in lines]
    found = shop.one(shop.pricing(*wanted, customer_id="c1", request_id="r"), CatalogPricingCompleted)
    random.shuffle(wanted)
    assert shop.one(shop.pricing(*wanted, customer_id="c1", request_id="r"), CatalogPricingCompleted) == found

    assert found.total == sum_of(line.total for line in found.lines)
    assert found.subtotal == sum_of(line.subtotal for line in found.lines)
    assert found.subtotal - found.discount == found.total
    assert found.discount == sum_of(each.discount for each in found.applied)
    for line in found.lines:
        assert line.total >= 0
        assert line.subtotal - line.discount == line.total
        assert line.subtotal == rounded(line.quantity * line.unit_price, currency)
        assert line.total == rounded(line.total, currency)
    order = [(-benefits[int(each.benefit_id[1:])]["priority"], each.benefit_id) for each in found.applied]
    assert order == sorted(order)
    alone = [each for each in found.applied if not benefits[int(each.benefit_id[1:])]["stackable"]]
    assert not alone or len(found.applied) == 1
    assert len(found.applied) + len(found.skipped) == len(benefits)


@settings(max_examples=60)
@given(
    st.integers(0, 10_000), st.dictionaries(st.text(max_size=2), st.integers(0, 5000), max_size=6), CURRENCIES
)
def test_a_divided_amount_is_whole_and_no_part_exceeds_its_line(
    amount: int, over: dict[str, int], currency: str
) -> None:
    step = rounded(Decimal(1), currency) / (10 ** {"EUR": 2, "JPY": 0, "KWD": 3}[currency])
    lines = {name: number * step for name, number in over.items()}
    parts = spread(amount * step, lines, currency)
    assert sum_of(parts.values()) == min(amount * step, sum_of(lines.values()))
    for name, part in parts.items():
        assert 0 <= part <= lines[name]
        assert part == rounded(part, currency)
