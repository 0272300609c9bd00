"""Faust as its guide shows: one event at a time, a table write and a send for each."""

from __future__ import annotations

from typing import Any

import faust

from tests.bench.peers.job import Task, advance, answer, decoder, encoder, read_task


def build(task: Task) -> faust.App:
    """Return the app of the guide: an agent, a table with its changelog, an output topic."""
    app = faust.App(
        task.group,
        broker=f"kafka://{task.bootstrap}",
        datadir=task.state_dir,
        topic_partitions=4,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )
    raw: Any = {"key_serializer": "raw", "value_serializer": "raw"}
    source, target = app.topic(task.source, **raw), app.topic(task.target, **raw)
    totals = app.Table("totals", default=list, partitions=4)
    decode, encode = decoder(), encoder(task.schema_id)

    @app.agent(source)
    async def count(stream: Any) -> None:
        async for value in stream:
            event = decode(value)
            tenant = event["tenant_id"]
            known = totals[tenant] or (0, 0)
            total, seen = advance(known[0], known[1], event)
            totals[tenant] = [total, seen]
            await target.send(key=tenant.encode(), value=encode(answer(event, total, seen)))

    return app


if __name__ == "__main__":
    app = build(read_task())
    app.finalize()
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()
