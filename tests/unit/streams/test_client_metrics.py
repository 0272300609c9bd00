"""What a program on the bus counts of itself (001-57 to 001-60)."""

from __future__ import annotations

from streams.client import Client
from streams.client_metrics import BusMetrics
from streams.settings import Settings


def test_a_summary_has_what_was_recorded() -> None:
    metrics = BusMetrics()
    metrics.record_event_published("stock.entry.requested", 4.0)
    metrics.record_event_published("stock.entry.requested", 8.0)
    metrics.record_event_processed("stock.level.low", "buyer", 10.0, True)
    metrics.record_event_processed("stock.level.low", "buyer", 30.0, False)
    metrics.record_handler_error("stock.level.low", "buyer", "TimeoutError")
    assert metrics.get_metrics_summary() == {
        "events_published": 2,
        "events_processed": 2,
        "events_failed": 1,
        "handler_errors": 1,
        "published": {"stock.entry.requested": {"count": 2, "average_ms": 6.0, "longest_ms": 8.0}},
        "handlers": {
            "buyer": {
                "stock.level.low": {
                    "count": 2,
                    "average_ms": 20.0,
                    "longest_ms": 30.0,
                    "failed": 1,
                    "errors": {"TimeoutError": 1},
                }
            }
        },
    }


def test_an_error_of_a_handler_that_never_ended_is_shown_too() -> None:
    metrics = BusMetrics()
    metrics.record_handler_error("stock.level.low", "buyer", "KeyError")
    row = metrics.get_metrics_summary()["handlers"]["buyer"]["stock.level.low"]
    assert (row["count"], row["failed"], row["errors"]) == (0, 0, {"KeyError": 1})


def test_a_new_program_has_counted_nothing() -> None:
    summary = BusMetrics().get_metrics_summary()
    assert summary == {
        "events_published": 0,
        "events_processed": 0,
        "events_failed": 0,
        "handler_errors": 0,
        "published": {},
        "handlers": {},
    }


def test_ever_new_types_handlers_and_errors_do_not_fill_the_memory() -> None:
    metrics = BusMetrics()
    for number in range(1000):
        metrics.record_event_published(f"type-{number}", 1.0)
        metrics.record_event_processed("type", f"handler-{number}", 1.0, True)
        metrics.record_handler_error("type", "handler", f"error-{number}")
    summary = metrics.get_metrics_summary()
    assert summary["events_published"] == summary["events_processed"] == summary["handler_errors"] == 1000
    assert len(summary["published"]) <= 61
    assert len(summary["handlers"]) <= 62
    assert len(summary["handlers"]["other"]["type"]["errors"]) <= 61


def test_a_program_that_is_not_to_count_counts_nothing() -> None:
    metrics = Client(Settings(metrics=False)).metrics
    metrics.record_event_published("stock.entry.requested", 4.0)
    metrics.record_event_processed("stock.level.low", "buyer", 10.0, True)
    metrics.record_handler_error("stock.level.low", "buyer", "TimeoutError")
    assert metrics.get_metrics_summary() == BusMetrics().get_metrics_summary()
    assert metrics.published == {}
