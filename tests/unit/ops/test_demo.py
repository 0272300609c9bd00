"""What the demo computes and shows, without anything running."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from rich.console import Console

from ops.demo_data import REORDERED, definitions, policies, quota_of, totals
from ops.demo_screen import Progress, line, screen
from ops.demo_send import Source, shops
from ops.demo_shop import Shop, commands
from ops.demo_watch import Watch
from ops.journal import Journal, JournalFile, Stretch
from ops.retail import RETAIL
from ops.retail_trace import RetailTrace
from ops.stack.processes import free_ports
from ops.traces import LLM_TRACE, TENANTS, read_llm_trace
from streams.settings import Settings

METRICS = """\
# TYPE sluice_events_processed counter
sluice_events_processed_total{agent="usage",outcome="done",topic="usage.metered"} 90.0
sluice_events_processed_total{agent="alerts",outcome="done",topic="alerts"} 5.0
sluice_events_processed_total{agent="stock",outcome="done",topic="stock.commands"} 20.0
sluice_events_processed_total{agent="stock",outcome="duplicate",topic="stock.commands"} 2.0
sluice_events_processed_total{agent="customer",outcome="done",topic="customer.commands"} 4.0
sluice_events_processed_total{agent="usage",outcome="duplicate",topic="usage.metered"} 3.0
# TYPE sluice_events_published counter
sluice_events_published_total{agent="usage",topic="usage.events"} 7.0
# TYPE sluice_event_end_to_end_seconds histogram
sluice_event_end_to_end_seconds_bucket{le="0.01",topic="usage.metered"} 50.0
sluice_event_end_to_end_seconds_bucket{le="0.02",topic="usage.metered"} 100.0
sluice_event_end_to_end_seconds_bucket{le="+Inf",topic="usage.metered"} 100.0
# TYPE sluice_consumer_lag_records gauge
sluice_consumer_lag_records{partition="0",topic="usage.metered"} 4.0
sluice_consumer_lag_records{partition="1",topic="usage.metered"} 6.0
# TYPE sluice_worker_ready gauge
sluice_worker_ready 1.0
"""


LATER = METRICS.replace(" 90.0", " 290.0").replace(" 100.0", " 300.0")
"""Two seconds later: 200 more events of usage, all of them between 10 and 20 ms."""


def test_the_numbers_are_read_from_the_worker_s_own_metrics() -> None:
    watch = a_watch()
    assert watch.counts.by_outcome() == {"done": 119, "duplicate": 5}
    assert watch.counts.ready
    assert commands(watch.counts.by_topic()) == {"stock": 22, "loyalty": 4}
    assert watch.pipeline["lag"] == 10
    for told in ("events 124", " 0/s", "P95 -"):  # one look tells of no rate and of no latency
        assert told in line(watch, SOURCES)


def test_rate_and_latency_are_those_between_looks() -> None:
    watch = a_watch()
    watch.take(LATER, 3.0)
    for told in ("events 324", " 100/s", "P95 20 ms"):
        assert told in line(watch, SOURCES)


def test_a_worker_that_does_not_answer_is_not_ready_and_its_numbers_stay() -> None:
    watch = a_watch()
    watch.url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(requests.ConnectionError):
        watch.look()
    assert not watch.counts.ready
    assert "events 124" in line(watch, SOURCES)


def test_without_a_look_there_is_nothing_to_tell() -> None:
    watch = Watch(Settings(), Shop("shop", {}, []))
    assert "events 0  0/s  lag 0  P95 -" in line(watch, SOURCES)


def test_every_tenant_gets_prices_and_a_quota_under_ids_that_never_change() -> None:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    commands = list(definitions(at))
    assert len(commands) == 3 * TENANTS
    assert len({command.event_id for command in commands}) == 3 * TENANTS
    assert commands == list(definitions(at))


def test_what_sells_best_has_a_reorder_point_that_the_week_goes_below() -> None:
    week, at = RetailTrace(RETAIL), datetime(2026, 11, 20, tzinfo=UTC)
    commands = list(policies(at, week))
    goods = Shop.of(week).goods
    points = {command.product_id: command.reorder_point for command in commands}
    assert len(points) == len({command.event_id for command in commands}) == REORDERED
    assert all(0 < (points[product] or 0) < pieces / 2 for product, pieces in goods.items())
    assert {command.tenant_id for command in commands} == {week.tenant}
    assert commands == list(policies(at, week))


def test_the_trace_brings_some_tenants_over_their_limit_and_leaves_others_below() -> None:
    rows = read_llm_trace(LLM_TRACE)
    over = [sum(row.context for row in rows[number::TENANTS]) > quota_of(number) for number in range(TENANTS)]
    assert 10 < sum(over) < 40


def test_the_true_totals_come_straight_from_the_file() -> None:
    rows = read_llm_trace(LLM_TRACE)
    assert totals(rows, 0, len(rows)) == {"tokens.input": 18_059_974, "tokens.output": 245_896}
    assert totals(rows, 0, 1) == {"tokens.input": 4808, "tokens.output": 10}


def a_watch() -> Watch:
    watch = Watch(Settings(), Shop("shop", {"84077": 3707, "22189": 2160}, ["12346"]))
    views: dict[str, dict[str, Any]] = {
        "/stock/84077/WH1?tenant=shop": {"on_hand": "1200.000000"},
        "/customers/12346/loyalty?tenant=shop": {"balance": 3400},
    }
    watch.shop.read(lambda path: views.get(path))  # noqa: PLW0108 - its overloads are no Ask
    watch.take(METRICS, 1.0)
    watch.quotas = [quota(f"tenant-{n:02d}", str(120 - n)) for n in range(50)]
    watch.alerts = [alert(n) for n in range(6)]
    watch.firing = 17
    return watch


SOURCES = [Progress("trace.csv", 100, 40), Progress("shop.csv", 22_012, 7)]


def quota(tenant: str, percent: str) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "meter": "tokens.input",
        "value": "120000",
        "limit": "100000",
        "percent": percent,
    }


def alert(number: int) -> dict[str, Any]:
    return {
        "last_seen": "2026-11-20T12:00:00Z",
        "status": "firing",
        "severity": "critical",
        "tenant_id": f"tenant-{number:02d}",
        "alert_type": "quota_exceeded",
        "subject": "q",
        "description": "a long description [with brackets] " * 5,
    }


def shown(height: int) -> str:
    console = Console(file=io.StringIO(), width=100, height=height)
    parts = [{"part": "kafka", "state": "ready"}, {"part": "worker", "state": "starting"}]
    urls = {f"url {n}": "http://127.0.0.1" for n in range(8)}
    console.print(screen(a_watch(), SOURCES, parts, urls, height))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_the_picture_tells_parts_progress_numbers_tenants_alerts_and_urls() -> None:
    text = shown(60)
    for told in ("worker starting", "row 40 of 100", "tenant-00", "120 %", "17 firing", "url 7", "Ctrl-C"):
        assert told in text


def test_the_picture_tells_of_the_shop_what_is_left_of_the_best_goods_and_the_points_of_the_best_customers() -> (
    None
):
    text = shown(60)
    assert "22 stock, 4 loyalty commands; left of 84077 1,200 of 3,707; points of 12346 3,400" in text
    assert "row 7 of 22,012 of shop.csv" in text


def test_the_best_of_the_shop_come_from_its_week() -> None:
    shop = Shop.of(RetailTrace(RETAIL))
    assert shop.goods == {"84077": 3707, "22189": 2160, "22188": 2093, "84950": 1878}
    assert len(shop.customers) == 4
    shop.read(lambda path: None)
    assert shop.told() == "left of -; points of -"


def test_a_shop_whose_goods_have_expired_or_that_is_through_is_followed_by_the_next_one(
    tmp_path: Path,
) -> None:
    settings = Settings(data_dir=tmp_path)
    rows = len(RetailTrace(RETAIL))
    journals = JournalFile(tmp_path / "replays.json")
    now = datetime.now(UTC)
    began = (now - timedelta(days=40)).isoformat()

    def chosen() -> str:
        source = Source(settings, shops(settings), 1.0, lambda error: None)
        assert source.progress.done == 0
        return source.trace.tenant

    assert chosen() == "shop"
    journals.write(f"{RETAIL.name} to {settings.bootstrap_servers}", Journal(500, [Stretch(0, 500, began)]))
    assert chosen() == "shop-2"
    second = f"{RETAIL.name} of shop-2 to {settings.bootstrap_servers}"
    journals.write(second, Journal(rows, [Stretch(0, rows, now.isoformat())]))
    assert chosen() == "shop-3"


def test_the_picture_fits_into_a_small_terminal() -> None:
    for height in (30, 45, 60):
        assert len(shown(height).splitlines()) <= height


def test_without_a_terminal_one_line_tells_the_same() -> None:
    text = line(a_watch(), SOURCES)
    assert text.startswith("rows 40/100  shop 7/22012  events 124")
    assert "lag 10" in text
    assert "17 firing" in text
