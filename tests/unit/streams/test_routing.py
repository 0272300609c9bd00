"""The index refuses rows that contradict each other, and finds what the pipeline looks for."""

from __future__ import annotations

from typing import Any

import pytest

from streams.events import RECORDS
from streams.routes import INDEX
from streams.routing import Index, Output, Route, is_command, is_refusal
from tables.state import Aggregate
from tests.unit.streams.core_world import SOURCE, TARGET, Added, AddedRejected, Summed, Tally, index_of


def tenant(event: Any) -> str:
    return str(event.tenant_id)


TALLY = Tally().aggregate
OTHER = Aggregate("other", TALLY.decide, TALLY.fold, ())
ROW = Route(Added, SOURCE, TALLY, tenant)


def test_what_asks_and_what_refuses_is_told_by_the_records_name() -> None:
    commands = {name for name, record in RECORDS.items() if is_command(record)}
    refusals = {name for name, record in RECORDS.items() if is_refusal(record)}
    assert {"sluice.stock.StockExitRequested", "sluice.usage.UsageQuotaSetRequested"} <= commands
    assert {"sluice.stock.StockExitRejected", "sluice.usage.UsageEventRejected"} <= refusals
    assert not commands & refusals
    assert all("reason_code" in RECORDS[name].__struct_fields__ for name in refusals)
    answered = {route.event for route in INDEX.routes if route.answered}
    assert answered == {RECORDS[name] for name in commands}


def test_an_event_is_found_by_its_topic_and_type() -> None:
    index = index_of(Tally())
    assert index.on(SOURCE.name)[Added].emits == (Summed, AddedRejected)
    assert Summed not in index.on(SOURCE.name)
    assert [aggregate.name for aggregate in index.aggregates] == ["tally"]
    assert index.sources("tally") == (SOURCE,)
    assert index.sources("nobody") == ()


def test_two_rows_for_one_event_of_a_topic_are_refused() -> None:
    with pytest.raises(ValueError, match="two routes for Added"):
        Index([ROW, ROW], [])


def test_an_event_that_may_be_emitted_needs_an_output() -> None:
    with pytest.raises(ValueError, match="Summed"):
        Index([Route(Added, SOURCE, TALLY, tenant, (Summed,))], [])


def test_a_topic_belongs_to_one_aggregate() -> None:
    with pytest.raises(ValueError, match="a topic of its own"):
        Index([ROW, Route(Summed, SOURCE, OTHER, tenant)], [])


def test_one_aggregate_may_read_several_topics() -> None:
    index = Index([ROW, Route(Summed, TARGET, TALLY, tenant)], [Output(Summed, TARGET, tenant)])
    assert index.sources("tally") == (SOURCE, TARGET)
    assert len(index.aggregates) == 1
