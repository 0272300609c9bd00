#!/bin/sh
# Sends usage events without a Kafka client, one and then a batch: send_usage.sh TENANT QUANTITY
set -eu
worker=${WORKER:-http://127.0.0.1:6066}
tenant=$1 quantity=$2
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)

post() { # content type, body; a worker with tokens wants one: TOKEN=... send_usage.sh
  curl --silent --show-error --fail-with-body ${TOKEN:+-H "Authorization: Bearer $TOKEN"} \
    -H "Content-Type: $1" --data-binary "$2" "$worker/events"
  echo
}

event() { # number of the event: sent again under its id, it counts once
  cat <<JSON
{
  "specversion": "1.0", "type": "usage.metered.model_inference", "id": "$tenant-$now-$1", "source": "curl-example",
  "time": "$now", "tenantid": "$tenant",
  "data": {"resource_type": "tokens.input", "quantity": "$quantity", "unit": "tokens", "service_name": "curl-example"}
}
JSON
}

post application/cloudevents+json "$(event 1)"
# A batch has a result for each event; the first one is known, and does not count again.
post application/cloudevents-batch+json "[$(event 1), $(event 2)]"
