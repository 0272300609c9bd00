"""``make screenshot``: the demo, run for as long as it takes, and pictures of its console for the README.

It runs beside whatever else runs here, on ports and in a folder of its own, and needs a Chromium and Playwright.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ops.errors import OpsError
from ops.stack.local import Ports
from ops.stack.processes import free_ports

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = Path(__file__).parents[1] / "docs"
RATE, LOAD_MS = 100, 44_000
"""The traces last for a minute and a quarter at this rate; the picture shows them under way."""
READY_MS = 180_000
SIZE = (1280, 1420)
CACHE = ("SLUICE_CACHE_DIR",)
"""Where downloads are: the one variable that counts here as everywhere."""
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""A browser that talks to nobody but the page. As root it runs only without its sandbox, and in a container, where
``/dev/shm`` is small, a page that shares memory there may stand still."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium of this machine's.

    Raises:
        OpsError: there is none.
    """
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise OpsError(
            "There is no Chromium on the PATH.", "Install it (Debian and Ubuntu: apt install chromium)."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*QUIET])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def command(*words: str, **variables: object) -> Iterator[None]:
    """Run a command of ``sluice`` beside, with these variables and none of ours; it ends as with Ctrl-C."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("SLUICE_") or name in CACHE
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli", *words],
        env=kept | {name: str(value) for name, value in variables.items()},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@contextmanager
def demo(folder: Path) -> Iterator[str]:
    """Run the demo in a folder; yield the address of its views."""
    ports, web = Ports.free(), free_ports(1)[0]
    with command(
        *("demo", "--data-dir", str(folder), "--rate", str(RATE), "--for", "240"),
        SLUICE_STACK_KAFKA_PORT=ports.kafka,
        SLUICE_STACK_CONTROLLER_PORT=ports.controller,
        SLUICE_STACK_REGISTRY_PORT=ports.registry,
        SLUICE_STACK_MANAGEMENT_PORT=ports.management,
        SLUICE_WEB_PORT=web,
    ):
        yield f"http://127.0.0.1:{web}"


def open_console(page: Page, url: str) -> None:
    """Open the console as soon as the worker serves it, and wait for its first snapshot."""
    from playwright.sync_api import Error

    for _ in range(READY_MS // 500):
        try:
            page.goto(f"{url}/console")
            break
        except Error:  # nobody listens there yet
            page.wait_for_timeout(500)
    page.wait_for_selector('#state[data-state="live"]', timeout=READY_MS)


def take(folder: Path) -> list[Path]:
    """Run the demo with a second worker, break two things in it, and write the pictures; return their paths.

    Raises:
        OpsError: there is no browser.
    """
    written = []
    with tempfile.TemporaryDirectory() as data, demo(Path(data)) as url, chromium() as browser:
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="light")
        open_console(page, url)
        with command(
            "worker", "--data-dir", data, SLUICE_WEB_PORT=free_ports(1)[0], SLUICE_LOG_LEVEL="WARNING"
        ):
            page.get_by_text("2 of 2").wait_for(timeout=READY_MS)
            page.wait_for_timeout(LOAD_MS / 2)
            for name, told in (("Incompatible schema", "refused"), ("Poison pill", "Sent")):
                page.get_by_role("button", name=name).click()
                page.locator("#break-told", has_text=told).wait_for()
            page.wait_for_timeout(LOAD_MS / 2)
            for scheme, name in (("light", "console.png"), ("dark", "console-dark.png")):
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                page.evaluate("scrollTo(0, 0)")
                page.wait_for_timeout(1_500)
                page.screenshot(path=folder / name)
                written.append(folder / name)
    return written


if __name__ == "__main__":
    for path in take(FOLDER):
        sys.stdout.write(f"{path} ({path.stat().st_size / 1000:.0f} kB)\n")
