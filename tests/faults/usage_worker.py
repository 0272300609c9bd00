"""A worker process with the project's own index: ``python -m tests.faults.usage_worker RUN``, set by ``SLUICE_*``."""

from __future__ import annotations

import logging
import sys

from streams.failures import FatalFailure
from streams.settings import Settings
from streams.worker import run_worker


def main() -> int:
    """Run until a signal; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    try:
        return run_worker(Settings.read())
    except FatalFailure as failure:
        logging.getLogger(__name__).critical("cannot start: %s", failure)
        return 70


if __name__ == "__main__":
    sys.exit(main())
