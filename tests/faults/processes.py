"""Worker processes to be killed, paused and resumed, with a supervisor that starts a dead one again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ops.stack.processes import free_ports

ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.05


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return what ``condition`` returns once it is true; raise TimeoutError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(POLL_S)
    return found


class Worker:
    """One worker slot: a process with its own name, web port, data folder and log.

    Attributes:
        exits: exit codes of the processes that ended so far (negative: by a signal).
    """

    def __init__(
        self,
        name: str,
        run: str,
        folder: Path,
        environment: Mapping[str, str],
        module: str = "tests.faults.worker",
        ready_path: str = "/faults/",
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.exits: list[int] = []
        self._ready_path = ready_path
        self.port = free_ports(1)[0]
        self._command = [sys.executable, "-m", module, run]
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SLUICE_")},
            "SLUICE_APP_ID": run,
            "SLUICE_GROUP_INSTANCE_ID": name,
            "SLUICE_DATA_DIR": str(folder / name),
            "SLUICE_WEB_PORT": str(self.port),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._wanted = False
        self._supervisor: threading.Thread | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int | None:
        """Pid of the process, or None where none runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self, **environment: str) -> None:
        """Start the process; ``environment`` counts for this process only."""
        with self._lock, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env={**self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def supervise(self) -> None:
        """Start the process, and again whenever it ends, until ``stop``."""
        self._wanted = True
        self.start()
        self._supervisor = threading.Thread(target=self._watch, daemon=True, name=f"supervisor-{self.name}")
        self._supervisor.start()

    def _watch(self) -> None:
        while self._wanted:
            process = self._process
            assert process is not None
            try:
                self.exits.append(process.wait(POLL_S * 4))
            except subprocess.TimeoutExpired:
                continue
            if self._wanted:
                self.start()

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the process; return False where none runs."""
        pid = self.pid
        if pid is None:
            return False
        os.kill(pid, number)
        return True

    def kill(self) -> bool:
        """SIGKILL."""
        return self.signal(signal.SIGKILL)

    def terminate(self) -> bool:
        """SIGTERM."""
        return self.signal(signal.SIGTERM)

    def pause(self) -> bool:
        """SIGSTOP: time stops for the process, connections stay open."""
        return self.signal(signal.SIGSTOP)

    def resume(self) -> bool:
        """SIGCONT."""
        return self.signal(signal.SIGCONT)

    def wait(self, seconds: float) -> int:
        """Return the exit code of an unsupervised process. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self, seconds: float = 30.0) -> int | None:
        """End supervision, ask the process to stop and return its exit code; after ``seconds`` it is killed."""
        self._wanted = False
        if self._supervisor is not None:
            self._supervisor.join()
            self._supervisor = None
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            self.resume()
            self.terminate()
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def page(self, path: str = "/faults/") -> dict[str, Any] | None:
        """Return a JSON page of the worker, or None while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, ValueError, urllib.error.URLError):
            return None

    def ready(self) -> bool:
        """Whether the worker owns recovered partitions and reads its topics."""
        page = self.page(self._ready_path)
        return page is not None and bool(page.get("ready", True))

    def log_text(self) -> str:
        """Return everything the slot's processes have logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the lines that they have logged as JSON."""
        return [json.loads(line) for line in self.log_text().splitlines() if line.startswith("{")]
