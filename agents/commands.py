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
    Command("/stock/exits", e.StockExitRequested, "Take goods out of stock", STOCK, 201),
    Command("/stock/movements", e.StockMovementRecordRequested, "Record a movement of any type", STOCK, 201),
    Command("/catalog/products", e.CatalogProductUpsertRequested, "Define or change a product", PRODUCT),
    Command("/catalog/prices", e.CatalogPriceSetRequested, "Set a product's price for a time", PRODUCT),
    Command(
        "/catalog/benefits",
        e.CatalogBenefitUpsertRequested,
        "Define or change a benefit",
        "/catalog/benefits",
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
)
