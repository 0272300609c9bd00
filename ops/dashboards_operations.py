"""What operators look at when something is wrong: dead letters and failures, Kafka and the tables' recovery."""

from __future__ import annotations

from typing import Final

from ops.dashboards_overview import BAD_ABOVE, GOOD_BAD
from ops.dashboards_parts import TABLE, TOPIC, Board, Query, Row, bars, line, number, rate

ON_TOPIC: Final = '{worker, topic=~"$topic"}'
GROUP_TOPIC: Final = '{group, topic=~"$topic"}'
OF_TABLE: Final = '{worker, table=~"$table"}'

FAILURES = Board(
    "failures",
    "Sluice / Dead letters and failures",
    "What could not be processed and why, what waits for a retry, and what was dropped rightly.",
    (
        Row(
            "Now",
            (
                number(
                    "Open dead letters",
                    "Neither replayed nor discarded; `sluice dlq list` shows them.",
                    "short",
                    f"sum(sluice_dead_letters_open{GROUP_TOPIC})",
                    *BAD_ABOVE,
                ),
                number(
                    "Parked keys",
                    "Keys that wait for a retry; their later events wait behind them.",
                    "short",
                    "sum(sluice_parked_keys{worker})",
                    *BAD_ABOVE,
                ),
                number(
                    "Failed attempts",
                    "Share of all attempts to process an event in five minutes.",
                    "percentunit",
                    "max(job:sluice_event_failures:ratio_rate5m{group})",
                    (None, "green"),
                    (0.01, "red"),
                ),
            ),
        ),
        Row(
            "Dead letters",
            (
                line(
                    "Dead letters, by reason",
                    "Sent per second.",
                    "eps",
                    rate("sluice_dead_letters_total", "reason", ON_TOPIC),
                    stacked=True,
                ),
                line(
                    "Dead letters, by topic",
                    "Sent per second.",
                    "eps",
                    rate("sluice_dead_letters_total", "topic", ON_TOPIC),
                    stacked=True,
                ),
                bars(
                    "Open, by topic",
                    "What waits for a person.",
                    "short",
                    Query(f"sum by (topic) (sluice_dead_letters_open{GROUP_TOPIC})", "{{topic}}"),
                ),
            ),
        ),
        Row(
            "Failures and retries",
            (
                line(
                    "Failed attempts, by reason",
                    "Those that are tried again included.",
                    "eps",
                    rate("sluice_event_failures_total", "reason", ON_TOPIC),
                    stacked=True,
                ),
                line(
                    "Retries, by outcome",
                    "Further attempts at events that waited.",
                    "eps",
                    rate("sluice_retries_total", "outcome"),
                ),
                line(
                    "Parked keys, by table",
                    "A line that stays up is a cause that lasts.",
                    "short",
                    Query("sum by (table) (sluice_parked_keys{worker})", "{{table}}"),
                ),
                line(
                    "Duplicates and rerouted events",
                    "Known ids that were dropped, and keys that a producer sent to the wrong partition.",
                    "eps",
                    rate(
                        "sluice_events_processed_total",
                        "outcome",
                        '{worker, topic=~"$topic", outcome=~"duplicate|rerouted"}',
                    ),
                ),
                line(
                    "Refused by rules, by reason",
                    "Not failures: the answer to the command is no.",
                    "eps",
                    rate("sluice_events_refused_total", "reason"),
                ),
                line(
                    "Records that could not be sent",
                    "A failure of outputs or changelogs ends the worker, which starts again where it was.",
                    "eps",
                    rate("sluice_records_sent_total", "producer", '{worker, outcome="failed"}'),
                ),
            ),
        ),
    ),
    (TOPIC,),
)

