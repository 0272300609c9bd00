"""The console in a real browser, fed by a real worker on a real broker."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect

from ops.console_break import POISON, POISON_KEY
from ops.screenshot import chromium
from ops.setup import setup
from ops.stack.local import LocalStack
from streams.client import Client
from streams.events import (
    LoyaltyPointsUpdateRequested,
    StockEntryRequested,
    StockPolicySetRequested,
    UsageEvent,
    UsageQuotaSetRequested,
)
from streams.routes import INDEX
from streams.settings import Settings
from tests.faults.cluster import environment_of, settings_of
from tests.faults.processes import Worker, until

pytestmark = pytest.mark.broker

OPERATOR, TENANT = "operator-token", "acme-token"
HOSTILE = "<img src=x onerror=\"document.title='broken'\">"
SOON_MS = 30_000


@dataclass
class Desk:
    """A worker that may be broken, a second one of its group that does not run yet, and a browser."""

    settings: Settings
    worker: Worker
    second: Worker
    browser: Browser

    def open(self, token: str = OPERATOR, **options: Any) -> Page:
        """Return a page that is live. What goes wrong in it is kept in its ``wrong``."""
        page = self.browser.new_context(**options).new_page()
        wrong: list[str] = []
        page.on(
            "console", lambda told: wrong.append(told.text) if told.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.wrong = wrong  # type: ignore[attr-defined]
        answer = page.goto(f"http://127.0.0.1:{self.worker.port}/console")
        assert answer is not None and answer.ok, answer and answer.text()
        page.locator("#ask-token").fill(token)
        page.keyboard.press("Enter")
        live(page)
        return page

    def send(self, *events: Any) -> None:
        """Publish events and return when the broker has them."""

        async def publish() -> None:
            async with Client(self.settings) as client:
                for event in events:
                    await client.publish(event)

        with ThreadPoolExecutor(1) as pool:  # this thread's event loop is Playwright's
            pool.submit(asyncio.run, publish()).result(60)

    def ready(self) -> bool:
        page = self.worker.page("/health/ready")
        return page is not None and page["status"] == "UP"


@pytest.fixture(scope="module")
def desk(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    run, folder = f"t{uuid4().hex[:10]}", tmp_path_factory.mktemp("console")
    settings = settings_of(stack, run, folder)
    asyncio.run(setup(settings))
    variables = environment_of(
        stack,
        SLUICE_APP_ID=run,
        SLUICE_DEMO="true",
        SLUICE_WEB_TOKEN=OPERATOR,
        SLUICE_WEB_TENANT_TOKENS=json.dumps({TENANT: "acme"}),
    )
    worker, second = (
        Worker(name, "worker", folder, variables, module="ops.cli", ready_path="/health/ready")
        for name in ("w1", "w2")
    )
    with chromium() as browser:
        desk = Desk(settings, worker, second, browser)
        worker.supervise()
        try:
            until(desk.ready, 60, "the worker")
            desk.send(*(event for tenant in ("acme", "zulu") for event in life(tenant)))
            yield desk
        finally:
            second.stop()
            worker.stop()


@pytest.fixture(scope="module")
def page(desk: Desk) -> Page:
    """The page of most tests: one that has been open for a while, as people leave it."""
    return desk.open(viewport={"width": 1280, "height": 900})


def life(tenant: str) -> Iterator[Any]:
    """Yield events of one tenant: 60 % of a quota, a product with a hostile name that is short, and points."""
    at: dict[str, Any] = {"timestamp": datetime.now(UTC), "tenant_id": tenant}
    metered: dict[str, Any] = {
        "event_type": "api_call",
        "resource_type": "calls",
        "quantity": Decimal(6),
        "unit": "calls",
    }
    yield UsageQuotaSetRequested(quota_id="daily", meter="calls", limit=Decimal(10), period="MONTH", **at)
    yield UsageEvent(**metered, **at)
    place: dict[str, Any] = {"product_id": HOSTILE, "warehouse_id": "WH1"}
    yield StockEntryRequested(quantity=Decimal(4), **place, **at)
    yield StockPolicySetRequested(reorder_point=Decimal(5), **place, **at)
    points: dict[str, Any] = {
        "customer_id": HOSTILE,
        "transaction_id": "t1",
        "points_change": 1500,
        "reason": "a purchase",
    }
    yield LoyaltyPointsUpdateRequested(auto_create=True, **points, **at)


def live(page: Page) -> None:
    expect(page.locator("#state")).to_have_attribute("data-state", "live", timeout=SOON_MS)
    expect(page.locator("#figure-list > div").first).to_be_visible()


def wrong_in(page: Page) -> list[str]:
    found: list[str] = page.wrong  # type: ignore[attr-defined]
    return found


def test_events_that_were_sent_are_on_the_page_with_their_numbers(desk: Desk, page: Page) -> None:
    desk.send(*life(uuid4().hex))
    for tenant in ("acme", "zulu"):
        row = page.locator("#usage tbody tr", has_text=tenant)
        expect(row).to_contain_text("6 of 10 calls a month", timeout=SOON_MS)
        expect(row).to_contain_text("60 %")
    row = page.locator("#stock-list tbody tr").first
    expect(row).to_contain_text("reorder at 5 · low")
    expect(row).to_contain_text("4 / 4")
    expect(page.locator("#loyalty-list tbody tr", has_text="silver").first).to_contain_text("3")
    expect(page.locator("#loyalty-list")).to_contain_text("1,500")
    expect(page.locator("#alert-list li").first).to_contain_text("firing")
    expect(page.locator(".curve.p95")).not_to_have_count(0, timeout=SOON_MS)
    expect(page.locator("#curves line.limit")).to_have_count(1)
    expect(page.locator("#curves .limit-text")).to_have_text("100 ms")
    expect(page.locator("#grid .cell[data-ready='true']")).to_have_count(
        len(INDEX.aggregates) * desk.settings.partitions
    )
    expect(page.locator("#workers li")).to_contain_text("ready")
    expect(page.locator("#figures")).to_contain_text("1 of 1")


def test_the_flow_has_every_route_and_tells_of_each_topic_that_is_chosen(page: Page) -> None:
    for route in INDEX.routes:
        topic, agent = f"topic:{route.topic.name}", f"agent:{route.aggregate.name}"
        expect(page.locator(f'[data-source="{topic}"][data-target="{agent}"]')).to_have_count(1)
        for target in {INDEX.outputs[event].topic.name for event in route.emits}:
            expect(page.locator(f'[data-source="{agent}"][data-target="topic:{target}"]')).to_have_count(1)
    for name in dict.fromkeys(route.topic.name for route in INDEX.routes):
        page.locator(f'[data-id="topic:{name}"]').click()
        expect(page.locator("#facts h3")).to_have_text(name)
        events = [route.event.__name__ for route in INDEX.on(name).values()]
        expect(page.locator("#facts .routes tbody th")).to_have_text(events)
    expect(page.locator("#facts .records .soft").first).to_contain_text("v1")


def test_what_users_call_things_is_text_and_never_markup(page: Page) -> None:
    expect(page.locator("#stock-list tbody th").first).to_have_text(HOSTILE)
    expect(page.locator("#loyalty-list")).to_contain_text(HOSTILE)
    expect(page.locator("img")).to_have_count(0)
    assert page.title() == "Sluice console"


def test_a_dead_letter_is_shown_with_its_fields_and_its_bytes(desk: Desk, page: Page) -> None:
    [_, used, *_] = life("acme")
    too_old = datetime.now(UTC) - timedelta(days=40)
    desk.send(replace(used, timestamp=too_old, user_id=HOSTILE))
    row = page.locator("#letter-list tbody tr", has_text="LATE_EVENT")
    row.get_by_role("button").click(timeout=SOON_MS)
    expect(page.locator("#letter")).to_contain_text(f"Decoded as {UsageEvent.RECORD}")
    expect(page.locator("#letter .decoded")).to_contain_text('"tenant_id": "acme"')
    expect(page.locator("#letter .decoded")).to_contain_text(json.dumps(HOSTILE))
    expect(page.locator("#letter .bytes")).to_contain_text(re.compile(r"^0000\s+00 "))  # framed


def test_a_poison_pill_is_among_the_dead_letters_with_its_bytes_and_a_bad_schema_is_refused(
    page: Page,
) -> None:
    page.get_by_role("button", name="Poison pill").click()
    row = page.locator("#letter-list tbody tr", has_text=POISON_KEY)
    expect(row).to_contain_text("NOT_FRAMED", timeout=SOON_MS)
    row.get_by_role("button").click()
    bytes_ = page.locator("#letter .bytes")
    expect(bytes_).to_contain_text(POISON[:16].hex(" "))
    expect(bytes_).to_contain_text("This is a poison")
    expect(page.locator('[data-id="topic:usage.metered"]')).to_have_attribute("data-lamp", "bad")
    page.get_by_role("button", name="Incompatible schema").click()
    expect(page.locator("#break-told")).to_contain_text("The registry refused", timeout=SOON_MS)
    expect(page.locator("#break-answer")).to_contain_text("409")
    expect(page.locator("#schema-list")).to_contain_text("1 refused")


def test_a_burst_is_seen_in_the_rates(page: Page) -> None:
    page.get_by_role("button", name="Burst × 10").click()
    expect(page.locator("#break-told")).to_contain_text("more usage events a second")
    metered = page.locator('[data-id="topic:usage.metered"] .told')
    expect(metered).to_have_text(re.compile(r"^\d{2,}/s"), timeout=SOON_MS)


def test_the_page_fits_400_pixels(page: Page) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    expect(page.locator("#facts")).to_be_visible()
    expect(page.locator("#letter")).to_be_visible()
    page.locator("#schema-list summary").first.click()
    expect(page.locator("#topology svg")).to_have_attribute("width", "354")
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.set_viewport_size({"width": 1280, "height": 900})
    expect(page.locator("#topology svg")).not_to_have_attribute("width", "354")


def test_colours_follow_the_system_until_somebody_chooses(page: Page) -> None:
    def paper() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.emulate_media(color_scheme="light")
    light = paper()
    page.emulate_media(color_scheme="dark")
    dark = paper()
    assert light != dark
    page.get_by_role("button", name="Colours: as the system").click()
    assert paper() == light
    page.reload()
    live(page)  # without being asked for the token again
    assert paper() == light
    page.get_by_role("button", name="Colours: light").click()
    page.get_by_role("button", name="Colours: dark").click()
    assert paper() == dark


def test_everything_is_reached_with_the_keyboard_alone(page: Page) -> None:
    def focused(expression: str) -> Any:
        return page.evaluate(f"document.activeElement.{expression}")

    page.reload()  # or Tab would go on from what was clicked last
    live(page)
    page.keyboard.press("Tab")
    assert focused("className") == "skip"
    page.keyboard.press("Enter")
    assert focused("id") == "main"
    names = []
    for _ in range(4):
        page.keyboard.press("Tab")
        names.append(focused("textContent"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert names == ["Poison pill", "Incompatible schema", "Burst × 10", "Kill the worker"]
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert focused("dataset.id") == "topic:notification.deliveries"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#facts h3")).to_have_text(str(focused("dataset.id")).removeprefix("topic:"))
    page.locator("#curves svg").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#readout")).to_contain_text("P95")
    page.locator("#letter-list button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#letter h3")).to_have_text("NOT_FRAMED")
    page.get_by_role("button", name="Close").press("Enter")
    assert "Show the letter" in focused("ariaLabel")


def test_nothing_went_wrong_in_the_page_so_far(page: Page) -> None:
    assert wrong_in(page) == []


def test_a_tenant_s_token_shows_the_tenant_s_tables_alone(desk: Desk) -> None:
    page = desk.open(TENANT)
    expect(page.locator("#usage tbody tr")).to_have_count(1, timeout=SOON_MS)
    expect(page.locator("#usage tbody th")).to_have_text("acme")
    expect(page.locator("#stock-list tbody tr")).to_have_count(1)
    for panel in ("#flow", "#speed", "#owners", "#letters", "#schemas", "#break"):
        expect(page.locator(panel)).to_be_hidden()
    assert wrong_in(page) == []


def test_a_wrong_token_is_told_and_another_one_asked_for(desk: Desk) -> None:
    page = desk.browser.new_context().new_page()
    page.goto(f"http://127.0.0.1:{desk.worker.port}/console")
    page.locator("#ask-token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#ask-why")).to_contain_text("Authorization: Bearer")
    page.locator("#ask-token").fill(OPERATOR)
    page.get_by_role("button", name="Look").click()
    live(page)


def test_a_second_worker_is_shown_with_the_partitions_that_it_takes_over(desk: Desk, page: Page) -> None:
    desk.second.start()
    expect(page.locator("#workers li")).to_have_count(2, timeout=SOON_MS)
    for owner in range(2):
        owned = page.locator(f"#grid .cell[data-owner='{owner}'][data-ready='true']")
        expect(owned).not_to_have_count(0, timeout=SOON_MS)
    expect(page.locator("#figures")).to_contain_text("2 of 2", timeout=SOON_MS)


def test_a_page_whose_worker_is_killed_says_so_and_finds_the_next_one(desk: Desk, page: Page) -> None:
    ended = len(desk.worker.exits)
    page.get_by_role("button", name="Kill the worker").click()
    expect(page.locator("#state")).to_contain_text("Worker lost", timeout=SOON_MS)
    until(lambda: len(desk.worker.exits) > ended, 10, "the worker's end")
    live(page)
    expect(page.locator("#figures")).to_contain_text("2 of 2", timeout=SOON_MS)
    expect(page.locator("#usage tbody tr", has_text="acme")).to_contain_text("60 %", timeout=SOON_MS)
