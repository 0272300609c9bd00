"""``sluice demo``: broker, registry, worker and two real traces, started in order, watched live, stopped together.

The traces are an LLM service's hour, which is metered, and a shop's week, whose goods and points are kept. A second run
finds the data of the first: the tables continue, and the replays go on at the rows where they stopped. When a trace is
through, the next run sends a further copy of it, as other events.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.live import Live

from ops import console
from ops.demo_data import define
from ops.demo_screen import Progress, line, screen
from ops.demo_send import Source, llm_traces, shops
from ops.demo_shop import Shop, commands
from ops.demo_watch import Watch
from ops.demo_worker import DemoWorker
from ops.errors import OpsError
from ops.lag import Lag
from ops.retail_trace import RetailTrace
from ops.setup import setup
from ops.stack.local import LocalStack, Ports
from ops.stack.processes import require_free
from ops.traces import LlmTrace
from ops.up import ended_by_signals, quiet_shutdown, start
from streams.settings import Settings
from streams.topics import ALERTS, CUSTOMER_COMMANDS, STOCK_COMMANDS, USAGE_COMMANDS, USAGE_METERED

SCREEN_SECONDS = 0.25
LINE_SECONDS = 2.0
SHOP_SHARE, SHOP_LIMIT = 3.0, 2_000.0
"""The shop's week has more events than the LLM's hour, so it is sent faster, up to what leaves a laptop its breath."""
SOURCES = [topic.name for topic in (USAGE_METERED, USAGE_COMMANDS, STOCK_COMMANDS, CUSTOMER_COMMANDS, ALERTS)]

Sources = tuple[Source[LlmTrace], Source[RetailTrace]]


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        rate: events per second of the LLM trace.
        seconds: end after so long; None runs until Ctrl-C.
        leave: end when the LLM trace is through and everything that was sent is processed.
    """

    rate: float = 300.0
    seconds: float | None = None
    leave: bool = False


