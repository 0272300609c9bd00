"""Processes of the stack: started detached from the terminal, recognised and ended by process id.

A pid alone may have been given to a stranger meanwhile, so every process carries a mark in its command line
(``sluice.data=<folder>``) and nothing is signalled that does not carry it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from ops.errors import OpsError

POLL = 0.05
TAIL_LINES = 12
WAIT_SECONDS = 10.0

_children: dict[int, subprocess.Popen[bytes]] = {}
"""What this process started, kept so that it can be collected when it has ended."""


class StateFile:
    """What runs, for others to read: ``stack.json`` as ``{part: {"pid": int, "ports": {name: int}}}``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, dict[str, Any]]:
        """Return the parts; empty when there is no file or it is not whole."""
        try:
            found = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def put(self, part: str, entry: Mapping[str, Any] | None) -> None:
        """Set one part, or remove it with ``None``; the file changes at once or not at all."""
        parts = self.read()
        parts.pop(part, None)
        if entry is not None:
            parts[part] = dict(entry)
        draft = self.path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(parts, indent=2) + "\n")
        draft.replace(self.path)


def mark(data_dir: Path) -> str:
    """Return what tells the processes of one data folder from all others.

    It ends an argument that the program ignores: a property (-D) of Java, an option (-X) of Python.
    """
    return f"sluice.data={data_dir}"


def ours(pid: int, data_dir: Path) -> psutil.Process | None:
    """Return the process if it runs and belongs to the stack of ``data_dir``, else None."""
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        if alive and any(argument.endswith(mark(data_dir)) for argument in process.cmdline()):
            return process
    except psutil.Error:
        pass
    return None


def start(command: list[str], log: Path, cwd: Path, environment: Mapping[str, str] | None = None) -> int:
    """Start ``command`` in a session of its own, so that Ctrl-C reaches only us; return its pid.

    Args:
        command: with arguments.
        log: file for its output.
        cwd: its working folder.
        environment: variables that it has beside ours.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    _children[child.pid] = child
    while not _shown(child.pid):
        time.sleep(0.001)
    return child.pid


def _shown(pid: int) -> bool:
    """Tell whether the command line can be read, by which `ours` knows a process.

    It is empty for some milliseconds after a start, longer on a busy machine; whoever looked then would take a broker
    that starts for one that has ended.
    """
    try:
        return bool(psutil.Process(pid).cmdline())
    except psutil.Error:
        return True  # it has ended, which is not waited for here


def stop(pid: int, data_dir: Path, grace: float) -> None:
    """End one of our processes: SIGTERM, and SIGKILL when it is still there after ``grace`` seconds."""
    process = ours(pid, data_dir)
    if process is not None:
        process.send_signal(signal.SIGCONT)  # a paused process would sleep through SIGTERM
        process.terminate()
        if not _ended(process, grace):
            kill(pid, data_dir)
    reap(pid)


def kill(pid: int, data_dir: Path) -> None:
    """End one of our processes at once (SIGKILL) and return when it is gone and its ports are free."""
    process = ours(pid, data_dir)
    if process is not None:
        process.kill()
        _ended(process, WAIT_SECONDS)
    reap(pid)


def reap(pid: int) -> None:
    """Collect a child that has ended, so that it does not stay as a zombie."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]


def _ended(process: psutil.Process, seconds: float) -> bool:
    """Wait until a process has ended; one of another parent's may stay uncollected."""
    child = _children.get(process.pid)
    if child is not None:
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
    deadline = time.monotonic() + seconds
    while _lives(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def wait_until(
    ready: Callable[[], bool], alive: Callable[[], bool], seconds: float, what: str, log: Path
) -> None:
    """Return when ``ready()``; raise OpsError when the process ends before or the time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        if not alive():
            raise OpsError(f"{what} ended while it started:\n{_tail(log)}", f"The whole log is {log}.")
        if time.monotonic() > deadline:
            raise OpsError(
                f"{what} was not ready within {seconds:.0f} s:\n{_tail(log)}",
                f"The whole log is {log}. On a busy machine, try again with less running beside it.",
            )
        time.sleep(POLL)


def require_free(port: int, purpose: str, option: str) -> None:
    """Raise OpsError when another program listens on ``port`` of the loopback address."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise OpsError(
                f"Port {port} ({purpose}) is taken by {_holder(port)}.",
                f"End that program, or choose another port with {option}.",
            ) from error


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports of the loopback address that nobody uses now.

    They lie below the range the system gives to outgoing connections: a client that knocks on a stopped
    broker's port in that range can be given the very port as its own, and then the broker cannot come back.
    """
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 200):
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OpsError("No free ports were found between 20000 and 32000.", "End programs that listen there.")


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            here = getattr(connection.laddr, "port", None) == port
            if here and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return "another program"


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-TAIL_LINES:])
