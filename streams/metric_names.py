"""The metrics of a worker: what each is called, what it says, its labels, and who counts it. A literal catalogue.

``streams.metrics_families`` makes families from these rows and from nothing else, so a metric without a row cannot
exist. Dashboards, alert rules and ``docs/metrics.md`` are made from the same names: they are an interface, and renaming
one breaks whoever looks at it.

Every label has a bounded set of values, so that neither tenants nor products nor customers add series. No value is a
user's own text: where one could be, it is replaced by ``other``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric.

    Attributes:
        name: as it is scraped; of a histogram without ``_bucket``, ``_sum`` and ``_count``.
        kind: Prometheus' type.
        unit: of the value.
        help: what it says, one sentence.
        counted: who counts it, and when.
        labels: names of its labels, each a key of ``LABELS``.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    counted: str
    labels: tuple[str, ...] = ()


LABELS: Final = {
    "agent": "table whose agent did it (usage, stock, catalog, customer, notification, alerts), or `senders`",
    "app": "SLUICE_APP_ID",
    "event_type": "type of a record of avro/, such as stock.level.low; `other` for what is none",
    "generation": "of Python's garbage collector",
    "implementation": "of Python",
    "major": "of Python's version",
    "meter": "one of those named below, or of SLUICE_METRICS_METERS; `other` for all that tenants name",
    "method": "of HTTP; `other` for unusual ones",
    "minor": "of Python's version",
    "movement": "issued, redeemed, expired, taken_back (a reversed earn) or given_back (a reversed redemption)",
    "outcome": "how it ended; each metric says with which values",
    "partition": "number of the partition",
    "patchlevel": "of Python's version",
    "producer": "outputs (what agents publish), changelog (their state) or client (what came over HTTP)",
    "reason": "code of contracts 3.0, such as VALIDATION_FAILED; `other` beyond 60 different ones",
    "service": "what carries out orders: senders",
    "severity": "info, warning, critical or UNKNOWN",
    "status": "of the HTTP answer, such as 200",
    "table": "name of the table: usage, stock, catalog, customer, notification, alerts",
    "topic": "a topic of streams/topics.py, or its dead letter topic",
    "used": "share of the limit in percent: 0-50, 50-80, 80-100 or 100+; the lower end belongs to it",
    "version": "of Sluice, or of Python",
    "view": "path of the view or command as in /openapi.json, with parameters in braces; `other` for unknown paths",
}
"""What values each label has."""

KNOWN_METERS: Final = (
    "api_call",
    "model_inference",
    "tokens.input",
    "tokens.output",
    "tokens.cache_read",
    "tokens.cache_write",
    "requests",
    "compute.seconds",
    "storage.bytes",
    "bandwidth.bytes",
)
"""Meters that have series of their own.

