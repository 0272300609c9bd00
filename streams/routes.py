"""The index. What happens to an event? Find its row; its aggregate's file in ``tables/`` has the answer.

The program runs on these two tables; topic creation, registered schemas and documents are made from them.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final

from streams import events as e
from streams import topics
from streams.routing import Index, Output, Route
from tables.alerts import ALERTS
from tables.catalog import CATALOG
from tables.catalog_names import of_benefit, of_product, of_refused, of_request
from tables.customer import CUSTOMER
from tables.loyalty_names import holding, of_customer, transacting
from tables.notification import NOTIFICATION
from tables.notification_optout import address_key
from tables.notification_send import notification_id
from tables.stock import STOCK
from tables.stock_names import moving, of_stock
from tables.stock_names import reserving as reserving_stock
from tables.usage import USAGE

tenant = attrgetter("tenant_id")


def fingerprint(alert: e.Alert) -> str:
    """Return the key of an alert: one state for each thing that may be wrong (contracts 3.9)."""
    return topics.key_of(alert.tenant_id, alert.alert_type, alert.subject)


def notification(record: Any) -> str:
    """Return the key of a notification's commands, orders and facts (contracts 3.4)."""
    return topics.key_of(record.tenant_id, record.notification_id)


def requested(request: e.NotificationSendRequested) -> str:
    """Return the key of the notification that a request is for."""
    return topics.key_of(request.tenant_id, notification_id(request))


def batch(record: Any) -> str:
    """Return the key of a batch of notifications."""
    return topics.key_of(record.tenant_id, record.batch_id)


def addressed(record: Any) -> str:
    """Return the key of what a recipient of notifications wants."""
    return address_key(record.tenant_id, record.recipient)


def sending(request: e.NotificationSendRequested) -> str:
    """Return by which id a request to send is known."""
    return f"notification|{notification_id(request)}"


def batched(request: e.NotificationBatchSendRequested) -> str:
    """Return by which id a batch is known."""
    return f"batch|{request.batch_id}"


def asked(request: Any) -> str:
    """Return by which id a request to the catalogue is known."""
    return f"{request.TYPE}|{request.request_id}"


def reserving(command: e.CatalogBenefitReserveRequested) -> str:
    """Return by which id a reservation of a benefit is known; a reservation's id is used once."""
    return f"reserve|{command.reservation_id}"


def reported(failure: Any) -> str:
    """Return the key of a failure report where the failed record had none."""
    return str(failure.tenant_id)


