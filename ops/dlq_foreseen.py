"""What would come of an event, read off a partition that has processed it and has not sent or stored anything."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ops.dlq_letters import key_text, text_of
from streams.changelog import PARKED_PREFIX
from streams.codec import Codec
from streams.envelope import derived_id
from streams.live import DUE_PREFIX
from streams.outbox import Outgoing
from streams.partition import Partition
from streams.routing import is_refusal
from streams.store import PLATFORM, PartitionStore, RawChange, split_key
from streams.times import time_of
from streams.topics import dead_letter_topic
from streams.web_bodies import fact_as_json, plain

WORKER_STOPS = "worker_stops"
NOT_REACHED = "not_reached"

MOST_FACTS = 1_000
"""Ids of so many facts of one event are known to be made of its place."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would come of one event.

    Attributes:
        letter, origin, key: which one.
        partition: where it would go.
        outcome: as workers count it: done, duplicate, rejected, dead_lettered, parked, rerouted; ``worker_stops``
            where the rules found that the worker must not go on, and ``not_reached`` behind such an event.
        code, message: why, where it is not done.
        dead_letter: code of the letter that would be written, also of an event that is rejected.
        facts: what would be published: topic, partition, key, record and its fields.
        changes: the aggregate's records that would change: name, kind, fields before and after (None: no record).
        timers: records whose due time would change, and to when (None: no longer due).
    """

    letter: str
    origin: str
    key: str
    partition: int
    outcome: str
    code: str = ""
    message: str = ""
    dead_letter: str = ""
    facts: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    timers: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def answer(
    partition: Partition, changes: Sequence[RawChange], codec: Codec, topic: str, offset: int
) -> dict[str, Any]:
    """Return what a partition has made of one event, as fields of ``Foreseen``.

    Args:
        partition: has processed the event.
        changes: what it would store.
        codec: knows the schemas of all that is published and stored.
        topic, offset: of the event.
    """
    [outcome] = [outcome for (_, outcome), times in partition.counts.items() if times]
    facts, letters = [], []
    for (name, number), sent in partition.outputs.items():
        for outgoing in sent:
            if name == dead_letter_topic(topic):
                letters.append(outgoing)
            else:
                facts.append((name, number, outgoing[0], codec.decode(outgoing[1])))
    made_up = {derived_id(topic, partition.number, offset, index) for index in ("failed", *range(MOST_FACTS))}
    rejected = [fact for *_, fact in facts if is_refusal(type(fact))]
    parked = [value for key, value in changes if key.startswith(PARKED_PREFIX) and value is not None]
    code, message = "", ""
    if parked:
        waiting = codec.decode(parked[0])
        code, message = waiting.code, waiting.message
    elif rejected:
        code, message = getattr(rejected[0], "reason_code", ""), getattr(rejected[0], "message", "")
    elif letters:
        code, message = (
            _header(letters[0], "sluice.dlq.reason"),
            _header(letters[0], "__streams.errors.message"),
        )
    store = partition.changelog.store
    return {
        "outcome": outcome,
        "code": code,
        "message": message,
        "dead_letter": _header(letters[0], "sluice.dlq.reason") if letters else "",
        "facts": [_fact(*each, made_up) for each in facts],
        "changes": [
            _change(key, store, value, codec)
            for key, value in changes
            if not key.startswith(PLATFORM) and store.get(key) != value
        ],
        "timers": [_timer(key, value) for key, value in changes if key.startswith(DUE_PREFIX)],
    }


def _header(outgoing: Outgoing, name: str) -> str:
    return text_of(outgoing[2], name) or ""


def _change(key: bytes, store: PartitionStore, after: bytes | None, codec: Codec) -> dict[str, Any]:
    old, new = (None if value is None else codec.decode(value) for value in (store.get(key), after))
    return {
        "name": split_key(key)[1].decode(),
        "kind": type(new if old is None else old).__name__,
        "before": None if old is None else fact_as_json(old),
        "after": None if new is None else fact_as_json(new),
    }


def _timer(key: bytes, value: bytes | None) -> dict[str, Any]:
    due = None if value is None else plain(time_of(int.from_bytes(value, "big")))
    return {"name": split_key(key[len(DUE_PREFIX) :])[1].decode(), "due": due}


def _fact(topic: str, number: int, key: bytes | None, fact: Any, made_up: Collection[str]) -> dict[str, Any]:
    fields = fact_as_json(fact)
    if fields.get("event_id") in made_up:
        del fields["event_id"]  # it will be made of the place that the event gets
    return {
        "topic": topic,
        "partition": number,
        "key": key_text(key),
        "record": type(fact).RECORD,
        "event": fields,
    }
