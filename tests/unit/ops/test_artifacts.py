"""What the stack is made of: the committed lock, and refusals of everything that is not what it names."""

from __future__ import annotations

import gc
import hashlib
import io
import resource
import tarfile
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ops.errors import OpsError
from ops.stack import artifacts
from ops.stack.artifacts import Artifact

LARGE = bytes(1 << 20)


class Mirror(ThreadingHTTPServer):
    """A Maven repository on loopback.

    Attributes:
        files: contents by coordinate.
        cut_off: coordinates whose files end in the middle.
        asked: coordinates of the files that were asked for.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Shelf)
        self.files: dict[str, bytes] = {}
        self.cut_off: set[str] = set()
        self.asked: list[str] = []


class Shelf(BaseHTTPRequestHandler):
    """Answers one request of a mirror."""

    server: Mirror

    def do_GET(self) -> None:
        *group, name, version, file = self.path.strip("/").split("/")
        coordinate = f"{'.'.join(group)}:{name}:{version}"
        if not file.endswith(".jar") or coordinate not in self.server.files:
            self.send_error(404)
            return
        self.server.asked.append(coordinate)
        content = self.server.files[coordinate]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if coordinate in self.server.cut_off else content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A repository that jgo's settings name in place of Maven Central."""
    with Mirror() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = tmp_path_factory.mktemp("jgo") / "jgo.conf"
        settings.write_text(f"[repositories]\nhere = http://127.0.0.1:{server.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server
        server.shutdown()
    with warnings.catch_warnings():
        # jgo leaves the connection of a broken download to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def kept(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


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


def test_a_download_that_is_cut_off_is_refused_and_the_next_run_fetches_what_is_missing(
    tmp_path: Path, mirror: Mirror
) -> None:
    whole, cut = locked(), locked(LARGE, "org.example:large:1.0")
    mirror.files = {whole.coordinate: b"a jar", cut.coordinate: LARGE}
    mirror.cut_off = {cut.coordinate}
    arrived: list[int] = []
    with pytest.raises(OpsError, match=r"download of org\.example:large:1\.0 broke off") as refusal:
        artifacts.provide("kafka", tmp_path, [whole, cut], arrived.append)
    assert "what has arrived is kept" in refusal.value.remedy
    assert len(b"a jar") < sum(arrived) < len(LARGE), "progress is told as it arrives"
    assert kept(tmp_path) == [tmp_path / whole.path]

    mirror.cut_off, mirror.asked = set(), []
    files = artifacts.provide("kafka", tmp_path, [whole, cut])
    assert [file.read_bytes() for file in files] == [b"a jar", LARGE]
    assert mirror.asked == [cut.coordinate]


def test_a_file_that_arrives_changed_is_refused_and_not_kept(tmp_path: Path, mirror: Mirror) -> None:
    artifact = locked()
    mirror.files = {artifact.coordinate: b"another jar"}
    with pytest.raises(OpsError, match=r"is not the file that artifacts\.lock names") as refusal:
        artifacts.provide("kafka", tmp_path, [artifact])
    assert refusal.value.remedy.startswith("Nothing of it was kept. Run the command again")
    assert kept(tmp_path) == []


def test_a_disk_that_fills_up_during_a_download_is_told_as_such(tmp_path: Path, mirror: Mirror) -> None:
    artifact = locked(LARGE)
    mirror.files = {artifact.coordinate: LARGE}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(LARGE) // 2, limits[1]))
    try:
        with pytest.raises(OpsError, match="could not be written to") as refusal:
            artifacts.provide("kafka", tmp_path, [artifact])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "SLUICE_CACHE_DIR" in refusal.value.remedy
    assert kept(tmp_path) == []


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
