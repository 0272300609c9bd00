// Sends one usage event: go run . TENANT QUANTITY
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

const topic = "usage.metered"
const subject = topic + "-sluice.usage.UsageEvent"

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: go run . TENANT QUANTITY")
	}
	tenant := os.Args[1]
	quantity, ok := new(big.Rat).SetString(os.Args[2])
	if !ok {
		log.Fatal("QUANTITY is a decimal such as 12.5")
	}
	schemaID, schema := latestSchema()
	id, now, kind := uuid.NewString(), time.Now().UTC(), "usage.metered.model_inference"
	body, err := avro.Marshal(schema, map[string]any{ // fields that are left out take the schema's defaults
		"event_id": id, "timestamp": now, "tenant_id": tenant, "service_name": "go-example", "event_type": kind,
		"resource_type": "tokens.input", "quantity": quantity, "unit": "tokens",
	})
	check(err)
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, schemaID), body...)
	record := &kgo.Record{Topic: topic, Key: []byte(tenant), Value: frame}
	for name, value := range map[string]string{
		"ce_specversion": "1.0", "ce_id": id, "ce_source": "go-example", "ce_type": kind,
		"ce_time": now.Format(time.RFC3339Nano), "ce_partitionkey": tenant, "ce_tenantid": tenant,
		"ce_dataschema": fmt.Sprintf("urn:sluice:schema:%d", schemaID), "content-type": "application/avro",
	} {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	// franz-go is idempotent with acks=all, and puts keys where Java's murmur2 does, unless it is told otherwise.
	client, err := kgo.NewClient(kgo.SeedBrokers(env("SLUICE_BOOTSTRAP_SERVERS", "127.0.0.1:9092")))
	check(err)
	defer client.Close()
	check(client.ProduceSync(context.Background(), record).FirstErr())
	fmt.Printf("sent %s to partition %d, offset %d\n", id, record.Partition, record.Offset)
}

// latestSchema asks the registry for the subject's schema. Producers never register one: `sluice setup` does.
func latestSchema() (uint32, avro.Schema) {
	registry := env("SLUICE_REGISTRY_URL", "http://127.0.0.1:8081/apis/ccompat/v7")
	request, err := http.NewRequest("GET", registry+"/subjects/"+subject+"/versions/latest", nil)
	check(err)
	if user := os.Getenv("SLUICE_REGISTRY_USERNAME"); user != "" {
		request.SetBasicAuth(user, os.Getenv("SLUICE_REGISTRY_PASSWORD"))
	}
	answer, err := http.DefaultClient.Do(request)
	check(err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		log.Fatalf("the registry answered %s for %s; was `sluice setup` run?", answer.Status, subject)
	}
	var found struct {
		ID     uint32
		Schema string
	}
	check(json.NewDecoder(answer.Body).Decode(&found))
	return found.ID, avro.MustParse(found.Schema)
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
