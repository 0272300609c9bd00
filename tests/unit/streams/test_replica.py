"""A replica holds the latest record of every key, and says so when it cannot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, OffsetOutOfRangeError
from hypothesis import given
from hypothesis import strategies as st

from streams import replica as module
from streams.brokers import BrokerError, BrokerUnreachable
from streams.codec import NeedsSchema, Undecodable
from streams.events import CatalogBenefitSnapshot, CatalogBenefitTerms, CatalogPrice, CatalogProductSnapshot
from streams.failures import FatalFailure
from streams.holdings import Holdings
from streams.replica import Replica
from streams.settings import Settings
from streams.topics import ALERTS, CATALOG_STATE
from tests.contract.offline import offline_codec

TOPIC = CATALOG_STATE.name
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def product(product_id: str, name: str = "") -> CatalogProductSnapshot:
    return CatalogProductSnapshot(timestamp=NOON, tenant_id="t", product_id=product_id, name=name, version=1)


def benefit(benefit_id: str) -> CatalogBenefitSnapshot:
    terms = CatalogBenefitTerms(kind="FREE_SHIPPING", effective_from=NOON)
    return CatalogBenefitSnapshot(
        timestamp=NOON, tenant_id="t", benefit_id=benefit_id, terms=terms, version=1
    )


class Stored(NamedTuple):
    """A record as aiokafka gives it."""

    offset: int
    key: bytes | None
    value: Any
    headers: tuple[tuple[str, bytes], ...] = ()


class Brokers:
    """Two partitions, and the consumers that read them. Values are the records themselves: ``Codec`` below."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[Stored]] = {
            TopicPartition(TOPIC, 0): [],
            TopicPartition(TOPIC, 1): [],
        }
        self.consumers: list[Consumer] = []
        self.trouble: list[Exception] = []
        self.refused: BrokerError | None = None
        self.lost: Exception | None = None
        self.silent_since: float | None = None
        self.changed = asyncio.Event()

    def write(self, key: str | bytes | None, value: Any, partition: int = 0) -> None:
        log = self.logs[TopicPartition(TOPIC, partition)]
        log.append(Stored(len(log), key.encode() if isinstance(key, str) else key, value))
        self.changed.set()

    def topics(self, settings: Settings, seconds: float) -> dict[str, Any]:
        if self.refused is not None:
            raise self.refused
        return {tp.topic: SimpleNamespace(partitions={0: None, 1: None}) for tp in self.logs}

    def fail(self, error: Exception) -> None:
        self.trouble.append(error)
        self.changed.set()


class Consumer:
    """What the replica uses of aiokafka's consumer."""

    def __init__(self, brokers: Brokers) -> None:
        self.brokers = brokers
        self.positions: dict[TopicPartition, int] = {}
        self.stopped = False
        brokers.consumers.append(self)

    async def start(self) -> None:
        if self.brokers.lost is not None:
            raise self.brokers.lost

    async def stop(self) -> None:
        self.stopped = True

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.positions = dict.fromkeys(partitions, -1)

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: len(self.brokers.logs[tp]) for tp in partitions}

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]

    def last_stable_offset(self, tp: TopicPartition) -> int:
        return len(self.brokers.logs[tp])

    def last_poll_timestamp(self, tp: TopicPartition) -> int:
        return int(1000 * (self.brokers.silent_since or time.time()))

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Stored]]:
        while True:
            if self.brokers.trouble:
                raise self.brokers.trouble.pop(0)
            for tp, log in self.brokers.logs.items():
                new = log[self.positions[tp] : self.positions[tp] + max_records]
                if new:
                    self.positions[tp] = new[-1].offset + 1
                    return {tp: new}
            if self.brokers.silent_since is not None:
                return {}
            self.brokers.changed.clear()
            await self.brokers.changed.wait()


class Codec:
    """Values are records already; ``scripts`` are what the registry makes of them, one after the other."""

    def __init__(self) -> None:
        self.scripts: list[Any] = []
        self.resolved: set[int] = set()

    def decode_batch(self, values: list[Any]) -> list[Any]:
        if self.scripts:
            return [self.scripts.pop(0) for _ in values]
        return [Undecodable("NULL_VALUE", "no value") if value is None else value for value in values]

    async def resolve(self, ids: set[int]) -> None:
        self.resolved |= ids


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    found = Brokers()
    monkeypatch.setattr(module, "AIOKafkaConsumer", lambda **options: Consumer(found))
    monkeypatch.setattr(module, "find_topics", found.topics)
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    return found


@pytest.fixture
def codec() -> Codec:
    return Codec()


