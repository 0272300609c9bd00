"""A producer that keeps to a timetable: event ``i`` is due at ``start + i / rate``, whatever happened before.

Events carry their due time, so a stall anywhere, here included, counts as latency of all that were due meanwhile.
Runs as its own process: ``python -m tests.bench.open_loop``; writes ``sent`` and how late it was itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path

from confluent_kafka import Producer

from tests.bench.workload import Events

TICK_S = 0.001
PREPARE_S_PER_EVENT = 6e-6
PREPARE_S = 1.5


def main() -> None:
    """Send ``rate * seconds`` events on time."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "topic", "result", "prefix"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("schema-id", "rate", "seconds", "tenants"):
        parser.add_argument(f"--{name}", type=int, required=True)
    task = parser.parse_args()
    count = task.rate * task.seconds
    start = time.time() + PREPARE_S + PREPARE_S_PER_EVENT * count
    due = (int((start + number / task.rate) * 1_000_000) for number in range(count))
    events = list(Events(task.schema_id, task.tenants).make(task.prefix, due))
    gc.disable()
    late = send(task.bootstrap, task.topic, events, start, task.rate)
    late.sort()
    result = {"sent": count, "late_p99_ms": round(late[int(len(late) * 0.99)] * 1000, 2)}
    Path(task.result).write_text(json.dumps(result))


def send(bootstrap: str, topic: str, events: list[tuple[str, bytes]], start: float, rate: int) -> list[float]:
    """Send events when they are due; return how many seconds late each round of sending began."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 1,
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    produce, sent, late = producer.produce, 0, []
    while sent < len(events):
        now = time.time()
        reached = min(len(events), int((now - start) * rate) + 1) if now >= start else 0
        if reached > sent:
            late.append(now - (start + sent / rate))
            for key, frame in events[sent:reached]:
                produce(topic, frame, key)
            sent = reached
        producer.poll(0)
        time.sleep(TICK_S)
    producer.flush(30)
    return late


if __name__ == "__main__":
    main()
