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
SUBJECT = f"{TOPIC}-sluice.usage.UsageEvent"
broker = os.environ.get("SLUICE_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
registry = {"url": os.environ.get("SLUICE_REGISTRY_URL", "http://127.0.0.1:8081/apis/ccompat/v7")}
if user := os.environ.get("SLUICE_REGISTRY_USERNAME"):
    registry["basic.auth.user.info"] = f"{user}:{os.environ['SLUICE_REGISTRY_PASSWORD']}"

tenant, quantity = sys.argv[1], Decimal(sys.argv[2])
event = {  # fields that are left out take the schema's defaults
    "event_id": str(uuid.uuid4()),
    "timestamp": datetime.now(UTC),
    "tenant_id": tenant,
    "service_name": "python-example",
    "event_type": "usage.metered.model_inference",
    "resource_type": "tokens.input",
    "quantity": quantity.quantize(Decimal("0.000001")),
    "unit": "tokens",
}

client = SchemaRegistryClient(registry)
latest = client.get_latest_version(SUBJECT)  # producers never register a schema: `sluice setup` does
serialize = AvroSerializer(
    client,
    latest.schema.schema_str,
    conf={
        "auto.register.schemas": False,
        "use.latest.version": True,
        "subject.name.strategy": lambda _ctx, _name: SUBJECT,
    },
)
headers = {
    "ce_specversion": "1.0",
    "ce_id": event["event_id"],
    "ce_source": "python-example",
    "ce_type": event["event_type"],
    "ce_time": event["timestamp"].isoformat(),
    "ce_partitionkey": tenant,
    "ce_tenantid": tenant,
    "ce_dataschema": f"urn:sluice:schema:{latest.schema_id}",
    "content-type": "application/avro",
}
# murmur2 is where every Java client puts the key; librdkafka's own default is another place.
settings = {"bootstrap.servers": broker, "partitioner": "murmur2_random", "acks": "all"}
producer = Producer(settings | {"enable.idempotence": True})
value = serialize(event, SerializationContext(TOPIC, MessageField.VALUE))
producer.produce(TOPIC, key=tenant, value=value, headers=headers)
if producer.flush(10):
    sys.exit(f"no broker at {broker} has acknowledged the event; start one with `sluice up`")
print(f"sent {event['event_id']}")
