"""Quix Streams with its defaults: RocksDB state with a changelog topic, at-least-once checkpoints."""

# mypy: disable-error-code="import-not-found"
# The peer is installed in .venv-bench only.

from __future__ import annotations

from typing import Any

from quixstreams import Application

from tests.bench.peers.job import Task, advance, answer, decoder, encoder, read_task


def run(task: Task) -> None:
    """Process until killed."""
    app = Application(
        broker_address=task.bootstrap,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        state_dir=task.state_dir,
        loglevel="WARNING",
    )
    source = app.topic(task.source, key_deserializer="bytes", value_deserializer="bytes")
    target = app.topic(task.target, key_serializer="bytes", value_serializer="bytes")
    decode, encode = decoder(), encoder(task.schema_id)

    def count(value: bytes, state: Any) -> bytes:
        event = decode(value)
        before: tuple[int, int] = state.get("total", (0, 0))
        total, seen = advance(before[0], before[1], event)
        state.set("total", (total, seen))
        return encode(answer(event, total, seen))

    app.dataframe(source).apply(count, stateful=True).to_topic(target)
    app.run()


if __name__ == "__main__":
    run(read_task())
