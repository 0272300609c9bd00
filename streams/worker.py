"""Running a worker process: checks before it starts, signals, and an end that is never late.

Exit codes: 0 after a signal, 70 after an error (the log names cause and remedy), 71 when another worker took over the
partitions, 72 when it stood still again and again (``streams.watchdog``), 75 when a shutdown took too long. A
supervisor restarts the process after any of them.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, Any

import uvloop
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from streams.app import EXIT_FATAL, SluiceApp, create_app
from streams.brokers import BrokerError, find_topics
from streams.failures import FatalFailure
from streams.logs import configure
from streams.routing import Index
from streams.settings import Settings
from streams.topics import changelog_topic, dead_letter_topic
from streams.watchdog import Watchdog, start_again

log = logging.getLogger(__name__)

DRAIN_S = 12.0
"""A shutdown that is not done by then is cut off: what was not stored is done again after the restart."""

BROKER_S = 30.0
"""A broker that starts together with the worker has this long to answer."""
ASK_S = 5.0
"""A question that has no answer by then is asked again: the broker may have died over it."""

GARBAGE_EVERY = 100_000
"""Containers between two searches for cycles of garbage. The records in hand, which are no garbage, are tens of
thousands of containers: with Python's 700, a worker at full load spent a quarter of its time searching."""

EXIT_SLOW_STOP = 75
SLOTS = 64


def run_worker(
    settings: Settings, index: Index | None = None, agents: Sequence[Callable[[SluiceApp], Any]] | None = None
) -> int:
    """Run a worker until SIGTERM or SIGINT.

    Args:
        settings: without ``group_instance_id`` the worker takes the first free slot of its ``data_dir``.
        index: routes and outputs; the project's own by default.
        agents: agent builders; the project's own by default.

    Returns:
        The exit code.

    Raises:
        FatalFailure: the worker cannot start here; the message names the cause and the remedy.
    """
    configure(settings)
    settings, slot = claim_slot(settings)
    with slot:
        app = create_app(settings, index, agents)
        check_topics(settings, app.index)
        check_append_time(settings, app.index)
        gc.collect()
        gc.freeze()  # what start-up made lives for good; scanning it again and again costs latency
        gc.set_threshold(GARBAGE_EVERY)
        # Not as the policy: in the consumer thread uvloop waits half a minute for a TLS goodbye of the broker.
        return uvloop.run(_serve(app))


def claim_slot(settings: Settings) -> tuple[Settings, IO[str]]:
    """Take a name for this worker and keep it locked while the process lives.

    The name is stable across restarts, so a killed worker comes back as the same static member of the consumer group
    and finds its local state. The lock is the kernel's and goes with the process, however that ends.

    Raises:
        FatalFailure: the name is in use by another process on this machine.
    """
    wanted = settings.group_instance_id
    names = [wanted] if wanted else [f"worker-{slot}" for slot in range(1, SLOTS + 1)]
    for name in names:
        directory = settings.data_dir / "workers" / name
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        instance = wanted or re.sub(r"[^A-Za-z0-9._-]", "-", f"{socket.gethostname()}-{name}")[:100]
        return settings.model_copy(update={"group_instance_id": instance}), lock
    raise FatalFailure(
        f"{'worker ' + wanted if wanted else 'every worker slot'} is taken by a running process of "
        f"{settings.data_dir}; stop it, or give this one another SLUICE_GROUP_INSTANCE_ID or SLUICE_DATA_DIR"
    )


def check_topics(settings: Settings, index: Index) -> None:
    """Refuse to start on missing topics or on partition counts that do not fit.

    All sources of a table and its changelog must have the same number of partitions: an aggregate's events and its
    state would otherwise live on different workers. So must outputs and dead letter topics, whose partitions are chosen
    by the same number.

    Raises:
        FatalFailure: with the topics and what to do.
    """
    try:
        found = find_topics(settings, BROKER_S)
    except BrokerError as exc:
        raise FatalFailure(str(exc)) from exc
    sources = {route.topic.name for route in index.routes}
    tables = {changelog_topic(aggregate.name, settings.app_id) for aggregate in index.aggregates}
    others = {output.topic.name for output in index.outputs.values()} | {
        dead_letter_topic(name) for name in sources
    }
    missing = sorted(name for name in sources | tables | others if name not in found)
    if missing:
        raise FatalFailure(f"topics are missing: {', '.join(missing)}; run `sluice setup`")
    counts = {name: len(found[name].partitions) for name in sorted(sources | tables | others)}
    wrong = {name: count for name, count in counts.items() if count != settings.partitions}
    if wrong:
        raise FatalFailure(
            f"these topics do not have SLUICE_PARTITIONS={settings.partitions} partitions: {wrong}. Keys would "
            "move away from their state: never add partitions in place; make topics under new names, or set "
            "SLUICE_PARTITIONS back"
        )


def check_append_time(settings: Settings, index: Index) -> None:
    """Refuse to start on source topics whose records carry their producers' time.

    Rules take the time of arrival from it: an event would be late today and in time in a replay, or wait for a year
    that somebody made up.

    Raises:
        FatalFailure: with the topics and what to do.
    """
    admin = AdminClient(settings.librdkafka_config() | {"log_level": 0})
    sources = sorted({route.topic.name for route in index.routes})
    wrong = [topic for topic in sources if _timestamp_type(admin, topic) not in ("LogAppendTime", "")]
    if wrong:
        raise FatalFailure(
            f"these topics do not have message.timestamp.type=LogAppendTime: {', '.join(wrong)}; run `sluice setup`"
        )


def _timestamp_type(admin: AdminClient, topic: str) -> str:
    """Return whose time a topic's records carry, or "" where we have no right to know."""
    deadline = time.monotonic() + BROKER_S
    while True:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        [answer] = admin.describe_configs([resource], request_timeout=ASK_S).values()
        try:
            return str(answer.result()["message.timestamp.type"].value)
        except KafkaException as exc:
            error = exc.args[0]
            if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                log.warning("no right to read the settings of topic %s: not checked", topic)
                return ""
            if time.monotonic() > deadline:
                raise FatalFailure(
                    f"the settings of topic {topic} cannot be read ({error.str()}); is the broker up, and may this "
                    "worker describe topics?"
                ) from exc
            time.sleep(0.1)  # a topic that was just made is not known to every broker at once


async def _serve(app: SluiceApp) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    app.finalize()
    watchdog = Watchdog(app, loop, start_again)
    watchdog.start()
    await app.maybe_start()
    waiter = asyncio.ensure_future(app.wait_until_stopped())
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([waiter, stop], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.is_set():
        app.abort(app.crash_reason or FatalFailure("the app stopped by itself"))
    watchdog.stop()
    log.info("stopping: finishing the work in hand")
    _cut_off_after(DRAIN_S)
    await app.stop()
    waiter.cancel()
    return EXIT_FATAL if app.crash_reason is not None else 0


def _cut_off_after(seconds: float) -> None:
    def cut_off() -> None:
        log.error("the shutdown took longer than %.0f s; leaving", seconds)
        logging.shutdown()
        os._exit(EXIT_SLOW_STOP)

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
