"""The programs of Prometheus, as ``tests/tools.sh`` installs them."""

from __future__ import annotations

import shutil


def program(name: str) -> str:
    """Return the path of a program.

    Raises:
        RuntimeError: it is not there; what to do about it.
    """
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed; run tests/tools.sh, or `make test`, which does")
    return found
