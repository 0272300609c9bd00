"""Processes are ended by pid, and only when they are ours."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops.errors import OpsError
from ops.stack.local import LocalStack, Ports
from ops.stack.processes import StateFile, free_ports, mark, ours, require_free, start, stop, wait_until

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process of somebody else."""
    process = subprocess.Popen([sys.executable, "-c", SLEEP])
    yield process.pid
    process.kill()
    process.wait()


def sleeper(data_dir: Path) -> int:
    return start([sys.executable, "-X", mark(data_dir), "-c", SLEEP], data_dir / "log", data_dir)


def test_a_process_of_ours_is_recognised_by_its_mark_and_stopped(tmp_path: Path) -> None:
    pid = sleeper(tmp_path)
    assert ours(pid, tmp_path)
    stop(pid, tmp_path, grace=5)
    assert not psutil.pid_exists(pid)


def test_a_process_is_known_as_ours_from_its_first_moment(tmp_path: Path) -> None:
    for _ in range(20):
        pid = sleeper(tmp_path)
        known = ours(pid, tmp_path)
        stop(pid, tmp_path, grace=5)
        assert known


def test_the_process_of_another_data_folder_is_not_ours(tmp_path: Path) -> None:
    pid = sleeper(tmp_path)
    assert ours(pid, tmp_path / "other") is None
    stop(pid, tmp_path, grace=5)


def test_a_process_that_was_paused_is_stopped_too(tmp_path: Path) -> None:
    pid = sleeper(tmp_path)
    psutil.Process(pid).suspend()
    stop(pid, tmp_path, grace=5)
    assert not psutil.pid_exists(pid)


def test_a_recycled_pid_is_shown_as_stopped_and_its_process_is_left_alone(
    tmp_path: Path, stranger: int
) -> None:
    stack = LocalStack(tmp_path, Ports.free())
    stack.state.put("kafka", {"pid": stranger, "ports": {"kafka": 1}})
    assert stack.pid("kafka") is None
    assert [row["state"] for row in stack.status()] == ["stopped", "stopped"]
    stack.stop()
    assert psutil.Process(stranger).is_running()
    assert stack.state.read() == {}


def test_a_state_file_that_is_not_whole_counts_as_empty(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "stack.json")
    state.path.write_text('{"kafka": {"pid"')
    assert state.read() == {}


def test_the_state_file_keeps_the_other_parts_when_one_changes(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "stack.json")
    state.put("kafka", {"pid": 1, "ports": {}})
    state.put("registry", {"pid": 2, "ports": {}})
    state.put("kafka", None)
    assert state.read() == {"registry": {"pid": 2, "ports": {}}}


def test_a_taken_port_is_refused_with_its_holder_and_the_option_to_change_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OpsError, match=rf"Port {port} .* is taken by .*pid {os.getpid()}") as refusal:
            require_free(port, "Kafka", "--kafka-port")
    assert "--kafka-port" in refusal.value.remedy


def test_free_ports_are_different_and_below_the_range_of_outgoing_connections() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(20_000 <= port < 32_000 for port in ports)


def test_a_process_that_ends_while_it_starts_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("the reason stands here\n")
    with pytest.raises(OpsError, match="the reason stands here") as refusal:
        wait_until(lambda: False, lambda: False, 5, "Kafka", log)
    assert str(log) in refusal.value.remedy


def test_a_process_that_is_not_ready_in_time_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="was not ready within 0 s"):
        wait_until(lambda: False, lambda: True, 0.2, "Kafka", tmp_path / "log")


def test_a_full_disk_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, Ports.free(), min_free_bytes=1 << 60)
    with pytest.raises(OpsError, match="MB free, not") as refusal:
        stack.start_kafka()
    assert refusal.value.remedy == "Make room. Name another folder with --data-dir."


def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OpsError, match="cannot be made") as refusal:
        LocalStack(tmp_path / "file" / "data", Ports.free()).start_kafka()
    assert "--data-dir" in refusal.value.remedy
