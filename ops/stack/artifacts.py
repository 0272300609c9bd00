"""What the local stack is made of: resolved by jgo, checked against ``artifacts.lock``.

The lock names each file by its Maven coordinate with size and SHA-256, and no host: a mirror can be set in
jgo's own settings. ``python -m ops.stack.artifacts`` resolves the roots again and writes the lock.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.config import GlobalSettings
from jgo.maven import Artifact as MavenArtifact
from jgo.maven import MavenContext, PythonResolver

from ops.errors import OpsError

LOCK = Path(__file__).with_name("artifacts.lock")
ROOTS = {
    "kafka": ["org.apache.kafka:kafka_2.13:4.1.2", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.3"],
    "registry": ["io.apicurio:apicurio-registry-app:3.3.3:all:tar.gz"],
}
HEAD = "# Written by `make lock`: part of the stack, Maven coordinate, size in bytes, SHA-256.\n"
TIMEOUT = 60
SPARE_BYTES = 64 << 20

Progress = Callable[[int], None]
"""Told the number of bytes that have arrived since the last call."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of the lock.

    Attributes:
        part: ``kafka`` or ``registry``.
        coordinate: ``group:artifact:version`` or ``group:artifact:version:classifier:packaging``.
        size: bytes.
        sha256: hex digest.
    """

    part: str
    coordinate: str
    size: int
    sha256: str

    @property
    def path(self) -> Path:
        """Where the file lies inside the cache, as Maven lays out a repository."""
        group, name, version, classifier, packaging = _fields(self.coordinate)
        file = f"{name}-{version}{'-' + classifier if classifier else ''}.{packaging}"
        return Path("maven", *group.split("."), name, version, file)


def cache_dir() -> Path:
    """Return the folder downloads are kept in: ``SLUICE_CACHE_DIR`` or ``~/.cache/sluice``."""
    return Path(os.environ.get("SLUICE_CACHE_DIR") or Path.home() / ".cache" / "sluice").expanduser()


def read_lock(path: Path = LOCK) -> list[Artifact]:
    """Return the artifacts of a lock file. Raises OpsError if a line is not understood."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) != 4 or not fields[2].isdigit() or not fields[3].startswith("sha256:"):
            raise OpsError(
                f"{path.name} line {number} is not a lock entry.",
                "Restore the file from git or run `make lock`.",
            )
        found.append(Artifact(fields[0], fields[1], int(fields[2]), fields[3].removeprefix("sha256:")))
    return found


def missing(part: str, cache: Path, lock: list[Artifact]) -> list[Artifact]:
    """Return the artifacts of ``part`` that are not in ``cache`` yet."""
    return [a for a in lock if a.part == part and not (cache / a.path).exists()]


def provide(part: str, cache: Path, lock: list[Artifact], progress: Progress = lambda _: None) -> list[Path]:
    """Return the files of ``part``, downloaded where they are missing, each checked against the lock.

    Raises:
        OpsError: no room, no network, or a file that is not the locked one.
    """
    absent = missing(part, cache, lock)
    if absent:
        _room(cache, sum(a.size for a in absent))
        _download(absent, cache, progress)
    files = []
    for artifact in (a for a in lock if a.part == part):
        file = cache / artifact.path
        if _sha256(file) != artifact.sha256:
            raise OpsError(
                f"{file} is not the file that {LOCK.name} names: its SHA-256 differs.",
                f"Delete it and run the command again: rm {file}",
            )
        files.append(file)
    return files


def unpack(archive: Path, target: Path) -> Path:
    """Unpack ``archive`` (tar.gz) into ``target`` unless that is done; return ``target``.

    The folder appears under its name only when it is complete, so a broken run leaves nothing half there.
    """
    if target.exists():
        return target
    _room(target.parent, 2 * archive.stat().st_size)
    half = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with tarfile.open(archive) as tar:
            tar.extraction_filter = getattr(tarfile, "data_filter", None)  # absent before Python 3.11.4
            tar.extractall(half)  # noqa: S202  the archive's hash was checked against the lock
        half.rename(target)
    except OSError as error:
        if not target.exists():  # another process may have been quicker
            raise OpsError(
                f"{archive.name} could not be unpacked: {error}.", "Make room and try again."
            ) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return target


