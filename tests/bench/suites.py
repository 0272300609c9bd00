"""The suites of a run: which trials, in which order, and what becomes of their figures."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.bench import kafka_streams
from tests.bench.cluster import Cluster
from tests.bench.latency import LIMIT_MS, Latency, Run, keeps_up
from tests.bench.pipeline_suites import loyalty, stock, usage
from tests.bench.recovery import Recovered, Recovery
from tests.bench.report import Report
from tests.bench.systems import SYSTEMS, System
from tests.bench.throughput import Throughput, Trial
from tests.bench.trials import Sizes, Suite, attempt, say, spreads

NOT_TIMED = ("faust", "bytewax_unstored")
"""Faust cannot hold RATE: its latency would be the length of the run. The other one is timed with its store."""


def here(names: Sequence[str]) -> list[System]:
    """Return the systems of these names that can run on this machine."""
    return [SYSTEMS[name] for name in names if name != "kafka_streams" or kafka_streams.available()]


def throughput(cluster: Cluster, folder: Path, sizes: Sizes, names: Sequence[str], found: Report) -> None:
    """The peers' job, interleaved, so that a slow minute of the machine hits all alike."""
    bench = Throughput(cluster, folder, sizes.events)
    trials: dict[str, list[Trial]] = defaultdict(list)
    warm_up = replace(SYSTEMS["bare"], share=0.1)
    attempt(found, "warm-up of the broker", lambda: bench.trial(warm_up, 0))
    for number in range(sizes.runs):
        for system in here(names):
            what = f"throughput {number + 1}/{sizes.runs}  {system.name:<18}"
            trial = attempt(found, what, partial(bench.trial, system, number))
            if trial is not None:
                trials[system.name].append(trial)
                say(f"{what}{trial.rate:>10,.0f} events/s, {trial.cpu_ms:.1f} ms CPU per 1,000")
    found["throughput"] = {
        name: {**spreads(done), "note": SYSTEMS[name].note} for name, done in trials.items()
    }
    rates = {name: statistics.median(trial.rate for trial in done) for name, done in trials.items()}
    if "sluice" in rates:
        found["ratios"] = {
            name: round(rates["sluice"] / rate, 2) for name, rate in rates.items() if name != "sluice"
        }


def latency(cluster: Cluster, folder: Path, sizes: Sizes, names: Sequence[str], found: Report) -> None:
    """Open loop at one rate, interleaved; the broker alone is the floor."""
    bench = Latency(cluster, folder)
    runs: dict[str, list[Run]] = defaultdict(list)

    def timed(system: System, number: int) -> Run:
        seconds = sizes.seconds if system.name == "sluice" else sizes.peer_seconds
        with bench.running(system, number) as (task, process):
            return bench.run(task, process, sizes.rate, seconds, sizes.warm_up_s)

    for number in range(sizes.runs):
        alone = partial(bench.broker_alone, number, sizes.rate, sizes.peer_seconds, sizes.warm_up_s)
        trials = {"broker alone": alone}
        trials |= {s.name: partial(timed, s, number) for s in here(names) if s.name not in NOT_TIMED}
        for name, trial in trials.items():
            what = f"latency {number + 1}/{sizes.runs}  {name:<18}"
            run = attempt(found, what, trial)
            if run is not None:
                runs[name].append(run)
                say(f"{what}P50 {run.p50_ms}, P95 {run.p95_ms}, P99 {run.p99_ms} ms, {run.cores} cores")
    found["latency"] = {name: spreads(done) for name, done in runs.items()}
    if "sluice" in runs:
        found["p95_ms_at_10k"] = statistics.median(run.p95_ms for run in runs["sluice"])


def rate(cluster: Cluster, folder: Path, sizes: Sizes, names: Sequence[str], found: Report) -> None:
    """The highest rate that keeps P95 below the limit."""
    bench = Latency(cluster, folder)
    highest, steps = [], defaultdict(list)

    def tried(number: int) -> list[Run]:
        with bench.running(SYSTEMS["sluice"], number) as (task, process):
            return bench.highest_rate(task, process, sizes.step_s, *sizes.rates)

    for number in range(sizes.runs):
        what = f"rate {number + 1}/{sizes.runs}  "
        done = attempt(found, what, partial(tried, number)) or []
        for run in done:
            steps[f"{run.rate:,}"].append(run)
            say(f"{what}{run.rate:>7,}/s  P95 {run.p95_ms} ms, lost {run.lost}")
        if done:
            highest.append(max((run.rate for run in done if keeps_up(run)), default=0))
    if highest:
        found["rate"] = {name: spreads(done) for name, done in steps.items()}
        found["rate_limit_ms"] = LIMIT_MS
        found["max_rate_p95_100ms"] = statistics.median(highest)


def recovery(cluster: Cluster, folder: Path, sizes: Sizes, names: Sequence[str], found: Report) -> None:
    """A table from its changelog, and from disk; what its keys weigh in memory."""
    bench = Recovery(cluster, folder, sizes.keys)
    say(f"recovery: building a table of {sizes.keys:,} keys")

    def measured() -> tuple[list[float], list[Recovered], list[Recovered]]:
        bench.build()
        bare, replayed, restarted = [], [], []
        for number in range(sizes.runs):
            bare.append(bench.empty_rss_mb())
            replayed.append(bench.from_changelog())
            restarted.append(bench.from_disk())
            say(
                f"recovery {number + 1}/{sizes.runs}  {replayed[-1].rate:,.0f} records/s, "
                f"from disk ready in {restarted[-1].ready_s:.1f} s"
            )
        return bare, replayed, restarted

    done = attempt(found, "recovery", measured)
    if done is None:
        return
    bare, replayed, restarted = done
    found["recovery"] = {"memory": spreads(replayed), "rocksdict": spreads(restarted)}
    found["recovery_records_per_s"] = round(statistics.median(trial.rate for trial in replayed))
    found["restart_s_rocksdict"] = round(statistics.median(trial.ready_s for trial in restarted), 2)
    heavier = statistics.median(trial.rss_mb for trial in replayed) - statistics.median(bare)
    found["memory_mb_per_million_keys"] = round(heavier / sizes.keys * 1_000_000, 1)


SUITES: dict[str, Suite] = {
    "throughput": throughput,
    "usage": usage,
    "stock": stock,
    "loyalty": loyalty,
    "latency": latency,
    "rate": rate,
    "recovery": recovery,
}
