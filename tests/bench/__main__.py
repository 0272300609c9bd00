"""``make bench``: speed side by side with other systems, as a table and in ``build/bench.json``.

What is measured and why is in design/performance.md. Everything runs on this machine, the broker included, so the
figures compare systems with each other; they are not what a cluster gives. Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.stack.local import LocalStack, Ports
from ops.up import ended_by_signals
from tests.bench import report, suites
from tests.bench.cluster import Cluster
from tests.bench.processes import ROOT
from tests.bench.systems import SYSTEMS
from tests.bench.trials import FULL, QUICK, TINY, Sizes

SUITES = ("throughput", "usage", "stock", "loyalty", "latency", "rate", "recovery")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; return the exit status."""
    asked = _parser().parse_args(arguments)
    sizes = QUICK if asked.quick else FULL
    if asked.tiny:
        sizes = TINY
    chosen = [part for part in SUITES if part in asked.only or not asked.only]
    systems = [name for name in SYSTEMS if name in asked.systems or not asked.systems]
    folder = ROOT / "build" / "bench" / "run"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with ended_by_signals(), LocalStack(folder / "stack", Ports.free()) as stack:
            stack.start()
            cluster = Cluster(stack.bootstrap_servers, stack.registry_url)
            found = measure(cluster, folder, sizes, chosen, systems, asked.out)
    except KeyboardInterrupt:
        print("\nStopped; every process that was started has ended.", file=sys.stderr)
        return 130
    report.show(found)
    if found["failures"]:
        print(f"\nSome trials failed; their logs are in {folder / 'logs'}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print(f"\nWritten to {asked.out}", file=sys.stderr)
    return 0


def measure(
    cluster: Cluster, folder: Path, sizes: Sizes, chosen: Sequence[str], systems: Sequence[str], out: Path
) -> report.Report:
    """Run the chosen suites one after the other; return what they found, which is also in ``out`` after each."""
    found = report.empty(sizes)
    for part in chosen:
        suites.SUITES[part](cluster, folder, sizes, systems, found)
        report.write(found, out)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the events: to try it, not to quote it"
    )
    parser.add_argument("--tiny", action="store_true", help="a few events: to test the benchmark itself")
    parser.add_argument(
        "--only", nargs="+", choices=SUITES, default=[], metavar="SUITE", help=", ".join(SUITES)
    )
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=[], metavar="SYSTEM")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
