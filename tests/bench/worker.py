"""A Sluice worker under test, set up by ``SLUICE_*`` variables like any other.

``python -m tests.bench.worker SOURCE TARGET`` does the peers' job; without arguments it runs the project's own index.
"""

from __future__ import annotations

import logging
import sys

from streams.settings import Settings
from streams.worker import run_worker
from tests.bench import totals


def main() -> int:
    """Run until SIGTERM; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("faust", "mode", "aiokafka"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    match sys.argv[1:]:
        case [source, target]:
            totals.adopt()
            return run_worker(Settings.read(), totals.index(source, target), totals.AGENTS)
        case _:
            return run_worker(Settings.read())


if __name__ == "__main__":
    raise SystemExit(main())
