"""How events go through a worker: from topics to outcomes, outputs and replies, and how long each step takes."""

from __future__ import annotations

from typing import Final

from ops.dashboards_overview import SLOW
from ops.dashboards_parts import TABLE, TOPIC, Board, Panel, Query, Row, line, quantiles, rate

ON_TOPIC: Final = '{worker, topic=~"$topic"}'
OF_TABLE: Final = '{worker, agent=~"$table"}'
END_TO_END: Final = "sluice_event_end_to_end_seconds"

PIPELINE = Board(
    "pipeline",
    "Sluice / Pipeline",
    "How events go through: what comes in, how it ends, what goes out, and how long it takes.",
    (
        Row(
            "In and out",
            (
                line(
                    "Taken in, by topic",
                    "Events per second, however they ended; an event that was parked counts again with each retry.",
                    "eps",
                    rate("sluice_events_processed_total", "topic", ON_TOPIC),
                    stacked=True,
                ),
                line(
                    "How events ended",
                    "Outcomes per second of the chosen tables.",
                    "eps",
                    rate("sluice_events_processed_total", "outcome", OF_TABLE),
                    stacked=True,
                ),
                line(
                    "Published, by topic",
                    "Records per second that the broker acknowledged.",
                    "eps",
                    rate("sluice_events_published_total", "topic", OF_TABLE),
                    stacked=True,
                ),
                line(
                    "Facts, by type",
                    "The fifteen most frequent facts of the chosen tables.",
                    "eps",
                    Query(
                        f"topk(15, {rate('sluice_facts_total', 'event_type', OF_TABLE).expr})",
                        "{{event_type}}",
                    ),
                ),
                line(
                    "Refused by rules, by reason",
                    "Answers such as INSUFFICIENT_POINTS; nothing is wrong with the pipeline.",
                    "eps",
                    rate("sluice_events_refused_total", "reason", OF_TABLE),
                ),
                line(
                    "Records sent, by producer",
                    "Handed to the outputs', the changelogs' and the client's producer, by what came of them.",
                    "eps",
                    rate("sluice_records_sent_total", "producer, outcome"),
                ),
            ),
        ),
        Row(
            "Latency",
            (
                line(
                    "P95 end to end, by topic",
                    "From the broker's append time to the state being stored; the promise is 100 ms.",
                    "s",
                    Query(
                        "histogram_quantile(0.95, sum by (le, topic) "
                        f"(rate({END_TO_END}_bucket{ON_TOPIC}[$__rate_interval])))",
                        "{{topic}}",
                    ),
                    steps=SLOW,
                ),
                Panel(
                    "Events, by latency end to end",
                    "How many events were how quick; two bands are two groups of events.",
                    "s",
                    (
                        Query(
                            f"sum by (le) (increase({END_TO_END}_bucket{ON_TOPIC}[$__rate_interval]))",
                            "{{le}}",
                        ),
                    ),
                    "heatmap",
                ),
                line(
                    "P95 of a unit of work, by table",
                    "Time to decide, send and store what was taken in together.",
                    "s",
                    Query(
                        "histogram_quantile(0.95, sum by (le, agent) "
                        f"(rate(sluice_unit_seconds_bucket{OF_TABLE}[$__rate_interval])))",
                        "{{agent}}",
                    ),
                ),
                line(
                    "Events in a unit of work",
                    "On average, by table; large units mean that the worker is catching up.",
                    "short",
                    Query(
                        f"sum by (agent) (rate(sluice_events_processed_total{OF_TABLE}[$__rate_interval])) / "
                        f"sum by (agent) (rate(sluice_unit_seconds_count{OF_TABLE}[$__rate_interval]))",
                        "{{agent}}",
                    ),
                ),
                line(
                    "Fetched and not in work",
                    "Records that wait inside each worker.",
                    "short",
                    Query("sluice_backlog_records{worker}", "{{instance}}"),
                ),
                line(
                    "Oldest not in the state",
                    "Age of the oldest record that a worker has in hand, by topic.",
                    "s",
                    Query(f"max by (topic) (sluice_consumer_lag_seconds{ON_TOPIC})", "{{topic}}"),
                ),
            ),
        ),
        Row(
            "HTTP, commands and orders",
            (
                line(
                    "Requests, by view",
                    "The fifteen views and commands that are asked most.",
                    "reqps",
                    Query(f"topk(15, {rate('sluice_web_requests_total', 'view').expr})", "{{view}}"),
                ),
                line(
                    "Time of a request",
                    "Waiting for a reply included.",
                    "s",
                    *quantiles("sluice_web_request_seconds"),
                ),
                line(
                    "Requests that failed",
                    "Answers of 4xx and 5xx, by status; and events that were not taken, for a batch is answered 207.",
                    "reqps",
                    rate("sluice_web_requests_total", "status", '{worker, status=~"[45].."}'),
                    Query(
                        "sum by (outcome) "
                        '(rate(sluice_posted_events_total{worker, outcome!="taken"}[$__rate_interval]))',
                        "event {{outcome}}",
                    ),
                ),
                line(
                    "Published for HTTP",
                    "Commands and events, by type.",
                    "eps",
                    rate("sluice_client_events_published_total", "event_type"),
                ),
                line(
                    "Events of POST /events",
                    "Each on its own, by what became of it.",
                    "eps",
                    rate("sluice_posted_events_total", "outcome"),
                ),
                line(
                    "Commands that waited for a reply",
                    "Replied or timed out; late replies had nobody waiting any more.",
                    "eps",
                    rate("sluice_client_requests_total", "outcome"),
                    Query(
                        "sum(rate(sluice_client_late_replies_total{worker}[$__rate_interval]))", "late reply"
                    ),
                ),
                line(
                    "Orders to the outside",
                    "E-mails and webhooks, by how they ended, and how many are under way.",
                    "short",
                    rate("sluice_effects_total", "service, outcome"),
                    Query("sum by (service) (sluice_effects_under_way{worker})", "{{service}} under way"),
                ),
            ),
        ),
    ),
    (TOPIC, TABLE),
)