METERED: Final = (
    e.UsageAggregateUpdated,
    e.UsageAggregateAdjusted,
    e.UsageQuotaThresholdReached,
    e.UsageQuotaRecovered,
    e.UsageCostMismatchDetected,
    e.UsageEventRejected,
    e.Alert,
)
CHANGED: Final = (
    e.UsageAggregateAdjusted,
    e.UsageQuotaThresholdReached,
    e.UsageQuotaRecovered,
    e.UsageEventRejected,
    e.Alert,
)
CLOSED: Final = (e.UsageAggregateClosed, e.UsageQuotaPeriodClosed, *CHANGED)
SENT: Final = (e.NotificationSent, e.NotificationDelivered, e.NotificationFailed, e.NotificationExpired)
ORDERED: Final = (e.NotificationDeliveryOrdered, e.NotificationExpired, e.NotificationFailed)
ACCEPTED: Final = (
    e.NotificationAccepted,
    e.NotificationScheduled,
    e.NotificationExpired,
    e.NotificationDeliveryOrdered,
    e.NotificationCommandRejected,
)
BATCHED: Final = (e.NotificationBatchAccepted, e.NotificationSendRequested, e.NotificationCommandRejected)
OPTED: Final = (e.NotificationOptOut, e.NotificationCommandRejected)
CANCELLED: Final = (e.NotificationCancelled, e.NotificationCancelRejected)
STATUS: Final = (e.NotificationStatusProvided, e.NotificationCommandRejected)
LEVELS: Final = (e.StockLotExpired, e.StockLevelLow, e.StockLevelRecovered, e.Alert)
STOCKED: Final = (*LEVELS, e.StockCommandRejected)
ENTERED: Final = (e.StockEntryRecorded, e.StockTransferSettleRequested, *STOCKED)
ALLOCATED: Final = (
    e.StockAllocationAllocated,
    e.StockAllocationPartiallyAllocated,
    e.StockAllocationRejected,
    *LEVELS,
)
EXITED: Final = (e.StockExitRecorded, e.StockAllocationConsumed, e.StockExitRejected, *LEVELS)
GIVEN_BACK: Final = (
    e.StockAllocationReleased,
    e.StockAllocationExpired,
    e.StockAllocationConsumed,
    e.StockAllocationInvalidated,
    *STOCKED,
)
MOVED: Final = (
    e.StockMovementRecorded,
    e.StockEntryRequested,
    e.StockAllocationConsumed,
    e.StockAllocationInvalidated,
    *STOCKED,
)
WATCHED: Final = (e.StockLotExpiringSoon, e.StockAllocationInvalidated, *LEVELS)
SETTLED: Final = (e.StockTransferLanded, e.StockTransferReturned, *LEVELS)
REFUSED: Final = e.CatalogCommandRejected
PRODUCT: Final = (e.CatalogProductChanged, e.CatalogProductSnapshot, REFUSED)
PRICE: Final = (e.CatalogPriceChanged, e.CatalogProductSnapshot, REFUSED)
BENEFIT: Final = (e.CatalogBenefitChanged, e.CatalogBenefitSnapshot, REFUSED)
EXPIRED: Final = (e.CatalogBenefitReleased, e.CatalogBenefitChanged, e.CatalogBenefitSnapshot)
INFO: Final = (e.CatalogProductInfoProvided, e.CatalogProductInfoRejected, REFUSED)
PRICED: Final = (e.CatalogPricingCompleted, e.CatalogPricingRejected)
GRANTED: Final = (e.CatalogBenefitsCompleted, e.CatalogBenefitsRejected)
VALIDATED: Final = (e.CatalogProductsValidated, REFUSED)

TIME: Final = (e.LoyaltyPointsActivated, e.LoyaltyPointsExpired)
REVERSED: Final = (*TIME, e.LoyaltyPointsReversed, e.LoyaltyPointsReversalDeferred, e.LoyaltyPointsRejected)
POINTS: Final = (
    *TIME,
    e.LoyaltyPointsEarned,
    e.LoyaltyPointsRedeemed,
    e.LoyaltyPointsReversed,
    e.LoyaltyPointsRejected,
    e.LoyaltyTierUpgraded,
    e.CustomerProfileUpdated,
)
HELD: Final = (*TIME, e.LoyaltyPointsHeld, e.LoyaltyPointsRejected)
CAPTURED: Final = (
    *TIME,
    e.LoyaltyPointsRedeemed,
    e.LoyaltyPointsReleased,
    e.LoyaltyPointsReversed,
    e.LoyaltyPointsRejected,
)
RELEASED: Final = (*TIME, e.LoyaltyPointsReleased, e.LoyaltyPointsRejected)
PROVIDED: Final = (e.CustomerProfileProvided, e.CustomerRequestRejected)
UPSERTED: Final = (e.CustomerProfileUpdated, e.CustomerRequestRejected)
CHECKED: Final = (e.CustomerValidated, e.CustomerRequestRejected)
TOLD: Final = (e.LoyaltyInfoProvided, e.CustomerRequestRejected)
AGED: Final = (*TIME, e.LoyaltyPointsRejected)
NOTICED: Final = (e.LoyaltyPointsExpiringSoon, e.LoyaltyPointsRejected)
UNDONE: Final = (e.LoyaltyPointsRejected,)
REVIEWED: Final = (e.LoyaltyTierDowngraded, e.LoyaltyPointsRejected)

