"""``python -m ops.stack.train``: run the stack once to make what its later starts need (`ops.stack.class_cache`).

It takes about half a minute and 200 MB; ``make test`` does it where it was not done.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from ops import console
from ops.errors import OpsError
from ops.stack import artifacts, class_cache
from ops.stack.local import PARTS, LocalStack, Ports

MIN_FREE_BYTES = 2 << 30

NEEDLESS = "Nothing depends on it but the time that a start takes."

# These JVMs live for seconds: the compiler that makes long runs fast would cost more than it gives.
QUICK = ["-XX:TieredStopAtLevel=1"]
# JDK 25 finds its saved adapters under wrong names and warns of each at every start.
PLAIN = ["-XX:+UnlockDiagnosticVMOptions", "-XX:-AOTAdapterCaching", "-XX:-AOTStubCaching"]


def train(cache: Path, progress: artifacts.Progress = lambda _: None) -> list[Path]:
    """Make the files of all parts unless they are there, and return them; those of other versions are removed.

    Args:
        cache: folder of downloads.
        progress: told the bytes of downloads as they arrive.

    Raises:
        OpsError: no room, no network, or a JVM that did not do what it should.
    """
    if made_already(cache):
        return _files(cache)
    for old in [old for part in PARTS for old in cache.glob(f"{part}-*.aot")]:
        old.unlink(missing_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=cache) as folder:
        stack = _Recorded(Path(folder), cache, progress)
        with stack:
            stack.start()
            _use(stack)
        with ThreadPoolExecutor() as pool:
            drafts = list(pool.map(stack.create, PARTS))
        for draft, file in zip(drafts, _files(cache), strict=True):
            draft.replace(file)
    return _files(cache)


def made_already(cache: Path) -> bool:
    """Tell whether nothing is missing."""
    return all(file.exists() for file in _files(cache))


def _files(cache: Path) -> list[Path]:
    return [class_cache.path(part, cache) for part in PARTS]


class _Recorded(LocalStack):
    """A stack whose JVMs write down at their end what they have loaded."""

    def __init__(self, folder: Path, cache: Path, progress: artifacts.Progress) -> None:
        super().__init__(folder, Ports.free(), cache=cache, progress=progress, min_free_bytes=MIN_FREE_BYTES)
        self._commands: dict[str, list[str]] = {}

    def launch(self, part: str, command: list[str], *args: Any, **kwargs: Any) -> None:
        self._commands[part] = command
        record = ["-XX:AOTMode=record", f"-XX:AOTConfiguration={self._record(part)}"]
        super().launch(part, [command[0], *QUICK, *record, *command[1:]], *args, **kwargs)

    def create(self, part: str) -> Path:
        """Return a file made from what ``part`` has written down. Raises OpsError."""
        draft = self.data_dir / f"{part}.aot"
        java, *rest = self._commands[part]
        mode = ["-XX:AOTMode=create", f"-XX:AOTConfiguration={self._record(part)}", f"-XX:AOTCache={draft}"]
        done = subprocess.run(
            [java, *QUICK, *PLAIN, *mode, *rest],
            cwd=self.data_dir,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not draft.exists():
            raise OpsError(
                f"The class cache of {part} could not be made: {(done.stderr or done.stdout).strip()[-500:]}",
                NEEDLESS,
            )
        return draft

    def _record(self, part: str) -> Path:
        return self.data_dir / f"{part}.aotconf"


def _use(stack: LocalStack) -> None:
    """Register a schema, by which the registry writes to the broker: what follows on nearly every start."""
    with suppress(requests.RequestException):
        requests.post(
            f"{stack.registry_url}/subjects/training/versions", json={"schema": '"string"'}, timeout=10
        )


def main() -> None:
    """Make what is missing; where that fails, say so and leave the stacks to start without."""
    cache = artifacts.cache_dir()
    began = time.monotonic()
    if made_already(cache):
        return
    console.err.print("Running the stack once, so that its JVMs start in half the time from now on")
    try:
        with console.downloads(cache) as progress:
            train(cache, progress)
    except OpsError as error:
        console.refuse(error)
        return
    except OSError as error:
        console.refuse(OpsError(f"{cache} cannot be written: {error}.", NEEDLESS))
        return
    console.err.print(f"[green]✓[/] done ({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
