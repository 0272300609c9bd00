"""Dead letters on a real broker, with a real worker: a dry run that sends nothing, and replays that count once."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from typer.testing import CliRunner

from ops.cli import app
from ops.dlq_fold import Letters, Query, matching
from ops.dlq_letters import REPLAYED, key_text
from ops.dlq_reading import read_letters
from ops.dlq_selection import Selection, load, save
from ops.dlq_sending import resolve
from ops.errors import OpsError
from ops.setup import admin_client, partitions, setup
from ops.stack.local import LocalStack
from streams.codec import Codec
from streams.envelope import ce_headers
from streams.events import UsageEvent
from streams.registry import Registry
from streams.schemas import contracts
from streams.settings import Settings
from streams.topics import USAGE_METERED, partition_for
from tests.faults.cluster import environment_of, read, settings_of
from tests.faults.processes import Worker, until

pytestmark = pytest.mark.broker

METERED = USAGE_METERED.name
OLD = timedelta(days=40)
"""Too long ago to count (contracts 3.5)."""


@dataclass
class Desk:
    """A worker and an operator's terminal."""

    settings: Settings
    worker: Worker
    folder: Path
    variables: dict[str, str]

    def dlq(self, *command: Any, exit_code: int = 0) -> Any:
        """Return what a command of `sluice dlq` prints as JSON."""
        words = ["dlq", *map(str, command), "--data-dir", str(self.settings.data_dir), "--json"]
        result = CliRunner().invoke(app, words, env=self.variables)
        assert result.exit_code == exit_code, result.output
        return json.loads(result.stdout) if result.stdout.strip() else result.stderr

    def letters(self, key: str, *options: Any) -> list[dict[str, Any]]:
        """Return the open letters of a key."""
        found: list[dict[str, Any]] = self.dlq("list", METERED, "--key", key, *options)
        return found

    def await_letters(self, count: int, *keys: str) -> None:
        """Return once so many letters of some keys are open."""
        known: dict[str, Letters] = {}

        def found() -> bool:
            known.update(read_letters(self.settings, [METERED], known))
            return sum(len(matching(known[METERED], Query(key=key))) for key in keys) == count

        until(found, 30, f"{count} letters")

    def page(self, path: str) -> dict[str, Any]:
        """Return what the worker answers to a GET."""
        found = self.worker.page(path)
        assert found is not None, path
        return found

    def act(self, path: str, body: Any) -> list[dict[str, Any]]:
        """Return what the worker says that was done with each letter, or would come of it."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.worker.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            found: list[dict[str, Any]] = json.load(answer)["outcomes"]
            return found

    def counted(self, tenant: str) -> dict[str, int]:
        """Return how often each meter of a tenant has counted, as the worker's view shows it."""
        page = self.worker.page(f"/usage/{tenant}?per_page=200") or {"items": []}
        return {item["meter"]: item["count"] for item in page["items"]}

    def ready(self) -> bool:
        page = self.worker.page("/health/ready")
        return page is not None and page["status"] == "UP"

    def start(self) -> None:
        self.worker.start()
        until(self.ready, 60, "the worker")

    def stop(self) -> None:
        self.worker.terminate()
        self.worker.wait(30)

    def ends(self, only: str = "") -> dict[tuple[str, int], int]:
        """Return the end of every partition of a topic, or of all, save where the registry commits every second."""
        places = [
            TopicPartition(topic, number)
            for topic, count in partitions(self.settings).items()
            for number in range(count)
            if topic == only or (not only and topic != "__consumer_offsets")
        ]
        admin = admin_client(self.settings)
        latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        found = admin.list_offsets(dict.fromkeys(places, latest))
        return {(place.topic, place.partition): each.result().offset for place, each in found.items()}

    def send(self, *events: tuple[str, UsageEvent | bytes]) -> None:
        """Send events, or bytes, each under a key."""
        producer = Producer(self.settings.librdkafka_config())
        for key, event in events:
            headers: Any = [("traceparent", b"00-0-1-0")]
            if isinstance(event, UsageEvent):
                made = ce_headers(UsageEvent, "test")
                headers += made(event.event_id, event.timestamp, key.encode(), event.tenant_id)
            number = partition_for(key.encode(), self.settings.partitions)
            frame = event if isinstance(event, bytes) else self.frame(event)
            producer.produce(METERED, frame, key, number, headers=headers)
        assert producer.flush(30) == 0

    def frame(self, event: UsageEvent) -> bytes:
        """Return the value of an event."""

        async def encode() -> bytes:
            registry = Registry(self.settings)
            codec = Codec(registry)
            await codec.prepare([(METERED, UsageEvent)])
            await registry.close()
            return codec.encode(event, METERED)

        return asyncio.run(encode())

    def usage(self, tenant: str, event_id: str, meter: str = "m", age: timedelta = timedelta()) -> UsageEvent:
        """Return a usage event."""
        return UsageEvent(
            event_id=event_id,
            timestamp=datetime.now(UTC) - age,
            tenant_id=tenant,
            user_id="ada",
            event_type="model_inference",
            resource_type=meter,
            quantity=Decimal(5),
            unit="tokens",
        )


