"""The dashboard to open first: is it up, is it quick, is it behind, is anything lost."""

from __future__ import annotations

from typing import Final

from ops.dashboards_parts import Board, Query, Row, line, number, quantiles, rate

GOOD_BAD: Final = ((None, "red"), (1.0, "green"))
BAD_ABOVE: Final = ((None, "green"), (1.0, "orange"))
SLOW: Final = ((None, "green"), (0.1, "red"))
DONE: Final = '{worker, outcome="done"}'

OVERVIEW = Board(
    "overview",
    "Sluice / Overview",
    "Whether the workers are up, how much goes through them and how fast, and what waits or died.",
    (
        Row(
            "Now",
            (
                number(
                    "Workers ready",
                    "Workers that have recovered their partitions and reach the broker.",
                    "short",
                    "sum(sluice_worker_ready{worker})",
                    *GOOD_BAD,
                ),
                number(
                    "Events per second",
                    "Events whose results are stored.",
                    "eps",
                    f"sum(rate(sluice_events_processed_total{DONE}[$__rate_interval]))",
                ),
                number(
                    "P95 end to end",
                    "From the broker's append time of an event to its state being stored. The promise is 100 ms.",
                    "s",
                    quantiles("sluice_event_end_to_end_seconds")[1].expr,
                    *SLOW,
                ),
                number(
                    "Backlog",
                    "Records that the group has not committed, told by the exporter, with workers or without.",
                    "short",
                    "sum(sluice_group_lag_records{group})",
                    (None, "green"),
                    (10_000.0, "orange"),
                    (100_000.0, "red"),
                ),
                number(
                    "Oldest waiting",
                    "Age of the oldest record that the group has not committed.",
                    "s",
                    "max(sluice_group_lag_seconds{group})",
                    (None, "green"),
                    (60.0, "orange"),
                    (300.0, "red"),
                ),
                number(
                    "Open dead letters",
                    "Dead letters that nobody has replayed or discarded.",
                    "short",
                    "sum(sluice_dead_letters_open{group})",
                    *BAD_ABOVE,
                ),
                number(
                    "Workers in the group",
                    "Members of the consumer group, as the broker knows them.",
                    "short",
                    "max(sluice_group_members{group})",
                    *GOOD_BAD,
                ),
                number(
                    "Broker",
                    "1 where every worker and the exporter reach a broker.",
                    "short",
                    "min(sluice_broker_reachable{group})",
                    *GOOD_BAD,
                ),
                number(
                    "Registry",
                    "1 where every worker and the exporter reach the schema registry.",
                    "short",
                    "min(sluice_registry_reachable{group})",
                    *GOOD_BAD,
                ),
                number(
                    "Parked keys",
                    "Keys whose events wait for a retry; all others go on.",
                    "short",
                    "sum(sluice_parked_keys{worker})",
                    *BAD_ABOVE,
                ),
                number(
                    "Alerts of tenants",
                    "Alerts that fire in the domains, such as a quota that is used up.",
                    "short",
                    "sum(sluice_alerts_firing{worker})",
                ),
                number(
                    "Version",
                    "Versions that run; more than one during a rolling restart only.",
                    "short",
                    "count by (version) (sluice_build_info{worker})",
                    legend="{{version}}",
                ),
            ),
        ),
        Row(
            "Flow and latency",
            (
                line(
                    "Events done, by table",
                    "Events per second whose results are stored.",
                    "eps",
                    rate("sluice_events_processed_total", "agent", DONE),
                    stacked=True,
                ),
                line(
                    "Latency end to end",
                    "The line is the promise: P95 within 100 ms.",
                    "s",
                    *quantiles("sluice_event_end_to_end_seconds"),
                    steps=SLOW,
                ),
                line(
                    "Events slower than 100 ms",
                    "Share of all events; the objective allows 5 %.",
                    "percentunit",
                    Query("job:sluice_event_slow:ratio_rate5m{group}", "5 minutes"),
                    Query("job:sluice_event_slow:ratio_rate1h{group}", "1 hour"),
                    steps=((None, "green"), (0.05, "red")),
                ),
                line(
                    "Backlog, by topic",
                    "Records that the group has not committed.",
                    "short",
                    Query("sum by (topic) (sluice_group_lag_records{group})", "{{topic}}"),
                ),
                line(
                    "Records published, by topic",
                    "Facts, alerts, replies and dead letters per second.",
                    "eps",
                    rate("sluice_events_published_total", "topic"),
                    stacked=True,
                ),
                line(
                    "Not done, by outcome",
                    "Rejected by a rule, known already, parked, rerouted or dead-lettered; other boards tell more.",
                    "eps",
                    rate("sluice_events_processed_total", "outcome", '{worker, outcome!="done"}'),
                ),
            ),
        ),
        Row(
            "The processes",
            (
                line(
                    "CPU",
                    "Cores that each process uses; a worker uses little more than one.",
                    "short",
                    Query("rate(process_cpu_seconds_total{worker}[$__rate_interval])", "{{instance}}"),
                ),
                line(
                    "Memory",
                    "Resident memory; with SLUICE_STORE=memory all tables are in it.",
                    "bytes",
                    Query("process_resident_memory_bytes{worker}", "{{instance}}"),
                ),
                line(
                    "Requests of the web port",
                    "Views and commands per second, by status.",
                    "reqps",
                    rate("sluice_web_requests_total", "status"),
                ),
            ),
        ),
    ),
)
