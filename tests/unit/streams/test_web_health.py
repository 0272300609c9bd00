"""Progress, health checks and metrics."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from faust.types import TP

from agents.index import AGENTS
from streams.app import EXIT_FATAL
from streams.changelog import Replay
from streams.store import MemoryPartition
from streams.topics import changelog_topic
from streams.web_progress import Progress
from tests.unit.streams.core_world import Raw
from tests.unit.streams.web_world import PARTITIONS, World, a_world

METERED = TP("usage.metered", 0)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with a_world(tmp_path, monkeypatch, stall_timeout_s=60) as world:
        yield world


def settle(world: World) -> None:
    world.workers[0].app.tables.recovery.completed.set()  # type: ignore[attr-defined]
    world.workers[0].watch.broker = ""


def look(progress: Progress, *, end: int, applied: int, delivered: int, fetched: int) -> None:
    progress.look(end=end, applied=applied, delivered=delivered, fetched=fetched, seconds=10)


def test_a_partition_that_moves_is_not_still_however_long_its_lag() -> None:
    progress = Progress()
    for step in range(1, 20):
        look(progress, end=10_000, applied=step, delivered=step + 5, fetched=step + 5)
        assert progress.still_s == 0
    assert progress.lag == 10_000 - 19


def test_records_that_were_handed_over_and_are_not_stored_count_the_seconds() -> None:
    progress = Progress()
    for _ in range(4):
        look(progress, end=100, applied=40, delivered=100, fetched=100)
    assert progress.still_s == 30
    assert progress.lag == 60
    look(progress, end=100, applied=100, delivered=100, fetched=100)
    assert (progress.still_s, progress.lag) == (0, 0)


def test_records_that_nobody_fetches_count_the_seconds() -> None:
    progress = Progress()
    for end in (50, 60, 70):
        look(progress, end=end, applied=40, delivered=40, fetched=40)
    assert progress.still_s == 20
    assert progress.lag == 30


def test_a_transaction_marker_at_the_end_is_no_lag() -> None:
    progress = Progress()
    for _ in range(10):
        look(progress, end=101, applied=100, delivered=100, fetched=101)
    assert (progress.still_s, progress.lag) == (0, 0)


def test_a_partition_whose_records_have_expired_is_no_lag() -> None:
    progress = Progress()
    for _ in range(10):
        look(progress, end=5000, applied=0, delivered=0, fetched=5000)
    assert (progress.still_s, progress.lag) == (0, 0)


async def test_live_fails_while_a_partition_with_work_does_not_move(world: World) -> None:
    watch = world.workers[0].watch
    watch.progress = {METERED: Progress(end=10, stored=4, still_s=59)}
    assert (await world.get("/health/live")).status == 200
    watch.progress = {METERED: Progress(end=10, stored=4, still_s=60)}
    answer = await world.get("/health/live")
    assert (answer.status, answer.json["status"]) == (503, "DOWN")
    [check] = [check for check in answer.json["checks"] if check["name"] == "progress"]
    assert check["data"]["stalled"] == {"usage.metered-0": {"lag": 6, "still_s": 60.0}}


async def test_ready_tells_why_it_is_not(world: World) -> None:
    answer = await world.get("/health/ready")
    assert (answer.status, answer.json["status"]) == (503, "DOWN")
    assert int(answer.headers["Retry-After"]) >= 1
    down = {
        check["name"]: check["data"]["reason"] for check in answer.json["checks"] if check["status"] == "DOWN"
    }
    assert set(down) == {"state", "broker"}


async def test_ready_follows_recovery_assignment_and_broker(world: World) -> None:
    app, watch = world.workers[0].app, world.workers[0].watch
    settle(world)
    assert (await world.get("/health/ready")).status == 503, "there is no assignment yet"
    await world.assign(range(PARTITIONS), recovered=False)
    assert (await world.get("/health/ready")).status == 503, "nothing is recovered yet"
    await world.assign(range(PARTITIONS))
    answer = await world.get("/health/ready")
    assert (answer.status, answer.json["status"]) == (200, "UP")
    assert {check["name"] for check in answer.json["checks"]} == {"state", "broker", "registry"}
    assert answer.json["check_interval_seconds"] == 30
    app.rebalancing = True
    assert (await world.get("/health/ready")).status == 503
    app.rebalancing = False
    watch.broker = "no answer"
    assert (await world.get("/health/ready")).status == 503


async def test_a_worker_without_partitions_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_world(tmp_path, monkeypatch, count=2) as world:
        await world.assign((), range(PARTITIONS))
        settle(world)
        assert (await world.get("/health/ready")).status == 200


async def test_a_registry_that_is_away_takes_nothing_from_readiness(world: World) -> None:
    await world.assign(range(PARTITIONS))
    settle(world)
    world.workers[0].watch.registry = False
    answer = await world.get("/health/ready")
    assert answer.status == 200
    [registry] = [check for check in answer.json["checks"] if check["name"] == "registry"]
    assert registry["data"] == {"reachable": False, "ids": "known"}


async def test_health_lists_every_component_with_when_it_was_looked_at(world: World) -> None:
    app, watch = world.workers[0].app, world.workers[0].watch
    before = datetime.now(UTC)
    checks = {check["name"]: check for check in (await world.get("/health")).json["checks"]}
    assert set(checks) == {"loop", "progress", "state", "broker", "registry", "replica"}
    assert checks["loop"]["data"] == {"restarts_last_hour": 0}
    assert datetime.fromisoformat(checks["loop"]["last_checked"]) >= before
    for unseen in ("progress", "broker", "registry", "replica"):
        assert checks[unseen]["last_checked"] is None
    await world.assign(range(PARTITIONS))
    settle(world)
    watch.looked_at = watch.registry_looked_at = app.replica.fresh_at = time.time()
    answer = await world.get("/health")
    assert (answer.status, answer.json["status"], answer.json["check_interval_seconds"]) == (200, "UP", 30)
    assert all(datetime.fromisoformat(check["last_checked"]) >= before for check in answer.json["checks"])


async def test_a_worker_that_ends_by_an_error_names_the_records_that_it_had_in_hand(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await world.assign(range(PARTITIONS))
    ended: list[int] = []
    monkeypatch.setattr("streams.app.os._exit", ended.append)
    monkeypatch.setattr("streams.app.logging.shutdown", lambda: None)
    app = world.workers[0].app
    app.delivered = {METERED: 7, TP("stock.commands", 1): 0}
    app.abort(ValueError("a defect"), topic="usage.commands")
    assert ended == [EXIT_FATAL]
    why, in_hand = [line for line in caplog.records if line.name == "streams.app"]
    assert (why.topic, why.exc_info is not None) == ("usage.commands", True)  # type: ignore[attr-defined]
    assert in_hand.getMessage() == "in work then: usage.metered[0] from 0 to 6"
    assert (in_hand.topic, in_hand.partition, in_hand.offset) == (*METERED, 0)  # type: ignore[attr-defined]


async def test_a_replica_that_grows_old_is_told_and_takes_nothing_from_readiness(world: World) -> None:
    await world.assign(range(PARTITIONS))
    settle(world)
    world.workers[0].app.replica.fresh_at = time.time() - 61
    answer = await world.get("/health")
    assert answer.status == 503
    assert [check["name"] for check in answer.json["checks"] if check["status"] == "DOWN"] == ["replica"]
    assert (await world.get("/health/ready")).status == 200


async def test_the_list_of_components_is_the_operators_and_the_probes_are_everybodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path, monkeypatch, web_token="secret", builds=AGENTS) as world:
        assert (await world.get("/health")).status == 401
        assert (await world.get("/health/live")).status == 200
        answer = await world.get("/health", headers={"Authorization": "Bearer secret"})
        [senders] = [check for check in answer.json["checks"] if check["name"] == "senders"]
        assert (senders["status"], senders["data"]["under_way"]) == ("DOWN", 0), "they have not begun"


async def test_metrics_show_lag_state_and_readiness(world: World) -> None:
    await world.assign(range(PARTITIONS))
    settle(world)
    world.workers[0].watch.progress = {METERED: Progress(end=10, stored=4)}
    text = (await world.get("/metrics")).body.decode()
    assert 'sluice_consumer_lag_records{partition="0",topic="usage.metered"} 6.0' in text
    assert 'sluice_consumer_lag_seconds{partition="0",topic="usage.metered"} 0.0' in text
    assert 'sluice_table_partitions{table="usage"} 4.0' in text
    assert 'sluice_recovery_remaining_records{table="usage"} 0.0' in text
    assert 'sluice_parked_keys{table="usage"} 0.0' in text
    assert 'sluice_table_keys{table="usage"} 0.0' in text
    assert "sluice_worker_ready 1.0" in text
    assert "sluice_restarts_total 0.0" in text


async def test_lag_in_seconds_is_the_age_of_what_waits_or_of_what_nobody_fetches(world: World) -> None:
    async def lag() -> float:
        text = (await world.get("/metrics")).body.decode()
        [line] = [line for line in text.splitlines() if line.startswith("sluice_consumer_lag_seconds{")]
        return float(line.split()[-1])

    app, watch = world.workers[0].app, world.workers[0].watch
    watch.progress = {METERED: Progress(end=10, stored=4, still_s=30.0)}
    assert await lag() == 30.0
    app.arrivals.add(METERED, [Raw(4, b"k", b"v", int((time.time() - 3600) * 1000)), Raw(9, b"k", b"v")])
    assert 3600 <= await lag() < 3660
    app.gate[METERED] = 10
    watch.progress = {METERED: Progress(end=10, stored=10)}
    assert await lag() == 0.0


async def test_a_recovery_tells_what_is_left_of_it(world: World) -> None:
    app = world.workers[0].app
    for number, left in ((0, 70), (1, 7)):
        replay = Replay(MemoryPartition(), app.codec)
        replay.end = left
        app.replays[TP(changelog_topic("usage"), number)] = replay
    text = (await world.get("/metrics")).body.decode()
    assert 'sluice_recovery_remaining_records{table="usage"} 77.0' in text
    assert 'sluice_recovery_remaining_records{table="stock"} 0.0' in text


async def test_broker_and_registry_are_reachable_once_they_have_answered(world: World) -> None:
    watch = world.workers[0].watch
    for broker, registry, shown in ((None, None, "0.0"), ("", True, "1.0"), ("no answer", False, "0.0")):
        watch.broker, watch.registry = broker, registry
        text = (await world.get("/metrics")).body.decode()
        assert f"sluice_broker_reachable {shown}" in text
        assert f"sluice_registry_reachable {shown}" in text


async def test_requests_are_counted_by_view_and_status_and_never_by_their_path(world: World) -> None:
    await world.assign(range(PARTITIONS))
    for path in ("/usage/acme", "/usage/beta?window=century", "/nothing/here", "/health/live"):
        await world.get(path)
    await world.get("/health/live", method="DELETE")
    text = (await world.get("/metrics")).body.decode()
    found = {line for line in text.splitlines() if line.startswith("sluice_web_requests_total{")}
    assert found == {
        'sluice_web_requests_total{method="GET",status="404",view="/usage/{tenant}"} 1.0',
        'sluice_web_requests_total{method="GET",status="400",view="/usage/{tenant}"} 1.0',
        'sluice_web_requests_total{method="GET",status="404",view="other"} 1.0',
        'sluice_web_requests_total{method="GET",status="200",view="/health/live"} 1.0',
        'sluice_web_requests_total{method="other",status="405",view="other"} 1.0',
    }
    assert "sluice_web_request_seconds_count 5.0" in text


async def test_metrics_are_openmetrics_for_who_asks_for_it(world: World) -> None:
    assert (await world.get("/metrics")).headers["Content-Type"].startswith("text/plain; version=")
    asked = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = await world.get("/metrics", headers=asked)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")
