"""What the brokers say of offsets: where partitions begin and end, and how far a group is.

Nothing here joins a group or commits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from ops.errors import OpsError

Source = tuple[str, int]
"""Topic and partition."""

ANSWER_S = 10.0
CHECK = "Check it with `sluice doctor`."


@contextmanager
def answers() -> Iterator[None]:
    """Raise OpsError where what is asked inside is refused or not answered."""
    try:
        yield
    except KafkaException as error:
        raise OpsError(f"The broker refused: {error.args[0].str()}.", CHECK) from error
    except TimeoutError as error:
        raise OpsError(f"The brokers have said nothing for {ANSWER_S:.0f} s.", CHECK) from error


def bounds(admin: AdminClient, places: Iterable[Source]) -> dict[Source, tuple[int, int]]:
    """Return the first offset and the end of each partition. Raises OpsError."""
    asked = [TopicPartition(*place) for place in places]
    with answers():
        lows, highs = (
            {
                (place.topic, place.partition): int(answer.result(ANSWER_S).offset)
                for place, answer in admin.list_offsets(dict.fromkeys(asked, spec)).items()
            }
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        )
    if min((*lows.values(), *highs.values()), default=0) < 0:
        # A request that times out gives no error, but an offset that cannot be.
        raise OpsError("The brokers did not answer in time.", CHECK)
    return {place: (lows[place], highs[place]) for place in lows}


def committed(admin: AdminClient, group: str, places: Collection[Source]) -> dict[Source, int]:
    """Return the group's offset of each partition that it has one of. Raises OpsError."""
    if not places:
        return {}  # before `sluice setup`; the client takes no empty list
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in places])
    with answers():
        [answer] = admin.list_consumer_group_offsets([asked]).values()
        found = answer.result(ANSWER_S).topic_partitions
    return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0}
