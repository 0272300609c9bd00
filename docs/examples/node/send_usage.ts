// Sends one usage event: npm ci && npm run build && npm start -- TENANT QUANTITY
import { randomUUID } from "node:crypto";
import avro from "avsc";
import { Kafka, Partitioners } from "kafkajs";

const TOPIC = "usage.metered";
const SUBJECT = `${TOPIC}-sluice.usage.UsageEvent`;
const env = (name: string, otherwise: string): string => process.env[name] || otherwise;

/** Asks the registry for the subject's schema. Producers never register one: `sluice setup` does. */
async function latestSchema(): Promise<{ id: number; type: avro.Type }> {
  const registry = env("SLUICE_REGISTRY_URL", "http://127.0.0.1:8081/apis/ccompat/v7");
  const login = `${env("SLUICE_REGISTRY_USERNAME", "")}:${env("SLUICE_REGISTRY_PASSWORD", "")}`;
  const headers = login === ":" ? undefined : { Authorization: `Basic ${btoa(login)}` };
  const answer = await fetch(`${registry}/subjects/${SUBJECT}/versions/latest`, { headers });
  if (!answer.ok) throw new Error(`the registry answered ${answer.status} for ${SUBJECT}; was \`sluice setup\` run?`);
  const found = (await answer.json()) as { id: number; schema: string };
  return { id: found.id, type: avro.Type.forSchema(JSON.parse(found.schema)) };
}

/** A decimal of scale 6 as Avro has it: the unscaled number, big-endian, in two's complement. */
function decimal(text: string): Buffer {
  const [, whole, fraction = ""] = /^(\d+)(?:\.(\d{1,6}))?$/.exec(text) ?? [];
  if (whole === undefined) throw new Error("QUANTITY is a decimal such as 12.5");
  const digits = BigInt(whole + fraction.padEnd(6, "0")).toString(16);
  return Buffer.from(digits.padStart(digits.length + 2 - (digits.length % 2), "0"), "hex"); // begins with a sign bit 0
}

const [tenant, quantity] = process.argv.slice(2);
if (!tenant || !quantity) throw new Error("usage: npm start -- TENANT QUANTITY");
const { id, type } = await latestSchema();
const eventId = randomUUID();
const now = new Date();
const kind = "usage.metered.model_inference";
const body = type.toBuffer({
  // Fields that are left out take the schema's defaults.
  event_id: eventId,
  timestamp: now.getTime() * 1000,
  tenant_id: tenant,
  service_name: "node-example",
  event_type: kind,
  resource_type: "tokens.input",
  quantity: decimal(quantity),
  unit: "tokens",
});
const frame = Buffer.alloc(5);
frame.writeUInt32BE(id, 1);

const kafka = new Kafka({ brokers: env("SLUICE_BOOTSTRAP_SERVERS", "127.0.0.1:9092").split(",") });
// This partitioner puts keys where Java's murmur2 does; an idempotent producer sends with acks=all.
const producer = kafka.producer({ idempotent: true, createPartitioner: Partitioners.DefaultPartitioner });
await producer.connect();
const headers = {
  ce_specversion: "1.0",
  ce_id: eventId,
  ce_source: "node-example",
  ce_type: kind,
  ce_time: now.toISOString(),
  ce_partitionkey: tenant,
  ce_tenantid: tenant,
  ce_dataschema: `urn:sluice:schema:${id}`,
  "content-type": "application/avro",
};
const message = { key: tenant, value: Buffer.concat([frame, body]), headers };
const [sent] = await producer.send({ topic: TOPIC, acks: -1, messages: [message] });
await producer.disconnect();
console.log(`sent ${eventId} to partition ${sent.partition}, offset ${sent.baseOffset}`);
