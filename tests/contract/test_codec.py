"""Every record survives the way to bytes and back, agrees with fastavro, and poison hurts nobody else."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.avro_careful import write_carefully
from streams.codec import Codec, NeedsSchema, Undecodable, Unencodable
from streams.events import RECORDS, FailureEvent, RecentIds, UsageCost, UsageEvent
from streams.schemas import contracts
from tests.contract.offline import IDS, TOPIC, offline_codec
from tests.contract.strategies import records

NAMES = sorted(name for name in contracts() if contracts()[name].kind)
PARSED = {name: parse_schema(contracts()[name].schema) for name in contracts()}
METERED = UsageEvent(
    event_id="e-1",
    timestamp=datetime(2026, 11, 20, 12, 30, 0, 123456, tzinfo=UTC),
    tenant_id="acme",
    service_name="gateway",
    user_id="u-7",
    event_type="model_inference",
    resource_type="tokens.input",
    quantity=Decimal("1200.5"),
    unit="tokens",
    cost=UsageCost(amount=Decimal("0.0024"), currency="USD", rate=Decimal("0.000002")),
    metadata={"model_name": "gpt-4"},
)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    made = offline_codec(tmp_path_factory.mktemp("codec"))
    asyncio.run(made.prepare((TOPIC, RECORDS[name]) for name in NAMES))
    return made


def dicts(record: Any) -> Any:
    """Return a struct as fastavro wants it."""
    return msgspec.to_builtins(record, builtin_types=(bytes, Decimal, datetime))


def with_fastavro(name: str, body: bytes) -> Any:
    """Return what fastavro reads, or None where it raises or leaves bytes over."""
    stream = io.BytesIO(body)
    try:
        found = schemaless_reader(stream, PARSED[name], None)
        return msgspec.convert(found, RECORDS[name]) if stream.tell() == len(body) else None
    except Exception:
        return None


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_record_comes_back_as_it_was(codec: Codec, name: str, data: st.DataObject) -> None:
    record = data.draw(records(name))
    frame = codec.encode(record, TOPIC)
    assert frame[:5] == b"\0" + IDS[name].to_bytes(4, "big")
    assert codec.decode(frame) == record
    assert frame[5:] == write_carefully(contracts()[name].schema, record)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_fastavro_reads_what_we_write_and_writes_what_we_read(
    codec: Codec, name: str, data: st.DataObject
) -> None:
    record = data.draw(records(name))
    frame = codec.encode(record, TOPIC)
    assert with_fastavro(name, frame[5:]) == record
    stream = io.BytesIO()
    schemaless_writer(stream, PARSED[name], dicts(record))
    assert codec.decode(frame[:5] + stream.getvalue()) == record


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    data=st.data(),
)
def test_bytes_that_are_accepted_are_read_as_fastavro_reads_them(
    codec: Codec, name: str, data: st.DataObject
) -> None:
    body = bytearray(codec.encode(data.draw(records(name)), TOPIC)[5:])
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    found = codec.decode(b"\0" + IDS[name].to_bytes(4, "big") + bytes(body))
    if isinstance(found, Undecodable):
        assert found.code == "UNDECODABLE"
    else:
        assert found == with_fastavro(name, bytes(body))


def poison() -> st.SearchStrategy[bytes | None]:
    """Values of every kind that must not decode, and some that may."""
    head = b"\0" + IDS["sluice.usage.UsageEvent"].to_bytes(4, "big")
    return (
        st.none()
        | st.binary(max_size=40)
        | st.binary(max_size=40).map(lambda body: head + body)
        | st.binary(min_size=4, max_size=4).map(lambda number: b"\0" + number + b"body")
        | st.binary(max_size=40).map(lambda body: b"\1" + body)
    )


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_poison_among_good_events_disturbs_none_of_them(codec: Codec, data: st.DataObject) -> None:
    good = records("sluice.usage.UsageEvent").map(lambda record: codec.encode(record, TOPIC))
    frames = data.draw(st.lists(good, max_size=4))
    values: list[bytes | None] = list(frames)
    for bad in data.draw(st.lists(poison(), max_size=4)):
        values.insert(data.draw(st.integers(0, len(values))), bad)
    for frame in frames[:2]:
        values.append(frame[: data.draw(st.integers(0, len(frame) - 1))])
        values.append(frame + data.draw(st.binary(min_size=1, max_size=4)))
    together = codec.decode_batch(values)
    assert together == [codec.decode(value) for value in values]
    for value, found in zip(values, together, strict=True):
        if value in frames:
            assert isinstance(found, UsageEvent)


def codes(found: Sequence[Any]) -> list[str]:
    """Return the codes of values that did not decode."""
    return [each.code for each in found if isinstance(each, Undecodable)]


def test_each_kind_of_poison_has_its_code(codec: Codec) -> None:
    frame = codec.encode(METERED, TOPIC)
    assert codes(codec.decode_batch([None])) == ["NULL_VALUE"]
    assert (
        codes(codec.decode_batch([b"", b"\0\0", b'{"json": true}', b"\1" + frame[1:]])) == ["NOT_FRAMED"] * 4
    )
    broken = [frame[:-1], frame + b"\0", frame[:5], frame.replace(b"acme", b"\xff\xff\xff\xff")]
    assert codes(codec.decode_batch(broken)) == ["UNDECODABLE"] * 4
    assert codec.decode(b"\0\0\0\xff\xff" + frame[5:]) == NeedsSchema(0xFFFF)


def test_a_message_about_poison_holds_nothing_of_the_value(codec: Codec) -> None:
    frame = codec.encode(METERED, TOPIC)
    for value in (frame[:-3], frame + b"secret", b"secret", frame.replace(b"acme", b"\xff\xfe\xfd\xfc")):
        found = codec.decode(value)
        assert isinstance(found, Undecodable)
        assert "secret" not in found.message
        assert "acme" not in found.message


async def test_an_unknown_id_is_retryable_while_the_registry_is_down(tmp_path: Path) -> None:
    codec = offline_codec(tmp_path)
    value = b"\0\0\0\xff\xff" + b"body"
    assert codec.decode(value) == NeedsSchema(0xFFFF)
    await codec.resolve([0xFFFF])
    found = codec.decode(value)
    assert isinstance(found, Undecodable)
    assert (found.code, found.retryable, found.schema_id) == ("TEMPORARY_FAILURE", True, 0xFFFF)


def test_known_ids_decode_while_the_registry_is_down(codec: Codec) -> None:
    assert codec.decode(codec.encode(METERED, TOPIC)) == METERED


def test_an_event_can_be_sent_under_an_id_given_to_it(codec: Codec) -> None:
    found = codec.decode(codec.encode(METERED, TOPIC, event_id="derived"))
    assert found == msgspec.structs.replace(METERED, event_id="derived")
    long = "x" * 20_000
    assert codec.decode(codec.encode(METERED, TOPIC, event_id=long)).event_id == long


def test_decimals_are_rounded_half_to_even_at_their_scale(codec: Codec) -> None:
    def sent(quantity: str) -> Decimal:
        event = msgspec.structs.replace(METERED, quantity=Decimal(quantity))
        found = codec.decode(codec.encode(event, TOPIC))
        assert isinstance(found, UsageEvent)
        return found.quantity

    assert sent("0.0000005") == Decimal("0.000000")
    assert sent("0.0000015") == Decimal("0.000002")
    assert sent("-0.0000025") == Decimal("-0.000002")
    assert sent("0.00000150000001") == Decimal("0.000002")
    assert sent("1E+10") == Decimal(10) ** 10
    assert str(sent("3")) == "3.000000"


@pytest.mark.parametrize(
    "wrong", ["NaN", "Infinity", "-Infinity", "1E+33", "100000000000000000000000000000000"]
)
def test_a_decimal_that_does_not_fit_is_refused_with_the_field(codec: Codec, wrong: str) -> None:
    with pytest.raises(
        Unencodable, match=r"sluice\.usage\.UsageEvent\.quantity: a Decimal does not fit decimal"
    ):
        codec.encode(msgspec.structs.replace(METERED, quantity=Decimal(wrong)), TOPIC)


def test_what_does_not_fit_is_refused_with_the_path_and_without_the_value(codec: Codec) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"tenant_id": 5}, "tenant_id: a int does not fit string"),
        ({"timestamp": datetime(2026, 1, 1)}, "timestamp: a datetime does not fit timestamp-micros"),  # noqa: DTZ001
        ({"metadata": {"k": 1}}, r"metadata\[\]: a int does not fit string"),
        ({"metadata": ["secret"]}, "metadata: a list is no map"),
        ({"cost": "secret"}, "cost: a str is no sluice.usage.UsageCost"),
        ({"quantity": 1.5}, "quantity: a float does not fit decimal"),
        ({"user_id": "\ud800"}, "user_id: a str does not fit string"),
    ]
    for change, message in wrong:
        with pytest.raises(Unencodable, match=message) as raised:
            codec.encode(msgspec.structs.replace(METERED, **change), TOPIC)
        assert "secret" not in str(raised.value)


def test_a_record_that_was_not_prepared_is_refused_with_the_remedy(codec: Codec) -> None:
    with pytest.raises(Unencodable, match=r"streams/topics\.py and run `sluice setup`"):
        codec.encode(METERED, "another.topic")


def test_long_texts_and_bytes_travel(codec: Codec) -> None:
    event = msgspec.structs.replace(METERED, metadata={"k" * 300: "v" * 70_000, "": ""}, user_id="ü" * 5_000)
    assert codec.decode(codec.encode(event, TOPIC)) == event
    segment = RecentIds(at=METERED.timestamp, ids=bytes(range(256)) * 500, memos=("m" * 9_000,) * 100)
    assert codec.decode(codec.encode(segment, TOPIC)) == segment


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1987, 10, 5, 18, 48, 6, 842624, tzinfo=UTC),
        datetime(2112, 9, 17, 23, 53, 47, 370495, tzinfo=UTC),
        datetime(2112, 9, 17, 23, 53, 47, 370496, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
)
def test_times_are_exact_to_the_microsecond_at_the_edges_of_the_fast_path(
    codec: Codec, moment: datetime
) -> None:
    event = msgspec.structs.replace(METERED, timestamp=moment)
    assert codec.decode(codec.encode(event, TOPIC)) == event


@settings(max_examples=300, deadline=None)
@given(micros=st.integers(2**48, 2**52 + 1000))
def test_times_of_the_fast_path_are_exact_to_the_microsecond(codec: Codec, micros: int) -> None:
    frame = codec.encode(METERED, TOPIC)
    head = 5 + 1 + len(METERED.event_id)
    body = bytearray()
    rest = micros << 1
    while rest > 127:
        body.append(rest & 127 | 128)
        rest >>= 7
    body.append(rest)
    found = codec.decode(frame[:head] + bytes(body) + frame[head + 8 :])
    assert isinstance(found, UsageEvent)
    since = found.timestamp - datetime(1970, 1, 1, tzinfo=UTC)
    assert (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds == micros


def test_blocks_with_their_size_are_read_as_java_writes_them(codec: Codec) -> None:
    bare = codec.encode(msgspec.structs.replace(METERED, metadata={"a": "b"}), TOPIC)
    entry = b"\x02a\x02b"
    one_block = b"\x02" + entry + b"\0"
    assert one_block in bare
    sized = b"\x01" + bytes([len(entry) * 2]) + entry + b"\x02\x02c\x02d" + b"\0"
    found = codec.decode(bare.replace(one_block, sized))
    assert isinstance(found, UsageEvent)
    assert found.metadata == {"a": "b", "c": "d"}


def test_a_count_beyond_the_end_is_refused_before_memory_is_taken(codec: Codec) -> None:
    bare = codec.encode(msgspec.structs.replace(METERED, metadata={"a": "b"}), TOPIC)
    huge = bare.replace(b"\x02\x02a\x02b\0", b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\x02a\x02b\0")
    assert codes([codec.decode(huge)]) == ["UNDECODABLE"]


def test_a_failure_report_says_where_and_nothing_of_the_payload() -> None:
    fields = FailureEvent.__struct_fields__
    assert not {"key", "value", "payload", "headers"} & set(fields)
