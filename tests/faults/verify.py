"""The independent count: what a run must have produced, computed from its source topic alone, and the comparison."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from aiokafka.partitioner import murmur2

from streams.envelope import derived_id
from streams.events import UsageEvent
from tests.faults.cluster import PARTITIONS, Reader, Stored
from tests.faults.load import POISON_CODES, Recorder

Total = tuple[int, Decimal, str]
"""How many events, their sum, sequence number of the last"""


@dataclass
class Truth:
    """What follows from the source topic.

    Attributes:
        totals: the final total of each aggregate.
        running: by aggregate, in source order, id and total of each derived event.
        dead: (partition, offset) of each record that must be a dead letter, with the codes it may have.
        problems: what is wrong with the source topic itself: losses between producer, forwarding and topic.
    """

    totals: dict[str, Total] = field(default_factory=dict)
    running: dict[str, list[tuple[str, Total]]] = field(default_factory=lambda: defaultdict(list))
    dead: dict[tuple[int, int], frozenset[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    records: dict[tuple[int, int], Stored] = field(default_factory=dict)
    lost: int = 0
    forwarded: int = 0


def home_of(key: bytes) -> int:
    """Return the partition of a key, as Java's producer chooses it."""
    return int(murmur2(key) & 0x7FFFFFFF) % PARTITIONS


def truth_of(topic: str, records: Iterable[Stored], recorder: Recorder) -> Truth:
    """Count what was sent, in the order in which it lies in the source topic."""
    truth = Truth()
    decode = Reader(UsageEvent.RECORD)
    seen: dict[tuple[bytes, str], int] = {}
    applied: Counter[int] = Counter()
    for record in records:
        at = (record.partition, record.offset)
        truth.records[at] = record
        sent = recorder.placed.get(at)
        forwarded = record.header("x-rerouted") is not None
        truth.forwarded += forwarded
        if sent is None and not forwarded:
            truth.problems.append(f"record {at} of the source was sent by nobody")
            continue
        if sent is not None and (sent.value, sent.key) != (record.value, record.key):
            truth.problems.append(f"record {at} of the source is not what was sent")
        if sent is not None and sent.poison and sent.poison != "conflict":
            truth.dead[at] = POISON_CODES[sent.poison]
            continue
        assert record.key is not None and record.value is not None
        if home_of(record.key) != record.partition:
            if forwarded:
                truth.problems.append(f"record {at} was forwarded to a wrong partition")
            continue
        event = decode(record.value)
        event_id = event["event_id"] or (record.header("ce_id") or b"").decode()
        if event_id:
            checksum = zlib.crc32(record.value)
            known = seen.setdefault((record.key, event_id), -1)
            if known == checksum:
                continue
            if known != -1:
                truth.dead[at] = POISON_CODES["conflict"]
                continue
            seen[record.key, event_id] = checksum
        _apply(truth, topic, record, event)
        applied[int(event["metadata"]["seq"])] += 1
    missing = [seq for seq in recorder.events if not applied[seq]]
    twice = [seq for seq, count in applied.items() if count > 1]
    truth.lost = len(missing)
    if missing:
        truth.problems.append(
            f"{len(missing)} events are not at home in the source topic, such as {missing[:5]}"
        )
    if twice:
        truth.problems.append(
            f"{len(twice)} events without an id are at home more than once, such as {twice[:5]}"
        )
    _check_order(truth, recorder)
    return truth


def _apply(truth: Truth, topic: str, record: Stored, event: dict[str, Any]) -> None:
    assert record.key is not None
    key = record.key.decode()
    count, total, _ = truth.totals.get(key, (0, Decimal(0), ""))
    after = (count + 1, total + event["quantity"], event["metadata"]["seq"])
    truth.totals[key] = after
    truth.running[key].append((derived_id(topic, record.partition, record.offset, 0), after))


def _check_order(truth: Truth, recorder: Recorder) -> None:
    """Events that one producer sent for one key must have been counted in the order in which they were sent."""
    for key, running in truth.running.items():
        if key in recorder.shared:
            continue
        order = [int(total[2]) for _, total in running]
        if order != sorted(order):
            truth.problems.append(f"the events of one aggregate ({key}) are out of order")


@dataclass
class Verdict:
    """What was found wrong; nothing is, if ``problems`` is empty."""

    problems: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    repeated_outputs: int = 0

    def note(self, text: str) -> None:
        """Add a problem."""
        self.problems.append(text)


