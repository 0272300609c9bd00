"""The ``sluice`` command. Each command only reads its options; the work is in the module it names."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ops import console
from ops.cli_options import DATA_DIR, DataDir, Json, settings_of
from ops.cli_traces import replay_app, verify_app
from ops.dlq_cli import dlq_app
from ops.errors import OpsError
from ops.schemas_cli import schemas_app
from ops.stack.local import LocalStack, Ports


class _Commands(TyperGroup):
    """Turns every refusal into two lines and exit status 1, and Ctrl-C into a quiet 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OpsError as error:
            console.refuse(error)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Sluice: stream processing on Kafka with state, run from one command.",
)

KafkaPort = Annotated[int, typer.Option(envvar="SLUICE_STACK_KAFKA_PORT", help="Kafka listens here.")]
ControllerPort = Annotated[
    int, typer.Option(envvar="SLUICE_STACK_CONTROLLER_PORT", help="Kafka's controller.")
]
RegistryPort = Annotated[
    int, typer.Option(envvar="SLUICE_STACK_REGISTRY_PORT", help="Schema Registry listens here.")
]
ManagementPort = Annotated[
    int, typer.Option(envvar="SLUICE_STACK_MANAGEMENT_PORT", help="Health and metrics of the registry.")
]
PORTS = Ports()


@app.command()
def up(
    data_dir: DataDir = DATA_DIR,
    kafka_port: KafkaPort = PORTS.kafka,
    controller_port: ControllerPort = PORTS.controller,
    registry_port: RegistryPort = PORTS.registry,
    management_port: ManagementPort = PORTS.management,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready and let it run.")] = False,
) -> None:
    """Start Kafka and the Schema Registry on this machine, without Docker or Java."""
    from ops.up import up as run

    run(data_dir, Ports(kafka_port, controller_port, registry_port, management_port), detached=detach)


@app.command()
def down(data_dir: DataDir = DATA_DIR) -> None:
    """Stop the local stack; its data stay."""
    from ops.up import down as run

    stopped = run(data_dir)
    console.err.print(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


@app.command()
def status(data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Show what of the local stack runs and where."""
    rows = LocalStack(data_dir).status()
    console.listing(rows, ["part", "state", "pid", "ports"], as_json=as_json)


@app.command()
def setup(data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Create topics and register schemas. Running it again changes nothing."""
    from ops.setup import setup as run

    rows = asyncio.run(run(settings_of(data_dir)))
    if as_json:
        console.listing(rows, [], as_json=True)
        return
    changed = [row for row in rows if row["state"] != "unchanged"]
    if changed:
        console.listing(changed, ["kind", "name", "state", "detail"], as_json=False)
    for kind in ("topic", "schema"):
        count = sum(row["kind"] == kind for row in rows)
        console.err.print(f"[green]✓[/] {count} {kind}s are in place")


@app.command()
def worker(data_dir: DataDir = DATA_DIR) -> None:
    """Run one worker until Ctrl-C or SIGTERM. Settings: SLUICE_* variables."""
    from agents.index import AGENTS
    from ops.pages import PAGES
    from streams.failures import FatalFailure
    from streams.worker import run_worker

    try:
        code = run_worker(settings_of(data_dir), agents=(*AGENTS, *PAGES))
    except FatalFailure as error:
        raise OpsError(f"The worker cannot start: {error}", "Then start it again.") from error
    raise typer.Exit(code)


@app.command()
def exporter(data_dir: DataDir = DATA_DIR) -> None:
    """Tell Prometheus the group's lag and open dead letters, with workers or without, until Ctrl-C or SIGTERM."""
    from ops.exporter import run_exporter

    run_exporter(settings_of(data_dir))


@app.command()
def doctor(data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Check everything a worker needs, and say what to do where something is wrong."""
    from ops.doctor import examine

    rows = examine(settings_of(data_dir))
    if as_json:
        console.listing(rows, [], as_json=True)
    else:
        for row in rows:
            console.finding(row["ok"], row["check"], row["detail"], row["remedy"])
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


@app.command()
def reset(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Process everything again: rewind the sources, empty changelogs, remove local state. Outputs stay."""
    from ops.reset import execute, plan

    settings = settings_of(data_dir)
    planned = plan(settings)
    console.listing(planned.rows(), ["action", "target", "to"], as_json=as_json)
    if dry_run:
        return
    if not yes and not typer.confirm(
        "Do this? Tables are rebuilt by processing the sources again.", err=True
    ):
        raise typer.Exit(1)
    execute(planned, settings)
    console.err.print("[green]✓[/] Done. The next worker starts from the beginning of the sources.")


app.add_typer(replay_app, name="replay")
app.add_typer(verify_app, name="verify")
app.add_typer(dlq_app, name="dlq")
app.add_typer(schemas_app, name="schemas")


@app.command()
def demo(
    data_dir: DataDir = DATA_DIR,
    kafka_port: KafkaPort = PORTS.kafka,
    controller_port: ControllerPort = PORTS.controller,
    registry_port: RegistryPort = PORTS.registry,
    management_port: ManagementPort = PORTS.management,
    rate: Annotated[
        float, typer.Option(min=1, help="LLM events per second; the shop has 3 x, to 2000.")
    ] = 300.0,
    seconds: Annotated[float | None, typer.Option("--for", min=1, help="End after so many seconds.")] = None,
    leave: Annotated[
        bool, typer.Option("--exit", help="End when the LLM trace is through and metered.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run it all: broker, registry, worker and two real traces, with a live view. Ctrl-C stops everything."""
    from ops.demo import Demo, Options

    ports = Ports(kafka_port, controller_port, registry_port, management_port)
    ended = Demo(data_dir, ports, lambda: settings_of(data_dir), Options(rate, seconds, leave)).run()
    if as_json:
        console.listing([ended], [], as_json=True)


if __name__ == "__main__":
    app()
