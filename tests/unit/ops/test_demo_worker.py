"""The demo starts a worker that has ended again, but not one that ends again and again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from ops.demo_worker import MOST_ENDS, SPAN_SECONDS, DemoWorker
from ops.errors import OpsError
from ops.stack.local import LocalStack
from streams.settings import Settings


class Stack:
    """A stack whose worker lives until a test says otherwise."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder
        self.alive = False
        self.environments: list[Mapping[str, str]] = []

    def pid(self, part: str) -> int | None:
        return 1 if self.alive else None

    def launch(self, part: str, command: list[str], log: Path, ports: dict[str, int], **more: Any) -> None:
        self.environments.append(more["environment"])
        self.alive = True


def worker_of(stack: Stack, now: list[float], **settings: Any) -> DemoWorker:
    return DemoWorker(cast(LocalStack, stack), Settings(**settings), lambda: now[0])


def test_a_worker_that_lives_is_left_alone_and_one_that_has_ended_is_started_again(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    worker = worker_of(stack, [0.0])
    worker.start(lambda: True)
    worker.keep()
    assert len(stack.environments) == 1
    stack.alive = False
    worker.keep()
    assert worker.runs
    assert len(stack.environments) == 2


def test_a_worker_that_ends_again_and_again_ends_the_demo(tmp_path: Path) -> None:
    stack, now = Stack(tmp_path), [0.0]
    worker = worker_of(stack, now)
    for _ in range(MOST_ENDS):
        stack.alive = False
        worker.keep()
        now[0] += 1.0
    stack.alive = False
    with pytest.raises(OpsError, match="ended 6 times"):
        worker.keep()
    now[0] = SPAN_SECONDS
    worker.keep()
    assert worker.runs


@pytest.mark.parametrize(("host", "wanted"), [("127.0.0.1", {"SLUICE_DEMO": "true"}), ("0.0.0.0", {})])
def test_only_a_worker_on_loopback_may_be_broken(tmp_path: Path, host: str, wanted: dict[str, str]) -> None:
    stack = Stack(tmp_path)
    worker_of(stack, [0.0], web_host=host, web_token=SecretStr("t")).start(lambda: True)
    assert stack.environments == [{"SLUICE_METRICS": "true", **wanted}]
