"""The peers' own virtual environment: quixstreams pins an older confluent-kafka than ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.processes import ROOT

LOCK = ROOT / "requirements-bench.lock"
VENV = ROOT / ".venv-bench"


def python() -> Path:
    """Return the interpreter of the peers' venv, made from its lock when it is missing or the lock has changed."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    stamp, found = VENV / "installed", VENV / "bin" / "python"
    if stamp.exists() and stamp.read_text() == digest:
        return found
    print("Making .venv-bench from requirements-bench.lock (once)", file=sys.stderr)
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    install = [
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--quiet",
        "--no-deps",
        "--require-hashes",
    ]
    subprocess.run([str(found), *install, "-r", str(LOCK)], check=True)
    (VENV / ".gitignore").write_text("*\n")  # for git, and for the linter, which asks git
    stamp.write_text(digest)
    return found
