"""``make faults``: chaos runs against the real broker; writes ``build/faults.json``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict
from random import SystemRandom

from ops.stack.local import LocalStack, Ports
from tests.faults.chaos import Plan, Result, run, summary
from tests.faults.processes import ROOT
from tests.faults.usage import run_usage


def main() -> int:
    """Run the seeds; return 0 where nothing was lost, doubled or otherwise wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="number of runs per store")
    parser.add_argument("--seed", type=int, help="the first seed; random unless given")
    parser.add_argument("--store", choices=("memory", "rocksdict", "both"), default="both")
    parser.add_argument(
        "--index", choices=("totals", "usage", "both"), default="both", help="test index, real one"
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rate", type=float, default=2_000.0)
    asked = parser.parse_args()
    first = asked.seed if asked.seed is not None else SystemRandom().randrange(10**6)
    stores = ("memory", "rocksdict") if asked.store == "both" else (asked.store,)
    indexes = ("totals", "usage") if asked.index == "both" else (asked.index,)
    results: list[Result] = []
    for seed in range(first, first + asked.seeds):
        for index in indexes:
            for store in stores:
                plan = Plan(seed=seed, store=store, events=asked.events, rate=asked.rate)
                results.append(_one(index, plan))
                _write(results)
    return 1 if any(result.bad for result in results) else 0


def _one(index: str, plan: Plan) -> Result:
    folder = ROOT / "build" / "faults" / f"{index}-{plan.store}-{plan.seed}-{time.time_ns()}"
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)

    say(f"seed {plan.seed}, {index} index, {plan.store} store, {plan.events} events, logs in {folder}")
    with LocalStack(folder / "stack", Ports.free()) as stack:
        stack.start()
        result = (run if index == "totals" else run_usage)(plan, stack, folder, say)
    shutil.rmtree(folder / "stack", ignore_errors=True)  # a gigabyte; the workers' logs stay
    say(json.dumps({key: value for key, value in asdict(result).items() if key != "problems"}))
    for problem in result.problems[:20]:
        say(f"WRONG: {problem}")
    return result


def _write(results: list[Result]) -> None:
    path = ROOT / "build" / "faults.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary(results), indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
