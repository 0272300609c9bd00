"""Bytewax without its recovery store: its state is lost with the process (``on_bytewax_stored`` keeps it)."""

# mypy: disable-error-code="import-not-found"
# The peer is installed in .venv-bench only.

from __future__ import annotations

from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSource
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from tests.bench.peers.job import Task, advance, answer, decoder, encoder, read_task

Counted = tuple[int, int]


def build(task: Task) -> Dataflow:
    """Return the dataflow."""
    decode, encode = decoder(), encoder(task.schema_id)

    def keyed(message: Any) -> tuple[str, dict[str, Any]]:
        event = decode(message.value)
        return event["tenant_id"], event

    def count(state: Counted | None, event: dict[str, Any]) -> tuple[Counted, dict[str, Any]]:
        total, seen = advance(*(state or (0, 0)), event)
        return (total, seen), answer(event, total, seen)

    def outgoing(item: tuple[str, dict[str, Any]]) -> Any:
        return KafkaSinkMessage(item[0].encode(), encode(item[1]))

    flow = Dataflow("totals")
    messages = op.input("in", flow, KafkaSource([task.bootstrap], [task.source]))
    totals = op.stateful_map("total", op.map("decode", messages, keyed), count)
    kop.output(
        "out",
        op.map("encode", totals, outgoing),
        brokers=[task.bootstrap],
        topic=task.target,
        add_config={"partitioner": "murmur2_random"},
    )
    return flow


if __name__ == "__main__":
    cli_main(build(read_task()))
