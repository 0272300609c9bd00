"""The typed clients' operations, each under its name in the contract, decided by the real rules."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.client_catalog import with_customer
from agents.clients import CatalogClient, CustomerClient, NotificationClient, StockClient
from streams import events as e
from streams.client import Failed, Invalid, Rejected
from tests.unit.streams.service_world import Rules

TENANT = "acme"


@pytest.fixture
def rules() -> Rules:
    return Rules()


async def stocked(rules: Rules, product: str = "p1", quantity: int = 10) -> StockClient:
    common: dict[str, Any] = {"timestamp": rules.at, "tenant_id": TENANT, "product_id": product}
    await rules.request(e.CatalogProductUpsertRequested(name="Bolt", **common))
    await rules.request(
        e.CatalogPriceSetRequested(currency="EUR", amount=Decimal("1.50"), event_id="price", **common)
    )
    entry = e.StockEntryRequested(warehouse_id="w1", quantity=Decimal(quantity), event_id="entry", **common)
    assert (await rules.request(entry)).ok
    return StockClient(rules.client, TENANT)


async def customer(rules: Rules, status: Any = "ACTIVE", customer_id: str = "c1") -> CustomerClient:
    command = e.CustomerProfileUpsertRequested(
        timestamp=rules.at,
        tenant_id=TENANT,
        customer_id=customer_id,
        name="Ada",
        status=status,
        preferences={"colour": "blue"},
    )
    assert (await rules.request(command)).ok
    return CustomerClient(rules.client, TENANT)


def message(**fields: Any) -> dict[str, Any]:
    return {
        "channel": "LOG",
        "recipient": "ada",
        "template": "Hello {name}",
        "params": {"name": "Ada"},
    } | fields


# --- the contract -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "operations"),
    [
        (
            StockClient,
            {
                "validate_product": ["product_id"],
                "check_availability": ["product_id", "quantity", "warehouse_id"],
                "allocate_stock": ["product_id", "quantity", "warehouse_id", "strategy"],
                "record_movement": ["movement_data"],
                "release_allocation": ["allocation_id"],
            },
        ),
        (
            CatalogClient,
            {
                "get_product_info": ["product_id", "info_type"],
                "calculate_pricing": ["items", "customer_id"],
                "apply_benefits": ["items", "customer_id"],
                "validate_products": ["product_ids"],
            },
        ),
        (
            CustomerClient,
            {
                "get_customer_profile": ["customer_id", "include_preferences"],
                "validate_customer": ["customer_id"],
                "get_loyalty_info": ["customer_id"],
                "update_loyalty_points": ["customer_id", "points_change", "reason"],
            },
        ),
        (
            NotificationClient,
            {
                "send_notification": ["notification_data"],
                "send_batch_notifications": ["notifications"],
                "get_notification_status": ["notification_id"],
                "cancel_notification": ["notification_id"],
            },
        ),
    ],
)
def test_operations_have_the_names_and_arguments_of_the_contract(
    service: type, operations: dict[str, list[str]]
) -> None:
    for name, arguments in operations.items():
        operation = getattr(service, name)
        assert inspect.iscoroutinefunction(operation)
        parameters = inspect.signature(operation).parameters
        taken = [each for each, kind in parameters.items() if kind.kind is not inspect.Parameter.VAR_KEYWORD]
        assert taken == ["self", *arguments]


# --- stock --------------------------------------------------------------------------------------------------------


async def test_a_product_is_validated_by_the_catalogue(rules: Rules) -> None:
    stock = await stocked(rules)
    assert (await stock.validate_product("p1"))["valid"] is True
    unknown = await stock.validate_product("p2")
    assert (unknown["valid"], unknown["known"]) == (False, False)
    assert unknown["message"]


async def test_stock_is_allocated_and_given_back(rules: Rules) -> None:
    stock = await stocked(rules)
    allocation = await stock.allocate_stock("p1", Decimal("2.5"), "w1", order_id="o-1")
    assert (allocation["allocated"], allocation["strategy"], allocation["order_id"]) == (
        Decimal("2.5"),
        "FEFO",
        "o-1",
    )
    assert "envelope" not in allocation
    available = await stock.check_availability("p1", Decimal(8), "w1")
    assert (available["available"], available["sufficient"]) == (Decimal("7.5"), False)
    assert await stock.release_allocation(allocation["allocation_id"]) is None  # type: ignore[func-returns-value]
    assert (await stock.check_availability("p1", Decimal(8), "w1"))["available"] == Decimal(10)


async def test_a_part_is_allocated_where_that_is_allowed(rules: Rules) -> None:
    stock = await stocked(rules)
    allocation = await stock.allocate_stock("p1", Decimal(12), "w1", "LIFO", allow_partial=True)
    assert (allocation["allocated"], allocation["shortfall"]) == (Decimal(10), Decimal(2))


async def test_a_refusal_has_its_code_and_its_fact(rules: Rules) -> None:
    stock = await stocked(rules)
    with pytest.raises(Rejected) as refused:
        await stock.allocate_stock("p1", Decimal(11), "w1")
    assert refused.value.code == "INSUFFICIENT_STOCK"
    assert isinstance(refused.value.fact, e.StockAllocationRejected)
    assert refused.value.message in str(refused.value)


async def test_a_movement_has_the_id_that_it_was_given_or_its_commands(rules: Rules) -> None:
    stock = await stocked(rules)
    data = {"type": "EXIT", "product_id": "p1", "warehouse_id": "w1", "quantity": 3}
    assert await stock.record_movement(data | {"movement_id": "m-1"}) == "m-1"
    made = await stock.record_movement(data)
    assert made == rules.asked[-1].event_id
    assert (await stock.check_availability("p1", Decimal(1), "w1"))["on_hand"] == Decimal(4)


async def test_everything_that_is_wrong_with_what_is_given_is_told_and_nothing_is_sent(rules: Rules) -> None:
    stock = StockClient(rules.client, TENANT)
    with pytest.raises(Invalid) as caught:
        await stock.record_movement({"type": "GIFT", "warehouse_id": "w1", "quantity": 0.1, "tenant_id": "b"})
    for field in ("type", "product_id", "quantity", "tenant_id"):
        assert f"{field}: " in str(caught.value)
    assert rules.asked == []


@pytest.mark.parametrize("quantity", [Decimal("3"), 3, "3.000000"])
async def test_a_quantity_is_a_decimal_a_whole_number_or_a_text(rules: Rules, quantity: Any) -> None:
    stock = await stocked(rules)
    assert (await stock.allocate_stock("p1", quantity, "w1"))["allocated"] == Decimal(3)


@pytest.mark.parametrize("quantity", [3.0, True, Decimal("NaN"), Decimal("0.0000001"), "three"])
async def test_no_other_value_is_a_quantity(rules: Rules, quantity: Any) -> None:
    with pytest.raises(Invalid, match="quantity"):
        await StockClient(rules.client, TENANT).allocate_stock("p1", quantity, "w1")


# --- customers ----------------------------------------------------------------------------------------------------


async def test_a_profile_has_its_preferences_where_they_are_asked_for(rules: Rules) -> None:
    customers = await customer(rules)
    assert (await customers.get_customer_profile("c1"))["preferences"] is None
    assert (await customers.get_customer_profile("c1", True))["preferences"] == {"colour": "blue"}
    with pytest.raises(Rejected, match="NOT_FOUND"):
        await customers.get_customer_profile("c2")


async def test_a_customer_is_valid_or_why_not(rules: Rules) -> None:
    customers = await customer(rules)
    await customer(rules, "BLOCKED", "c2")
    assert (await customers.validate_customer("c1"))["valid"] is True
    assert (await customers.validate_customer("c2"))["reason"] == "CUSTOMER_BLOCKED"
    assert (await customers.validate_customer("c3"))["reason"] == "NOT_FOUND"


async def test_points_are_earned_and_spent_but_never_below_zero(rules: Rules) -> None:
    customers = await customer(rules)
    assert await customers.update_loyalty_points("c1", 100, "welcome") is None  # type: ignore[func-returns-value]
    await customers.update_loyalty_points("c1", -40, "voucher", reference="o-1")
    info = await customers.get_loyalty_info("c1")
    assert (info["balance"], info["pending"], info["debt"]) == (60, 0, 0)
    with pytest.raises(Rejected, match="INSUFFICIENT_POINTS"):
        await customers.update_loyalty_points("c1", -61, "voucher")
    transactions = [
        each.transaction_id for each in rules.asked if isinstance(each, e.LoyaltyPointsUpdateRequested)
    ]
    assert len(set(transactions)) == 3


# --- catalogue ----------------------------------------------------------------------------------------------------


async def with_benefit(rules: Rules, **fields: Any) -> CatalogClient:
    await stocked(rules)
    command = e.CatalogBenefitUpsertRequested(
        timestamp=rules.at,
        tenant_id=TENANT,
        benefit_id="ten",
        kind="PERCENT",
        percent=Decimal(10),
        **fields,
    )
    assert (await rules.request(command)).ok
    return CatalogClient(rules.client, TENANT)


ITEMS = [{"product_id": "p1", "quantity": 4}]


async def test_prices_are_calculated_with_benefits_for_a_customer_and_without_for_nobody(
    rules: Rules,
) -> None:
    await customer(rules)
    catalog = await with_benefit(rules)
    assert (await catalog.calculate_pricing(ITEMS))["total"] == Decimal(6)
    priced = await catalog.calculate_pricing(ITEMS, "c1", currency="EUR")
    assert (priced["total"], priced["currency"]) == (Decimal("5.40"), "EUR")
    applied = await catalog.apply_benefits(ITEMS, "c1")
    assert [each["benefit_id"] for each in applied["applied"]] == ["ten"]


async def test_an_unknown_or_deleted_customer_gets_no_benefits_but_a_refusal(rules: Rules) -> None:
    await customer(rules, "DELETED", "gone")
    catalog = await with_benefit(rules)
    for customer_id in ("nobody", "gone"):
        with pytest.raises(Rejected, match="NOT_FOUND"):
            await catalog.apply_benefits(ITEMS, customer_id)


async def test_benefits_of_a_tier_are_for_customers_of_the_tier(rules: Rules) -> None:
    await customer(rules)
    customers = CustomerClient(rules.client, TENANT)
    tier = (await customers.get_loyalty_info("c1"))["tier"]
    catalog = await with_benefit(rules, customer_tiers=("GOLD-OF-NOBODY",))
    assert (await catalog.apply_benefits(ITEMS, "c1"))["applied"] == ()
    asked = [each for each in rules.asked if isinstance(each, e.BenefitsApplicationRequested)]
    assert (asked[-1].customer_known, asked[-1].customer_tier) == (True, tier)


async def test_what_the_asking_side_knows_already_is_not_asked_again(rules: Rules) -> None:
    for known, customer_id in ((True, "c1"), (None, "")):
        request = e.BenefitsApplicationRequested(
            timestamp=rules.at, request_id="r", customer_id=customer_id, customer_known=known
        )
        assert await with_customer(rules.client, request) is request
    assert rules.asked == []


async def test_product_info_is_of_the_type_that_is_asked_for(rules: Rules) -> None:
    await stocked(rules)
    catalog = CatalogClient(rules.client, TENANT)
    assert (await catalog.get_product_info("p1"))["name"] == "Bolt"
    assert (await catalog.get_product_info("p1", "PRICING"))["prices"][0]["amount"] == Decimal("1.50")
    with pytest.raises(Rejected, match="NOT_FOUND"):
        await catalog.get_product_info("p2")
    with pytest.raises(Invalid, match="info_type"):
        await catalog.get_product_info("p1", "SECRET")


async def test_products_are_valid_one_by_one(rules: Rules) -> None:
    await stocked(rules)
    catalog = CatalogClient(rules.client, TENANT)
    assert await catalog.validate_products(["p1", "p2"]) == {"p1": True, "p2": False}
    assert await catalog.validate_products([]) == {}


# --- notifications ------------------------------------------------------------------------------------------------


async def test_a_notification_is_known_by_its_id_its_key_or_its_commands(rules: Rules) -> None:
    notifications = NotificationClient(rules.client, TENANT)
    assert await notifications.send_notification(message(notification_id="n-1")) == "n-1"
    assert await notifications.send_notification(message(idempotency_key="k-1")) == "k-1"
    made = await notifications.send_notification(message())
    assert made == rules.asked[-1].event_id
    for sent in ("n-1", "k-1", made):
        assert (await notifications.get_notification_status(sent))["status"] == "SENDING"
    with pytest.raises(Rejected, match="NOT_FOUND"):
        await notifications.get_notification_status("n-2")


async def test_only_what_is_not_being_sent_yet_can_be_cancelled(rules: Rules) -> None:
    notifications = NotificationClient(rules.client, TENANT)
    later = datetime.now(UTC) + timedelta(days=1)
    waiting = await notifications.send_notification(message(send_at=later))
    sending = await notifications.send_notification(message())
    cancelled = [await notifications.cancel_notification(each) for each in (waiting, waiting, sending, "n-2")]
    assert cancelled == [True, False, False, False]


async def test_the_ids_of_a_batch_stand_where_their_notifications_do(rules: Rules) -> None:
    notifications = NotificationClient(rules.client, TENANT)
    batch = [
        message(notification_id="a"),
        message(template="{nobody}"),
        message(),
        message(idempotency_key="d"),
    ]
    ids = await notifications.send_batch_notifications(batch, batch_id="b")
    assert (ids[0], ids[1], ids[3]) == ("a", "", "d")
    assert ids[2]
    with pytest.raises(Rejected, match="VALIDATION_FAILED"):
        await notifications.send_batch_notifications([])


async def test_a_refused_notification_is_an_exception(rules: Rules) -> None:
    notifications = NotificationClient(rules.client, TENANT)
    with pytest.raises(Rejected, match="VALIDATION_FAILED"):
        await notifications.send_notification(message(template="{nobody}"))


# --- what may come instead ----------------------------------------------------------------------------------------


async def test_a_command_that_became_a_dead_letter_is_an_exception_with_its_code(rules: Rules) -> None:
    rules.instead = {"status": "FAILED", "code": "DUPLICATE_CONFLICT", "message": "another body", "facts": ()}
    with pytest.raises(Failed) as failed:
        await CustomerClient(rules.client).validate_customer("c1")
    assert (failed.value.code, failed.value.message) == ("DUPLICATE_CONFLICT", "another body")


async def test_a_repetition_whose_result_was_not_kept_is_no_result(rules: Rules) -> None:
    rules.instead = {
        "code": "DUPLICATE",
        "message": "its result was not kept",
        "facts": (),
        "duplicate": True,
    }
    with pytest.raises(Failed, match="DUPLICATE"):
        await CustomerClient(rules.client).validate_customer("c1")