# fmt: off
ROUTES: Final = (
    #     event in                      topic                  aggregate  key          may emit
    Route(e.UsageEvent,                 topics.USAGE_METERED,  USAGE,     tenant,      METERED),
    Route(e.UsageQuotaSetRequested,     topics.USAGE_COMMANDS, USAGE,     tenant,      (e.UsageQuotaSet, *CHANGED)),
    Route(e.UsageMeterDefineRequested,  topics.USAGE_COMMANDS, USAGE,     tenant,      (e.UsageMeterDefined, *CHANGED)),
    Route(e.UsagePriceSetRequested,     topics.USAGE_COMMANDS, USAGE,     tenant,      (e.UsagePriceSet, *CHANGED)),
    Route(e.UsageTenantSetRequested,    topics.USAGE_COMMANDS, USAGE,     tenant,      (e.UsageTenantSet, *CHANGED)),
    Route(e.UsageEventVoidRequested,    topics.USAGE_COMMANDS, USAGE,     tenant,      (e.UsageEventVoided, *CHANGED)),
    Route(e.UsagePeriodCloseRequested,  topics.USAGE_COMMANDS, USAGE,     tenant,      CLOSED),
    Route(e.Alert,                      topics.ALERTS,         ALERTS,    fingerprint, (e.NotificationSendRequested,)),
    Route(e.NotificationSendRequested,      topics.NOTIFICATION_COMMANDS, NOTIFICATION, requested, ACCEPTED, sending),
    Route(e.NotificationBatchSendRequested, topics.NOTIFICATION_COMMANDS, NOTIFICATION, batch, BATCHED, batched),
    Route(e.NotificationCancelRequested,    topics.NOTIFICATION_COMMANDS, NOTIFICATION, notification, CANCELLED),
    Route(e.NotificationStatusRequested,    topics.NOTIFICATION_COMMANDS, NOTIFICATION, notification, STATUS),
    Route(e.NotificationOptOutSetRequested, topics.NOTIFICATION_COMMANDS, NOTIFICATION, addressed, OPTED),
    Route(e.NotificationDueRequested,       topics.NOTIFICATION_COMMANDS, NOTIFICATION, notification, ORDERED),
    Route(e.NotificationDeliveryReported,   topics.NOTIFICATION_COMMANDS, NOTIFICATION, notification,
          (*SENT, e.NotificationCommandRejected)),
    Route(e.RealtimeMessage, topics.REALTIME_PUSH, NOTIFICATION, attrgetter("channel"), (e.NotificationSendRequested,)),
    Route(e.StockEntryRequested,             topics.STOCK_COMMANDS, STOCK, of_stock, ENTERED, moving),
    Route(e.StockAllocationRequested,        topics.STOCK_COMMANDS, STOCK, of_stock, ALLOCATED, reserving_stock),
    Route(e.StockExitRequested,              topics.STOCK_COMMANDS, STOCK, of_stock, EXITED, moving),
    Route(e.StockMovementRecordRequested,    topics.STOCK_COMMANDS, STOCK, of_stock, MOVED, moving),
    Route(e.StockAllocationReleaseRequested, topics.STOCK_COMMANDS, STOCK, of_stock, GIVEN_BACK),
    Route(e.StockAllocationExtendRequested,  topics.STOCK_COMMANDS, STOCK, of_stock,
          (e.StockAllocationExtended, *STOCKED)),
    Route(e.StockLotQuarantineRequested,     topics.STOCK_COMMANDS, STOCK, of_stock,
          (e.StockLotQuarantined, *STOCKED)),
    Route(e.StockLotReleaseRequested,        topics.STOCK_COMMANDS, STOCK, of_stock, (e.StockLotReleased, *STOCKED)),
    Route(e.StockPolicySetRequested,         topics.STOCK_COMMANDS, STOCK, of_stock, (e.StockPolicySet, *STOCKED)),
    Route(e.StockAvailabilityCheckRequested, topics.STOCK_COMMANDS, STOCK, of_stock,
          (e.StockAvailabilityChecked, e.StockCommandRejected)),
    Route(e.StockProductValidationRequested, topics.STOCK_COMMANDS, STOCK, of_stock,
          (e.StockProductValidated, e.StockCommandRejected)),
    Route(e.StockAllocationExpireRequested,  topics.STOCK_COMMANDS, STOCK, of_stock,
          (e.StockAllocationExpired, *LEVELS)),
    Route(e.StockAllocationForgetRequested,  topics.STOCK_COMMANDS, STOCK, of_stock),
    Route(e.StockLotExpireRequested,         topics.STOCK_COMMANDS, STOCK, of_stock, WATCHED),
    Route(e.StockTransferSettleRequested,    topics.STOCK_COMMANDS, STOCK, of_stock, SETTLED),
    Route(e.CatalogProductUpsertRequested,      topics.CATALOG_COMMANDS, CATALOG, of_product, PRODUCT),
    Route(e.CatalogPriceSetRequested,           topics.CATALOG_COMMANDS, CATALOG, of_product, PRICE),
    Route(e.CatalogBenefitUpsertRequested,      topics.CATALOG_COMMANDS, CATALOG, of_benefit, BENEFIT),
    Route(e.CatalogBenefitReserveRequested,     topics.CATALOG_COMMANDS, CATALOG, of_benefit,
          (e.CatalogBenefitReserved, *BENEFIT), reserving),
    Route(e.CatalogBenefitRedeemRequested,      topics.CATALOG_COMMANDS, CATALOG, of_benefit,
          (e.CatalogBenefitRedeemed, REFUSED)),
    Route(e.CatalogBenefitReleaseRequested,     topics.CATALOG_COMMANDS, CATALOG, of_benefit, (*EXPIRED, REFUSED)),
    Route(e.CatalogReservationExpireRequested,  topics.CATALOG_COMMANDS, CATALOG, of_benefit, EXPIRED),
    Route(e.ProductInfoRequested,               topics.CATALOG_COMMANDS, CATALOG, of_request, INFO, asked),
    Route(e.PricingCalculationRequested,        topics.CATALOG_COMMANDS, CATALOG, of_request, PRICED, asked),
    Route(e.BenefitsApplicationRequested,       topics.CATALOG_COMMANDS, CATALOG, of_request, GRANTED, asked),
    Route(e.CatalogProductsValidationRequested, topics.CATALOG_COMMANDS, CATALOG, of_request, VALIDATED, asked),
    Route(e.LoyaltyPointsUpdateRequested,       topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, POINTS, transacting),
    Route(e.LoyaltyPointsReverseRequested,      topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, REVERSED, transacting),
    Route(e.LoyaltyPointsHoldRequested,         topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, HELD, holding),
    Route(e.LoyaltyPointsCaptureRequested,      topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, CAPTURED, transacting),
    Route(e.LoyaltyPointsReleaseRequested,      topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, RELEASED),
    Route(e.LoyaltyInfoRequested,               topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, TOLD),
    Route(e.CustomerProfileRequested,           topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, PROVIDED),
    Route(e.CustomerProfileUpsertRequested,     topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, UPSERTED),
    Route(e.CustomerValidationRequested,        topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, CHECKED),
    Route(e.LoyaltyPointsActivateRequested,     topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, AGED),
    Route(e.LoyaltyPointsExpireRequested,       topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, AGED),
    Route(e.LoyaltyPointsNoticeRequested,       topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, NOTICED),
    Route(e.LoyaltyPointsHoldExpireRequested,   topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, RELEASED),
    Route(e.LoyaltyPointsReversalExpireRequested,topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, UNDONE),
    Route(e.LoyaltyTierReviewRequested,         topics.CUSTOMER_COMMANDS, CUSTOMER, of_customer, REVIEWED),
)

