"""Records that arrive while partitions change hands: also the last ones, after which nothing comes for a long time."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from ops.stack.local import LocalStack
from tests.faults.load import Sender
from tests.faults.processes import until
from tests.faults.scenario import Scenario, table_pages

pytestmark = pytest.mark.broker


def test_the_last_records_are_processed_even_where_they_arrive_in_the_middle_of_a_rebalance(
    stack: LocalStack, unique: str, tmp_path: Path
) -> None:
    with Scenario(stack, unique, tmp_path, SLUICE_COMMIT_INTERVAL_S="0.1") as scenario:
        first, second = scenario.worker("w1"), scenario.worker("w2")
        sender, write, numbers = Sender(scenario.settings, scenario.source), scenario.writer(), count(1)

        def send_to_every_partition() -> None:
            for key in range(16):
                sender.send(write, f"aggregate-{key}", next(numbers))
            sender.flush()

        first.start()
        until(first.ready, 60, "the first worker")
        for _ in range(2):
            second.start()
            until(lambda: len(table_pages(first)) == 2 and second.ready(), 60, "two workers")
            send_to_every_partition()
            scenario.await_drained(20)
            assert second.stop() == 0
            until(lambda: len(table_pages(first)) == 4, 60, "one worker")
            send_to_every_partition()
            scenario.await_drained(20)
        _, verdict = scenario.compare(sender, first)
    assert verdict.problems == []
