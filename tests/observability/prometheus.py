"""A real Prometheus for tests, which reads our own configuration and asks as Grafana does."""

from __future__ import annotations

import json
import math
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ops.stack.processes import free_ports
from tests.observability.boards import PROMETHEUS
from tests.observability.programs import program
from tests.observability.promql import plain

LIFE_S = "300"
"""It ends by itself then, whatever becomes of the test."""


def configuration(targets: Mapping[str, str], token: Path) -> str:
    """Return our scrape configuration with other addresses, quick, and with the token that it shows how to give.

    Args:
        targets: address in the configuration and the one to be used.
        token: file that holds the bearer token.
    """
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    shown = "    # authorization:\n    #   credentials_file: token\n"
    given = f"    authorization:\n      credentials_file: {token}\n"
    changes = {
        "scrape_interval: 5s": "scrape_interval: 1s",
        "evaluation_interval: 15s": "evaluation_interval: 1s",
        "rules/*.yml": str(PROMETHEUS / "rules" / "*.yml"),
        shown: "",
        **targets,
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text.replace("    static_configs:\n", given + "    static_configs:\n")


class Prometheus:
    """One server in a folder of its own."""

    def __init__(self, folder: Path, config: str) -> None:
        self._folder = folder
        self._address = f"127.0.0.1:{free_ports(1)[0]}"
        folder.mkdir(parents=True)
        (folder / "prometheus.yml").write_text(config, encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [
            "timeout",
            LIFE_S,
            program("prometheus"),
            f"--config.file={self._folder / 'prometheus.yml'}",
        ]
        command += [f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address={self._address}"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=5):
                return True
        except OSError:
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "log").read_text()
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API. Raises AssertionError where it refuses."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def values(self, expr: str) -> list[float]:
        """Return the numbers that an expression has now."""
        found = [float(each["value"][1]) for each in self.get("query", query=expr)["result"]]
        return [value for value in found if math.isfinite(value)]

    def offers(self, query: str) -> list[str]:
        """Return what a variable of Grafana's offers: ``label_values(metric, label)``."""
        metric, label = query.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        found: list[str] = self.get(f"label/{label}/values", **{"match[]": plain(metric)})
        return found
