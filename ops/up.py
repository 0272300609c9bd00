"""``sluice up``, ``down`` and ``status``: the local stack as a person uses it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ops import console
from ops.errors import OpsError
from ops.stack import artifacts
from ops.stack.local import PARTS, LocalStack, Ports

WATCH_SECONDS = 0.2
DOWN_SECONDS = 2.0


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C, so that what was started is stopped on every way out."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def quiet_shutdown() -> Iterator[None]:
    """Let nobody interrupt what stops processes: a second Ctrl-C would leave a broker behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(data_dir: Path, ports: Ports, *, detached: bool) -> LocalStack:
    """Start what does not run and say so; return the stack. Raises OpsError: nothing it started runs on."""
    LocalStack(data_dir, ports).check()
    cache = artifacts.cache_dir()
    with console.downloads(cache) as progress:
        stack = LocalStack(data_dir, ports, detached=detached, cache=cache, progress=progress)
        try:
            for name, part in (("Kafka 4.1.2", stack.start_kafka), ("Schema Registry", stack.start_registry)):
                began = time.monotonic()
                part()
                console.err.print(f"[green]✓[/] {name} is ready ({time.monotonic() - began:.1f} s)")
        except BaseException:
            with quiet_shutdown():
                stack.stop_started()
            raise
    console.err.print(f"  Kafka            {stack.bootstrap_servers}")
    console.err.print(f"  Schema Registry  {stack.registry_url}")
    return stack


def up(data_dir: Path, ports: Ports, *, detached: bool) -> None:
    """Run the stack until Ctrl-C, or leave it running when ``detached``. Raises OpsError."""
    running = LocalStack(data_dir, ports)
    if running.pid("kafka") and running.pid("registry"):
        console.err.print("The stack runs already; `sluice status` shows it, `sluice down` stops it.")
        return
    with ended_by_signals():
        try:
            stack = start(data_dir, ports, detached=detached)
        except KeyboardInterrupt:
            console.err.print("Stopped.")
            return
        if detached:
            console.err.print("It keeps running; `sluice down` stops it.")
            return
        try:
            console.err.print("Ctrl-C stops it; its data stay.")
            _watch(stack)
        except KeyboardInterrupt:
            console.err.print("Stopping ...")
        finally:
            with quiet_shutdown():
                stack.stop()


def down(data_dir: Path) -> list[str]:
    """Stop what runs in ``data_dir``, whoever started it; return the names of what was stopped."""
    stack = LocalStack(data_dir)
    stopped = [part for part in stack.state.read() if stack.pid(part)]
    stack.stop()
    return stopped


def _watch(stack: LocalStack) -> None:
    """Return when the stack was stopped by `sluice down`; raise OpsError when a part ended by itself."""
    while True:
        time.sleep(WATCH_SECONDS)
        gone = next((part for part in PARTS if stack.pid(part) is None), None)
        if gone is None:
            continue
        deadline = time.monotonic() + DOWN_SECONDS  # `sluice down` strikes a part off once it has ended
        while gone in stack.state.read():
            if time.monotonic() > deadline:
                log = stack.data_dir / "logs"
                raise OpsError(
                    f"{gone} ended by itself.", f"Its log is in {log}; then run `sluice up` again."
                )
            time.sleep(WATCH_SECONDS)
        console.err.print("The stack was stopped by `sluice down`.")
        return
