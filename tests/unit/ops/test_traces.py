"""How rows of the trace become events (shared rules: the same everywhere, so totals can be checked)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest

from ops.errors import OpsError
from ops.journal import Journal, JournalFile
from ops.replay import chunks, due_seconds
from ops.traces import LLM_TRACE, LlmTrace, read_llm_trace
from streams.events import UsageEvent

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def events_of(trace: LlmTrace) -> list[UsageEvent]:
    return [outgoing.event for row in range(len(trace)) for outgoing in trace.events(row, NOW)]


def test_the_committed_sample_is_whole_and_attributed() -> None:
    rows = read_llm_trace(LLM_TRACE)
    assert len(rows) == 8819
    assert (rows[0].context, rows[0].generated) == (4808, 10)
    attribution = LLM_TRACE.with_name("ATTRIBUTION.md").read_text()
    assert LLM_TRACE.name in attribution
    assert "CC BY 4.0" in attribution


def test_a_row_becomes_an_event_for_tokens_in_and_one_for_tokens_out() -> None:
    rows = read_llm_trace(LLM_TRACE)
    events = events_of(LlmTrace(LLM_TRACE))
    assert len(events) == 2 * len(rows)
    taken, made = events[2 * 507 : 2 * 508]
    assert (taken.resource_type, taken.quantity) == ("tokens.input", Decimal(rows[507].context))
    assert (made.resource_type, made.quantity) == ("tokens.output", Decimal(rows[507].generated))
    for event in (taken, made):
        assert event.event_id == str(uuid5(NAMESPACE_URL, f"{LLM_TRACE.name}#507/{event.resource_type}"))
        assert (event.tenant_id, event.user_id) == ("tenant-07", "user-007")
        assert (event.service_name, event.unit) == ("llm-gateway", "tokens")
        assert event.event_type == "usage.metered.model_inference"
        assert event.metadata == {"model_name": "gpt-4"}


def test_times_keep_their_distances_and_the_last_row_falls_where_asked() -> None:
    rows = read_llm_trace(LLM_TRACE)
    events = events_of(LlmTrace(LLM_TRACE))
    assert events[-1].timestamp == NOW
    assert events[-1].timestamp - events[0].timestamp == rows[-1].at - rows[0].at


def test_events_go_to_the_topic_of_metering_under_their_tenant_and_their_own_type() -> None:
    taken, made = LlmTrace(LLM_TRACE).events(507, NOW)
    for topic, key, event, event_type in (taken, made):
        assert (topic, key) == ("usage.metered", event.tenant_id)
        assert event_type == "usage.metered.model_inference"


def test_a_copy_is_the_same_trace_with_ids_of_its_own() -> None:
    first, second = (list(LlmTrace(LLM_TRACE, copy).events(0, NOW)) for copy in (0, 1))
    assert first[0].event.event_id != second[0].event.event_id
    assert first[0].event.quantity == second[0].event.quantity


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "TIMESTAMP,ContextTokens,GeneratedTokens\n", ""])
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.csv"
    file.write_text(content)
    with pytest.raises(OpsError) as refusal:
        read_llm_trace(file)
    assert "columns TIMESTAMP,ContextTokens,GeneratedTokens" in refusal.value.remedy


def test_a_broken_row_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "broken.csv"
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97,many,10\n")
    with pytest.raises(OpsError, match="many"):
        read_llm_trace(file)


def test_rows_are_due_by_rate_by_speed_or_at_once() -> None:
    trace = LlmTrace(LLM_TRACE)
    assert due_seconds(trace, 10, 100, None)(60) == 1.0
    apart = (trace.rows[60].at - trace.rows[10].at).total_seconds()
    assert due_seconds(trace, 10, None, 2)(60) == pytest.approx(apart / 2)
    assert due_seconds(trace, 10, None, None)(8000) == 0


def test_chunks_cover_all_rows_without_overlap() -> None:
    cut = list(chunks(3, 2003, lambda row: row / 400))
    assert cut[0][0] == 3
    assert cut[-1][1] == 2003
    assert all(before[1] == after[0] for before, after in pairwise(cut))


def test_rows_that_were_sent_keep_their_times_and_others_get_new_ones() -> None:
    journal = Journal()
    yesterday = NOW - timedelta(days=1)
    journal.begin(0, 100, yesterday)
    journal.begin(100, 200, yesterday)
    assert list(journal.times(0, 1000, NOW)) == [(0, 200, yesterday), (200, 1000, NOW)]
    assert list(journal.times(150, 1000, NOW)) == [(150, 200, yesterday), (200, 1000, NOW)]
    journal.begin(150, 200, yesterday)
    journal.begin(200, 1000, NOW)
    assert list(journal.times(0, 1000, NOW + timedelta(1))) == [(0, 200, yesterday), (200, 1000, NOW)]


def test_journals_of_two_traces_that_are_sent_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    files = [JournalFile(tmp_path / "replays.json") for _ in range(2)]

    def write(number: int) -> None:
        for done in range(50):
            files[number].write(f"trace {number}", Journal(done))

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(2)))
    assert [files[0].read(f"trace {number}").done for number in range(2)] == [49, 49]
