"""The measuring process: reads a topic and notes when each record arrived and when its event was due.

It uses ``Consumer.poll``: ``consume(n, timeout)`` waits for n records and adds tens of milliseconds
(design/performance.md). Everything is computed after the last record.
"""

from __future__ import annotations

import argparse
import json
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from hdrh.histogram import HdrHistogram

from tests.bench.cluster import PARTITIONS

READY = "probe is reading"
QUIET_S = 10.0
HIGHEST_US = 600_000_000


def due_micros(frame: bytes) -> int:
    """Return the field ``timestamp`` of a frame; event records begin with event_id and timestamp."""
    at = 5
    length = shift = 0
    while True:  # the id's length
        byte = frame[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    at += length >> 1
    value = shift = 0
    while True:
        byte = frame[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value >> 1
        shift += 7


def read(bootstrap: str, topic: str, count: int) -> tuple[array[int], array[int]]:
    """Read ``count`` records from the topic's present end on; return due and arrival times in microseconds.

    Gives up when nothing arrives for QUIET_S after the first record.
    """
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"probe-{topic}", "enable.auto.commit": False}
    )
    starts = []
    for number in range(PARTITIONS):
        _, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)
        starts.append(TopicPartition(topic, number, high))
    consumer.assign(starts)
    consumer.poll(0)
    print(READY, flush=True)
    due, arrived = array("q"), array("q")
    heard = 0.0
    while len(due) < count and (not heard or time.time() - heard < QUIET_S):
        message = consumer.poll(0.1)
        value = message.value() if message is not None and message.error() is None else None
        if value is not None:
            heard = time.time()
            arrived.append(int(heard * 1_000_000))
            due.append(due_micros(value))
    consumer.close()
    return due, arrived


def lag_series(due: Sequence[int], arrived: Sequence[int]) -> list[int]:
    """Return, for each second of the timetable, how many events were due and had not arrived."""
    first, last = min(due), max(due)
    seconds = max(1, round((last - first) / 1_000_000))
    waiting = [0] * (seconds + 2)
    for wanted, got in zip(due, arrived, strict=True):
        # Waiting at every whole second between being due and arriving.
        begin = -(-(wanted - first) // 1_000_000)
        end = -(-(got - first) // 1_000_000)
        for second in range(begin, min(end, seconds + 1)):
            waiting[second] += 1
    return waiting[1 : seconds + 1]


def slope(series: Sequence[int]) -> float:
    """Return the growth of a series per step (least squares)."""
    n = len(series)
    if n < 2:
        return 0.0
    middle, mean = (n - 1) / 2, sum(series) / n
    above = sum((x - middle) * (y - mean) for x, y in enumerate(series))
    return above / sum((x - middle) ** 2 for x in range(n))


def evaluate(due: Sequence[int], arrived: Sequence[int], warm_up_s: int) -> dict[str, Any]:
    """Return percentiles in milliseconds and the growth of the lag, without the warm-up."""
    histogram = HdrHistogram(1, HIGHEST_US, 3)
    begin = min(due) + warm_up_s * 1_000_000
    for wanted, got in zip(due, arrived, strict=True):
        if wanted >= begin:
            histogram.record_value(max(1, got - wanted))
    lag = lag_series(due, arrived)[warm_up_s:]
    percentiles = {f"p{p}_ms": round(histogram.get_value_at_percentile(p) / 1000, 2) for p in (50, 95, 99)}
    return {
        **percentiles,
        "max_ms": round(histogram.get_max_value() / 1000, 2),
        "received": len(due),
        "lag_growth_per_s": round(slope(lag), 1),
        "lag_highest": max(lag, default=0),
    }


def main() -> None:
    """Read, evaluate, write the result."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "topic", "result"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("count", "warm-up"):
        parser.add_argument(f"--{name}", type=int, required=True)
    task = parser.parse_args()
    due, arrived = read(task.bootstrap, task.topic, task.count)
    Path(task.result).write_text(json.dumps(evaluate(due, arrived, task.warm_up)))


if __name__ == "__main__":
    main()
