"""What all suites have in common: how much is measured, what is told, and what becomes of a trial that fails."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from tests.bench.cluster import Cluster
from tests.bench.processes import ProcessEnded
from tests.bench.report import Report, spread

T = TypeVar("T")

RATE = 10_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        runs: interleaved runs of each trial.
        events: events of the peers' job.
        usage_events: events of the usage pipeline.
        stock_commands: commands of stock and of loyalty.
        product_commands: commands to one product; 0 leaves these trials out.
        product_share: how large that product is, as a share of full size.
        rate: events per second offered where latency is measured.
        seconds: length of our latency runs; warm_up_s of them are not counted.
        peer_seconds: length of the others' latency runs.
        warm_up_s: see seconds.
        step_s: length of a step of the rate.
        rates: first and last rate that is tried.
        keys: keys of the table that is recovered.
    """

    runs: int
    events: int
    usage_events: int
    stock_commands: int
    product_commands: int
    product_share: float
    rate: int
    seconds: int
    peer_seconds: int
    warm_up_s: int
    step_s: int
    rates: tuple[int, int]
    keys: int


FULL = Sizes(3, 1_000_000, 400_000, 400_000, 60_000, 1.0, RATE, 60, 20, 5, 10, (10_000, 100_000), 1_000_000)
QUICK = Sizes(1, 100_000, 100_000, 100_000, 30_000, 1.0, RATE, 15, 15, 5, 10, (10_000, 30_000), 100_000)
TINY = Sizes(1, 2_000, 2_000, 2_000, 0, 0.01, 200, 3, 3, 1, 2, (400, 400), 2_000)

Suite = Callable[[Cluster, Path, Sizes, Sequence[str], Report], None]


def say(text: str) -> None:
    """Tell people how it goes."""
    print(text, file=sys.stderr, flush=True)


def attempt(found: Report, what: str, trial: Callable[[], T]) -> T | None:
    """Return what a trial gives, or None: one system that fails must not cost the other figures of a long run."""
    try:
        return trial()
    except (ProcessEnded, KafkaException) as error:
        found["failures"].append(f"{what}: {error}")
        say(f"{what} FAILED: {error}")
        return None


def spreads(trials: Iterable[Any]) -> dict[str, Mapping[str, float]]:
    """Return minimum, median and maximum of every number of some trials."""
    rows = [asdict(trial) for trial in trials]
    return {
        name: spread(row[name] for row in rows) for name in rows[0] if isinstance(rows[0][name], int | float)
    }
