"""What a client of the bus promises, against a broker in memory and a real partition behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from streams.client import (
    Client,
    Closed,
    Invalid,
    NotSent,
    RequestTimeout,
    Sent,
    UnreadableReply,
)
from streams.replies import DUPLICATE, REPLY_TO, REQUEST_ID
from streams.topics import partition_for
from tests.unit.streams.client_world import Bus, a_bus, a_client
from tests.unit.streams.core_world import (
    ACME,
    APP_ID,
    BETA,
    NUMBER,
    PARTITIONS,
    REPLIES,
    SOURCE,
    Added,
    AddedRejected,
    AddRequested,
    Raw,
    Summed,
    settings,
)

SENT = datetime(2026, 11, 20, tzinfo=UTC)
PATIENT = 30.0
BRIEF = 0.05


@pytest.fixture
def bus() -> Iterator[Bus]:
    with a_bus() as made:
        yield made


def command(**fields: Any) -> AddRequested:
    given: dict[str, Any] = {"timestamp": SENT, "tenant_id": ACME, "kind": "add", "amount": 1}
    return AddRequested(**given | fields)


def headers_of(record: Raw) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in record.headers}


def fails_for(topic: str, error: Exception, times: int = 1_000) -> Callable[[str], None]:
    left = [times]

    def fail(asked: str) -> None:
        if asked == topic and left[0] > 0:
            left[0] -= 1
            raise error

    return fail


# --- publish ------------------------------------------------------------------------------------------------------


async def test_an_event_goes_to_its_routes_topic_under_its_key_with_its_headers(bus: Bus) -> None:
    async with a_client(bus) as client:
        place = await client.publish(
            Added(timestamp=SENT, tenant_id=ACME, kind="add", amount=2, event_id="e-1")
        )
    assert (place.event_id, place.topic, place.partition, place.offset) == ("e-1", SOURCE.name, NUMBER, 0)
    [record] = bus.sent
    headers = headers_of(record)
    assert record.key == ACME.encode()
    assert place.partition == partition_for(ACME.encode(), PARTITIONS)
    assert (headers["ce_id"], headers["ce_type"]) == ("e-1", "tally.added")
    assert (headers["ce_source"], headers["ce_tenantid"]) == (f"{APP_ID}/client", ACME)
    assert headers["ce_correlationid"] == "e-1"
    assert bus.world.sum_of() == 2
    assert client.counts["published"] == 1


async def test_an_event_without_an_id_gets_one(bus: Bus) -> None:
    async with a_client(bus) as client:
        places = [await client.publish(command()) for _ in range(2)]
    assert places[0].event_id != places[1].event_id
    assert [headers_of(record)["ce_id"] for record in bus.sent] == [place.event_id for place in places]
    assert bus.world.sum_of() == 2


async def test_a_correlation_id_that_is_given_travels_with_the_event(bus: Bus) -> None:
    async with a_client(bus) as client:
        place = await client.publish(command(), correlation_id="r-1")
    assert place.correlation_id == "r-1"
    assert headers_of(bus.sent[0])["ce_correlationid"] == "r-1"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (command(tenant_id=""), "the key of AddRequested is empty"),
        (command(tenant_id="a\0b"), "NUL"),
        (command(tenant_id="\ud800"), "does not fit its schema"),
        (command(amount=2**63), "does not fit its schema"),
        (command(kind="x" * 600_000), "SLUICE_MAX_EVENT_BYTES"),
        (Summed(timestamp=SENT, tenant_id=ACME, total=1), "no route takes Summed"),
        ("text", "no route takes str"),
    ],
)
async def test_an_event_that_would_be_a_dead_letter_is_not_sent(bus: Bus, event: Any, reason: str) -> None:
    async with a_client(bus) as client:
        with pytest.raises(Invalid, match=reason):
            await client.publish(event)
    assert bus.records == {}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UnknownTopicOrPartitionError(), "sluice setup"),
        (TopicAuthorizationFailedError(SOURCE.name), "no right to write"),
        (MessageSizeTooLargeError("no"), "no records of this size"),
        (KafkaConnectionError("no"), "counts once when sent again"),
    ],
)
async def test_what_the_broker_refuses_is_said_with_its_remedy(bus: Bus, error: Exception, text: str) -> None:
    bus.fail = fails_for(SOURCE.name, error)
    async with a_client(bus) as client:
        with pytest.raises(NotSent, match=text):
            await client.publish(command())
    assert client.counts["published"] == 0


async def test_without_a_broker_a_client_does_not_open(bus: Bus) -> None:
    bus.fail = fails_for("connect", KafkaConnectionError("no"))
    with pytest.raises(NotSent, match="sluice up"):
        await a_client(bus).__aenter__()
    assert bus.producers[0].stopped, "its connections are closed"


async def test_a_partition_count_that_is_not_the_workers_is_told(bus: Bus) -> None:
    bus.partitions = PARTITIONS + 1
    async with a_client(bus) as client:
        with pytest.raises(NotSent, match="SLUICE_PARTITIONS"):
            await client.publish(command())
    assert bus.records == {}


async def test_a_broker_that_does_not_acknowledge_leaves_it_open_whether_the_event_arrives(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.client_producers.ACK_S", BRIEF)
    async with a_client(bus) as client:

        async def never(*_: Any, **__: Any) -> asyncio.Future[None]:
            return asyncio.get_running_loop().create_future()

        monkeypatch.setattr(bus.producers[0], "send", never)
        with pytest.raises(NotSent, match="may arrive all the same") as caught:
            await client.publish(command())
    assert caught.value.uncertain


async def test_a_producer_that_broke_for_good_is_replaced(bus: Bus) -> None:
    async with a_client(bus) as client:
        bus.fail = fails_for(SOURCE.name, OutOfOrderSequenceNumber("no"), times=1)
        with pytest.raises(NotSent):
            await client.publish(command())
        bus.producers[0]._sender.sender_task.cancel()
        await client.publish(command())
    assert [producer.stopped for producer in bus.producers] == [True, True]
    assert bus.world.sum_of() == 1


async def test_closing_gives_up_what_the_broker_does_not_take(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.client_producers.CLOSE_S", BRIEF)
    async with a_client(bus):
        bus.producers[0].stop_hangs = True
    assert bus.producers[0]._message_accumulator.failed


# --- batches ------------------------------------------------------------------------------------------------------


async def test_a_batch_is_one_transaction(bus: Bus) -> None:
    async with a_client(bus) as client:
        places = await client.publish_batch([command(amount=1), command(amount=2, tenant_id=BETA)])
    assert len(places) == 2
    assert bus.transactions == ["committed"]
    assert (bus.world.sum_of(ACME), bus.world.sum_of(BETA)) == (1, 2)
    assert client.counts["published"] == 2


async def test_every_error_of_a_batch_is_told_at_once_and_nothing_is_sent(bus: Bus) -> None:
    async with a_client(bus) as client:
        with pytest.raises(Invalid) as caught:
            await client.publish_batch(
                [command(), command(tenant_id=""), command(), "text", command(amount=2**63)]
            )
    assert [place for place, _ in caught.value.errors] == [1, 3, 4]
    assert "event 3: no route takes str" in str(caught.value)
    assert (bus.records, bus.transactions) == ({}, [])


async def test_everything_that_is_wrong_with_one_event_is_told_at_once(bus: Bus) -> None:
    wrong: Any = {"timestamp": "today", "kind": None, "movement_id": 7}
    async with a_client(bus) as client:
        with pytest.raises(Invalid) as caught:
            await client.publish(command(tenant_id="", amount=2**63, **wrong))
    told = [text.removeprefix("AddRequested does not fit its schema: ") for _, text in caught.value.errors]
    assert [text.partition(":")[0] for text in told[:-1]] == ["timestamp", "kind", "amount", "movement_id"]
    assert told[-1].startswith("the key of AddRequested is empty")
    assert {place for place, _ in caught.value.errors} == {0}
    assert bus.records == {}


async def test_a_batch_that_fails_midway_is_taken_back_and_the_next_one_goes_through(bus: Bus) -> None:
    async with a_client(bus) as client:
        seen: list[str] = []

        def fail(asked: str) -> None:
            if asked == SOURCE.name:
                seen.append(asked)
                if len(seen) == 2:
                    raise MessageSizeTooLargeError("no")

        bus.fail = fail
        with pytest.raises(NotSent) as caught:
            await client.publish_batch([command(), command()])
        assert not caught.value.uncertain
        assert (bus.sent, bus.transactions) == ([], ["aborted"])
        await client.publish_batch([command(), command()])
    assert bus.transactions == ["aborted", "committed"]
    assert bus.world.sum_of() == 2


async def test_where_the_commit_fails_it_is_open_whether_the_batch_counts(bus: Bus) -> None:
    bus.fail = fails_for("commit", KafkaConnectionError("no"))
    async with a_client(bus) as client:
        with pytest.raises(NotSent) as caught:
            await client.publish_batch([command(), command()])
    assert caught.value.uncertain


async def test_an_empty_batch_is_nothing(bus: Bus) -> None:
    async with a_client(bus) as client:
        assert await client.publish_batch([]) == []
    assert bus.transactions == []


async def test_batches_sent_together_are_transactions_one_after_the_other(bus: Bus) -> None:
    async with a_client(bus) as client:
        await asyncio.gather(*(client.publish_batch([command(), command()]) for _ in range(5)))
    assert bus.transactions == ["committed"] * 5
    assert bus.world.sum_of() == 10


# --- fire and forget ----------------------------------------------------------------------------------------------


async def test_of_several_events_each_is_sent_or_not_on_its_own(bus: Bus) -> None:
    asked: list[str] = []

    def fail(topic: str) -> None:
        asked.append(topic)
        if asked.count(SOURCE.name) == 2:
            raise MessageSizeTooLargeError("no")

    bus.fail = fail
    events = [command(event_id="e-1"), "text", command(event_id="e-2"), command(event_id="e-3", tenant_id="")]
    headers: list[dict[str, str]] = [{"ce_source": "/mine", "x-further": "1"}]
    async with a_client(bus) as client:
        first, unknown, large, bad, last = await client.publish_each(
            [*events, command(event_id="e-4")], headers=headers
        )
        assert await client.publish_each([]) == []
    assert [isinstance(each, Sent) and each.event_id for each in (first, last)] == ["e-1", "e-4"]
    assert isinstance(unknown, Invalid)
    assert isinstance(bad, Invalid)
    assert isinstance(large, NotSent)
    assert client.counts["published"] == 2
    assert [headers_of(record)["ce_id"] for record in bus.sent] == ["e-1", "e-4"]
    mine, others = (headers_of(record) for record in bus.sent)
    assert (mine["ce_source"], mine["x-further"]) == ("/mine", "1")
    assert len([name for name, _ in bus.sent[0].headers if name == "ce_source"]) == 1
    assert (others["ce_source"], "x-further" in others) == (f"{APP_ID}/client", False)


async def test_of_several_events_those_that_are_not_acknowledged_in_time_may_arrive_all_the_same(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.client_producers.ACK_S", BRIEF)
    async with a_client(bus) as client:
        send, sent = bus.producers[0].send, []

        async def only_the_first(*arguments: Any, **options: Any) -> asyncio.Future[Any]:
            sent.append(options["key"])
            if len(sent) == 1:
                return await send(*arguments, **options)
            if len(sent) == 3:
                await asyncio.Event().wait()
            return asyncio.get_running_loop().create_future()

        monkeypatch.setattr(bus.producers[0], "send", only_the_first)
        first, *others = await client.publish_each([command() for _ in range(4)])
    assert isinstance(first, Sent)
    assert [isinstance(each, NotSent) and each.uncertain for each in others] == [True, True, True]


async def test_what_is_sent_without_waiting_arrives_in_order(bus: Bus) -> None:
    async with a_client(bus) as client:
        for amount in range(1, 6):
            await client.send(command(amount=amount))
    amounts = [bus.world.partition._codec.decode(record.value).amount for record in bus.sent]
    assert amounts == [1, 2, 3, 4, 5]
    assert (client.counts["published"], client.dropped) == (5, 0)


@pytest.mark.parametrize("event", ["text", command(tenant_id=""), command(amount=2**63)])
async def test_a_failure_of_what_nobody_waits_for_is_counted_and_never_raised(bus: Bus, event: Any) -> None:
    async with a_client(bus) as client:
        await client.send(event)
        await client.send(command())
    assert (client.dropped, client.counts["published"]) == (1, 1)


async def test_an_outage_of_the_broker_drops_what_nobody_waits_for_and_the_log_names_it(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    bus.fail = fails_for(SOURCE.name, KafkaConnectionError("no"))
    async with a_client(bus) as client:
        await client.send(command(event_id="e-1"))
    assert client.dropped == 1
    [line] = [line for line in caplog.records if "was not sent" in line.getMessage()]
    assert (line.event_id, line.event_type) == ("e-1", "tally.add.requested")  # type: ignore[attr-defined]


async def test_too_many_that_nobody_waits_for_are_dropped(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.client_background.MOST_WAITING", 3)
    async with a_client(bus) as client:
        for _ in range(5):
            await client.send(command())
    assert (client.dropped, client.counts["published"]) == (2, 3)


async def test_a_critical_event_raises_what_goes_wrong(bus: Bus) -> None:
    bus.fail = fails_for(SOURCE.name, KafkaConnectionError("no"))
    async with a_client(bus) as client:
        with pytest.raises(NotSent):
            await client.send(command(), is_critical=True)
    assert client.dropped == 0


# --- requests -----------------------------------------------------------------------------------------------------


async def test_a_request_returns_what_the_command_led_to(bus: Bus) -> None:
    async with a_client(bus) as client:
        reply = await client.request(command(amount=5, event_id="c-1"), PATIENT)
    assert (reply.status, reply.ok, reply.duplicate, reply.event_id) == ("OK", True, False, "c-1")
    summed = reply.fact(Summed)
    assert summed is not None
    assert summed.total == 5
    assert reply.fact(AddedRejected) is None
    assert client.counts == {"requested": 1, "replied": 1, "published": 1}


async def test_a_request_says_where_it_listens_and_which_it_is(bus: Bus) -> None:
    async with a_client(bus) as client:
        for _ in range(2):
            await client.request(command(), PATIENT, correlation_id="r-1")
    headers = [headers_of(record) for record in bus.sent]
    assert {header[REPLY_TO] for header in headers} <= {f"{REPLIES.name}/{n}" for n in range(PARTITIONS)}
    assert len({header[REPLY_TO] for header in headers}) == 1
    assert len({header[REQUEST_ID] for header in headers}) == 2
    assert {header["ce_correlationid"] for header in headers} == {"r-1"}


async def test_a_refusal_is_a_reply_and_no_exception(bus: Bus) -> None:
    async with a_client(bus) as client:
        reply = await client.request(command(kind="refuse"), PATIENT)
    assert (reply.status, reply.ok, reply.code) == ("REJECTED", False, "NO")
    assert isinstance(reply.facts[0], AddedRejected)


async def test_a_repeated_command_gets_its_first_result_and_another_one_under_its_id_a_conflict(
    bus: Bus,
) -> None:
    async with a_client(bus) as client:
        first = await client.request(command(amount=5, event_id="c-1"), PATIENT)
        again = await client.request(command(amount=5, event_id="c-1", timestamp=datetime.now(UTC)), PATIENT)
        other = await client.request(command(amount=6, event_id="c-1"), PATIENT)
    assert (again.facts, again.duplicate) == (first.facts, True)
    assert (other.status, other.code) == ("FAILED", "DUPLICATE_CONFLICT")
    assert bus.world.sum_of() == 5


async def test_requests_under_way_together_each_get_their_own_reply(bus: Bus) -> None:
    async with a_client(bus) as client:
        replies = await asyncio.gather(
            *(client.request(command(amount=amount, event_id="same"), PATIENT) for amount in (1, 2, 1))
        )
    assert [(reply.status, reply.duplicate) for reply in replies] == [
        ("OK", False),
        ("FAILED", False),
        ("OK", True),
    ]


async def test_without_a_reply_a_request_ends_and_tells_how_to_learn_the_result(bus: Bus) -> None:
    bus.working = False
    async with a_client(bus) as client:
        with pytest.raises(RequestTimeout) as caught:
            await client.request(command(event_id="c-1"), BRIEF, correlation_id="r-1")
        bus.working = True
        bus.work()
        reply = await client.request(command(event_id="c-1"), PATIENT)
    assert (caught.value.event_id, caught.value.correlation_id) == ("c-1", "r-1")
    assert "r-1" in str(caught.value)
    assert "c-1" in str(caught.value)
    assert reply.duplicate
    assert bus.world.sum_of() == 1
    assert client.counts == {"requested": 2, "replied": 1, "timeout": 1, "published": 2}


async def test_a_late_reply_is_dropped_and_counted_and_those_of_others_are_not(bus: Bus) -> None:
    bus.working = False
    async with a_client(bus) as client:
        with pytest.raises(RequestTimeout):
            await client.request(command(), BRIEF)
        address = client._listener._partition
        bus.reply(address, Raw(0, b"c-1", b"of another client", headers=[(REQUEST_ID, b"q")]))
        bus.reply(address, Raw(0, b"c-1", b"of a producer in another language"))
        bus.working = True
        bus.work()
        await client.request(command(), PATIENT)
        assert client.late == 2  # the command was sent twice: once more at half of the time
        assert bus.world.sum_of() == 2


async def test_a_reply_that_was_lost_is_had_again_within_the_same_request(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[Raw] = []

    def lose_the_first(number: int, record: Raw) -> None:
        if lost:
            deliver(number, record)
        else:
            lost.append(record)

    deliver = bus.reply
    monkeypatch.setattr(bus, "reply", lose_the_first)
    async with a_client(bus) as client:
        reply = await client.request(command(), 2.0)
    assert (reply.status, reply.duplicate) == ("OK", True)
    assert dict(lost[0].headers).get(DUPLICATE) is None
    assert bus.world.sum_of() == 1


async def test_only_commands_can_be_asked_about(bus: Bus) -> None:
    async with a_client(bus) as client:
        with pytest.raises(Invalid, match="is no command"):
            await client.request(Added(timestamp=SENT, tenant_id=ACME, kind="add", amount=2), PATIENT)
    assert bus.records == {}


async def test_without_a_topic_of_replies_a_request_is_not_sent(bus: Bus) -> None:
    bus.topics.remove(REPLIES.name)
    async with a_client(bus) as client:
        with pytest.raises(NotSent, match="sluice setup"):
            await client.request(command(), PATIENT)
    assert bus.sent == []
    assert bus.consumers[0].stopped


async def test_replies_from_before_the_first_request_are_nobodys(bus: Bus) -> None:
    async with a_client(bus) as client:
        for number in range(PARTITIONS):
            bus.reply(number, Raw(0, b"old", b"", headers=[(REQUEST_ID, b"old")]))
        assert (await client.request(command(), PATIENT)).ok


async def test_a_passing_failure_to_read_is_tried_again(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.client_replies.AGAIN_S", 0)
    bus.fail = fails_for("read", KafkaConnectionError("no"), times=1)
    async with a_client(bus) as client:
        reply = await client.request(command(), 5.0)
    assert reply.ok


async def test_where_replies_may_not_be_read_the_request_says_so_and_the_next_one_tries_again(
    bus: Bus,
) -> None:
    bus.fail = fails_for("read", TopicAuthorizationFailedError(REPLIES.name), times=1)
    async with a_client(bus) as client:
        with pytest.raises(Exception, match="check the rights"):
            await client.request(command(), PATIENT)
        assert (await client.request(command(), PATIENT)).ok
    assert [consumer.stopped for consumer in bus.consumers] == [True, True]


async def test_a_reply_that_is_none_is_not_taken_for_one(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver = bus.reply
    monkeypatch.setattr(
        bus, "reply", lambda number, record: deliver(number, Raw(0, record.key, b"?", headers=record.headers))
    )
    async with a_client(bus) as client:
        with pytest.raises(UnreadableReply, match="came as a reply is none"):
            await client.request(command(), PATIENT)


async def test_the_time_of_a_request_includes_everything_that_comes_before_the_command_is_sent(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    async with a_client(bus) as client:
        monkeypatch.setattr("tests.unit.streams.client_world.Consumer.start", never)
        with pytest.raises(NotSent, match="was not sent") as caught:
            await client.request(command(), BRIEF)
        assert not caught.value.uncertain
        monkeypatch.undo()
        assert (await client.request(command(), PATIENT)).ok
    assert len(bus.sent) == 1


async def test_a_command_that_the_broker_does_not_acknowledge_in_time_is_not_called_sent(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    async with a_client(bus) as client:
        monkeypatch.setattr(bus.producers[0], "send", never)
        with pytest.raises(NotSent, match="c-1") as caught:
            await client.request(command(event_id="c-1"), BRIEF)
    assert caught.value.uncertain


# --- life ---------------------------------------------------------------------------------------------------------


async def test_closing_ends_what_waits_for_a_reply(bus: Bus) -> None:
    bus.working = False
    client = await a_client(bus).__aenter__()
    waiting = asyncio.create_task(client.request(command(), PATIENT))
    while not bus.sent:
        await asyncio.sleep(0)
    await client.close()
    with pytest.raises(Closed):
        await waiting
    assert bus.consumers[0].stopped
    assert bus.producers[0].stopped


async def test_a_closed_client_says_so(bus: Bus) -> None:
    async with a_client(bus) as client:
        pass
    for work in (client.publish(command()), client.publish_batch([command()]), client.request(command())):
        with pytest.raises(Closed):
            await work


async def test_the_timeout_unless_given_is_the_clients(bus: Bus) -> None:
    assert a_client(bus).response_timeout_seconds == 30
    bus.working = False
    async with a_client(bus, response_timeout_seconds=0) as client:
        with pytest.raises(RequestTimeout):
            await client.request(command())


async def test_a_registry_that_does_not_answer_is_named(bus: Bus, tmp_path: Any) -> None:
    client = Client(settings(data_dir=tmp_path), None)
    from streams.events import UsageTenantSetRequested

    async with client:
        with pytest.raises(NotSent, match="SLUICE_REGISTRY_URL"):
            await client.publish(UsageTenantSetRequested(timestamp=SENT, tenant_id="t"))
    assert bus.records == {}
