"""Bytewax with its recovery store and its default interval: what the other systems do, too, whose state survives."""

# mypy: disable-error-code="import-not-found"
# The peer is installed in .venv-bench only.

from __future__ import annotations

from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from tests.bench.peers.job import read_task
from tests.bench.peers.on_bytewax import build

if __name__ == "__main__":
    task = read_task()
    task.state_dir.mkdir(parents=True, exist_ok=True)
    init_db_dir(task.state_dir, 1)
    cli_main(build(task), recovery_config=RecoveryConfig(task.state_dir))
