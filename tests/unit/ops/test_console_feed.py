"""The feed: one producer for all who look, none where nobody does, and nothing that piles up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson

from ops.console_feed import HISTORY, Feed, Listener


class Maker:
    """Makes numbered snapshots when it may."""

    def __init__(self) -> None:
        self.made = 0
        self.may = asyncio.Event()
        self.may.set()
        self.fails = 0

    async def __call__(self) -> dict[str, Any]:
        await self.may.wait()
        self.made += 1
        if self.fails:
            self.fails -= 1
            raise LookupError("what a record holds")
        return {"number": self.made, "point": {"at": self.made}}


async def next_of(snapshots: AsyncIterator[bytes]) -> int:
    async with asyncio.timeout(5):
        return int(orjson.loads(await anext(snapshots))["number"])


async def test_all_who_look_get_the_same_snapshots_of_one_producer() -> None:
    maker = Maker()
    feed = Feed(maker, interval_s=0.001)
    async with feed.listen() as one, feed.listen() as other:
        first, second = aiter(one), aiter(other)
        seen = [await next_of(first) for _ in range(3)]
        assert await next_of(second) in range(seen[-1], maker.made + 1)
    assert len(feed) == 0


async def test_nothing_is_made_before_somebody_looks_and_after_the_last_one_has_left() -> None:
    maker = Maker()
    feed = Feed(maker, interval_s=0)
    assert maker.made == 0
    async with feed.listen() as listener:
        await next_of(aiter(listener))
    made = maker.made
    for _ in range(20):
        await asyncio.sleep(0)
    assert maker.made == made


async def test_a_listener_that_is_slow_gets_the_latest_snapshot_and_misses_those_before() -> None:
    listener = Listener()
    for number in (1, 2, 3):
        listener.put(orjson.dumps({"number": number}))
    snapshots = aiter(listener)
    assert await next_of(snapshots) == 3
    listener.put(orjson.dumps({"number": 4}))
    assert await next_of(snapshots) == 4


async def test_a_snapshot_that_fails_is_left_out_and_told_without_what_a_record_holds(caplog: Any) -> None:
    maker = Maker()
    maker.fails = 2
    feed = Feed(maker, interval_s=0.001)
    async with feed.listen() as listener:
        assert await next_of(aiter(listener)) == 3
    assert "a snapshot for the console failed" in caplog.text
    assert "what a record holds" not in caplog.text


async def test_a_feed_that_is_closed_sends_everybody_away() -> None:
    feed = Feed(Maker(), interval_s=0.001)
    async with feed.listen() as listener:
        feed.close()
        async with asyncio.timeout(5):
            assert [snapshot async for snapshot in listener] == []


async def test_the_history_is_bounded() -> None:
    feed = Feed(Maker(), interval_s=0)
    async with feed.listen() as listener:
        snapshots = aiter(listener)
        while await next_of(snapshots) < HISTORY + 20:
            pass
    assert len(feed.history) == HISTORY
