"""The floor: librdkafka, fastavro and a dictionary. No changelog, no recovery, offsets committed by a timer."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer

from tests.bench.peers.job import Task, advance, answer, decoder, encoder, read_task

BATCH = 1_000
WAIT_S = 0.01


def run(task: Task) -> None:
    """Process until killed."""
    consumer = Consumer(
        {"bootstrap.servers": task.bootstrap, "group.id": task.group, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([task.source])
    producer = Producer(
        {
            "bootstrap.servers": task.bootstrap,
            "queue.buffering.max.messages": 1_000_000,
            "partitioner": "murmur2_random",
        }
    )
    decode, encode, totals = decoder(), encoder(task.schema_id), dict[str, tuple[int, int]]()
    while True:
        for message in consumer.consume(BATCH, WAIT_S):
            value = message.value()
            if message.error() or value is None:
                continue
            event = decode(value)
            tenant = event["tenant_id"]
            totals[tenant] = total, count = advance(*totals.get(tenant, (0, 0)), event)
            producer.produce(task.target, encode(answer(event, total, count)), message.key())
        producer.poll(0)


if __name__ == "__main__":
    run(read_task())
