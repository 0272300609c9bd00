"""The topics: what they are called, how they are keyed and kept, and which records they carry. A literal
catalogue.

``sluice setup`` creates the topics and registers the schemas from it. Renaming a topic restarts its readers
from zero, so a golden test pins the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from struct import iter_unpack
from typing import Literal

from streams import keys
from streams.schemas import contracts

DAY_MS = 86_400_000
MIB = 1024 * 1024

PLATFORM_STATE = ("sluice.platform.Position", "sluice.platform.RecentIds", "sluice.platform.Parked")
"""Records that the pipeline keeps in every changelog beside the table's own."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Attributes:
        name: its name.
        key: what its records are keyed by, for readers of the catalogue.
        records: full names of the records it carries.
        retention_ms: how long records are kept; -1 keeps them for ever.
        max_message_bytes: largest record batch.
        cleanup: Kafka's cleanup policy.
        append_time: stamp records with the broker's clock. Rules take an event's time of arrival from it, and
            a producer's clock would let one event be late today and in time in a replay.
        min_compaction_lag_ms: a compacted topic keeps even overwritten records for this long, so that a
            reader which is recovering does not lose its place in a batch.
    """

    name: str
    key: str
    records: tuple[str, ...]
    retention_ms: int = 35 * DAY_MS
    max_message_bytes: int = MIB
    cleanup: Literal["delete", "compact"] = "delete"
    append_time: bool = True
    min_compaction_lag_ms: int = 0

    @property
    def config(self) -> dict[str, str]:
        """Kafka's topic configuration."""
        config = {
            "cleanup.policy": self.cleanup,
            "message.timestamp.type": "LogAppendTime" if self.append_time else "CreateTime",
            "max.message.bytes": str(self.max_message_bytes),
        }
        if self.cleanup == "delete":
            config["retention.ms"] = str(self.retention_ms)
        else:
            config["min.compaction.lag.ms"] = str(self.min_compaction_lag_ms)
        return config