def check_derived(truth: Truth, derived: Iterable[Stored], verdict: Verdict) -> None:
    """Compare every running value, in order, and every repetition byte by byte."""
    decode = Reader(UsageEvent.RECORD)
    first: dict[str, Stored] = {}
    order: dict[str, list[tuple[str, Total]]] = defaultdict(list)
    for record in derived:
        event = decode(record.value or b"")
        known = first.setdefault(event["event_id"], record)
        if known is not record:
            verdict.repeated_outputs += 1
            same = (known.key, known.value, known.headers, known.partition) == (
                record.key,
                record.value,
                record.headers,
                record.partition,
            )
            if not same:
                verdict.note(f"derived event {event['event_id']} came again with other bytes")
            continue
        key = (record.key or b"").decode()
        if (
            home_of(record.key or b"") != record.partition
            or record.header("ce_id") != event["event_id"].encode()
        ):
            verdict.note(f"derived event {event['event_id']} has a wrong partition or header")
        metadata = event["metadata"]
        order[key].append((event["event_id"], (int(metadata["n"]), event["quantity"], metadata["seq"])))
    for key in truth.running.keys() | order.keys():
        wanted, found = truth.running.get(key, []), order.get(key, [])
        if wanted == found:
            continue
        missing = {event_id for event_id, _ in wanted} - {event_id for event_id, _ in found}
        extra = {event_id for event_id, _ in found} - {event_id for event_id, _ in wanted}
        verdict.lost += len(missing)
        verdict.doubled += len(extra)
        wrong = next(
            (number for number, pair in enumerate(zip(wanted, found, strict=False)) if pair[0] != pair[1]), 0
        )
        verdict.note(
            f"derived events of {key}: {len(missing)} missing, {len(extra)} too many, first wrong one is number "
            f"{wrong + 1}: {found[wrong : wrong + 1]}, not {wanted[wrong : wrong + 1]}"
        )


def check_table(truth: Truth, name: str, table: dict[str, Total], verdict: Verdict) -> None:
    """Compare a table with the truth."""
    for key in truth.totals.keys() | table.keys():
        wanted, found = truth.totals.get(key, (0, Decimal(0), "")), table.get(key, (0, Decimal(0), ""))
        if wanted != found:
            verdict.lost += max(0, wanted[0] - found[0])
            verdict.doubled += max(0, found[0] - wanted[0])
            verdict.note(f"{name}: {key} is {found}, not {wanted}")


def check_dead(
    topic: str, truth: Truth, dead: Iterable[Stored], failed: Iterable[Stored], verdict: Verdict
) -> None:
    """The dead letters are exactly the poison, byte for byte, and each has a report."""
    first: dict[tuple[int, int], Stored] = {}
    for letter in dead:
        at = (
            int(letter.header("__streams.errors.partition") or b"-1"),
            int(letter.header("__streams.errors.offset") or b"-1"),
        )
        known = first.setdefault(at, letter)
        if known is not letter:
            verdict.repeated_outputs += 1
            if (known.key, known.value, known.headers) != (letter.key, letter.value, letter.headers):
                verdict.note(f"the dead letter of {at} came again with other bytes")
            continue
        _check_letter(topic, truth, at, letter, verdict)
    missing = truth.dead.keys() - first.keys()
    if missing:
        verdict.lost += len(missing)
        shown = [(at, sorted(truth.dead[at])) for at in sorted(missing)[:5]]
        verdict.note(f"{len(missing)} dead letters are missing, such as {shown}")
    decode = Reader("sluice.platform.FailureEvent")
    reports = {decode(record.value or b"")["event_id"] for record in failed}
    wanted = {derived_id(topic, partition, offset, "failed") for partition, offset in truth.dead}
    if reports != wanted:
        verdict.note(f"failure reports: {len(wanted - reports)} missing, {len(reports - wanted)} too many")


def _check_letter(topic: str, truth: Truth, at: tuple[int, int], letter: Stored, verdict: Verdict) -> None:
    codes = truth.dead.get(at)
    original = truth.records.get(at)
    if codes is None or original is None:
        verdict.doubled += 1
        verdict.note(f"a dead letter of {at} that was no poison: {letter.header('sluice.dlq.reason')!r}")
        return
    reason = (letter.header("sluice.dlq.reason") or b"").decode()
    if reason not in codes:
        verdict.note(f"the dead letter of {at} says {reason}, not {sorted(codes)}")
    if letter.header("__streams.errors.topic") != topic.encode():
        verdict.note(f"the dead letter of {at} names another topic")
    if (letter.key, letter.value) != (original.key, original.value):
        verdict.note(f"the dead letter of {at} has another key or value than its record")
    if letter.headers[: len(original.headers)] != original.headers:
        verdict.note(f"the dead letter of {at} has other headers than its record")
