"""The commands over HTTP: which record a POST becomes, and where its result is read.

in     POST /usage, /stock, /catalog, /customers, /notifications ...   JSON in the fields of the record's contract
out    the record, on the topic of its row in streams/routes.py
"""

from __future__ import annotations

from typing import Final

from agents.client_catalog import with_customer
from streams import events as e
from streams.web_commands import Command
from tables.notification_send import notification_id
from tables.stock_names import AllocationId


def _allocation(event: e.StockAllocationRequested) -> dict[str, str]:
    """Return the id that an allocation gets (tables/stock_allocations.py)."""
    made = str(AllocationId(event.product_id, event.warehouse_id, event.request_id or event.event_id))
    return {"allocation_id": event.allocation_id or made}


def _notification(event: e.NotificationSendRequested) -> dict[str, str]:
    return {"notification_id": notification_id(event)}


STOCK: Final = "/stock/{product_id}/{warehouse_id}"
ALLOCATION: Final = "/stock/allocations/{allocation_id}"
PRODUCT: Final = "/catalog/products/{product_id}"
CUSTOMER: Final = "/customers/{customer_id}"
TRANSACTION: Final = CUSTOMER + "/loyalty/transactions/{transaction_id}"
HOLD: Final = CUSTOMER + "/loyalty/holds/{hold_id}"
OF_HOLD: Final = {"customer_id": "customer_id", "hold_id": "hold_id"}
BENEFITS: Final = "/catalog/benefits"
RESERVATION: Final = BENEFITS + "/{benefit_id}/reservations/{reservation_id}"
OF_RESERVATION: Final = {"benefit_id": "benefit_id", "reservation_id": "reservation_id"}
NOTIFICATION: Final = "/notifications/{notification_id}"
TENANT: Final = {"tenant": "tenant_id"}

EVENTS: Final = (e.UsageEvent,)
"""What a tenant's token may send to ``POST /events`` beside its commands; the operator's may send all of the index."""

COMMANDS: Final = (
    Command(
        "/usage/{tenant}/quotas",
        e.UsageQuotaSetRequested,
        "Set or change a quota of a tenant",
        "/usage/{tenant_id}/quotas",
        fields=TENANT,
        operator=True,
    ),
    Command(
        "/usage/{tenant}/prices",
        e.UsagePriceSetRequested,
        "Set what a tenant pays for a resource from a time on",
        "/usage/{tenant_id}/cost",
        fields=TENANT,
        operator=True,
    ),
    Command("/stock/entries", e.StockEntryRequested, "Take goods into stock", STOCK, 201),
    Command(
        "/stock/allocations",
        e.StockAllocationRequested,
        "Reserve stock for a while",
        ALLOCATION,
        201,
        known=_allocation,
    ),
    Command(
        "/stock/allocations/{allocation_id}/release",
        e.StockAllocationReleaseRequested,
        "Give a reservation back",
        ALLOCATION,
        fields={"allocation_id": "allocation_id"},
    ),
    Command(
        "/stock/allocations/{allocation_id}/extend",
        e.StockAllocationExtendRequested,
        "Let a reservation live longer",
        ALLOCATION,
        fields={"allocation_id": "allocation_id"},
    ),
    Command("/stock/exits", e.StockExitRequested, "Take goods out of stock", STOCK, 201),
    Command("/stock/movements", e.StockMovementRecordRequested, "Record a movement of any type", STOCK, 201),
    Command("/stock/lots/quarantine", e.StockLotQuarantineRequested, "Hold a lot back", STOCK),
    Command("/stock/lots/release", e.StockLotReleaseRequested, "Let a lot out of quarantine", STOCK),
    Command(
        "/stock/policies",
        e.StockPolicySetRequested,
        "Set the reorder point and what else holds of stock",
        STOCK,
    ),
    Command("/catalog/products", e.CatalogProductUpsertRequested, "Define or change a product", PRODUCT),
    Command("/catalog/prices", e.CatalogPriceSetRequested, "Set a product's price for a time", PRODUCT),
    Command(BENEFITS, e.CatalogBenefitUpsertRequested, "Define or change a benefit", BENEFITS),
    Command(
        BENEFITS + "/{benefit_id}/reservations",
        e.CatalogBenefitReserveRequested,
        "Reserve redemptions of a limited benefit",
        BENEFITS,
        201,
        fields={"benefit_id": "benefit_id"},
        named=("reservation_id",),
    ),
    Command(
        RESERVATION + "/redeem",
        e.CatalogBenefitRedeemRequested,
        "Redeem what is reserved of a benefit",
        BENEFITS,
        fields=OF_RESERVATION,
    ),
    Command(
        RESERVATION + "/release",
        e.CatalogBenefitReleaseRequested,
        "Give back what is reserved of a benefit",
        BENEFITS,
        fields=OF_RESERVATION,
    ),
    Command(
        BENEFITS + "/application",
        e.BenefitsApplicationRequested,
        "Ask which benefits a customer gets on items now",
        named=("request_id",),
        wait="5s",
        prepare=with_customer,
    ),
    Command(
        "/catalog/pricing",
        e.PricingCalculationRequested,
        "Ask what items cost now, with the customer's benefits",
        named=("request_id",),
        wait="5s",
        prepare=with_customer,
    ),
    Command("/customers", e.CustomerProfileUpsertRequested, "Define or change a customer", CUSTOMER),
    Command(
        CUSTOMER + "/loyalty/transactions",
        e.LoyaltyPointsUpdateRequested,
        "Earn or redeem points",
        TRANSACTION,
        201,
        fields={"customer_id": "customer_id"},
        named=("transaction_id",),
    ),
    Command(
        CUSTOMER + "/loyalty/reversals",
        e.LoyaltyPointsReverseRequested,
        "Reverse an earn or a redemption of points",
        TRANSACTION,
        201,
        fields={"customer_id": "customer_id"},
        named=("transaction_id",),
    ),
    Command(
        CUSTOMER + "/loyalty/holds",
        e.LoyaltyPointsHoldRequested,
        "Set points aside for a while",
        HOLD,
        201,
        fields={"customer_id": "customer_id"},
        named=("hold_id",),
    ),
    Command(
        HOLD + "/capture",
        e.LoyaltyPointsCaptureRequested,
        "Redeem points that are set aside",
        TRANSACTION,
        201,
        fields=OF_HOLD,
        named=("transaction_id",),
    ),
    Command(
        HOLD + "/release",
        e.LoyaltyPointsReleaseRequested,
        "Give points back that are set aside",
        HOLD,
        fields=OF_HOLD,
    ),
    Command(
        "/notifications",
        e.NotificationSendRequested,
        "Send a notification, at once or later",
        NOTIFICATION,
        201,
        known=_notification,
    ),
    Command(
        "/notifications/batch",
        e.NotificationBatchSendRequested,
        "Send many notifications; a bad one fails alone",
        status=201,
        named=("batch_id",),
    ),
    Command(
        "/notifications/{notification_id}/cancel",
        e.NotificationCancelRequested,
        "Cancel a notification that is not being sent yet",
        NOTIFICATION,
        fields={"notification_id": "notification_id"},
    ),
    Command(
        "/notifications/opt-outs",
        e.NotificationOptOutSetRequested,
        "Set which notifications a recipient does not want",
    ),
)
