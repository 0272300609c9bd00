"""Bad input of every command gives a refusal with its reason code, and leaves the state as it was (issue 4).

A table of each command of stock, catalogue, customers and notifications: one that is accepted, and what may be wrong
with it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from streams import events as e
from streams.routing import is_refusal
from tests.unit.tables.tenant_world import ALLOCATION, COMMANDS, ENDED, OWN, PLACE, prepared

ONE, NEGATIVE = Decimal(1), Decimal(-1)
INVALID, UNKNOWN, UNIT, CONFLICT = "VALIDATION_FAILED", "NOT_FOUND", "UNKNOWN_UNIT", "CONFLICT"
TEA, NONE, CUP = (e.CatalogItem(product_id=name, quantity=ONE) for name in ("tea", "none", "cup"))
LESS_THAN_NONE = e.CatalogItem(product_id="tea", quantity=NEGATIVE)
DOLLARS = e.CatalogItem(product_id="tea", quantity=ONE, currency="USD")
HELLO = e.NotificationBatchItem(channel="LOG", recipient="ann", template="Hello")
NEVER = datetime.max.replace(tzinfo=UTC)

Wrong = tuple[str, dict[str, Any], str]
"""What is wrong, the fields that say so, and the reason code."""

GOODS = {**PLACE, "quantity": ONE}
NOWHERE = ("unknown product", {"product_id": "none"}, UNKNOWN)
NAMELESS = ("no product", {"product_id": ""}, INVALID)
LESS = ("negative quantity", {"quantity": NEGATIVE}, INVALID)
OTHER_UNIT = ("wrong unit", {"uom": "kg"}, UNIT)
NOBODY = ("unknown customer", {"customer_id": "bob"}, UNKNOWN)
BASKETS: list[Wrong] = [
    ("unknown product", {"items": (TEA, NONE)}, UNKNOWN),
    ("negative quantity", {"items": (LESS_THAN_NONE,)}, INVALID),
    ("mixed currency", {"items": (TEA, CUP)}, INVALID),
    ("mixed currency of an item", {"items": (DOLLARS,), "currency": "EUR"}, INVALID),
    ("a currency without prices", {"items": (TEA,), "currency": "USD"}, INVALID),
    ("unknown customer", {"customer_id": "bob", "customer_known": False}, UNKNOWN),
]

TABLE: list[tuple[type, dict[str, Any], type, list[Wrong]]] = [
    (e.StockEntryRequested, GOODS, e.StockCommandRejected, [NAMELESS, LESS, OTHER_UNIT]),
    (
        e.StockAllocationRequested,
        GOODS,
        e.StockAllocationRejected,
        [
            NOWHERE,
            LESS,
            OTHER_UNIT,
            ("unknown strategy", {"strategy": "RANDOM"}, INVALID),
            ("a strategy without its lot", {"strategy": "LOT"}, INVALID),
            ("more than there is", {"quantity": Decimal(8)}, "INSUFFICIENT_STOCK"),
        ],
    ),
    (
        e.StockExitRequested,
        GOODS,
        e.StockExitRejected,
        [
            NOWHERE,
            LESS,
            OTHER_UNIT,
            ("unknown lot", {"lot_id": "Z"}, UNKNOWN),
            ("expired reservation", {"allocation_id": ENDED}, "ALLOCATION_EXPIRED"),
            (
                "more than is reserved",
                {"allocation_id": ALLOCATION, "quantity": Decimal(4)},
                "EXCEEDS_ALLOCATION",
            ),
        ],
    ),
    (
        e.StockMovementRecordRequested,
        {**GOODS, "type": "EXIT", "lot_id": "A"},
        e.StockCommandRejected,
        [
            NOWHERE,
            LESS,
            OTHER_UNIT,
            ("unknown type", {"type": "UNKNOWN"}, INVALID),
            ("negative entry", {"type": "ENTRY", "quantity": NEGATIVE}, INVALID),
            ("negative return", {"type": "RETURN", "quantity": NEGATIVE}, INVALID),
            ("scrap of an unknown product", {"type": "SCRAP", "product_id": "none"}, UNKNOWN),
            (
                "transfer of an unknown product",
                {"type": "TRANSFER_OUT", "product_id": "none", "to_warehouse_id": "w2"},
                UNKNOWN,
            ),
            ("transfer to nowhere", {"type": "TRANSFER_OUT"}, INVALID),
            ("negative count", {"type": "ADJUSTMENT", "quantity": None, "counted": NEGATIVE}, INVALID),
            ("less than is reserved", {"type": "ADJUSTMENT", "quantity": Decimal(-9)}, CONFLICT),
            ("expired reservation", {"allocation_id": ENDED, "lot_id": ""}, "ALLOCATION_EXPIRED"),
        ],
    ),
    (
        e.StockAllocationReleaseRequested,
        {"allocation_id": ALLOCATION},
        e.StockCommandRejected,
        [("no allocation's id", {"allocation_id": "held"}, INVALID)],
    ),
    (
        e.StockAllocationExtendRequested,
        {"allocation_id": ALLOCATION},
        e.StockCommandRejected,
        [
            ("unknown reservation", {"allocation_id": "tea~w1~none"}, UNKNOWN),
            ("expired reservation", {"allocation_id": ENDED}, "ALLOCATION_EXPIRED"),
            ("negative time", {"ttl_seconds": -1}, INVALID),
        ],
    ),
    (
        e.StockLotQuarantineRequested,
        {**PLACE, "lot_id": "A"},
        e.StockCommandRejected,
        [NOWHERE, ("unknown lot", {"lot_id": "Z"}, UNKNOWN)],
    ),
    (
        e.StockLotReleaseRequested,
        {**PLACE, "lot_id": "Q"},
        e.StockCommandRejected,
        [NOWHERE, ("a lot that is not held back", {"lot_id": "A"}, CONFLICT)],
    ),
    (
        e.StockPolicySetRequested,
        {**PLACE, "reorder_point": ONE},
        e.StockCommandRejected,
        [
            NAMELESS,
            ("negative quantity", {"reorder_point": NEGATIVE}, INVALID),
            ("wrong unit", {"uom": "kg"}, CONFLICT),
        ],
    ),
    (e.StockAvailabilityCheckRequested, GOODS, e.StockCommandRejected, [NOWHERE, LESS, OTHER_UNIT]),
    (e.StockProductValidationRequested, {"product_id": "tea"}, e.StockCommandRejected, [NAMELESS]),
    (
        e.CatalogProductUpsertRequested,
        {"product_id": "pot"},
        e.CatalogCommandRejected,
        [NAMELESS, ("unknown status", {"status": "UNKNOWN"}, INVALID)],
    ),
    (
        e.CatalogPriceSetRequested,
        {"product_id": "cup", "currency": "EUR", "amount": ONE},
        e.CatalogCommandRejected,
        [
            NOWHERE,
            ("negative price", {"amount": NEGATIVE}, INVALID),
            ("no currency", {"currency": "euro"}, INVALID),
            ("two prices at a time", {"currency": "USD"}, CONFLICT),
        ],
    ),
    (
        e.CatalogBenefitUpsertRequested,
        {"benefit_id": "five", "kind": "PERCENT", "percent": Decimal(5)},
        e.CatalogCommandRejected,
        [
            ("negative percentage", {"percent": NEGATIVE}, INVALID),
            ("an amount without currency", {"kind": "FIXED", "amount": ONE}, INVALID),
        ],
    ),
    (
        e.CatalogBenefitReserveRequested,
        {"benefit_id": "ten", "reservation_id": "new"},
        e.CatalogCommandRejected,
        [
            ("unknown benefit", {"benefit_id": "none"}, UNKNOWN),
            ("negative quantity", {"redemptions": -1}, INVALID),
            ("more than there are", {"redemptions": 3}, "EXHAUSTED"),
        ],
    ),
    *[
        (
            command,
            {"benefit_id": "ten", "reservation_id": "held"},
            e.CatalogCommandRejected,
            [("expired reservation", {"reservation_id": "ended"}, UNKNOWN)],
        )
        for command in (e.CatalogBenefitRedeemRequested, e.CatalogBenefitReleaseRequested)
    ],
    (
        e.ProductInfoRequested,
        {"request_id": "r", "product_id": "tea"},
        e.CatalogProductInfoRejected,
        [NOWHERE],
    ),
    (e.PricingCalculationRequested, {"request_id": "r", "items": (TEA,)}, e.CatalogPricingRejected, BASKETS),
    (
        e.BenefitsApplicationRequested,
        {"request_id": "r", "items": (TEA,), "customer_id": "ann"},
        e.CatalogBenefitsRejected,
        BASKETS,
    ),
    (
        e.CatalogProductsValidationRequested,
        {"request_id": "r", "product_ids": ("none",)},
        e.CatalogCommandRejected,
        [("no request's id", {"request_id": ""}, INVALID)],
    ),
    (
        e.LoyaltyPointsUpdateRequested,
        {"customer_id": "ann", "transaction_id": "new", "points_change": -90},
        e.LoyaltyPointsRejected,
        [
            ("points above the balance", {"points_change": -91}, "INSUFFICIENT_POINTS"),
            ("no points", {"points_change": 0}, INVALID),
            NOBODY,
            ("blocked customer", {"customer_id": "eve"}, "CUSTOMER_BLOCKED"),
            ("an end of all times", {"points_change": 5, "expires_at": NEVER}, INVALID),
            ("a beginning after it", {"points_change": 5, "activates_at": NEVER}, INVALID),
        ],
    ),
    (
        e.LoyaltyPointsReverseRequested,
        {"customer_id": "ann", "transaction_id": "new", "original_transaction_id": "earn", "points": 5},
        e.LoyaltyPointsRejected,
        [
            ("negative points", {"points": -1}, INVALID),
            ("more than the original", {"points": 101}, "EXCEEDS_ORIGINAL"),
        ],
    ),
    (
        e.LoyaltyPointsHoldRequested,
        {"customer_id": "ann", "hold_id": "new", "points": 90},
        e.LoyaltyPointsRejected,
        [
            ("points above the balance", {"points": 91}, "INSUFFICIENT_POINTS"),
            ("negative points", {"points": -1}, INVALID),
            NOBODY,
        ],
    ),
    (
        e.LoyaltyPointsCaptureRequested,
        {"customer_id": "ann", "hold_id": "held", "transaction_id": "new"},
        e.LoyaltyPointsRejected,
        [
            ("expired reservation", {"hold_id": "ended"}, "HOLD_ENDED"),
            ("more than is held", {"points": 11}, INVALID),
            NOBODY,
        ],
    ),
    (
        e.LoyaltyPointsReleaseRequested,
        {"customer_id": "ann", "hold_id": "held"},
        e.LoyaltyPointsRejected,
        [("unknown hold", {"hold_id": "none"}, UNKNOWN), NOBODY],
    ),
    (e.LoyaltyInfoRequested, {"customer_id": "ann"}, e.CustomerRequestRejected, [NOBODY]),
    (e.CustomerProfileRequested, {"customer_id": "ann"}, e.CustomerRequestRejected, [NOBODY]),
    (
        e.CustomerProfileUpsertRequested,
        {"customer_id": "ann", "name": "Ann"},
        e.CustomerRequestRejected,
        [("unknown status", {"status": "UNKNOWN"}, INVALID)],
    ),
    (
        e.CustomerValidationRequested,
        {"customer_id": "bob"},
        e.CustomerRequestRejected,
        [("no customer", {"customer_id": ""}, INVALID)],
    ),
    (
        e.NotificationSendRequested,
        {"notification_id": "new", "channel": "LOG", "recipient": "ann", "template": "Hello"},
        e.NotificationCommandRejected,
        [
            ("unknown channel", {"channel": "UNKNOWN"}, INVALID),
            ("unknown parameter", {"template": "{nobody}"}, INVALID),
            ("another one's id", {"notification_id": "later"}, "DUPLICATE_CONFLICT"),
        ],
    ),
    (
        e.NotificationBatchSendRequested,
        {"batch_id": "b", "items": (HELLO,)},
        e.NotificationCommandRejected,
        [("nothing to send", {"items": ()}, INVALID), ("no batch's id", {"batch_id": ""}, INVALID)],
    ),
    (
        e.NotificationCancelRequested,
        {"notification_id": "later"},
        e.NotificationCancelRejected,
        [("unknown notification", {"notification_id": "none"}, UNKNOWN)],
    ),
    (
        e.NotificationStatusRequested,
        {"notification_id": "later"},
        e.NotificationCommandRejected,
        [("unknown notification", {"notification_id": "none"}, UNKNOWN)],
    ),
    (
        e.NotificationOptOutSetRequested,
        {"recipient": "ann"},
        e.NotificationCommandRejected,
        [
            ("no recipient", {"recipient": " "}, INVALID),
            ("unknown channel", {"channels": ("UNKNOWN",)}, INVALID),
        ],
    ),
]
CASES = [
    pytest.param(command, {**good, **bad}, refusal, code, id=f"{command.__name__}: {what}")
    for command, good, refusal, wrong in TABLE
    for what, bad, code in wrong
]


@pytest.mark.parametrize(("command", "fields", "refusal", "code"), CASES)
def test_bad_input_is_refused_with_its_code_and_changes_nothing(
    command: type, fields: dict[str, Any], refusal: type, code: str
) -> None:
    tenant = prepared()
    before = tenant.records()
    asked = tenant.command(command, **fields)
    [fact] = tenant.send(asked)
    assert (type(fact), fact.reason_code) == (refusal, code), fact
    assert fact.message
    assert fact.envelope.causation_id == asked.event_id
    assert tenant.records() == before


@pytest.mark.parametrize(("command", "good"), [pytest.param(*row[:2], id=row[0].__name__) for row in TABLE])
def test_without_what_is_wrong_the_command_is_accepted(command: type, good: dict[str, Any]) -> None:
    tenant = prepared()
    facts = tenant.send(tenant.command(command, **good))
    assert facts
    assert not any(is_refusal(type(fact)) for fact in facts)


def test_every_command_has_bad_input_in_the_table() -> None:
    assert {row[0] for row in TABLE} == set(COMMANDS) - OWN
