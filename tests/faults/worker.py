"""A worker process of the fault tests: ``python -m tests.faults.worker RUN``, configured by ``SLUICE_*`` alone.

Beside the pipeline it serves ``/faults/``: whether it is ready, and its tables as they are committed. While the file
that ``FAULTS_STALL`` names is there, whatever the worker begins to send stands still for ever. ``FAULTS_BROKER_S`` is
how long it waits for a broker at its start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from streams import worker
from streams.app import SluiceApp
from streams.failures import FatalFailure
from streams.settings import Settings
from tests.faults.totals import TABLE, Names


def build(app: SluiceApp) -> None:
    """Add the agent and the page to the worker's app."""
    pipeline = app.pipelines[TABLE]
    began = time.monotonic()

    app.add_agent(TABLE)
    _stall(app)

    @app.page("/faults/")
    async def page(self: Any, request: Any) -> Any:
        ready = app._fetcher.started and app.flow_control.is_active()
        partitions = {str(number): _table(app, number) for number in pipeline.partitions}
        return self.json({"ready": ready, "uptime": time.monotonic() - began, "partitions": partitions})


def _stall(app: SluiceApp) -> None:
    file, send = Path(os.environ.get("FAULTS_STALL", "/")), app.outputs.send

    async def sent(records: Any) -> None:
        if file.is_file():
            await asyncio.Event().wait()
        await send(records)

    app.outputs.send = sent  # type: ignore[method-assign]


def _table(app: SluiceApp, number: int) -> dict[str, list[str]]:
    store = app.pipelines[TABLE].partitions[number].changelog.store
    found = {}
    for key in list(store.aggregates()):
        value = store.get(key + b"\x00")
        total: Any = app.codec.decode(value)
        found[key.decode()] = [total.metadata["n"], str(total.quantity), total.metadata["seq"]]
    return found


def main() -> int:
    """Run until a signal; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    worker.BROKER_S = float(os.environ.get("FAULTS_BROKER_S", worker.BROKER_S))
    try:
        return worker.run_worker(Settings.read(), Names(sys.argv[1]).index(), (build,))
    except FatalFailure as failure:
        logging.getLogger(__name__).critical("cannot start: %s", failure)
        return 70


if __name__ == "__main__":
    sys.exit(main())
