"""The files of the deployment, read once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import yaml  # type: ignore[import-untyped]
from pydantic import TypeAdapter

from streams.settings import PREFIX, Settings

ROOT: Final = Path(__file__).resolve().parents[3]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
DOCKERFILE: Final = (ROOT / "ops" / "docker" / "Dockerfile").read_text(encoding="utf-8")


def settings_of(variables: Mapping[str, str]) -> Settings:
    """Return the settings that a process would read from these variables; one that is no setting is an error."""
    given = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items()}
    unknown = given.keys() - Settings.model_fields.keys()
    assert not unknown, f"no such settings: {unknown}"
    return Settings.read(
        **{
            name: TypeAdapter(cast(Any, Settings.model_fields[name].annotation)).validate_python(value)
            for name, value in given.items()
        }
    )
