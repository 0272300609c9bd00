"""What the stack is made of: the committed lock, and refusals of everything that is not what it names."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from ops.errors import OpsError
from ops.stack import artifacts
from ops.stack.artifacts import Artifact


def locked(content: bytes = b"a jar", coordinate: str = "org.example:thing:1.0") -> Artifact:
    return Artifact("kafka", coordinate, len(content), hashlib.sha256(content).hexdigest())


def stored(cache: Path, artifact: Artifact, content: bytes) -> Path:
    file = cache / artifact.path
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return file


def test_the_committed_lock_names_the_agreed_versions_with_their_hashes() -> None:
    lock = artifacts.read_lock()
    coordinates = {a.coordinate for a in lock}
    assert {root for roots in artifacts.ROOTS.values() for root in roots} <= coordinates
    assert "org.apache.kafka:kafka_2.13:4.1.2" in coordinates
    assert "io.apicurio:apicurio-registry-app:3.3.3:all:tar.gz" in coordinates
    assert all(len(a.sha256) == 64 and a.size > 0 for a in lock)


def test_the_committed_locks_name_no_host() -> None:
    for lock in (artifacts.LOCK, artifacts.LOCK.parents[2] / "requirements.lock"):
        assert "://" not in lock.read_text()


def test_a_file_lies_in_the_cache_where_maven_would_put_it() -> None:
    assert locked().path == Path("maven/org/example/thing/1.0/thing-1.0.jar")
    archive = locked(coordinate="org.example:thing:1.0:all:tar.gz")
    assert archive.path == Path("maven/org/example/thing/1.0/thing-1.0-all.tar.gz")


def test_a_file_with_the_locked_hash_is_used_without_any_download(tmp_path: Path) -> None:
    artifact = locked()
    file = stored(tmp_path, artifact, b"a jar")
    assert artifacts.provide("kafka", tmp_path, [artifact]) == [file]


def test_a_file_with_another_hash_is_refused_and_the_remedy_names_it(tmp_path: Path) -> None:
    artifact = locked()
    file = stored(tmp_path, artifact, b"a changed jar")
    with pytest.raises(OpsError, match="SHA-256 differs") as refusal:
        artifacts.provide("kafka", tmp_path, [artifact])
    assert refusal.value.remedy == f"Delete it and run the command again: rm {file}"


def test_a_download_that_breaks_off_leaves_nothing_and_tells_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens on the discard port
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(OpsError, match=r"download of org\.example:thing:1\.0 broke off") as refusal:
        artifacts.provide("kafka", tmp_path, [locked()])
    assert "Check the network" in refusal.value.remedy
    assert list(tmp_path.rglob("*")) == []


def test_a_cache_without_room_is_refused_before_anything_is_downloaded(tmp_path: Path) -> None:
    huge = Artifact("kafka", "org.example:huge:1.0", 1 << 60, "0" * 64)
    with pytest.raises(OpsError, match="MB are needed") as refusal:
        artifacts.provide("kafka", tmp_path, [huge])
    assert "SLUICE_CACHE_DIR" in refusal.value.remedy


def test_a_cache_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OpsError, match="cannot be made"):
        artifacts.provide("kafka", blocked / "cache", [locked()])


def test_a_line_that_is_no_lock_entry_is_refused_by_number(tmp_path: Path) -> None:
    lock = tmp_path / "artifacts.lock"
    lock.write_text("# a comment\nkafka org.example:thing:1.0 five sha256:00\n")
    with pytest.raises(OpsError, match="line 2"):
        artifacts.read_lock(lock)


def test_an_archive_is_unpacked_once_and_appears_only_whole(tmp_path: Path) -> None:
    archive, target = tmp_path / "a.tar.gz", tmp_path / "unpacked"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("inside/file")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    assert artifacts.unpack(archive, target) == target
    archive.unlink()
    assert artifacts.unpack(archive, target) == target
    assert (target / "inside" / "file").read_bytes() == b"hello"
    assert [path.name for path in tmp_path.iterdir()] == ["unpacked"]