class Demo:
    """One run of the demo.

    Args:
        data_dir: folder of the stack's and the worker's data.
        ports: of a stack that does not run yet.
        settings: makes the settings; called when the stack runs, as they name its ports.
        options: how to run.
    """

    def __init__(
        self, data_dir: Path, ports: Ports, settings: Callable[[], Settings], options: Options
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._ports = ports
        self._make_settings = settings
        self._options = options
        self._ended = threading.Event()
        self._failure: OpsError | None = None

    def run(self) -> dict[str, Any]:
        """Start everything, show it until the end, stop what was started; return the final numbers.

        Raises:
            OpsError: something cannot be started, or ended by itself.
        """
        first = self._make_settings()
        if self._worker_pid() is None:
            require_free(first.web_port, "the worker's views", "SLUICE_WEB_PORT")
        with ended_by_signals():
            stack = start(self._data_dir, self._ports, detached=False)
            try:
                return self._with(stack)
            except KeyboardInterrupt:
                return {}
            finally:
                self._ended.set()
                with quiet_shutdown():
                    console.err.print("Stopping ...")
                    stack.stop_started()
                    console.err.print("Stopped. Data stay in .sluice; `make demo` goes on from here.")

    def _with(self, stack: LocalStack) -> dict[str, Any]:
        settings = self._make_settings()
        made = asyncio.run(setup(settings))
        console.err.print(f"[green]✓[/] {len(made)} topics and schemas are in place")
        llm, shop = self._sources(settings)
        watch = Watch(settings, Shop.of(shop.trace))
        worker = DemoWorker(stack, settings)
        self._start_worker(worker, watch)
        self._define_once(settings, shop.trace)
        lag = Lag(settings, SOURCES)
        watch.start()
        llm.start()
        shop.start()
        try:
            self._show(stack, worker, settings, watch, (llm, shop), lag)
        except KeyboardInterrupt:
            llm.progress.note = shop.progress.note = "stopped"
        finally:
            self._ended.set()
            with quiet_shutdown():
                for source in (llm, shop):
                    source.stop()
                    source.join(10)
                watch.stop()
        if self._failure is not None:
            raise self._failure
        return self._summary(watch, llm.progress, shop.progress, lag)

    def _worker_pid(self) -> int | None:
        return LocalStack(self._data_dir).pid("worker")

    def _start_worker(self, worker: DemoWorker, watch: Watch) -> None:
        if not worker.runs:
            began = time.monotonic()
            worker.start(watch.ready)
            console.err.print(f"[green]✓[/] Worker is ready ({time.monotonic() - began:.1f} s)")

    def _define_once(self, settings: Settings, shop: RetailTrace) -> None:
        """Set prices, quotas and reorder points, on the first run only: another time makes other commands."""
        done = self._data_dir / "demo.json"
        if not done.exists():
            at = datetime.now(UTC)
            count = define(settings, at, shop)
            done.write_text(json.dumps({"defined_at": at.isoformat(), "commands": count}) + "\n")
            console.err.print(
                "[green]✓[/] Prices and a daily quota are set for 50 tenants, reorder points for what sells best"
            )

    def _sources(self, settings: Settings) -> tuple[Source[LlmTrace], Source[RetailTrace]]:
        def failed(error: OpsError) -> None:
            self._failure = error
            self._ended.set()

        rate = self._options.rate
        shop_rate = min(SHOP_SHARE * rate, SHOP_LIMIT)
        return (
            Source(settings, llm_traces(), rate, failed),
            Source(settings, shops(settings), shop_rate, failed),
        )

    def _show(
        self,
        stack: LocalStack,
        worker: DemoWorker,
        settings: Settings,
        watch: Watch,
        sources: Sources,
        lag: Lag,
    ) -> None:
        deadline = time.monotonic() + (self._options.seconds or float("inf"))
        urls = addresses(stack, settings, watch)
        terminal = console.err.is_terminal
        progress = [source.progress for source in sources]
        with Live(console=console.err, auto_refresh=False, screen=False, transient=False) as live:
            while not self._ended.wait(SCREEN_SECONDS if terminal else LINE_SECONDS):
                parts = self._parts(stack, worker, watch)
                if terminal:
                    live.update(screen(watch, progress, parts, urls, console.err.height), refresh=True)
                else:
                    console.err.print(line(watch, progress), soft_wrap=True)
                if time.monotonic() > deadline or (self._options.leave and through(*sources, lag)):
                    return

    def _parts(self, stack: LocalStack, worker: DemoWorker, watch: Watch) -> list[dict[str, Any]]:
        """Return the parts' states, the worker started again where it ended; raise OpsError when another one did."""
        worker.keep()
        parts = []
        for name in ("kafka", "registry"):
            if stack.pid(name) is None:
                raise OpsError(
                    f"{name} ended by itself.", f"Its log is in {stack.data_dir / 'logs'}; then run it again."
                )
            parts.append({"part": name, "state": "ready"})
        return [*parts, {"part": "worker", "state": "ready" if watch.counts.ready else "starting"}]

    def _summary(self, watch: Watch, llm: Progress, shop: Progress, lag: Lag) -> dict[str, Any]:
        rest = lag.count()
        watch.look()
        watch.read_views()
        return {
            "trace": llm.name,
            "rows_sent": llm.done,
            "rows": llm.rows,
            "events": {name: int(count) for name, count in watch.counts.by_outcome().items()},
            "usage": {name: str(total) for name, total in sorted(watch.usage.items())},
            "alerts_firing": watch.firing,
            "shop": {
                "trace": shop.name,
                "rows_sent": shop.done,
                "rows": shop.rows,
                "commands": commands(watch.counts.by_topic()),
                "on_hand": {name: str(pieces) for name, pieces in watch.shop.on_hand.items()},
                "points": watch.shop.points,
            },
            "lag": rest,
        }


def through(llm: Source[LlmTrace], shop: Source[RetailTrace], lag: Lag) -> bool:
    """Return whether the LLM trace and what was sent of the shop's week are processed; the week is not waited for."""
    if llm.sending:
        return False
    shop.stop()
    return not shop.sending and lag.count() == 0


def addresses(stack: LocalStack, settings: Settings, watch: Watch) -> dict[str, str]:
    """Return what to look at, by name."""
    return {
        "console, in a browser": f"{watch.url}/console",
        "usage of a tenant": f"{watch.url}/usage/tenant-07?window=hour",
        "its quotas, its cost": f"{watch.url}/usage/tenant-07/quotas   {watch.url}/usage/tenant-07/cost",
        "alerts": f"{watch.url}/alerts?status=firing",
        "stock": watch.url + watch.shop.stock_path(next(iter(watch.shop.goods))),
        "points": watch.url + watch.shop.loyalty_path(watch.shop.customers[0]),
        "interface, metrics": f"{watch.url}/openapi.json   {watch.url}/metrics",
        "Kafka, registry": f"{settings.bootstrap_servers}   {settings.registry_url}",
        "logs": str(stack.data_dir / "logs"),
    }