KAFKA = Board(
    "kafka",
    "Sluice / Kafka and recovery",
    "How far the group is behind, who owns what, and how the tables come back after a restart.",
    (
        Row(
            "Now",
            (
                number(
                    "Broker",
                    "1 where each process reaches a broker.",
                    "short",
                    "min(sluice_broker_reachable{group})",
                    *GOOD_BAD,
                ),
                number(
                    "Registry",
                    "1 where each process reaches the registry. Workers go on without it.",
                    "short",
                    "min(sluice_registry_reachable{group})",
                    *GOOD_BAD,
                ),
                number(
                    "Workers in the group",
                    "As the broker knows them.",
                    "short",
                    "max(sluice_group_members{group})",
                    *GOOD_BAD,
                ),
                number(
                    "Still to recover",
                    "Changelog records to be read before work begins.",
                    "short",
                    "sum(sluice_recovery_remaining_records{worker})",
                    *BAD_ABOVE,
                ),
            ),
        ),
        Row(
            "Lag",
            (
                line(
                    "Lag in records, by partition",
                    "Not committed by the group; one high line alone is a key that is busy.",
                    "short",
                    Query(f"sluice_group_lag_records{GROUP_TOPIC}", "{{topic}} {{partition}}"),
                ),
                line(
                    "Lag in seconds, by partition",
                    "Age of the oldest record that is not committed.",
                    "s",
                    Query(f"sluice_group_lag_seconds{GROUP_TOPIC}", "{{topic}} {{partition}}"),
                ),
                line(
                    "Not in the state, by topic",
                    "As the workers know it; below the group's lag, which waits for commits.",
                    "short",
                    Query(f"sum by (topic) (sluice_consumer_lag_records{ON_TOPIC})", "{{topic}}"),
                ),
                line(
                    "Partitions that stand still",
                    "Time for which a partition had work and did not move.",
                    "s",
                    Query(f"max by (topic) (sluice_partition_still_seconds{ON_TOPIC})", "{{topic}}"),
                ),
                line(
                    "Restarts of itself",
                    "Workers that stood still and started themselves again; in the interval of the chart.",
                    "short",
                    Query(
                        "sum by (instance) (increase(sluice_restarts_total{worker}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                ),
                line(
                    "Duration of the exporter's look",
                    "How long the brokers take to answer; over five seconds the numbers get old.",
                    "s",
                    Query("sluice_exporter_look_seconds{group}", "{{instance}}"),
                ),
            ),
        ),
        Row(
            "Assignment and recovery",
            (
                line(
                    "Partitions, by worker",
                    "Partitions of the chosen tables that each worker owns and has recovered.",
                    "short",
                    Query(f"sum by (instance) (sluice_table_partitions{OF_TABLE})", "{{instance}}"),
                    stacked=True,
                ),
                line(
                    "Assignments received",
                    "In the interval of the chart; a restart with a stable name needs none.",
                    "short",
                    Query(
                        "sum by (instance) (increase(sluice_rebalances_total{worker}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                ),
                line(
                    "Time without work because of rebalances",
                    "Share of the time, recovery included.",
                    "percentunit",
                    rate("sluice_rebalance_seconds_total", "instance"),
                    top=1.0,
                ),
                line(
                    "Still to recover, by table",
                    "Changelog records to be read before work begins.",
                    "short",
                    Query(f"sum by (table) (sluice_recovery_remaining_records{OF_TABLE})", "{{table}}"),
                ),
                line(
                    "Duration of the last recovery",
                    "By worker.",
                    "s",
                    Query("sluice_recovery_seconds{worker}", "{{instance}}"),
                ),
                line(
                    "Changelog records recovered",
                    "Read per second.",
                    "eps",
                    rate("sluice_recovered_records_total", "instance"),
                ),
            ),
        ),
        Row(
            "Tables",
            (
                line(
                    "Records, by table",
                    "On all chosen workers.",
                    "short",
                    Query(f"sum by (table) (sluice_table_keys{OF_TABLE})", "{{table}}"),
                ),
                line(
                    "Size, by table",
                    "Keys and records, without what Python needs around them.",
                    "bytes",
                    Query(f"sum by (table) (sluice_table_bytes{OF_TABLE})", "{{table}}"),
                ),
                line(
                    "Open files",
                    "Share of what each process may open.",
                    "percentunit",
                    Query("process_open_fds{worker} / process_max_fds{worker}", "{{instance}}"),
                    top=1.0,
                ),
            ),
        ),
    ),
    (TOPIC, TABLE),
)