OUTPUTS: Final = (
    #      event out                     topic                 key
    Output(e.UsageAggregateUpdated,      topics.USAGE_EVENTS,  tenant),
    Output(e.UsageAggregateAdjusted,     topics.USAGE_EVENTS,  tenant),
    Output(e.UsageAggregateClosed,       topics.USAGE_EVENTS,  tenant),
    Output(e.UsageQuotaThresholdReached, topics.USAGE_EVENTS,  tenant),
    Output(e.UsageQuotaRecovered,        topics.USAGE_EVENTS,  tenant),
    Output(e.UsageQuotaPeriodClosed,     topics.USAGE_EVENTS,  tenant),
    Output(e.UsageCostMismatchDetected,  topics.USAGE_EVENTS,  tenant),
    Output(e.UsageEventRejected,         topics.USAGE_EVENTS,  tenant),
    Output(e.UsageEventVoided,           topics.USAGE_EVENTS,  tenant),
    Output(e.UsageQuotaSet,              topics.USAGE_EVENTS,  tenant),
    Output(e.UsageMeterDefined,          topics.USAGE_EVENTS,  tenant),
    Output(e.UsagePriceSet,              topics.USAGE_EVENTS,  tenant),
    Output(e.UsageTenantSet,             topics.USAGE_EVENTS,  tenant),
    Output(e.Alert,                      topics.ALERTS,        fingerprint),
    Output(e.NotificationSendRequested,   topics.NOTIFICATION_COMMANDS, requested),
    Output(e.NotificationAccepted,        topics.NOTIFICATION_EVENTS, notification),
    Output(e.NotificationScheduled,       topics.NOTIFICATION_EVENTS, notification),
    Output(e.NotificationSent,            topics.NOTIFICATION_EVENTS, notification),
    Output(e.NotificationDelivered,       topics.NOTIFICATION_EVENTS, notification),
    Output(e.NotificationFailed,          topics.NOTIFICATION_EVENTS, notification),
    Output(e.NotificationExpired,         topics.NOTIFICATION_EVENTS, notification),
    Output(e.NotificationCancelled,       topics.NOTIFICATION_EVENTS, notification),
    Output(e.NotificationCancelRejected,  topics.NOTIFICATION_EVENTS, notification),
    Output(e.NotificationCommandRejected, topics.NOTIFICATION_EVENTS, notification),
    Output(e.NotificationStatusProvided,  topics.NOTIFICATION_EVENTS, notification),
    Output(e.NotificationBatchAccepted,   topics.NOTIFICATION_EVENTS, batch),
    Output(e.NotificationOptOut,          topics.NOTIFICATION_STATE, addressed),
    Output(e.NotificationDeliveryOrdered, topics.NOTIFICATION_DELIVERIES, notification),
    Output(e.NotificationDeliveryReported, topics.NOTIFICATION_COMMANDS, notification),
    Output(e.RealtimeMessage,             topics.REALTIME_PUSH,  attrgetter("channel")),
    Output(e.StockProductValidated,           topics.STOCK_EVENTS,   of_stock),
    Output(e.StockAvailabilityChecked,        topics.STOCK_EVENTS,   of_stock),
    Output(e.StockEntryRecorded,              topics.STOCK_EVENTS,   of_stock),
    Output(e.StockMovementRecorded,           topics.STOCK_EVENTS,   of_stock),
    Output(e.StockAllocationAllocated,        topics.STOCK_EVENTS,   of_stock),
    Output(e.StockAllocationPartiallyAllocated,topics.STOCK_EVENTS,   of_stock),
    Output(e.StockAllocationRejected,         topics.STOCK_EVENTS,   of_stock),
    Output(e.StockAllocationReleased,         topics.STOCK_EVENTS,   of_stock),
    Output(e.StockAllocationExpired,          topics.STOCK_EVENTS,   of_stock),
    Output(e.StockAllocationExtended,         topics.STOCK_EVENTS,   of_stock),
    Output(e.StockAllocationConsumed,         topics.STOCK_EVENTS,   of_stock),
    Output(e.StockAllocationInvalidated,      topics.STOCK_EVENTS,   of_stock),
    Output(e.StockExitRecorded,               topics.STOCK_EVENTS,   of_stock),
    Output(e.StockExitRejected,               topics.STOCK_EVENTS,   of_stock),
    Output(e.StockLotExpiringSoon,            topics.STOCK_EVENTS,   of_stock),
    Output(e.StockLotExpired,                 topics.STOCK_EVENTS,   of_stock),
    Output(e.StockLotQuarantined,             topics.STOCK_EVENTS,   of_stock),
    Output(e.StockLotReleased,                topics.STOCK_EVENTS,   of_stock),
    Output(e.StockLevelLow,                   topics.STOCK_EVENTS,   of_stock),
    Output(e.StockLevelRecovered,             topics.STOCK_EVENTS,   of_stock),
    Output(e.StockPolicySet,                  topics.STOCK_EVENTS,   of_stock),
    Output(e.StockTransferLanded,             topics.STOCK_EVENTS,   of_stock),
    Output(e.StockTransferReturned,           topics.STOCK_EVENTS,   of_stock),
    Output(e.StockCommandRejected,            topics.STOCK_EVENTS,   of_stock),
    Output(e.StockEntryRequested,             topics.STOCK_COMMANDS, of_stock),
    Output(e.StockTransferSettleRequested,    topics.STOCK_COMMANDS, of_stock),
    Output(e.CatalogProductChanged,       topics.CATALOG_EVENTS, of_product),
    Output(e.CatalogPriceChanged,         topics.CATALOG_EVENTS, of_product),
    Output(e.CatalogBenefitChanged,       topics.CATALOG_EVENTS, of_benefit),
    Output(e.CatalogBenefitReserved,      topics.CATALOG_EVENTS, of_benefit),
    Output(e.CatalogBenefitRedeemed,      topics.CATALOG_EVENTS, of_benefit),
    Output(e.CatalogBenefitReleased,      topics.CATALOG_EVENTS, of_benefit),
    Output(e.CatalogProductInfoProvided,  topics.CATALOG_EVENTS, of_request),
    Output(e.CatalogProductInfoRejected,  topics.CATALOG_EVENTS, of_request),
    Output(e.CatalogPricingCompleted,     topics.CATALOG_EVENTS, of_request),
    Output(e.CatalogPricingRejected,      topics.CATALOG_EVENTS, of_request),
    Output(e.CatalogBenefitsCompleted,    topics.CATALOG_EVENTS, of_request),
    Output(e.CatalogBenefitsRejected,     topics.CATALOG_EVENTS, of_request),
    Output(e.CatalogProductsValidated,    topics.CATALOG_EVENTS, of_request),
    Output(e.CatalogCommandRejected,      topics.CATALOG_EVENTS, of_refused),
    Output(e.CatalogProductSnapshot,      topics.CATALOG_STATE,  of_product),
    Output(e.CatalogBenefitSnapshot,      topics.CATALOG_STATE,  of_benefit),
    Output(e.CustomerProfileProvided,     topics.CUSTOMER_EVENTS, of_customer),
    Output(e.CustomerProfileUpdated,      topics.CUSTOMER_EVENTS, of_customer),
    Output(e.CustomerValidated,           topics.CUSTOMER_EVENTS, of_customer),
    Output(e.CustomerRequestRejected,     topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyInfoProvided,         topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyPointsEarned,         topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyPointsActivated,      topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyPointsRedeemed,       topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyPointsReversed,       topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyPointsReversalDeferred,topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyPointsExpired,        topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyPointsExpiringSoon,   topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyPointsHeld,           topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyPointsReleased,       topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyPointsRejected,       topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyTierUpgraded,         topics.CUSTOMER_EVENTS, of_customer),
    Output(e.LoyaltyTierDowngraded,       topics.CUSTOMER_EVENTS, of_customer),
    Output(e.FailureEvent,               topics.EVENTS_FAILED, reported),
)
# fmt: on

INDEX: Final = Index(ROUTES, OUTPUTS, topics.SHARED)
