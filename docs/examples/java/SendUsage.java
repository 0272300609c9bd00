// Sends one usage event: java -cp "$(../../../.venv/bin/python jars.py)" SendUsage.java TENANT QUANTITY
import com.fasterxml.jackson.databind.*;
import java.io.ByteArrayOutputStream;
import java.math.BigDecimal;
import java.net.URI;
import java.net.http.*;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.*;
import org.apache.avro.*;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.*;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;

public class SendUsage {
    static final String TOPIC = "usage.metered", SUBJECT = TOPIC + "-sluice.usage.UsageEvent";

    public static void main(String[] args) throws Exception {
        String tenant = args[0], id = UUID.randomUUID().toString(), kind = "usage.metered.model_inference";
        Instant now = Instant.now();
        JsonNode found = latestSchema();
        int schemaId = found.get("id").asInt();
        Schema schema = new Schema.Parser().parse(found.get("schema").asText());
        GenericRecord event = new GenericRecordBuilder(schema) // fields that are left out take the schema's defaults
            .set("event_id", id).set("timestamp", now).set("tenant_id", tenant).set("service_name", "java-example")
            .set("event_type", kind).set("resource_type", "tokens.input").set("unit", "tokens")
            .set("quantity", new BigDecimal(args[1]).setScale(6)).build();

        // The default partitioner puts keys where murmur2 does, and the producer is idempotent, with acks=all.
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", env("SLUICE_BOOTSTRAP_SERVERS", "127.0.0.1:9092"), "acks", "all");
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
            var record = new ProducerRecord<>(TOPIC, tenant, frame(schemaId, event));
            Map.of("ce_specversion", "1.0", "ce_id", id, "ce_source", "java-example", "ce_type", kind,
                    "ce_time", now.toString(), "ce_partitionkey", tenant, "ce_tenantid", tenant,
                    "ce_dataschema", "urn:sluice:schema:" + schemaId, "content-type", "application/avro")
                .forEach((name, value) -> record.headers().add(name, value.getBytes()));
            var sent = producer.send(record).get();
            System.out.printf("sent %s to partition %d, offset %d%n", id, sent.partition(), sent.offset());
        }
    }

    /** Asks the registry for the subject's schema. Producers never register one: `sluice setup` does. */
    static JsonNode latestSchema() throws Exception {
        String registry = env("SLUICE_REGISTRY_URL", "http://127.0.0.1:8081/apis/ccompat/v7");
        var request = HttpRequest.newBuilder(URI.create(registry + "/subjects/" + SUBJECT + "/versions/latest"));
        String user = env("SLUICE_REGISTRY_USERNAME", ""), login = user + ":" + env("SLUICE_REGISTRY_PASSWORD", "");
        if (!user.isEmpty()) {
            request.header("Authorization", "Basic " + Base64.getEncoder().encodeToString(login.getBytes()));
        }
        var answer = HttpClient.newHttpClient().send(request.build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new IllegalStateException("the registry answered " + answer.statusCode() + " for " + SUBJECT
                + "; was `sluice setup` run?");
        }
        return new ObjectMapper().readTree(answer.body());
    }

    /** Byte 0, the schema's id in four bytes (big-endian), and the event as Avro. */
    static byte[] frame(int schemaId, GenericRecord event) throws Exception {
        GenericData types = new GenericData();
        types.addLogicalTypeConversion(new Conversions.DecimalConversion());
        types.addLogicalTypeConversion(new TimeConversions.TimestampMicrosConversion());
        var out = new ByteArrayOutputStream();
        out.write(ByteBuffer.allocate(5).putInt(1, schemaId).array());
        var encoder = EncoderFactory.get().binaryEncoder(out, null);
        new GenericDatumWriter<GenericRecord>(event.getSchema(), types).write(event, encoder);
        encoder.flush();
        return out.toByteArray();
    }

    static String env(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }
}