USAGE_METERED = Topic("usage.metered", "tenant_id", ("sluice.usage.UsageEvent",))
USAGE_COMMANDS = Topic(
    "usage.commands",
    "tenant_id",
    (
        "sluice.usage.UsageEventVoidRequested",
        "sluice.usage.UsageMeterDefineRequested",
        "sluice.usage.UsagePeriodCloseRequested",
        "sluice.usage.UsagePriceSetRequested",
        "sluice.usage.UsageQuotaSetRequested",
        "sluice.usage.UsageTenantSetRequested",
    ),
)
USAGE_EVENTS = Topic(
    "usage.events",
    "tenant_id",
    (
        "sluice.usage.UsageAggregateAdjusted",
        "sluice.usage.UsageAggregateClosed",
        "sluice.usage.UsageAggregateUpdated",
        "sluice.usage.UsageCostMismatchDetected",
        "sluice.usage.UsageEventRejected",
        "sluice.usage.UsageEventVoided",
        "sluice.usage.UsageMeterDefined",
        "sluice.usage.UsagePriceSet",
        "sluice.usage.UsageQuotaPeriodClosed",
        "sluice.usage.UsageQuotaRecovered",
        "sluice.usage.UsageQuotaSet",
        "sluice.usage.UsageQuotaThresholdReached",
        "sluice.usage.UsageTenantSet",
    ),
)
CATALOG_COMMANDS = Topic(
    "catalog.commands",
    "tenant|product_id, tenant|benefit|benefit_id or tenant|request_id",
    (
        "sluice.catalog.BenefitsApplicationRequested",
        "sluice.catalog.CatalogBenefitRedeemRequested",
        "sluice.catalog.CatalogBenefitReleaseRequested",
        "sluice.catalog.CatalogBenefitReserveRequested",
        "sluice.catalog.CatalogBenefitUpsertRequested",
        "sluice.catalog.CatalogPriceSetRequested",
        "sluice.catalog.CatalogProductUpsertRequested",
        "sluice.catalog.CatalogProductsValidationRequested",
        "sluice.catalog.CatalogReservationExpireRequested",
        "sluice.catalog.PricingCalculationRequested",
        "sluice.catalog.ProductInfoRequested",
    ),
)
CATALOG_EVENTS = Topic(
    "catalog.events",
    "that of the command",
    (
        "sluice.catalog.CatalogBenefitChanged",
        "sluice.catalog.CatalogBenefitRedeemed",
        "sluice.catalog.CatalogBenefitReleased",
        "sluice.catalog.CatalogBenefitReserved",
        "sluice.catalog.CatalogBenefitsCompleted",
        "sluice.catalog.CatalogBenefitsRejected",
        "sluice.catalog.CatalogCommandRejected",
        "sluice.catalog.CatalogPriceChanged",
        "sluice.catalog.CatalogPricingCompleted",
        "sluice.catalog.CatalogPricingRejected",
        "sluice.catalog.CatalogProductChanged",
        "sluice.catalog.CatalogProductInfoProvided",
        "sluice.catalog.CatalogProductInfoRejected",
        "sluice.catalog.CatalogProductsValidated",
    ),
)
CATALOG_STATE = Topic(
    "catalog.state",
    "tenant|product_id or tenant|benefit|benefit_id",
    (
        "sluice.catalog.CatalogBenefitSnapshot",
        "sluice.catalog.CatalogProductSnapshot",
    ),
    cleanup="compact",
)
CUSTOMER_COMMANDS = Topic(
    "customer.commands",
    "tenant|customer_id",
    (
        "sluice.customer.CustomerProfileRequested",
        "sluice.customer.CustomerProfileUpsertRequested",
        "sluice.customer.CustomerValidationRequested",
        "sluice.customer.LoyaltyInfoRequested",
        "sluice.customer.LoyaltyPointsActivateRequested",
        "sluice.customer.LoyaltyPointsCaptureRequested",
        "sluice.customer.LoyaltyPointsExpireRequested",
        "sluice.customer.LoyaltyPointsHoldExpireRequested",
        "sluice.customer.LoyaltyPointsHoldRequested",
        "sluice.customer.LoyaltyPointsNoticeRequested",
        "sluice.customer.LoyaltyPointsReleaseRequested",
        "sluice.customer.LoyaltyPointsReversalExpireRequested",
        "sluice.customer.LoyaltyPointsReverseRequested",
        "sluice.customer.LoyaltyPointsUpdateRequested",
        "sluice.customer.LoyaltyTierReviewRequested",
    ),
)
CUSTOMER_EVENTS = Topic(
    "customer.events",
    "tenant|customer_id",
    (
        "sluice.customer.CustomerProfileProvided",
        "sluice.customer.CustomerProfileUpdated",
        "sluice.customer.CustomerRequestRejected",
        "sluice.customer.CustomerValidated",
        "sluice.customer.LoyaltyInfoProvided",
        "sluice.customer.LoyaltyPointsActivated",
        "sluice.customer.LoyaltyPointsEarned",
        "sluice.customer.LoyaltyPointsExpired",
        "sluice.customer.LoyaltyPointsExpiringSoon",
        "sluice.customer.LoyaltyPointsHeld",
        "sluice.customer.LoyaltyPointsRedeemed",
        "sluice.customer.LoyaltyPointsRejected",
        "sluice.customer.LoyaltyPointsReleased",
        "sluice.customer.LoyaltyPointsReversalDeferred",
        "sluice.customer.LoyaltyPointsReversed",
        "sluice.customer.LoyaltyTierDowngraded",
        "sluice.customer.LoyaltyTierUpgraded",
    ),
)
NOTIFICATION_COMMANDS = Topic(
    "notification.commands",
    "tenant|notification_id, tenant|batch_id or tenant|recipient",
    (
        "sluice.notification.NotificationBatchSendRequested",
        "sluice.notification.NotificationCancelRequested",
        "sluice.notification.NotificationDeliveryReported",
        "sluice.notification.NotificationDueRequested",
        "sluice.notification.NotificationOptOutSetRequested",
        "sluice.notification.NotificationSendRequested",
        "sluice.notification.NotificationStatusRequested",
    ),
)
NOTIFICATION_EVENTS = Topic(
    "notification.events",
    "that of the command",
    (
        "sluice.notification.NotificationAccepted",
        "sluice.notification.NotificationBatchAccepted",
        "sluice.notification.NotificationCancelRejected",
        "sluice.notification.NotificationCancelled",
        "sluice.notification.NotificationCommandRejected",
        "sluice.notification.NotificationDelivered",
        "sluice.notification.NotificationExpired",
        "sluice.notification.NotificationFailed",
        "sluice.notification.NotificationScheduled",
        "sluice.notification.NotificationSent",
        "sluice.notification.NotificationStatusProvided",
    ),
)
NOTIFICATION_DELIVERIES = Topic(
    "notification.deliveries",
    "tenant|notification_id",
    ("sluice.notification.NotificationDeliveryOrdered",),
)
NOTIFICATION_STATE = Topic(
    "notification.state",
    "tenant|recipient",
    ("sluice.notification.NotificationOptOut",),
    cleanup="compact",
)
REALTIME_PUSH = Topic("realtime.push", "channel", ("sluice.realtime.RealtimeMessage",))
STOCK_COMMANDS = Topic(
    "stock.commands",
    "tenant|product_id|warehouse_id",
    (
        "sluice.stock.StockAllocationExpireRequested",
        "sluice.stock.StockAllocationExtendRequested",
        "sluice.stock.StockAllocationForgetRequested",
        "sluice.stock.StockAllocationReleaseRequested",
        "sluice.stock.StockAllocationRequested",
        "sluice.stock.StockAvailabilityCheckRequested",
        "sluice.stock.StockEntryRequested",
        "sluice.stock.StockExitRequested",
        "sluice.stock.StockLotExpireRequested",
        "sluice.stock.StockLotQuarantineRequested",
        "sluice.stock.StockLotReleaseRequested",
        "sluice.stock.StockMovementRecordRequested",
        "sluice.stock.StockPolicySetRequested",
        "sluice.stock.StockProductValidationRequested",
        "sluice.stock.StockTransferSettleRequested",
    ),
)
STOCK_EVENTS = Topic(
    "stock.events",
    "tenant|product_id|warehouse_id",
    (
        "sluice.stock.StockAllocationAllocated",
        "sluice.stock.StockAllocationConsumed",
        "sluice.stock.StockAllocationExpired",
        "sluice.stock.StockAllocationExtended",
        "sluice.stock.StockAllocationInvalidated",
        "sluice.stock.StockAllocationPartiallyAllocated",
        "sluice.stock.StockAllocationRejected",
        "sluice.stock.StockAllocationReleased",
        "sluice.stock.StockAvailabilityChecked",
        "sluice.stock.StockCommandRejected",
        "sluice.stock.StockEntryRecorded",
        "sluice.stock.StockExitRecorded",
        "sluice.stock.StockExitRejected",
        "sluice.stock.StockLevelLow",
        "sluice.stock.StockLevelRecovered",
        "sluice.stock.StockLotExpired",
        "sluice.stock.StockLotExpiringSoon",
        "sluice.stock.StockLotQuarantined",
        "sluice.stock.StockLotReleased",
        "sluice.stock.StockMovementRecorded",
        "sluice.stock.StockPolicySet",
        "sluice.stock.StockProductValidated",
        "sluice.stock.StockTransferLanded",
        "sluice.stock.StockTransferReturned",
    ),
)
ALERTS = Topic("alerts", "tenant|alert_type|subject", ("sluice.alerts.Alert",))
EVENTS_FAILED = Topic("events.failed", "the failed event's key", ("sluice.platform.FailureEvent",))

