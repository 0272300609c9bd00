"""CloudEvents headers, and ids that a replay makes again."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from streams.envelope import NAMESPACE, ce_headers, derived_id, trace_headers
from streams.events import FailureEvent, UsageEvent

AT = datetime(2026, 11, 20, 12, 0, 0, 5, tzinfo=UTC)


@given(
    st.text(max_size=30),
    st.integers(0, 10_000),
    st.integers(0, 2**63 - 1),
    st.integers(0, 50) | st.text(max_size=9),
)
def test_a_derived_id_is_the_uuid5_of_its_coordinates(
    topic: str, partition: int, offset: int, index: int | str
) -> None:
    made = derived_id(topic, partition, offset, index)
    assert made == str(uuid5(NAMESPACE, f"{topic}/{partition}/{offset}/{index}"))
    assert UUID(made).version == 5


def test_derived_ids_never_change() -> None:
    assert str(NAMESPACE) == "28993521-d2b9-583d-afcc-c571c1e17022"
    assert derived_id("usage.metered", 0, 0, 0) == "d6f2b080-17bc-55a1-9e61-11d5db87bfc7"


def test_the_headers_are_those_of_the_cloudevents_binding() -> None:
    make = ce_headers(FailureEvent, "sluice/usage", 7)
    trace = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    headers = make("id-1", AT, b"acme|x", "acme", correlation_id="c", causation_id="b", trace=trace)
    assert ("ce_specversion", b"1.0") in headers
    assert ("content-type", b"application/avro") in headers
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "content-type": b"application/avro",
        "ce_id": b"id-1",
        "ce_type": b"platform.event.failed",
        "ce_source": b"sluice/usage",
        "ce_time": b"2026-11-20T12:00:00.000005+00:00",
        "ce_dataschema": b"urn:sluice:schema:7",
        "ce_correlationid": b"c",
        "ce_causationid": b"b",
        "ce_tenantid": b"acme",
        "ce_partitionkey": b"acme|x",
        **dict(trace),
    }
    assert trace_headers(headers) == trace


def test_no_header_stands_twice_and_absent_facts_have_none() -> None:
    headers = ce_headers(UsageEvent, "gateway")("i", AT, b"k", "t", event_type="api_call")
    names = [name for name, _ in headers]
    assert len(names) == len(set(names))
    assert "ce_correlationid" not in names
    assert "ce_dataschema" not in names
    assert dict(headers)["ce_type"] == b"api_call"
    assert all(name == name.lower() for name in names)
