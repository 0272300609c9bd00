"""The programs in docs/examples do what the documents say: run as they are, with the rules in the workers' place."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from streams import events as e
from streams.schemas import contracts
from streams.validation import errors_of
from tests.unit.rules_world import Rules

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> Rules:
    rules = Rules()
    monkeypatch.setattr("streams.client.Client", lambda settings: rules)
    return rules


def run(name: str, *arguments: str) -> None:
    path = str(EXAMPLES / f"{name}.py")
    with patch.object(sys, "argv", [path, *arguments]):
        runpy.run_path(path, run_name="__main__")


def test_every_example_is_tried_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"send_usage", "publish_and_ask", "place_order"}


def test_goods_are_published_and_reserved_once_however_often_it_is_run(
    rules: Rules, capsys: pytest.CaptureFixture[str]
) -> None:
    run("publish_and_ask", "o-1")
    first = capsys.readouterr().out
    assert "OK" in first
    assert "stock.allocation.allocated: tea~WH1~o-1 has 12" in first
    run("publish_and_ask", "o-1")
    assert "known before" in capsys.readouterr().out
    assert [type(fact) for fact in rules.published] == [
        e.StockEntryRecorded,
        e.StockEntryRecorded,
        e.StockAllocationAllocated,
    ]


def test_an_order_is_priced_paid_and_told_and_leaves_the_warehouse(
    rules: Rules, capsys: pytest.CaptureFixture[str]
) -> None:
    run("place_order", "o-1", "20")
    assert capsys.readouterr().out == "order o-1: 20 of tea for 70 points, notification order-o-1\n"
    [moved] = [fact for fact in rules.published if isinstance(fact, e.StockMovementRecorded)]
    assert (moved.type, int(moved.on_hand), int(moved.reserved)) == ("EXIT", 80, 0)
    [paid] = [fact for fact in rules.published if isinstance(fact, e.LoyaltyPointsRedeemed)]
    assert (paid.points, paid.balance) == (70, 30)


def test_an_order_that_cannot_be_paid_gives_its_goods_back(rules: Rules) -> None:
    with pytest.raises(SystemExit, match="INSUFFICIENT_POINTS"):
        run("place_order", "o-1", "40")
    [released] = [fact for fact in rules.published if isinstance(fact, e.StockAllocationReleased)]
    assert (int(released.quantity), int(released.available)) == (40, 100)


def test_a_usage_event_of_any_kafka_client_fits_its_contract(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[tuple[str, Any]] = []

    class Stub:
        """Stands for each of confluent_kafka's clients that the example makes."""

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def __call__(self, value: Any, context: Any) -> Any:
            return value

        def __getattr__(self, name: str) -> Any:
            return Stub()

        def get_latest_version(self, subject: str) -> Any:
            assert subject == "usage.metered-sluice.usage.UsageEvent"
            return self

        def produce(self, topic: str, *, key: str, value: Any, headers: dict[str, str]) -> None:
            assert (topic, key) == ("usage.metered", value["tenant_id"])
            assert (headers["ce_id"], headers["ce_type"]) == (value["event_id"], value["event_type"])
            sent.append((topic, value))

        def flush(self, timeout: float) -> None: ...

    monkeypatch.setattr("confluent_kafka.Producer", Stub)
    monkeypatch.setattr("confluent_kafka.schema_registry.SchemaRegistryClient", Stub)
    monkeypatch.setattr("confluent_kafka.schema_registry.avro.AvroSerializer", Stub)
    run("send_usage", "acme", "150")
    [(topic, event)] = sent
    assert errors_of(contracts()[e.UsageEvent.RECORD].schema, event) == []
    assert capsys.readouterr().out == f"sent {event['event_id']}\n"
    assert topic == "usage.metered"
