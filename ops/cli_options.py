"""What commands have in common: options, and the settings of the stack that runs here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.errors import OpsError
from ops.stack.local import LocalStack
from ops.stack.registry import API

if TYPE_CHECKING:
    from streams.settings import Settings

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="SLUICE_STACK_DIR", help="Folder of the local stack's data.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DATA_DIR = Path(".sluice")


def settings_of(data_dir: Path) -> Settings:
    """Return the settings of the environment, where they are silent those of the local stack that runs.

    Raises:
        OpsError: with every wrong variable.
    """
    from streams.settings import Settings, SettingsError

    stack = LocalStack(data_dir)
    recorded = stack.state.read()
    overrides: dict[str, Any] = {}
    if stack.pid("kafka") and "SLUICE_BOOTSTRAP_SERVERS" not in os.environ:
        overrides["bootstrap_servers"] = f"127.0.0.1:{recorded['kafka']['ports']['kafka']}"
    if stack.pid("registry") and "SLUICE_REGISTRY_URL" not in os.environ:
        overrides["registry_url"] = f"http://127.0.0.1:{recorded['registry']['ports']['registry']}{API}"
    if "SLUICE_DATA_DIR" not in os.environ:
        overrides["data_dir"] = data_dir
    try:
        return Settings.read(**overrides)
    except SettingsError as error:
        raise OpsError(
            f"Settings are wrong:\n{error}", "Correct these variables and run it again."
        ) from error
