"""Send one usage event: send_usage.py TENANT QUANTITY"""

import os
import sys
import uuid
from datetime import UTC, datetime
from decimal import Decimal

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "usage.metered"
broker = os.environ.get("SLUICE_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
registry = os.environ.get("SLUICE_REGISTRY_URL", "http://127.0.0.1:8081/apis/ccompat/v7")

tenant, quantity = sys.argv[1], Decimal(sys.argv[2])
event = {
    "event_id": str(uuid.uuid4()),
    "timestamp": datetime.now(UTC),
    "tenant_id": tenant,
    "user_id": "me",
    "service_name": "send_usage",
    "event_type": "usage.metered.model_inference",
    "resource_type": "tokens.input",
    "quantity": quantity.quantize(Decimal("0.000001")),
    "unit": "tokens",
    "metadata": {"model_name": "gpt-4"},
}

client = SchemaRegistryClient({"url": registry})
subject = f"{TOPIC}-sluice.usage.UsageEvent"
serialize = AvroSerializer(
    client,
    client.get_latest_version(subject).schema.schema_str,
    conf={
        "auto.register.schemas": False,
        "use.latest.version": True,
        "subject.name.strategy": lambda _ctx, _name: subject,
    },
)
# murmur2 is where every Java client puts the key; librdkafka's own default is another place.
producer = Producer({"bootstrap.servers": broker, "partitioner": "murmur2_random", "acks": "all"})
producer.produce(TOPIC, key=tenant, value=serialize(event, SerializationContext(TOPIC, MessageField.VALUE)))
producer.flush(10)
print(f"sent {event['event_id']}")
