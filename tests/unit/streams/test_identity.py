"""Two sendings of one command have the same checksum, whatever else they do not have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from streams.events import Envelope, StockEntryRequested, UsageQuotaSetRequested
from streams.identity import body_checksum
from tests.unit.streams.core_world import AddRequested

SENT = datetime(2026, 11, 20, tzinfo=UTC)
ENTRY = StockEntryRequested(
    timestamp=SENT, product_id="p", warehouse_id="w", movement_id="m", quantity=Decimal("1.000000")
)


def entry(**changes: object) -> StockEntryRequested:
    fields = {name: getattr(ENTRY, name) for name in ENTRY.__struct_fields__}
    return StockEntryRequested(**{**fields, **changes})


@pytest.mark.parametrize(
    "again",
    [
        entry(event_id="another"),
        entry(timestamp=datetime(2026, 11, 21, tzinfo=UTC)),
        entry(envelope=Envelope(correlation_id="c")),
    ],
)
def test_id_time_and_envelope_are_no_part_of_what_a_command_asks_for(again: StockEntryRequested) -> None:
    assert body_checksum(again) == body_checksum(ENTRY)


@pytest.mark.parametrize(
    "other",
    [
        entry(quantity=Decimal("2.000000")),
        entry(product_id="q"),
        entry(tenant_id="another"),
        entry(received_at=SENT),
        entry(expected_version=3),
    ],
)
def test_everything_else_is(other: StockEntryRequested) -> None:
    assert body_checksum(other) != body_checksum(ENTRY)


def test_lists_of_the_same_values_are_the_same() -> None:
    first, second = (
        UsageQuotaSetRequested(timestamp=SENT, tenant_id="t", quota_id="q", meter="m", thresholds=(80, 100))
        for _ in range(2)
    )
    assert body_checksum(first) == body_checksum(second)


def test_a_record_without_an_envelope_has_a_checksum_too() -> None:
    first, second = (
        AddRequested(timestamp=SENT, tenant_id="t", kind="add", amount=1, event_id=event_id)
        for event_id in ("e-1", "e-2")
    )
    assert body_checksum(first) == body_checksum(second)