SOURCES = (
    USAGE_METERED,
    USAGE_COMMANDS,
    USAGE_EVENTS,
    STOCK_COMMANDS,
    STOCK_EVENTS,
    CATALOG_COMMANDS,
    CATALOG_EVENTS,
    CUSTOMER_COMMANDS,
    CUSTOMER_EVENTS,
    NOTIFICATION_COMMANDS,
    NOTIFICATION_EVENTS,
    NOTIFICATION_DELIVERIES,
    REALTIME_PUSH,
    ALERTS,
)
"""Topics that somebody of ours reads; each has a dead letter topic."""

SHARED = (CATALOG_STATE, NOTIFICATION_STATE)
"""Compacted topics that every worker reads whole (``streams.replica``); they hold the latest record of each key."""


def dead_letter_topic(topic: str) -> str:
    """Return the name of a topic's dead letter topic."""
    return f"{topic}.dlq"


def changelog_topic(table: str, app_id: str = "sluice") -> str:
    """Return the name of a table's changelog: Faust's, and so part of the consumer group's identity."""
    return f"{app_id}-{table}-changelog"


def dead_letters_of(topic: Topic) -> Topic:
    """Return a topic's dead letter topic.

    It is kept longer, for the repair may take a while, and takes larger batches, because the headers grow. It
    holds the values of its topic, so it carries no records of its own.
    """
    return Topic(
        dead_letter_topic(topic.name),
        topic.key,
        (),
        retention_ms=90 * DAY_MS,
        max_message_bytes=topic.max_message_bytes + MIB,
    )