def replica_of(codec: Any, **options: Any) -> Replica:
    return Replica((CATALOG_STATE,), codec, Settings.read(**options))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in the background."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_after_the_start_everything_written_before_is_there(brokers: Brokers, codec: Codec) -> None:
    for number in range(600):
        brokers.write(f"t|{number}", product(str(number)), number % 2)
    brokers.write("t|7", product("7", "new name"), 1)
    brokers.write("t|8", None)
    brokers.write("t|benefit|b", benefit("b"))
    replica = replica_of(codec)
    await replica.start()
    assert replica.get(CatalogProductSnapshot, "t|7").name == "new name"
    assert replica.get(CatalogProductSnapshot, "t|8") is None
    assert replica.get(CatalogBenefitSnapshot, "t|benefit|b") == benefit("b")
    assert replica.get(CatalogBenefitSnapshot, "t|7") is None
    assert len(list(replica.keys(CatalogProductSnapshot, "t|"))) == 599
    assert replica.lag == 0
    assert replica.fresh_at is not None
    await replica.stop()


async def test_what_is_written_later_follows(brokers: Brokers, codec: Codec) -> None:
    brokers.write("t|1", product("1"))
    replica = replica_of(codec)
    await replica.start()
    started = replica.fresh_at
    assert list(replica.keys(CatalogProductSnapshot, "t|")) == ["t|1"]
    brokers.write("t|0", product("0"), 1)
    await until(lambda: replica.get(CatalogProductSnapshot, "t|0") is not None)
    brokers.write("t|1", None)
    await until(lambda: replica.get(CatalogProductSnapshot, "t|1") is None)
    assert list(replica.keys(CatalogProductSnapshot, "t|")) == ["t|0"]
    await until(lambda: (replica.fresh_at or 0) > (started or 0))
    await replica.stop()
    assert brokers.consumers[0].stopped
    assert replica.get(CatalogProductSnapshot, "t|0") is not None, "what was read stays readable"


async def test_what_cannot_be_read_is_named_by_its_place_alone_and_left_out(
    brokers: Brokers, codec: Codec, caplog: pytest.LogCaptureFixture
) -> None:
    brokers.write("t|secret", Undecodable("UNDECODABLE", "the body is not what schema 3 says"), 1)
    brokers.write(b"\xff\xfe", product("secret"), 1)
    brokers.write(None, product("secret"), 1)
    brokers.write("t|secret", CatalogPrice(currency="EUR", amount=1, effective_from=NOON, version=1), 1)  # type: ignore[arg-type]
    brokers.write("t|1", product("1"), 1)
    replica = replica_of(codec)
    with caplog.at_level(logging.ERROR):
        await replica.start()
    assert replica.get(CatalogProductSnapshot, "t|1") == product("1")
    assert replica.get(CatalogProductSnapshot, "t|secret") is None
    places = [(line.topic, line.partition, line.offset) for line in caplog.records]  # type: ignore[attr-defined]
    assert places == [(TOPIC, 1, offset) for offset in range(4)]
    assert "secret" not in caplog.text
    await replica.stop()


async def test_values_of_a_new_schema_wait_until_the_registry_has_told_it(
    brokers: Brokers, codec: Codec
) -> None:
    brokers.write("t|1", product("1"))
    down = Undecodable("TEMPORARY_FAILURE", "the registry does not answer", retryable=True)
    codec.scripts = [NeedsSchema(7), down, down]
    replica = replica_of(codec)
    await replica.start()
    assert codec.resolved == {7}
    assert replica.get(CatalogProductSnapshot, "t|1") == product("1")
    await replica.stop()


async def test_a_registry_that_stays_away_keeps_the_worker_from_starting(
    brokers: Brokers, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.02)
    brokers.write("t|1", product("1"))
    codec.scripts = [Undecodable("TEMPORARY_FAILURE", "no answer", retryable=True)] * 1000
    replica = replica_of(codec)
    with pytest.raises(FatalFailure, match="SLUICE_REGISTRY_URL"):
        await replica.start()
    assert brokers.consumers[0].stopped


async def test_a_missing_topic_is_named_with_the_remedy(brokers: Brokers, codec: Codec) -> None:
    brokers.logs.clear()
    with pytest.raises(FatalFailure, match=r"topics are missing: catalog\.state; run `sluice setup`"):
        await replica_of(codec).start()


async def test_brokers_that_do_not_answer_are_named_with_the_remedy(brokers: Brokers, codec: Codec) -> None:
    brokers.refused = BrokerUnreachable("no broker answers", "start one")
    with pytest.raises(FatalFailure, match="no broker answers; start one"):
        await replica_of(codec).start()
    brokers.refused, brokers.lost = None, KafkaConnectionError("gone again")
    with pytest.raises(
        FatalFailure, match=r"catalog\.state cannot be read .*gone again.*check that the brokers"
    ):
        await replica_of(codec).start()
    assert brokers.consumers[0].stopped