A tenant may name a meter as it likes, so all others are one: ``other``. The operator adds some with
SLUICE_METRICS_METERS.
"""

SECTIONS: Final = {
    "What the agents do": (
        MetricRow(
            "sluice_events_processed_total",
            "counter",
            "events",
            "Events taken in, by how they ended.",
            "each unit of work, once its outputs are acknowledged; outcome is done, rejected, duplicate, "
            "dead_lettered, parked (waits for a retry, or behind a key that does), postponed (a retry failed) or "
            "rerouted (it belongs under another key or in another partition); an event that was parked counts again "
            "with every retry",
            ("agent", "topic", "outcome"),
        ),
        MetricRow(
            "sluice_events_published_total",
            "counter",
            "records",
            "Records that agents published and the broker acknowledged, dead letters and rerouted ones included.",
            "each unit of work, once its outputs are acknowledged; senders, each report",
            ("agent", "topic"),
        ),
        MetricRow(
            "sluice_facts_total",
            "counter",
            "facts",
            "Facts that the rules answered with and published, by type.",
            "each unit of work, once its outputs are acknowledged",
            ("agent", "event_type"),
        ),
        MetricRow(
            "sluice_unit_seconds",
            "histogram",
            "seconds",
            "Time to decide, send and store a unit of work.",
            "each unit of work, once stored",
            ("agent",),
        ),
        MetricRow(
            "sluice_event_end_to_end_seconds",
            "histogram",
            "seconds",
            "From the broker's append time of an event to its state being stored.",
            "each unit of work, once stored, for each of its events",
            ("topic",),
        ),
    ),
    "What goes wrong": (
        MetricRow(
            "sluice_event_failures_total",
            "counter",
            "attempts",
            "Attempts to process an event that failed, by reason; those that are tried again included.",
            "each unit of work, once its outputs are acknowledged",
            ("agent", "topic", "reason"),
        ),
        MetricRow(
            "sluice_events_refused_total",
            "counter",
            "events",
            "Events that the rules refused, by the reason that their answer gives; nothing is wrong with the pipeline.",
            "each unit of work, once its outputs are acknowledged",
            ("agent", "reason"),
        ),
        MetricRow(
            "sluice_retries_total",
            "counter",
            "attempts",
            "Further attempts at events that waited, by how they ended.",
            "each unit of retries, once its outputs are acknowledged; outcome as in sluice_events_processed_total",
            ("agent", "outcome"),
        ),
        MetricRow(
            "sluice_dead_letters_total",
            "counter",
            "records",
            "Dead letters sent, by the topic they come from.",
            "each unit of work, once its outputs are acknowledged; senders, each dead letter",
            ("topic", "reason"),
        ),
        MetricRow(
            "sluice_parked_keys",
            "gauge",
            "keys",
            "Keys that wait for a retry.",
            "each scrape",
            ("table",),
        ),
    ),
    "Sending": (
        MetricRow(
            "sluice_records_sent_total",
            "counter",
            "records",
            "Records handed to a producer, by what came of them.",
            "each sending; outcome is acknowledged or failed, and a failure of outputs or changelog ends the worker",
            ("producer", "outcome"),
        ),
    ),
    "How far a worker is": (
        MetricRow(
            "sluice_consumer_lag_records",
            "gauge",
            "records",
            "Records that are not in the state yet.",
            "the watch, which asks the broker every few seconds, for each partition in work here",
            ("topic", "partition"),
        ),
        MetricRow(
            "sluice_consumer_lag_seconds",
            "gauge",
            "seconds",
            "Age of the oldest record that is not in the state yet; 0 where there is none.",
            "each scrape, for each partition in work here",
            ("topic", "partition"),
        ),
        MetricRow(
            "sluice_partition_still_seconds",
            "gauge",
            "seconds",
            "Time for which a partition had work and did not move; beyond SLUICE_STALL_TIMEOUT_S /health/live fails.",
            "the watch, for each partition in work here",
            ("topic", "partition"),
        ),
        MetricRow(
            "sluice_backlog_records",
            "gauge",
            "records",
            "Records that were fetched and are not in work yet.",
            "each scrape",
        ),
    ),
    "Tables and their recovery": (
        MetricRow(
            "sluice_table_partitions",
            "gauge",
            "partitions",
            "Partitions that this worker owns and has recovered.",
            "each scrape",
            ("table",),
        ),
        MetricRow(
            "sluice_table_keys",
            "gauge",
            "records",
            "Records stored on this worker; with SLUICE_STORE=rocksdict an estimate.",
            "each scrape",
            ("table",),
        ),
        MetricRow(
            "sluice_table_bytes",
            "gauge",
            "bytes",
            "Size of the keys and records stored on this worker; with SLUICE_STORE=rocksdict an estimate.",
            "each scrape; in memory without what Python needs around them",
            ("table",),
        ),
        MetricRow(
            "sluice_recovery_remaining_records",
            "gauge",
            "records",
            "Changelog records still to be read before work begins, at most; 0 outside of a recovery.",
            "each scrape",
            ("table",),
        ),
        MetricRow(
            "sluice_recovery_seconds",
            "gauge",
            "seconds",
            "Duration of the last recovery.",
            "each recovery, at its end",
        ),
        MetricRow(
            "sluice_recovered_records_total",
            "counter",
            "records",
            "Changelog records read by recoveries.",
            "each recovery, at its end",
        ),
        MetricRow(
            "sluice_rebalances_total",
            "counter",
            "assignments",
            "Assignments received.",
            "each assignment",
        ),
        MetricRow(
            "sluice_rebalance_seconds_total",
            "counter",
            "seconds",
            "Time without work because the assignment changed, recovery included.",
            "each rebalance, at its end",
        ),
    ),
    "The worker": (
        MetricRow("sluice_worker_ready", "gauge", "boolean", "1 when the worker is ready.", "each scrape"),
        MetricRow(
            "sluice_broker_reachable",
            "gauge",
            "boolean",
            "1 when the broker answered last time.",
            "the watch, every few seconds",
        ),
        MetricRow(
            "sluice_registry_reachable",
            "gauge",
            "boolean",
            "1 when the schema registry answered last time; a worker that knows its schemas works without.",
            "the watch, every few seconds",
        ),
        MetricRow(
            "sluice_restarts_total",
            "counter",
            "restarts",
            "Times that the worker stood still and started itself again, in the same process.",
            "the watchdog; goes on through these restarts, and begins at zero with each new process",
        ),
        MetricRow("sluice_build_info", "gauge", "", "The running version.", "always 1", ("app", "version")),
    ),
    "HTTP, commands and orders": (
        MetricRow(
            "sluice_web_requests_total",
            "counter",
            "requests",
            "Requests answered by the web port.",
            "each request, once answered",
            ("view", "method", "status"),
        ),
        MetricRow(
            "sluice_web_request_seconds",
            "histogram",
            "seconds",
            "Time to answer a request of the web port, waiting for a reply included.",
            "each request, once answered",
        ),
        MetricRow(
            "sluice_posted_events_total",
            "counter",
            "events",
            "Events of POST /events, those of a batch each on its own, by what became of them.",
            "each request, once the broker has answered; outcome is taken, invalid, forbidden or unavailable; a "
            "request that is refused whole counts in sluice_web_requests_total only",
            ("outcome",),
        ),
        MetricRow(
            "sluice_client_events_published_total",
            "counter",
            "events",
            "Commands and events that came over HTTP and were published, by type.",
            "the worker's client, each event, once acknowledged",
            ("event_type",),
        ),
        MetricRow(
            "sluice_client_requests_total",
            "counter",
            "commands",
            "Commands that waited for a reply, by what came: replied or timeout.",
            "the worker's client, each request, once it ends",
            ("outcome",),
        ),
        MetricRow(
            "sluice_client_late_replies_total",
            "counter",
            "replies",
            "Replies that nobody waited for any more.",
            "the worker's client, each reply",
        ),
        MetricRow(
            "sluice_effects_total",
            "counter",
            "orders",
            "Orders, by how they ended: answered, known (answered before) or dead_lettered.",
            "senders, each order",
            ("service", "outcome"),
        ),
        MetricRow(
            "sluice_effects_under_way",
            "gauge",
            "orders",
            "Orders taken and not done.",
            "each scrape",
            ("service",),
        ),
    ),
    "The domains": (
        MetricRow(
            "sluice_usage_events_total",
            "counter",
            "events",
            "Usage events counted, by what was metered: the event's resource type, or else its event type.",
            "each unit of work, once its outputs are acknowledged",
            ("meter",),
        ),
        MetricRow(
            "sluice_usage_quantity_total",
            "counter",
            "units of the meter",
            "Usage counted, by what was metered; voids take nothing back.",
            "each unit of work, once its outputs are acknowledged",
            ("meter",),
        ),
        MetricRow(
            "sluice_usage_late_events_total",
            "counter",
            "events",
            "Usage events that came after their hour had closed: counted as an adjustment, or refused as too old.",
            "each unit of work; outcome is counted or refused",
            ("outcome",),
        ),
        MetricRow(
            "sluice_usage_quotas",
            "gauge",
            "quotas",
            "Quotas with usage in their current period, by the share of their limit that is used.",
            "the census of the state, at most every 30 s",
            ("used",),
        ),
        MetricRow(
            "sluice_stock_low_products",
            "gauge",
            "products in a warehouse",
            "Products in a warehouse that are low: at or below their reorder point, and not recovered since.",
            "the census of the state, at most every 30 s",
        ),
        MetricRow(
            "sluice_loyalty_points_total",
            "counter",
            "points",
            "Loyalty points that moved.",
            "each unit of work, once its outputs are acknowledged",
            ("movement",),
        ),
        MetricRow(
            "sluice_alerts_firing",
            "gauge",
            "alerts",
            "Alerts that fire.",
            "the census of the state, at most every 30 s",
            ("severity",),
        ),
    ),
    "The process": (
        MetricRow(
            "process_cpu_seconds_total",
            "counter",
            "seconds",
            "Total user and system CPU time spent in seconds.",
            "prometheus_client",
        ),
        MetricRow(
            "process_resident_memory_bytes",
            "gauge",
            "bytes",
            "Resident memory size in bytes.",
            "prometheus_client",
        ),
        MetricRow(
            "process_virtual_memory_bytes",
            "gauge",
            "bytes",
            "Virtual memory size in bytes.",
            "prometheus_client",
        ),
        MetricRow(
            "process_start_time_seconds",
            "gauge",
            "seconds",
            "Start time of the process since unix epoch in seconds.",
            "prometheus_client",
        ),
        MetricRow(
            "process_open_fds", "gauge", "files", "Number of open file descriptors.", "prometheus_client"
        ),
        MetricRow(
            "process_max_fds",
            "gauge",
            "files",
            "Maximum number of open file descriptors.",
            "prometheus_client",
        ),
        MetricRow(
            "python_info",
            "gauge",
            "",
            "Python platform information",
            "prometheus_client",
            ("implementation", "major", "minor", "patchlevel", "version"),
        ),
        MetricRow(
            "python_gc_objects_collected_total",
            "counter",
            "objects",
            "Objects collected during gc",
            "prometheus_client",
            ("generation",),
        ),
        MetricRow(
            "python_gc_objects_uncollectable_total",
            "counter",
            "objects",
            "Uncollectable objects found during GC",
            "prometheus_client",
            ("generation",),
        ),
        MetricRow(
            "python_gc_collections_total",
            "counter",
            "collections",
            "Number of times this generation was collected",
            "prometheus_client",
            ("generation",),
        ),
    ),
}
"""The metrics by what they are about."""

METRICS: Final = tuple(row for rows in SECTIONS.values() for row in rows)

ROWS: Final = {row.name: row for row in METRICS}
"""The rows by name."""
