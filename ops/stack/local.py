"""The local stack: a broker and a Schema Registry on this machine's loopback address, without Docker or Java.

>>> with LocalStack(Path(".sluice")) as stack:  # doctest: +SKIP
...     stack.start()
...     print(stack.bootstrap_servers, stack.registry_url)
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from ops.errors import OpsError
from ops.stack import artifacts, class_cache, kafka, registry
from ops.stack.processes import StateFile, free_ports, kill, ours, reap, require_free, start, stop, wait_until

Part = Literal["kafka", "registry"]
PARTS: tuple[Part, ...] = ("kafka", "registry")
LISTENERS: dict[Part, tuple[tuple[str, str, str], ...]] = {
    "kafka": (
        ("kafka", "Kafka", "--kafka-port"),
        ("controller", "Kafka's controller", "--controller-port"),
    ),
    "registry": (
        ("registry", "Schema Registry", "--registry-port"),
        ("management", "the registry's health port", "--management-port"),
    ),
}
"""Where a part listens: the port's name, its purpose, and the option that chooses another one."""

KAFKA_SECONDS = 60.0
REGISTRY_SECONDS = 180.0
STOP_SECONDS = 15.0
MIN_FREE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the stack listens, all on 127.0.0.1."""

    kafka: int = 9092
    controller: int = 9093
    registry: int = 8081
    management: int = 9000

    @classmethod
    def free(cls) -> Ports:
        """Return ports that nobody uses now, for stacks of tests."""
        return cls(*free_ports(4))


class LocalStack:
    """Starts, stops and disturbs one broker and one registry whose data lie in one folder.

    Args:
        data_dir: folder of all data, logs and the state file; made when missing.
        ports: where to listen.
        detached: the processes outlive this one. Otherwise they end with it, however it ends.
        cache: folder of downloads; default as in `artifacts.cache_dir`.
        progress: told the bytes of downloads as they arrive.
        min_free_bytes: start only with so much room on the disk of ``data_dir``.
        kafka_extra: properties of the broker beside or instead of the stack's own. The plain listener must stay.
    """

    def __init__(
        self,
        data_dir: Path,
        ports: Ports | None = None,
        *,
        detached: bool = False,
        cache: Path | None = None,
        progress: artifacts.Progress = lambda _: None,
        min_free_bytes: int = MIN_FREE_BYTES,
        kafka_extra: Mapping[str, object] | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.ports = ports or Ports()
        self.state = StateFile(self.data_dir / "stack.json")
        self._detached = detached
        self._cache = cache or artifacts.cache_dir()
        self._progress = progress
        self._min_free = min_free_bytes
        self._kafka_extra = kafka_extra
        self._lock = artifacts.read_lock()
        self._reaper: subprocess.Popen[bytes] | None = None
        self._started: list[str] = []

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address, as Kafka clients want it."""
        return f"127.0.0.1:{self.ports.kafka}"

    @property
    def registry_url(self) -> str:
        """Base URL of the registry's Confluent API."""
        return f"http://127.0.0.1:{self.ports.registry}{registry.API}"

    def start(self) -> None:
        """Start what does not run yet, broker first, and return when both are ready. Raises OpsError."""
        self.check()
        self.start_kafka()
        self.start_registry()

    def check(self) -> None:
        """Refuse what would keep a part from starting, before anything is downloaded or started. Raises OpsError."""
        for part in PARTS:
            if self.pid(part) is None:
                self._prepare(part)

    def start_kafka(self) -> None:
        """Start the broker on its data, old or new, and return when it answers. Raises OpsError."""
        if self.pid("kafka"):
            return
        self._prepare("kafka")
        jars = artifacts.provide("kafka", self._cache, self._lock, self._progress)
        config, log = self.data_dir / "kafka.properties", self.data_dir / "logs" / "kafka.out"
        data = self.data_dir / "kafka"
        config.write_text(
            kafka.configuration(data, self.ports.kafka, self.ports.controller, self._kafka_extra)
        )
        if not (data / "meta.properties").exists():
            self._format(jars, config)
        self.launch(
            "kafka",
            kafka.command(jars, self.data_dir, config, class_cache.options("kafka", self._cache)),
            log,
            {"kafka": self.ports.kafka, "controller": self.ports.controller},
        )
        self._await("kafka", lambda: kafka.ready(self.ports.kafka), KAFKA_SECONDS, log)

    def start_registry(self) -> None:
        """Start the registry (the broker must run) and return when it is ready. Raises OpsError."""
        if self.pid("registry"):
            return
        self._prepare("registry")
        (archive,) = artifacts.provide("registry", self._cache, self._lock, self._progress)
        locked = next(a for a in self._lock if a.part == "registry")
        home = artifacts.unpack(archive, self._cache / f"registry-{locked.sha256[:12]}")
        (self.data_dir / "registry").mkdir(exist_ok=True)
        log = self.data_dir / "logs" / "registry.log"
        log.unlink(missing_ok=True)  # it does not roll over by itself
        self.launch(
            "registry",
            registry.command(
                home,
                self.data_dir,
                self.ports.registry,
                self.ports.management,
                self.ports.kafka,
                class_cache.options("registry", self._cache),
            ),
            log,
            {"registry": self.ports.registry, "management": self.ports.management},
        )
        self._await(
            "registry",
            lambda: registry.ready(self.ports.registry, self.ports.management),
            REGISTRY_SECONDS,
            log,
        )

    def launch(
        self,
        part: str,
        command: list[str],
        log: Path,
        ports: dict[str, int],
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start a process as a part of the stack: recorded, ended with the stack, and with its owner.

        Args:
            part: its name in the state file.
            command: its command line, which must contain `processes.mark` of this stack's folder.
            log: file for its output.
            ports: where it listens, by name.
            cwd: its working folder; the data folder by default.
            environment: variables that it has beside ours.
        """
        if not self._detached and self._reaper is None:
            self._reaper = subprocess.Popen(
                [sys.executable, "-m", "ops.stack.reaper", str(self.data_dir)],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
        pid = start(command, log, cwd or self.data_dir, environment)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.write(f"{part} {pid}\n".encode())
            self._reaper.stdin.flush()
        self._started.append(part)
        self.state.put(part, {"pid": pid, "ports": ports})

    def stop(self) -> None:
        """Stop everything that runs in this folder, the broker last, by pid; data stay."""
        self._stop_all([part for part in self.state.read() if part not in PARTS] + ["registry", "kafka"])

    def stop_started(self) -> None:
        """Stop what this object started, in reverse order, and leave what ran before."""
        self._stop_all(list(reversed(self._started)))

    def _stop_all(self, parts: list[str]) -> None:
        for part in parts:
            self._stop(part)
        self._started.clear()
        if self._reaper is not None:
            self._reaper.communicate()
            self._reaper = None

    def stop_kafka(self) -> None:
        """Stop the broker as an operator would (SIGTERM)."""
        self._stop("kafka")

    def stop_registry(self) -> None:
        """Stop the registry (SIGTERM)."""
        self._stop("registry")

    def kill_kafka(self) -> None:
        """End the broker at once (SIGKILL), as a crash would; `start_kafka` brings it back on its data."""
        pid = self.pid("kafka")
        if pid is not None:
            kill(pid, self.data_dir)
        self._stop("kafka")

    def pause_kafka(self) -> None:
        """Stop the broker's time (SIGSTOP): connections stay open and nothing is answered."""
        self._signal("kafka", signal.SIGSTOP)

    def resume_kafka(self) -> None:
        """Let a paused broker go on (SIGCONT)."""
        self._signal("kafka", signal.SIGCONT)

    def pid(self, part: str) -> int | None:
        """Return the pid of ``part`` if it runs and is ours."""
        entry = self.state.read().get(part)
        return entry["pid"] if entry and ours(entry["pid"], self.data_dir) else None

    def status(self) -> list[dict[str, Any]]:
        """Return a row per part: name, state (ready, starting, running, stopped), pid and ports."""
        rows: list[dict[str, Any]] = []
        recorded = self.state.read()
        for part in PARTS:
            pid = self.pid(part)
            ports = recorded.get(part, {}).get("ports", {})
            up = pid is not None and (
                kafka.ready(ports["kafka"])
                if part == "kafka"
                else registry.ready(ports["registry"], ports["management"])
            )
            state = "stopped" if pid is None else "ready" if up else "starting"
            rows.append({"part": part, "state": state, "pid": pid, "ports": ports})
        others = {part: self.pid(part) for part in recorded if part not in PARTS}
        rows += [
            {"part": part, "state": "running", "pid": pid, "ports": recorded[part]["ports"]}
            for part, pid in others.items()
            if pid is not None
        ]
        return rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self, part: Part) -> None:
        remedy = "Name another folder with --data-dir."
        try:
            (self.data_dir / "logs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OpsError(f"{self.data_dir} cannot be made: {error.strerror}.", remedy) from error
        if not os.access(self.data_dir, os.W_OK):
            raise OpsError(f"{self.data_dir} is not writable.", remedy)
        free = shutil.disk_usage(self.data_dir).free
        if free < self._min_free:
            raise OpsError(
                f"The disk of {self.data_dir} has {free >> 20} MB free, not {self._min_free >> 20} MB.",
                f"Make room. {remedy}",
            )
        for name, purpose, option in LISTENERS[part]:
            require_free(getattr(self.ports, name), purpose, option)

    def _format(self, jars: list[Path], config: Path) -> None:
        options = class_cache.options("kafka", self._cache)
        done = subprocess.run(
            kafka.format_command(jars, self.data_dir, config, options),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise OpsError(
                f"Kafka's data folder could not be prepared: {(done.stderr or done.stdout).strip()}",
                f"Delete {self.data_dir / 'kafka'} (its data are lost) and run the command again.",
            )

    def _await(self, part: Part, ready: Callable[[], bool], seconds: float, log: Path) -> None:
        name = {"kafka": "Kafka", "registry": "The Schema Registry"}[part]
        try:
            wait_until(ready, lambda: self.pid(part) is not None, seconds, name, log)
        except BaseException:
            self._stop(part)
            raise

    def _stop(self, part: str) -> None:
        entry = self.state.read().get(part)
        if entry is None:
            return
        stop(entry["pid"], self.data_dir, STOP_SECONDS)
        reap(entry["pid"])
        self.state.put(part, None)

    def _signal(self, part: Part, number: signal.Signals) -> None:
        entry = self.state.read().get(part)
        process = ours(entry["pid"], self.data_dir) if entry else None
        if process is None:
            raise OpsError(f"{part} does not run.", f"Start it with start_{part}().")
        process.send_signal(number)
