"""Ends the processes of a stack when their owner is gone, however it went.

``python -m ops.stack.reaper DATA_DIR`` reads lines ``part pid`` from its owner and sleeps on them. A killed
owner closes the pipe too, so no broker stays behind on a port.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ops.stack.processes import StateFile, stop

GRACE_SECONDS = 10.0


def main(data_dir: Path) -> None:
    """Wait for the owner's end, then stop what it started, last first."""
    started = [line.split() for line in sys.stdin]
    state = StateFile(data_dir / "stack.json")
    for part, pid in reversed(started):
        stop(int(pid), data_dir, GRACE_SECONDS)
        if state.read().get(part, {}).get("pid") == int(pid):
            state.put(part, None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
