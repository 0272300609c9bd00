"""``sluice up`` in the foreground: it ends by Ctrl-C, by `sluice down` from elsewhere, and takes all with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops.stack.local import LocalStack, Ports

pytestmark = pytest.mark.broker

SLUICE = [sys.executable, "-m", "ops.cli"]


def start(folder: Path, ports: Ports) -> subprocess.Popen[str]:
    """Run `sluice up` and return when it says that it is up."""
    options = {
        "--data-dir": folder,
        "--kafka-port": ports.kafka,
        "--controller-port": ports.controller,
        "--registry-port": ports.registry,
        "--management-port": ports.management,
    }
    command = [*SLUICE, "up", *(str(part) for option in options.items() for part in option)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if "Ctrl-C stops it" in line:
            return process
    raise AssertionError(told)


def stop(folder: Path) -> str:
    """Run `sluice down` and return what it says."""
    command = [*SLUICE, "down", "--data-dir", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def states(folder: Path) -> list[str]:
    return [row["state"] for row in LocalStack(folder).status()]


def test_up_runs_until_ctrl_c_or_down_and_leaves_nothing_running(tmp_path: Path) -> None:
    ports = Ports.free()
    process = start(tmp_path, ports)
    assert states(tmp_path) == ["ready", "ready"]
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (0, "Stopping ...\n")
    assert states(tmp_path) == ["stopped", "stopped"]

    process = start(tmp_path, ports)
    down = stop(tmp_path)
    assert down == "Stopped: kafka, registry.\n"
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (0, "The stack was stopped by `sluice down`.\n")
    assert LocalStack(tmp_path).state.read() == {}


def test_down_with_nothing_running_says_so(tmp_path: Path) -> None:
    down = stop(tmp_path)
    assert down == "Nothing was running.\n"
