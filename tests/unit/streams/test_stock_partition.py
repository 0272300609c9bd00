"""Stock in a real partition: routes, business ids, outputs to other keys, and timers."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streams.changelog import Changelog
from streams.codec import Codec
from streams.events import (
    StockAllocationExpireRequested,
    StockAllocationRequested,
    StockEntryRecorded,
    StockEntryRequested,
    StockHead,
    StockMovementRecordRequested,
)
from streams.partition import Partition
from streams.publisher import Publisher
from streams.registry import Registry
from streams.replies import Replies
from streams.routes import INDEX
from streams.settings import Settings
from streams.store import MemoryPartition
from streams.topics import STOCK_COMMANDS, STOCK_EVENTS, changelog_topic
from tables.stock import STOCK
from tests.unit.streams import web_world
from tests.unit.streams.core_world import START_MS, Log, Raw, at_once

AT = datetime.fromtimestamp(START_MS / 1000, UTC)
KEY = b"acme|milk|WH1"


class Shop:
    """The only partition of the stock table, on a log in memory."""

    def __init__(self, codec: Codec, settings: Settings) -> None:
        self.codec, self.log = codec, Log()
        self.offset = 0
        topic = changelog_topic("stock")
        changelog = Changelog(topic, 0, MemoryPartition(), codec, self.log.outbox, 10**6)
        self.partition = Partition(
            aggregate=STOCK,
            number=0,
            index=INDEX,
            changelog=changelog,
            codec=codec,
            publisher=Publisher(INDEX, codec, 1, "sluice"),
            settings=settings,
            replies=Replies(codec, "sluice", 1),
        )

    def send(self, *commands: Any, key: bytes = KEY, at_ms: int = START_MS) -> dict[str, int]:
        """Process commands as one unit; return the outcomes."""
        records = []
        for command in commands:
            value = command if isinstance(command, bytes) else self.codec.encode(command, "stock.commands")
            records.append(Raw(self.offset, key, value, at_ms))
            self.offset += 1
        events = self.codec.decode_batch([record.value for record in records])
        self.partition.process(STOCK_COMMANDS.name, records, events)
        outcomes = {outcome: times for (_, outcome), times in self.partition.counts.items()}
        at_once(self.log.send(self.partition.outputs))
        changes = self.partition.raw_changes()
        at_once(self.partition.changelog.append(self.partition.sources, changes, START_MS))
        self.partition.commit()
        return outcomes

    def sent(self, topic: str) -> list[tuple[bytes, Any]]:
        """Return keys and events sent to a topic."""
        return [
            (key or b"", self.codec.decode(value)) for key, value, *_ in self.log.records.get((topic, 0), [])
        ]

    def head(self, key: bytes = KEY) -> StockHead:
        """Return the stored sums."""
        value = self.partition.changelog.store.get(key + b"\0h")
        assert value is not None
        found: StockHead = self.codec.decode(value)
        return found


@pytest.fixture
async def shop(tmp_path: Path) -> Shop:
    web_world._write_cache(tmp_path)
    settings = Settings.read(data_dir=tmp_path, registry_url=web_world.NOBODY, partitions=1, linger_s=0)
    codec = Codec(Registry(settings))
    return Shop(await web_world._prepared(codec), settings)


def command(kind: type, event_id: str, warehouse: str = "WH1", **fields: Any) -> Any:
    common = {"timestamp": AT, "tenant_id": "acme", "product_id": "milk", "warehouse_id": warehouse}
    return kind(event_id=event_id, **common, **fields)


async def test_a_movement_is_counted_once_however_often_it_is_sent(shop: Shop) -> None:
    fields: dict[str, Any] = {"movement_id": "m1", "lot_id": "A", "quantity": Decimal(5)}
    assert shop.send(command(StockEntryRequested, "e1", **fields)) == {"done": 1}
    assert shop.send(command(StockEntryRequested, "e2", **fields)) == {"duplicate": 1}
    other = {**fields, "quantity": Decimal(6)}
    assert shop.send(command(StockEntryRequested, "e3", **other)) == {"dead_lettered": 1}
    same_id = {"type": "RETURN", **fields}
    assert shop.send(command(StockMovementRecordRequested, "e4", **same_id)) == {"dead_lettered": 1}
    assert (shop.head().on_hand, shop.head().version) == (Decimal(5), 1)
    assert [type(event) for _, event in shop.sent(STOCK_EVENTS.name)] == [StockEntryRecorded]


async def test_a_request_is_allocated_once_and_refusals_change_nothing(shop: Shop) -> None:
    entry = command(StockEntryRequested, "e1", lot_id="A", quantity=Decimal(5))
    first = command(StockAllocationRequested, "e2", request_id="r1", quantity=Decimal(3))
    again = command(StockAllocationRequested, "e3", request_id="r1", quantity=Decimal(3))
    more = command(StockAllocationRequested, "e4", request_id="r2", quantity=Decimal(3))
    assert shop.send(entry, first, again, more) == {"done": 2, "duplicate": 1, "rejected": 1}
    assert shop.head().reserved == 3


async def test_goods_travel_to_another_key_and_back_comes_how_it_ended(shop: Shop) -> None:
    shop.send(command(StockEntryRequested, "e1", lot_id="A", quantity=Decimal(5)))
    fields: dict[str, Any] = {
        "type": "TRANSFER_OUT",
        "to_warehouse_id": "WH2",
        "quantity": Decimal(2),
        "movement_id": "m2",
    }
    shop.send(command(StockMovementRecordRequested, "e2", **fields))
    assert shop.head().in_transit == 2
    [(key, entry)] = shop.sent(STOCK_COMMANDS.name)
    assert key == b"acme|milk|WH2"
    shop.send(entry, key=key)
    assert shop.head(key).on_hand == 2
    [_, (back, settle)] = shop.sent(STOCK_COMMANDS.name)
    assert back == KEY
    shop.send(settle)
    assert shop.head().in_transit == 0


async def test_an_allocation_ends_by_the_partitions_timer(shop: Shop) -> None:
    shop.send(
        command(StockEntryRequested, "e1", lot_id="A", quantity=Decimal(5)),
        command(StockAllocationRequested, "e2", request_id="r1", quantity=Decimal(3), ttl_seconds=60),
    )
    assert shop.partition.timers.pop_due(START_MS + 59_999, 10) == []
    [(record, due_ms)] = shop.partition.timers.pop_due(START_MS + 60_000, 10)
    (topic, _), (key, early, *_) = shop.partition.command(record, due_ms)
    assert (topic, key) == (STOCK_COMMANDS.name, KEY)
    assert isinstance(shop.codec.decode(early), StockAllocationExpireRequested)
    shop.send(early)
    assert shop.head().reserved == 3, "it came a minute early: its sender's clock is wrong"
    _, (_, again, *_) = shop.partition.command(record, due_ms)
    assert shop.send(again, at_ms=START_MS + 60_000) == {"done": 1}
    assert shop.head().reserved == 0
    [(_, next_ms)] = shop.partition.timers.pop_due(START_MS + 10 * 86_400_000, 10)
    assert next_ms == START_MS + 60_000 + 86_400_000, "a day later it is forgotten"
