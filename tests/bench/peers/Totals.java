import java.nio.ByteBuffer;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** The peers' job in Kafka Streams: RocksDB store with changelog, one thread, generic Avro records. */
public final class Totals {
    private static final BigDecimal MILLIONTHS = BigDecimal.valueOf(1_000_000);

    private Totals() {}

    public static void main(String[] arguments) throws Exception {
        Map<String, String> task = new HashMap<>();
        for (int i = 0; i < arguments.length; i += 2) {
            task.put(arguments[i].substring(2), arguments[i + 1]);
        }
        Schema event = new Schema.Parser().parse(Files.readString(Path.of(task.get("event-schema"))));
        Schema total = new Schema.Parser().parse(Files.readString(Path.of(task.get("total-schema"))));
        int schemaId = Integer.parseInt(task.get("schema-id"));

        var bytes = Serdes.ByteArray();
        var topology = new Topology();
        topology.addSource("in", bytes.deserializer(), bytes.deserializer(), task.get("source"));
        topology.addProcessor("total", () -> new Counter(event, total, schemaId), "in");
        var store = Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("totals"), bytes, bytes);
        topology.addStateStore(store.withCachingEnabled(), "total");
        topology.addSink("out", task.get("target"), bytes.serializer(), bytes.serializer(), "total");

        var streams = new KafkaStreams(topology, settings(task));
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static Properties settings(Map<String, String> task) {
        var settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, task.get("group"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, task.get("bootstrap"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, task.get("state-dir"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put("auto.offset.reset", "earliest");
        // Tuned: its default linger of 100 ms costs latency, and its default batches of 16 KB cost throughput.
        settings.put(StreamsConfig.producerPrefix("linger.ms"), 5);
        settings.put(StreamsConfig.producerPrefix("batch.size"), 131_072);
        return settings;
    }

    private static final class Counter implements Processor<byte[], byte[], byte[], byte[]> {
        private final GenericDatumReader<GenericRecord> reader;
        private final GenericDatumWriter<GenericRecord> writer;
        private final Schema totalSchema;
        private final int schemaId;
        private final java.io.ByteArrayOutputStream body = new java.io.ByteArrayOutputStream(128);
        private BinaryDecoder decoder;
        private BinaryEncoder encoder;
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<byte[], byte[]> store;

        Counter(Schema event, Schema total, int schemaId) {
            var data = new GenericData();
            data.addLogicalTypeConversion(new Conversions.DecimalConversion());
            data.addLogicalTypeConversion(new TimeConversions.TimestampMicrosConversion());
            this.reader = new GenericDatumReader<>(event, event, data);
            this.writer = new GenericDatumWriter<>(total, data);
            this.totalSchema = total;
            this.schemaId = schemaId;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            this.store = context.getStateStore("totals");
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            try {
                byte[] frame = record.value();
                decoder = DecoderFactory.get().binaryDecoder(frame, 5, frame.length - 5, decoder);
                GenericRecord event = reader.read(null, decoder);
                byte[] known = store.get(record.key());
                ByteBuffer before = known == null ? ByteBuffer.allocate(16) : ByteBuffer.wrap(known);
                long quantity = ((BigDecimal) event.get("quantity")).multiply(MILLIONTHS).longValueExact();
                long total = before.getLong(0) + quantity;
                long count = before.getLong(8) + 1;
                store.put(record.key(), ByteBuffer.allocate(16).putLong(total).putLong(count).array());
                context.forward(record.withValue(encode(event, total, count)));
            } catch (java.io.IOException error) {
                throw new java.io.UncheckedIOException(error);
            }
        }

        private byte[] encode(GenericRecord event, long total, long count) throws java.io.IOException {
            GenericRecord answer = new GenericData.Record(totalSchema);
            answer.put("event_id", "");
            answer.put("timestamp", (Instant) event.get("timestamp"));
            answer.put("tenant_id", event.get("tenant_id"));
            answer.put("total", total);
            answer.put("count", count);
            body.reset();
            body.write(0);
            body.write(ByteBuffer.allocate(4).putInt(schemaId).array());
            encoder = EncoderFactory.get().directBinaryEncoder(body, encoder);
            writer.write(answer, encoder);
            encoder.flush();
            return body.toByteArray();
        }
    }
}
