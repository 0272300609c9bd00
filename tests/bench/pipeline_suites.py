"""The suites of the domains' own pipelines: usage, stock and loyalty, each with one worker."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.cluster import Cluster
from tests.bench.loyalty_job import loyalty_job
from tests.bench.pipeline_job import Job, PipelineBench, PipelineTrial
from tests.bench.report import Report
from tests.bench.stock_job import SMALL, product_job, product_sizes, stock_job
from tests.bench.trials import Sizes, attempt, say, spreads
from tests.bench.usage_job import usage_job

MANY = "many products"


def pipeline(bench: PipelineBench, job: Job, number: int, runs: int, found: Report) -> list[PipelineTrial]:
    """Return the trial of a domain's pipeline, one worker; nothing where it failed."""
    what = f"{job.name} {number + 1}/{runs}  "
    trial = attempt(found, what, partial(bench.trial, job, number))
    if trial is None:
        return []
    say(f"{what}{trial.rate:,.0f} events/s, {trial.cpu_ms:.1f} ms CPU per 1,000, {trial.outcomes}")
    return [trial]


def usage(cluster: Cluster, folder: Path, sizes: Sizes, names: Sequence[str], found: Report) -> None:
    """The full usage pipeline."""
    bench, trials = PipelineBench(cluster, folder), list[PipelineTrial]()
    for number in range(sizes.runs):
        trials += pipeline(bench, usage_job(sizes.usage_events, number), number, sizes.runs, found)
    if trials:
        found["usage"] = {"sluice": pipeline_row(trials)}
        found["usage_events_per_s"] = round(median_rate(trials))


def stock(cluster: Cluster, folder: Path, sizes: Sizes, names: Sequence[str], found: Report) -> None:
    """Entries, allocations and exits: over many products, and over one that holds very much, against a small one."""
    bench, trials = PipelineBench(cluster, folder), defaultdict[str, list[PipelineTrial]](list)
    jobs = {MANY: stock_job(sizes.stock_commands)}
    if sizes.product_commands:
        jobs |= {
            size.name: product_job(size, sizes.product_commands)
            for size in product_sizes(sizes.product_share)
        }
    for number in range(sizes.runs):  # interleaved, so that a slow minute of the machine hits all alike
        for name, job in jobs.items():
            trials[name] += pipeline(bench, job, number, sizes.runs, found)
    done = {name: found_trials for name, found_trials in trials.items() if found_trials}
    found["stock"] = {name: pipeline_row(found_trials) for name, found_trials in done.items()}
    rates = {name: median_rate(found_trials) for name, found_trials in done.items()}
    if MANY in rates:
        found["stock_commands_per_s"] = round(rates.pop(MANY))
    if rates and len(rates) == len(jobs) - 1:
        found["stock_large_ratio"] = round(rates[SMALL] / min(rates.values()), 2)


def loyalty(cluster: Cluster, folder: Path, sizes: Sizes, names: Sequence[str], found: Report) -> None:
    """Earns, redemptions and reversals over many customers."""
    bench, trials = PipelineBench(cluster, folder), list[PipelineTrial]()
    job = loyalty_job(sizes.stock_commands)
    for number in range(sizes.runs):
        trials += pipeline(bench, job, number, sizes.runs, found)
    if trials:
        found["loyalty"] = {"sluice": pipeline_row(trials)}
        found["loyalty_events_per_s"] = round(median_rate(trials))


def pipeline_row(trials: Sequence[PipelineTrial]) -> dict[str, Any]:
    """Return a row of a report."""
    return {**spreads(trials), "outcomes": [trial.outcomes for trial in trials]}


def median_rate(trials: Sequence[PipelineTrial]) -> float:
    """Return the median of the trials' rates."""
    return statistics.median(trial.rate for trial in trials)
