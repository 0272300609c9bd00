"""The command line as a whole: what can be listed, and how a command refuses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ops.cli import app
from ops.stack.local import LocalStack, Ports
from ops.stack.processes import free_ports

RUNNING = {"up", "down", "worker", "exporter"}
"""Commands that list nothing."""


def commands(group: Any, *words: str) -> Iterator[tuple[str, set[str]]]:
    """Yield every command with its options."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *words, name)
        else:
            options = {option for parameter in command.params for option in parameter.opts}
            yield " ".join((*words, name)), options


def test_whatever_lists_does_so_as_json_too() -> None:
    found = dict(commands(typer.main.get_command(app)))
    assert found.keys() > {*RUNNING, "status", "doctor", "setup", "reset", "replay llm-trace"}
    assert {name for name, options in found.items() if "--json" not in options} == RUNNING


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_refusal_is_its_cause_and_its_remedy_and_exit_status_1(command: str, tmp_path: Path) -> None:
    ports = Ports.free()
    options = [f"--{name}-port={getattr(ports, name)}" for name in Ports.__slots__]
    variables = {"SLUICE_WEB_PORT": str(free_ports(1)[0])}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.registry))
        taken.listen()
        result = CliRunner().invoke(app, [command, f"--data-dir={tmp_path}", *options], env=variables)
    assert result.exit_code == 1
    told = " ".join(result.stderr.split())
    assert f"sluice: Port {ports.registry} (Schema Registry) is taken by " in told
    assert "End that program, or choose another port with --registry-port." in told
    assert LocalStack(tmp_path).state.read() == {}, "nothing was started"