@pytest.fixture(scope="module")
def desk(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    run, folder = f"t{uuid4().hex[:10]}", tmp_path_factory.mktemp("dlq")
    settings = settings_of(stack, run, folder)
    asyncio.run(setup(settings))
    variables = environment_of(stack, SLUICE_APP_ID=run)
    worker = Worker("w1", "worker", folder, variables, module="ops.cli", ready_path="/health/ready")
    desk = Desk(settings, worker, folder, variables)
    desk.start()
    yield desk
    worker.stop()


def newer_schema(registry_url: str, subject: str, field: str) -> int:
    """Register a usage event with one more field, as a newer producer would; return its id."""
    schema = json.loads(contracts()[UsageEvent.RECORD].text)
    schema["fields"].append({"name": field, "type": ["null", "string"], "default": None})
    with SchemaRegistryClient({"url": registry_url}) as client:
        return int(client.register_schema(subject, Schema(json.dumps(schema), "AVRO")))


def test_a_dry_run_shows_what_would_come_of_each_letter_and_sends_nothing(
    desk: Desk, stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    url, these, mended = stack.registry_url, tmp_path / "these.json", tmp_path / "mended.json"
    future = newer_schema(url, f"{unique}-1", "colour") + 1
    newer = b"\0" + future.to_bytes(4, "big") + desk.frame(desk.usage(unique, "newer", "newer"))[5:] + b"\0"
    desk.send(
        (unique, desk.usage(unique, "good", "good")),
        (unique, desk.usage(unique, "old", "old", OLD)),
        (unique, b"poison"),
        (unique, newer),
    )
    desk.await_letters(3, unique)
    found = desk.letters(unique, "--save", these)
    assert [row["reason"] for row in found] == ["LATE_EVENT", "NOT_FRAMED", "UNKNOWN_SCHEMA_ID"]
    desk.stop()
    assert newer_schema(url, f"{unique}-2", "size") == future
    before = desk.ends()

    shown = [desk.dlq("show", row["letter"])[0] for row in found]
    assert [each["record"] for each in shown] == [UsageEvent.RECORD, None, UsageEvent.RECORD]
    assert bytes.fromhex(shown[1]["hex"]) == b"poison"
    assert desk.dlq("show", found[0]["origin"]) == [shown[0]]
    old, poison, new = desk.dlq("replay", "--selection", these, "--dry-run")
    assert (old["outcome"], old["dead_letter"]) == ("rejected", "LATE_EVENT")
    assert (poison["outcome"], poison["code"]) == ("dead_lettered", "NOT_FRAMED")
    assert new["outcome"] == "done"
    added = [change["after"] for change in new["changes"] if change["before"] is None]
    assert any(record.get("count") == 1 and record.get("sum") == "5" for record in added)
    desk.dlq("edit", found[0]["letter"], "--save", mended)
    content = json.loads(mended.read_text())
    content["event"]["metadata"] = {"sluice.allow_late": "true"}
    mended.write_text(json.dumps(content))
    [edited] = desk.dlq("edit", "--file", mended, "--dry-run")
    assert (edited["outcome"], edited["key"]) == ("done", unique)
    for command in (
        ["replay", "--selection", these],
        ["discard", "--selection", these],
        ["edit", "--file", mended],
    ):
        assert "[y/N]" in desk.dlq(*command, exit_code=1), "nobody has said yes"
    assert desk.ends() == before

    desk.start()
    assert [row["result"] for row in desk.dlq("edit", "--file", mended, "--yes")] == ["sent"]
    results = [row["result"] for row in desk.dlq("replay", "--selection", these, "--yes")]
    assert results == ["skipped", "sent", "sent"]
    until(lambda: desk.counted(unique) == {"good": 1, "old": 1, "newer": 1}, 30, "what was replayed")
    desk.await_letters(1, unique)
    [again] = desk.letters(unique)
    assert (again["reason"], again["replays"]) == ("NOT_FRAMED", 1)
    [detail] = desk.dlq("show", again["letter"])
    assert detail["history"][0] == f"replayed from {found[1]['letter']}"
    assert desk.dlq("show", found[0]["letter"])[0]["history"][-1].startswith("replayed after an edit")


def test_two_who_replay_the_same_selection_at_once_send_each_event_once_and_in_order(
    desk: Desk, unique: str, tmp_path: Path
) -> None:
    keys, these = [f"{unique}-{n}" for n in range(3)], tmp_path / "these.json"
    desk.send(*((keys[n % 3], b"poison %d" % n) for n in range(600)))
    desk.await_letters(600, *keys)
    letters = read_letters(desk.settings, [METERED])[METERED]
    mine = [letter for letter in letters.in_order() if key_text(letter.key) in keys]
    selection = Selection.of(METERED, mine)
    save(selection, these)

    def replay(_: int) -> str | list[str]:
        try:
            return [row.result for row in resolve(desk.settings, load(these), REPLAYED)]
        except OpsError as refusal:
            return refusal.cause

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(replay, range(2)))
    answers.append(replay(3))
    assert answers[-1] == ["skipped"] * 600 or "sent" in answers[-1], answers
    assert replay(4) == ["skipped"] * 600
    replayed: dict[bytes | None, list[bytes | None]] = {}
    for record in read(desk.settings, METERED):
        if record.header("x-replayed-from") is not None and key_text(record.key) in keys:
            replayed.setdefault(record.key, []).append(record.value)
    assert replayed == {
        key.encode(): [b"poison %d" % n for n in range(600) if n % 3 == at] for at, key in enumerate(keys)
    }
    # They die again, each as one new letter, in the same order.
    desk.await_letters(600, *keys)
    assert {row["replays"] for key in keys for row in desk.letters(key)} == {1}


def test_an_event_that_was_applied_meanwhile_does_not_count_again_and_one_given_up_is_not_sent(
    desk: Desk, unique: str, tmp_path: Path
) -> None:
    event, other = desk.usage(unique, "e1"), desk.usage(unique, "e2")
    wrong, file, these = f"{unique}-wrong", tmp_path / "event.json", tmp_path / "these.json"
    desk.send((wrong, event), (wrong, other), (unique, event))
    desk.await_letters(2, wrong)
    first, second = desk.letters(wrong)
    assert (first["reason"], first["event_id"]) == ("KEY_MISMATCH", "e1")
    desk.dlq("edit", first["letter"], "--save", file)
    [foreseen] = desk.dlq("edit", "--file", file, "--dry-run")
    assert (foreseen["outcome"], foreseen["key"], foreseen["changes"]) == ("duplicate", unique, [])
    assert desk.dlq("edit", "--file", file, "--yes")[0]["result"] == "sent"
    desk.letters(wrong, "--save", these)
    before = desk.ends()
    [row] = desk.dlq("discard", "--selection", these, "--yes")
    assert (row["letter"], row["result"]) == (second["letter"], "discarded")
    grown = {place for place, end in desk.ends().items() if end > before[place]}
    assert METERED not in {topic for topic, _ in grown}
    assert desk.letters(wrong) == []
    states = [row["state"] for row in desk.letters(wrong, "--all")]
    assert states == ["replayed", "discarded"]
    [summary] = [row for row in desk.dlq("list", "--key", wrong) if row["topic"] == METERED]
    assert (summary["open"], summary["replayed"], summary["discarded"]) == (0, 1, 1)
    desk.send((unique, desk.usage(unique, "last")))
    until(lambda: desk.counted(unique) == {"m": 2}, 30, "the event behind the duplicate")


def test_an_operator_does_the_same_over_http(desk: Desk, unique: str) -> None:
    desk.send((unique, b"poison"), (unique, desk.usage(unique, "old", age=OLD)), (unique, b"more poison"))
    desk.await_letters(3, unique)
    [topic] = desk.page(f"/dlq/topics?key={unique}")["items"]
    assert (topic["topic"], topic["open"]) == (METERED, 3)
    assert topic["reasons"] == {"NOT_FRAMED": 2, "LATE_EVENT": 1}
    poison, old, more = desk.page(f"/dlq?topic={METERED}&key={unique}")["items"]
    detail = desk.page(f"/dlq/{old['letter']}")
    assert (detail["reason"], detail["event"]["event_id"]) == ("LATE_EVENT", "old")
    event = detail["event"] | {"metadata": {"sluice.allow_late": "true"}}
    edit = {"letter": old["letter"], "digest": old["digest"], "record": detail["record"], "event": event}

    before = desk.ends(METERED)
    foreseen = desk.act("/dlq/selections", picked("dry_run", more, old, poison))
    assert [row["outcome"] for row in foreseen] == ["dead_lettered", "rejected", "dead_lettered"]
    [mended] = desk.act("/dlq/edits", edit | {"action": "dry_run"})
    assert (mended["outcome"], mended["key"]) == ("done", unique)
    added = [change["after"] for change in mended["changes"] if change["before"] is None]
    assert any(record.get("count") == 1 and record.get("sum") == "5" for record in added)
    assert desk.ends(METERED) == before

    [sent] = desk.act("/dlq/edits", edit | {"action": "replay"})
    assert sent["outcome"] == "sent"
    answered = desk.act("/dlq/selections", picked("replay", more, poison))
    assert [row["outcome"] for row in answered] == ["sent", "sent"]
    replayed = [record for record in read(desk.settings, METERED) if record.header("x-replayed-from")]
    assert [record.value for record in replayed if record.key == unique.encode()][1:] == [
        b"poison",
        b"more poison",
    ]
    until(lambda: desk.counted(unique) == {"m": 1}, 30, "the edited event")
    desk.await_letters(2, unique)
    again = desk.page(f"/dlq?key={unique}")["items"]
    assert [row["replays"] for row in again] == [1, 1]
    done = desk.act("/dlq/selections", picked("discard", *again, poison, old, more))
    assert {row["letter"]: row["outcome"] for row in done} == {
        **{row["letter"]: "skipped" for row in (poison, old, more)},
        **{row["letter"]: "discarded" for row in again},
    }
    assert desk.page(f"/dlq?key={unique}")["total"] == 0


def picked(action: str, *rows: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked for exactly these letters."""
    names = ("partition", "offset", "origin", "digest")
    return {
        "topic": METERED,
        "letters": [{name: row[name] for name in names} for row in rows],
        "action": action,
    }
