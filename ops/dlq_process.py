"""Carries out requests about dead letters in a process of their own, for workers that are asked over HTTP.

A dry run holds a copy of whole partitions, and its rules may take long: neither may cost the worker its memory or its
time. The request comes on the standard input, the answer goes to the standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from pydantic import BaseModel, SecretStr

from ops.dlq_letters import DISCARDED, REPLAYED
from ops.dlq_producer import Rewrite, original
from ops.dlq_selection import Selection
from ops.dlq_sending import resolve
from ops.dlq_web_models import EditRequest, Outcome, Outcomes, SelectionRequest
from ops.dlq_work import prepared, try_out
from ops.errors import OpsError
from streams.failures import classify
from streams.settings import Settings

Request = SelectionRequest | EditRequest


class ProcessFailed(Exception):
    """The process ended without an answer; its standard error says why."""


class Refused(Exception):
    """An ``OpsError`` of the process.

    Attributes:
        kind: name of its class.
        cause, remedy, details: as it says them.
    """

    def __init__(self, kind: str, cause: str, remedy: str, details: list[tuple[str, str]]) -> None:
        super().__init__(f"{cause} {remedy}")
        self.kind = kind
        self.details = details


def perform(settings: Settings, request: Request) -> Outcomes:
    """Do what a request asks for. Raises OpsError."""
    rewrite: Rewrite = original
    if isinstance(request, EditRequest):
        selection, rewrite = prepared(settings, request)
    else:
        selection = Selection.of_picked(request.topic, request.letters)
    if request.action == "dry_run":
        found = try_out(settings, selection, again=request.again, rewrite=rewrite)
        return Outcomes(
            selection=selection.name,
            outcomes=[Outcome.model_validate(row) for row in found.rows],
            behind=found.behind,
            left_behind=found.left_behind,
        )
    how = DISCARDED if request.action == "discard" else REPLAYED
    rows = resolve(settings, selection, how, again=request.again, rewrite=rewrite)
    outcomes = [
        Outcome(letter=row.letter, origin=row.origin, key=row.key, outcome=row.result, message=row.detail)
        for row in rows
    ]
    return Outcomes(selection=selection.name, outcomes=outcomes)


def carried(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON, secrets included: for the standard input of a process of ours, and nothing else."""
    found = settings.model_dump(mode="json", exclude_unset=True)
    secrets = {name: getattr(settings, name) for name in found}
    return found | {
        name: secret.get_secret_value() for name, secret in secrets.items() if isinstance(secret, SecretStr)
    }


async def ask(settings: Settings, request: BaseModel, children: set[asyncio.subprocess.Process]) -> Outcomes:
    """Let a process carry out a request.

    Args:
        settings: of the cluster.
        request: a ``Request``.
        children: has the process while it lives, so that it can be ended.

    Raises:
        Refused: it cannot be done.
        ProcessFailed: the process failed or was ended.
    """
    given = {"kind": type(request).__name__, "request": request.model_dump(mode="json")}
    text = json.dumps(given | {"settings": carried(settings)})
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.dlq_process", stdin=pipe, stdout=pipe
    )
    children.add(process)
    try:
        out, _ = await process.communicate(text.encode())
    finally:
        children.discard(process)
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise ProcessFailed(f"exit status {process.returncode}")
    answer = json.loads(out)
    if "refused" in answer:
        raise Refused(**answer["refused"])
    return Outcomes.model_validate(answer["answer"])


def main() -> int:
    """Answer the request on the standard input. Return the exit status."""
    given = json.load(sys.stdin)
    kinds: dict[str, type[Request]] = {kind.__name__: kind for kind in (SelectionRequest, EditRequest)}
    try:
        request = kinds[given["kind"]].model_validate_json(json.dumps(given["request"]))
        answer = {"answer": perform(Settings(**given["settings"]), request).model_dump(mode="json")}
    except OpsError as error:
        refused = {"cause": error.cause, "remedy": error.remedy, "details": getattr(error, "details", [])}
        answer = {"refused": {"kind": type(error).__name__, **refused}}
    except Exception as error:
        # The exception's own text is left out: it may hold what a letter holds.
        failure = classify(error)
        sys.stderr.write(f"a request about dead letters failed: {failure.exception}\n{failure.stacktrace}\n")
        return 1
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