def _download(absent: list[Artifact], cache: Path, progress: Progress) -> None:
    """Fetch ``absent`` into a folder of their own; each moves into the cache once it is known to be right."""
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=cache) as incoming:
        context = _context(Path(incoming, "maven"), progress)
        with ThreadPoolExecutor(4) as pool:
            for job in [pool.submit(_fetch, context, a, Path(incoming), cache) for a in absent]:
                job.result()


def _fetch(context: MavenContext, artifact: Artifact, incoming: Path, cache: Path) -> None:
    try:
        _artifact(context, artifact.coordinate).resolve()
    except (requests.RequestException, RuntimeError) as error:
        raise OpsError(
            f"The download of {artifact.coordinate} broke off: {type(error).__name__}: {error}.",
            "Check the network (HTTPS_PROXY and REQUESTS_CA_BUNDLE are honoured) and run the command again; "
            "what has arrived is kept. A mirror can be set under [repositories] in jgo's settings file.",
        ) from error
    except OSError as error:
        raise OpsError(
            f"{artifact.coordinate} could not be written to {cache}: {error.strerror}.",
            "Make room, or name a folder on another disk in SLUICE_CACHE_DIR, and run the command again.",
        ) from error
    arrived = incoming / artifact.path
    if _sha256(arrived) != artifact.sha256:
        raise OpsError(
            f"What arrived as {artifact.coordinate} is not the file that {LOCK.name} names: SHA-256 differs.",
            "Nothing of it was kept. Run the command again; if it happens again, something on the way to the "
            "repository changes files.",
        )
    target = cache / artifact.path
    target.parent.mkdir(parents=True, exist_ok=True)
    arrived.replace(target)


def _context(repo_cache: Path, progress: Progress) -> MavenContext:
    @contextmanager
    def report(_name: str, _size: int) -> Iterator[Progress]:
        yield progress

    return MavenContext(
        resolver=PythonResolver(progress_callback=report),
        repo_cache=repo_cache,
        remote_repos=GlobalSettings.load().repositories or None,
        timeout=TIMEOUT,
    )


def _artifact(context: MavenContext, coordinate: str) -> MavenArtifact:
    group, name, version, classifier, packaging = _fields(coordinate)
    return context.project(group, name).at_version(version).artifact(classifier, packaging)


def _room(folder: Path, needed: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise OpsError(
            f"{folder} cannot be made: {error.strerror}.", "Name another folder in SLUICE_CACHE_DIR."
        ) from error
    if not writable:
        raise OpsError(f"{folder} is not writable.", "Name another folder in SLUICE_CACHE_DIR.")
    if free < needed + SPARE_BYTES:
        raise OpsError(
            f"{folder} has {free >> 20} MB free, but {(needed + SPARE_BYTES) >> 20} MB are needed.",
            "Make room, or name a folder on another disk in SLUICE_CACHE_DIR.",
        )


def _fields(coordinate: str) -> tuple[str, str, str, str, str]:
    group, name, version, *rest = coordinate.split(":")
    classifier, packaging = rest or ["", "jar"]
    return group, name, version, classifier, packaging


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _resolve(part: str, context: MavenContext) -> Iterator[Artifact]:
    """Yield every file of ``part``: its roots and, for jars, all that they need at run time."""
    artifacts = [_artifact(context, root) for root in ROOTS[part]]
    if (
        part == "kafka"
    ):  # the binding's own needs (log4j) are in Kafka's set; resolved together it would lower versions
        _, needed = context.resolver.resolve([context.create_dependency(ROOTS[part][0])])
        artifacts += [dependency.artifact for dependency in needed]
    found = {}
    for artifact in artifacts:
        base = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        plain = artifact.packaging == "jar" and not artifact.classifier
        found[base if plain else f"{base}:{artifact.classifier}:{artifact.packaging}"] = artifact.resolve()
    for coordinate, file in sorted(found.items()):
        yield Artifact(part, coordinate, file.stat().st_size, _sha256(file))


def main() -> None:
    """Resolve the roots again and write the lock."""
    with tempfile.TemporaryDirectory() as folder:
        context = _context(Path(folder), lambda _: None)
        found = [a for part in ROOTS for a in _resolve(part, context)]
    LOCK.write_text(HEAD + "".join(f"{a.part} {a.coordinate} {a.size} sha256:{a.sha256}\n" for a in found))


if __name__ == "__main__":
    main()