def changelog_of(table: str, records: Iterable[str], app_id: str = "sluice") -> Topic:
    """Return the changelog of a table that stores ``records`` (full names)."""
    return Topic(
        changelog_topic(table, app_id),
        "record of an aggregate",
        (*records, *PLATFORM_STATE),
        max_message_bytes=16 * MIB,
        cleanup="compact",
        append_time=False,
        min_compaction_lag_ms=3_600_000,
    )


def replies_of(app_id: str = "sluice") -> Topic:
    """Return the topic of the replies to commands. Nobody reads them an hour later."""
    return Topic(
        f"{app_id}.replies",
        "the command's event id",
        ("sluice.platform.Reply",),
        retention_ms=3_600_000,
        max_message_bytes=4 * MIB,
    )


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (*SOURCES, *SHARED, EVENTS_FAILED, *(dead_letters_of(source) for source in SOURCES))
}
"""Every topic but the changelogs, by name."""


def tables() -> dict[str, tuple[str, ...]]:
    """Return the state records of each table, which has the name of its file and of its contracts' folder."""
    found: dict[str, tuple[str, ...]] = {}
    for contract in contracts().values():
        table = contract.name.split(".")[1]
        if contract.kind == "state" and table != "platform":
            found[table] = (*found.get(table, ()), contract.name)
    return found


def all_topics(app_id: str = "sluice") -> list[Topic]:
    """Return every topic, changelogs included: what ``sluice setup`` creates."""
    changelogs = (changelog_of(table, records, app_id) for table, records in tables().items())
    return [*TOPICS.values(), replies_of(app_id), *changelogs]


def catalogue(app_id: str = "sluice") -> Iterator[tuple[str, str, str]]:
    """Yield (subject, schema text, compatibility level) for every record on every topic.

    Events are FULL_TRANSITIVE: any producer, any consumer, and replays from the beginning. State is
    BACKWARD_TRANSITIVE: new code reads all old state, and nobody else reads it (field study 1.3).
    """
    changelogs = {changelog_topic(table, app_id) for table in tables()}
    for topic in all_topics(app_id):
        level = "BACKWARD_TRANSITIVE" if topic.name in changelogs else "FULL_TRANSITIVE"
        for record in topic.records:
            yield f"{topic.name}-{record}", contracts()[record].text, level


key_of = keys.key_of
parts_of = keys.parts_of


@lru_cache(maxsize=65_536)
def murmur2(key: bytes) -> int:
    """Return the positive murmur2 hash of Kafka's Java clients, aiokafka's and Faust's.

    Keys repeat, and hashing one takes microseconds in Python, so the latest are remembered.
    """
    value = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for (word,) in iter_unpack("<I", key[:whole]):
        word = word * 0x5BD1E995 & 0xFFFFFFFF  # noqa: PLW2901 - the mixing steps of one word
        value = (value * 0x5BD1E995 ^ (word ^ word >> 24) * 0x5BD1E995) & 0xFFFFFFFF
    rest = key[whole:]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * 0x5BD1E995 & 0xFFFFFFFF
    value = (value ^ value >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return (value ^ value >> 15) & 0x7FFFFFFF


def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition that a key belongs to, of ``partitions``."""
    return murmur2(key) % partitions