async def test_after_an_error_everything_is_read_again_and_meanwhile_the_old_is_answered(
    brokers: Brokers, codec: Codec, caplog: pytest.LogCaptureFixture
) -> None:
    brokers.write("t|1", product("1"))
    brokers.write("t|2", product("2"))
    replica = replica_of(codec)
    await replica.start()
    brokers.lost = KafkaConnectionError("still starting")
    brokers.logs[TopicPartition(TOPIC, 0)].clear()  # the topic was made anew
    brokers.fail(OffsetOutOfRangeError({TopicPartition(TOPIC, 0): 2}))
    await until(lambda: len(brokers.consumers) > 2)
    assert replica.get(CatalogProductSnapshot, "t|1") is not None
    brokers.write("t|2", product("2", "anew"))
    brokers.lost = None
    await until(lambda: replica.get(CatalogProductSnapshot, "t|1") is None)
    assert replica.get(CatalogProductSnapshot, "t|2").name == "anew"
    assert "OffsetOutOfRangeError" in caplog.text
    assert "still starting" in caplog.text
    await replica.stop()


async def test_no_error_ends_the_following_and_a_foreign_one_tells_its_type_only(
    brokers: Brokers, codec: Codec, caplog: pytest.LogCaptureFixture
) -> None:
    replica = replica_of(codec)
    await replica.start()
    brokers.fail(KeyError("t|secret"))
    brokers.write("t|1", product("1"))
    await until(lambda: replica.get(CatalogProductSnapshot, "t|1") is not None)
    assert "KeyError" in caplog.text
    assert "secret" not in caplog.text
    await replica.stop()


async def test_brokers_that_fall_silent_are_connected_to_again(
    brokers: Brokers, codec: Codec, caplog: pytest.LogCaptureFixture
) -> None:
    replica = replica_of(codec)
    await replica.start()
    fresh = replica.fresh_at
    brokers.silent_since = time.time() - 61
    brokers.changed.set()
    await until(lambda: len(brokers.consumers) > 1)
    assert "the brokers have said nothing for 60 s" in caplog.text
    assert fresh is not None
    brokers.silent_since = None
    brokers.write("t|1", product("1"))
    await until(lambda: replica.get(CatalogProductSnapshot, "t|1") is not None)
    await replica.stop()


async def test_an_index_without_shared_topics_needs_no_brokers(tmp_path: Path) -> None:
    replica = Replica((), offline_codec(tmp_path), Settings.read())
    await replica.start()
    assert replica.get(CatalogProductSnapshot, "t|1") is None
    assert list(replica.keys(CatalogProductSnapshot, "")) == []
    await replica.stop()


def test_a_record_belongs_to_one_shared_topic() -> None:
    with pytest.raises(ValueError, match="on two shared topics"):
        Holdings((CATALOG_STATE, CATALOG_STATE))


def test_a_record_replaces_one_of_another_kind_under_its_key() -> None:
    """Compaction would take the older one away, so a worker started later would not know it."""
    holdings = Holdings((CATALOG_STATE, ALERTS))
    holdings.put(TOPIC, "t|1", product("1"))
    assert list(holdings.keys(CatalogProductSnapshot, "")) == ["t|1"]
    holdings.put(TOPIC, "t|1", benefit("1"))
    assert holdings.get(CatalogProductSnapshot, "t|1") is None
    assert list(holdings.keys(CatalogProductSnapshot, "")) == []
    assert list(holdings.keys(CatalogBenefitSnapshot, "t|")) == ["t|1"]
    assert len(holdings) == 1


KEYS = st.text(alphabet="ab|\U0010ffff", max_size=3)
CHANGES = st.lists(st.tuples(KEYS, st.sampled_from([None, product("p"), benefit("b")]), st.booleans()))


@given(CHANGES, KEYS)
def test_holdings_are_the_last_record_of_each_key_in_order(
    changes: list[tuple[str, Any, bool]], prefix: str
) -> None:
    holdings = Holdings((CATALOG_STATE,))
    expected: dict[str, Any] = {}

    def found(kind: type) -> Iterator[str]:
        return (key for key in sorted(expected) if isinstance(expected[key], kind) and key.startswith(prefix))

    for key, record, look in changes:
        holdings.put(TOPIC, key, record)
        expected[key] = record
        for kind in (CatalogProductSnapshot, CatalogBenefitSnapshot):
            assert (holdings.get(kind, key) is not None) == isinstance(record, kind)
            if look:
                assert list(holdings.keys(kind, prefix)) == list(found(kind))
    for kind in (CatalogProductSnapshot, CatalogBenefitSnapshot):
        assert list(holdings.keys(kind, prefix)) == list(found(kind))
