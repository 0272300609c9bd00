"""A worker takes a name that nobody else on the machine has, and says why it cannot start; fail points are read
strictly.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streams import worker
from streams.failpoints import _Armed
from streams.failures import FatalFailure
from streams.routes import INDEX
from streams.settings import Settings
from streams.worker import check_append_time, claim_slot


def of(folder: Path, name: str | None = None) -> Settings:
    return Settings.read(data_dir=folder, group_instance_id=name)


def test_workers_of_one_folder_take_different_names_and_a_restart_the_same(tmp_path: Path) -> None:
    first, lock = claim_slot(of(tmp_path))
    second, other = claim_slot(of(tmp_path))
    assert first.group_instance_id != second.group_instance_id
    assert first.state_dir != second.state_dir
    lock.close()
    again, lock = claim_slot(of(tmp_path))
    assert again.group_instance_id == first.group_instance_id
    lock.close()
    other.close()


def test_a_given_name_is_kept(tmp_path: Path) -> None:
    settings, lock = claim_slot(of(tmp_path, "mine"))
    assert settings.group_instance_id == "mine"
    with pytest.raises(FatalFailure, match=r"worker mine is taken.*SLUICE_GROUP_INSTANCE_ID"):
        claim_slot(of(tmp_path, "mine"))
    lock.close()


def test_more_workers_than_slots_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SLOTS", 1)
    _, lock = claim_slot(of(tmp_path))
    with pytest.raises(FatalFailure, match="every worker slot"):
        claim_slot(of(tmp_path))
    lock.close()


def test_the_name_is_free_again_however_its_process_ended(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from streams.settings import Settings; from streams.worker import claim_slot\n"
        "claimed = claim_slot(Settings.read(data_dir=Path(sys.argv[1]), group_instance_id='mine'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    _, lock = claim_slot(of(tmp_path, "mine"))
    lock.close()


def test_a_broker_that_is_silent_about_a_topic_is_refused_with_the_topic_and_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "ASK_S", 0.3)
    monkeypatch.setattr(worker, "BROKER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and never says a word
        settings = Settings.read(bootstrap_servers=f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(FatalFailure, match=r"settings of topic \S+ cannot be read.*is the broker up"):
            check_append_time(settings, INDEX)


@pytest.mark.parametrize(
    ("text", "name", "left"), [("", "", 1), ("stored", "stored", 1), ("gated:3", "gated", 3)]
)
def test_a_fail_point_is_a_name_and_how_often_it_is_passed(text: str, name: str, left: int) -> None:
    armed = _Armed(text)
    assert (armed.name, armed.left) == (name, left)


@pytest.mark.parametrize("text", ["storde", "stored:x", "stored:0", "stored:-1"])
def test_a_wrong_fail_point_is_refused_and_does_not_stay_silent(text: str) -> None:
    with pytest.raises(ValueError, match="SLUICE_FAIL_POINT"):
        _Armed(text)
