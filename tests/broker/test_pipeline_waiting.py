"""Keys that must wait, on the real broker: nothing retryable blocks a partition, and order within a key is kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from ops.stack.local import LocalStack
from streams.events import UsageEvent
from streams.schemas import contracts
from tests.faults.cluster import read
from tests.faults.load import EventWriter, Sender
from tests.faults.processes import Worker, until
from tests.faults.proxy import Proxy
from tests.faults.scenario import Scenario

pytestmark = pytest.mark.broker


def newer_schema(scenario: Scenario, registry_url: str) -> int:
    """Register a later version of the source's schema, as a newer producer would; return its id."""
    schema = json.loads(contracts()[UsageEvent.RECORD].text)
    schema["fields"].append({"name": "colour", "type": ["null", "string"], "default": None})
    subject, _, _ = scenario.names.subjects[0]
    with SchemaRegistryClient({"url": registry_url}) as client:
        return int(client.register_schema(subject, Schema(json.dumps(schema), "AVRO")))


class Newer(EventWriter):
    """Frames events as a newer producer does, with one more field."""

    def __call__(
        self, key: str, seq: int, quantity: int, event_id: str, *, padding: int = 0, trouble: str = ""
    ) -> bytes:
        return super().__call__(key, seq, quantity, event_id, padding=padding, trouble=trouble) + b"\x00"


def counts(worker: Worker) -> dict[str, int]:
    """Return how many events each aggregate has counted."""
    page = worker.page() or {"partitions": {}}
    return {key: int(row[0]) for table in page["partitions"].values() for key, row in table.items()}


def test_keys_with_an_unknown_schema_wait_for_the_registry_while_other_keys_go_on(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    with (
        Proxy(stack.registry_url) as proxy,
        Scenario(stack, unique, tmp_path, SLUICE_REGISTRY_URL=proxy.url) as scenario,
    ):
        worker, sender, known = (
            scenario.worker("w1"),
            Sender(scenario.settings, scenario.source),
            scenario.writer(),
        )
        worker.start()
        sender.send(known, "waits", 1)
        sender.flush()
        until(lambda: counts(worker) == {"waits": 1}, 60, "the first event")
        newer = Newer(newer_schema(scenario, stack.registry_url))
        proxy.hang()  # the worst that it can do: nobody is refused, and nobody answered
        for seq in range(2, 40):
            sender.send(newer if seq % 3 == 0 else known, "waits", seq)
            for number in range(6):
                sender.send(known, f"goes-on-{number}", 100 * (number + 1) + seq)
        sender.flush()
        # "waits" counts number 2 and then stops at 3, whose schema nobody can ask for.
        goes_on = {f"goes-on-{number}": 38 for number in range(6)}
        until(lambda: counts(worker) == {"waits": 2, **goes_on}, 60, "all events of the other keys")
        scenario.await_drained()
        # Longer than all attempts of the retry policy together: an outage does not use them up.
        began = worker.log_text().count("does not answer") + worker.log_text().count("did not answer")
        asyncio.run(_outlast(worker))
        assert counts(worker)["waits"] == 2, began
        assert list(read(scenario.settings, scenario.names.dead.name)) == []
        # Parked events survive their worker.
        worker.kill()
        worker.wait(30)
        worker.start()
        until(worker.ready, 60, "the worker after its kill")
        assert counts(worker)["waits"] == 2
        proxy.open()
        until(lambda: counts(worker)["waits"] == 39, 60, "the events that waited")
        _, verdict = scenario.compare(sender, worker)
    assert verdict.problems == []


async def _outlast(worker: Worker) -> None:
    """Wait until the worker has gone on for longer than a retry policy lasts: it says so every ten seconds."""
    before = heartbeats(worker)
    async with asyncio.timeout(60):
        while heartbeats(worker) < before + 1:
            await asyncio.sleep(0.2)


def heartbeats(worker: Worker) -> float:
    """Return how often ten seconds have passed for the worker."""
    page = worker.page() or {"uptime": 0.0}
    return float(page["uptime"]) // 10


def test_rules_that_hang_are_interrupted_and_their_key_waits_in_order(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    variables = {"SLUICE_HANDLER_TIMEOUT_S": "0.3", "SLUICE_LOG_JSON": "true"}
    with Scenario(stack, unique, tmp_path, **variables) as scenario:
        worker, sender, write = (
            scenario.worker("w1"),
            Sender(scenario.settings, scenario.source),
            scenario.writer(),
        )
        worker.start()
        for seq in range(1, 30):
            trouble = "hang" if seq == 5 else ""
            sender.send(write, "hangs", seq, event_id=f"e-{seq}", poison=trouble, trouble=trouble)
            for number in range(4):
                sender.send(write, f"goes-on-{number}", 100 * (number + 1) + seq)
        sender.flush()
        until(lambda: counts(worker).get("goes-on-3") == 29, 60, "the other keys")
        until(lambda: counts(worker).get("hangs") == 28, 60, "the events behind the one that hangs")
        scenario.await_drained()
        _, verdict = scenario.compare(sender, worker)
    assert verdict.problems == []
    assert worker.exits == []
    check_log(worker, scenario.source)


def check_log(worker: Worker, source: str) -> None:
    """Find in the log which event hung, which ones waited for it and what became of them, without key or value."""
    told = [line for line in worker.log_lines() if "outcome" in line]
    [dead] = [line for line in told if line["outcome"] == "dead_lettered"]
    place = {name: dead[name] for name in ("topic", "partition", "offset", "event_id")}
    assert (dead["topic"], dead["agent"], dead["code"], dead["attempt"]) == (source, "totals", "TIMEOUT", 3)
    tries = [line for line in told if place.items() <= line.items()]
    assert [(line["outcome"], line["attempt"]) for line in tries] == [
        ("parked", 1),
        ("postponed", 2),
        ("dead_lettered", 3),
    ]
    behind = [line for line in told if line["outcome"] == "parked" and line["code"] == "SEQUENCE_PARKED"]
    assert behind
    assert all(line["partition"] == dead["partition"] and line["offset"] > dead["offset"] for line in behind)
    through = {line["offset"] for line in told if line["outcome"] == "released"}
    assert {line["offset"] for line in behind} <= through
    assert len({line["event_id"] for line in told}) == len({line["offset"] for line in told})
    assert "goes-on" not in worker.log_text()


def test_holes_that_transactions_leave_in_the_source_hold_nothing_back(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    with Scenario(stack, unique, tmp_path) as scenario:
        worker, write = scenario.worker("w1"), scenario.writer()
        sender = Sender(scenario.settings, scenario.source, **{"transactional.id": unique})
        sender.producer.init_transactions(60)
        worker.start()
        until(worker.ready, 60, "the worker")
        for seq in range(1, 31):
            aborted = seq % 5 == 0
            sender.producer.begin_transaction()
            for number in range(8):
                poison = "aborted" if aborted else ""
                sender.send(write, f"aggregate-{number}", 1000 * number + seq, poison=poison)
            if aborted:
                sender.producer.flush(30)
                sender.producer.abort_transaction(30)
            else:
                sender.producer.commit_transaction(30)
        wanted = {f"aggregate-{number}": 24 for number in range(8)}
        until(lambda: counts(worker) == wanted, 60, "the committed events, and only those")
    assert "records are missing" not in worker.log_text(), "nothing is read a second time"
