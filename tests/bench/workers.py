"""Starting Sluice workers and asking them how they are."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.stack.processes import free_ports
from tests.bench.cluster import Cluster, get_text
from tests.bench.processes import Process, ProcessEnded

READY = "worker ready"
START_S = 120.0
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker runs: its app id, its folder and its web port."""

    app_id: str
    folder: Path
    web_port: int

    @classmethod
    def new(cls, app_id: str, folder: Path) -> Place:
        """Return a place on a free port."""
        return cls(app_id, folder, free_ports(1)[0])

    def env(self, cluster: Cluster, **more: str) -> Mapping[str, str]:
        """Return the settings of a worker here: the defaults, but for names, ports and folders."""
        return {
            "SLUICE_BOOTSTRAP_SERVERS": cluster.bootstrap,
            "SLUICE_REGISTRY_URL": cluster.registry_url,
            "SLUICE_APP_ID": self.app_id,
            "SLUICE_DATA_DIR": str(self.folder),
            "SLUICE_WEB_PORT": str(self.web_port),
            **more,
        }


def command(*arguments: str) -> list[str]:
    """Return the command line of a worker."""
    return [sys.executable, "-m", "tests.bench.worker", *arguments]


def wait_ready(process: Process) -> float:
    """Wait until the worker says that it is ready; return the seconds since it was started."""
    return process.wait_for(lambda: READY in process.log.read_text(errors="replace"), START_S, "ready line")


def metrics(place: Place) -> dict[tuple[str, str], float]:
    """Return the worker's own metrics by (name, labels).

    Raises:
        ProcessEnded: its web port does not answer.
    """
    text = get_text(f"http://127.0.0.1:{place.web_port}/metrics", 10.0)
    if text is None:
        raise ProcessEnded(f"no metrics at port {place.web_port}; is the worker running?")
    return {(name, labels or ""): float(value) for name, labels, value in SAMPLE.findall(text)}
