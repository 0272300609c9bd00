"""What a failure means, when it is tried again, and what its dead letter says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import InvalidOperation
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.failures import (
    RETRYABLE_CODES,
    FatalFailure,
    PoisonFailure,
    RetryableFailure,
    RetryPolicy,
    RetryStrategy,
    classify,
    dead_letter_headers,
)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (TimeoutError(), "retryable", "TIMEOUT"),
        (ConnectionResetError(), "retryable", "TEMPORARY_FAILURE"),
        (RetryableFailure("slow down", code="RATE_LIMIT", retry_after_ms=250), "retryable", "RATE_LIMIT"),
        (ValueError("secret"), "poison", "VALIDATION_FAILED"),
        (InvalidOperation(), "poison", "VALIDATION_FAILED"),
        (KeyError("secret"), "poison", "INVARIANT_VIOLATION"),
        (AssertionError("secret"), "poison", "INVARIANT_VIOLATION"),
        (RecursionError(), "poison", "INVARIANT_VIOLATION"),
        (PoisonFailure("no", code="KEY_MISMATCH"), "poison", "KEY_MISMATCH"),
        (FatalFailure("stop"), "fatal", "INVARIANT_VIOLATION"),
        (MemoryError(), "fatal", "INVARIANT_VIOLATION"),
        (asyncio.CancelledError(), "fatal", "INVARIANT_VIOLATION"),
        (SystemExit(), "fatal", "INVARIANT_VIOLATION"),
    ],
)
def test_every_exception_means_one_of_three_things(error: BaseException, kind: str, code: str) -> None:
    failure = classify(error)
    assert (failure.kind, failure.code) == (kind, code)
    assert (failure.kind == "retryable") == (failure.code in RETRYABLE_CODES)
    assert "secret" not in failure.message


def test_a_cause_may_ask_for_a_delay() -> None:
    assert (
        classify(RetryableFailure("slow down", code="RATE_LIMIT", retry_after_ms=250)).retry_after_ms == 250
    )


def test_a_stack_trace_shows_places_and_no_values() -> None:
    try:
        int("secret")
    except ValueError as error:
        failure = classify(error)
    assert failure.exception == "ValueError"
    assert "test_failures.py:" in failure.stacktrace
    assert "secret" not in failure.stacktrace


def test_the_named_policies_are_those_of_the_requirements() -> None:
    exponential = RetryStrategy.EXPONENTIAL_BACKOFF
    assert RetryPolicy.default() == RetryPolicy(exponential, 3, 1.0, 60.0, 2.0, True)
    assert RetryPolicy.no_retry() == RetryPolicy(RetryStrategy.NONE, 1, 0.0)
    assert RetryPolicy.aggressive_retry() == RetryPolicy(exponential, 5, 1.0, 300.0, 2.0, True)
    assert RetryPolicy.events() == RetryPolicy(exponential, 3, 1.0, 30.0, 2.0, True)
    assert {strategy.value for strategy in RetryStrategy} == {
        "none",
        "fixed_delay",
        "exponential_backoff",
        "linear_backoff",
    }


def test_delays_grow_as_their_strategy_says_up_to_the_cap() -> None:
    def delays(strategy: RetryStrategy) -> list[float]:
        policy = RetryPolicy(strategy, 10, 1.0, 5.0, 2.0, jitter=False)
        return [policy.delay(attempt) for attempt in range(1, 6)]

    assert delays(RetryStrategy.EXPONENTIAL_BACKOFF) == [1, 2, 4, 5, 5]
    assert delays(RetryStrategy.LINEAR_BACKOFF) == [1, 2, 3, 4, 5]
    assert delays(RetryStrategy.FIXED_DELAY) == [1, 1, 1, 1, 1]
    assert delays(RetryStrategy.NONE) == [0, 0, 0, 0, 0]


def test_a_policy_ends_after_its_attempts() -> None:
    assert [RetryPolicy.default().exhausted(attempts) for attempts in (1, 2, 3)] == [False, False, True]
    assert RetryPolicy.no_retry().exhausted(1)
    assert RetryPolicy(RetryStrategy.NONE, max_attempts=9).exhausted(1)


@given(st.integers(1, 5_000), st.text(max_size=20))
def test_a_replay_waits_as_long_as_the_run_it_repeats(attempt: int, seed: str) -> None:
    policy = RetryPolicy(max_attempts=10_000, max_delay_seconds=60.0)
    delay = policy.delay(attempt, seed=seed)
    planned = RetryPolicy(max_attempts=10_000, max_delay_seconds=60.0, jitter=False).delay(attempt)
    assert delay == policy.delay(attempt, seed=seed)
    assert planned / 2 <= delay <= planned


def test_events_that_failed_together_do_not_come_back_together() -> None:
    policy = RetryPolicy.default()
    assert len({policy.delay(1, seed=f"topic/0/{offset}") for offset in range(100)}) == 100
    assert 0.5 <= policy.delay(1) <= 1.0


def test_a_policy_that_makes_no_sense_is_refused() -> None:
    for wrong in ({"max_attempts": 0}, {"initial_delay_seconds": -1.0}, {"backoff_multiplier": 0.5}):
        with pytest.raises(ValueError, match="a retry policy needs"):
            RetryPolicy(**wrong)


def test_a_dead_letter_keeps_the_original_headers_and_adds_the_names_of_kafka_streams() -> None:
    original: list[tuple[str, bytes | None]] = [("a", b"\xff\x00"), ("a", b"2"), ("n", None)]
    failure = classify(ValueError("secret"))
    headers = dead_letter_headers(
        original,
        failure,
        topic="usage.metered",
        partition=3,
        offset=42,
        attempts=2,
        timestamp_ms=1_700_000_000_123,
        consumer_group="sluice",
        agent="usage",
    )
    assert headers[:3] == original
    added = {name: (value or b"").decode() for name, value in headers[3:]}
    assert added == {
        "__streams.errors.exception": "ValueError",
        "__streams.errors.message": failure.message,
        "__streams.errors.topic": "usage.metered",
        "__streams.errors.partition": "3",
        "__streams.errors.offset": "42",
        "sluice.dlq.reason": "VALIDATION_FAILED",
        "sluice.dlq.attempts": "2",
        "sluice.dlq.first-failure": "2023-11-14T22:13:20.123000+00:00",
        "sluice.dlq.consumer-group": "sluice",
        "sluice.dlq.agent": "usage",
        "sluice.dlq.id": "usage.metered/3/42",
    }


def test_a_dead_letter_tells_of_the_first_failure_and_the_stack_where_they_are_known() -> None:
    try:
        int("x")
    except ValueError as error:
        failure = classify(error)
    where: dict[str, Any] = {"topic": "t", "partition": 0, "offset": 0, "attempts": 1, "timestamp_ms": 0}
    where |= {"consumer_group": "g", "agent": "a"}
    first = datetime(2026, 1, 1, tzinfo=UTC)
    headers = dict(dead_letter_headers([], failure, **where, first_failure=first))
    assert headers["sluice.dlq.first-failure"] == b"2026-01-01T00:00:00+00:00"
    assert b"test_failures.py" in (headers["__streams.errors.stacktrace"] or b"")
    bare = dict(dead_letter_headers([], failure, **where, stacktrace=False))
    assert "__streams.errors.stacktrace" not in bare
