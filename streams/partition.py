"""One partition of a table at work: steps 2 to 6 of the pipeline for each of its events, in order.

Nothing here sends or stores. What is to be sent and stored collects in the partition until the pipeline has done both
(``streams.pipeline``), or takes it all back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any
from zlib import crc32

from streams import failures, refusals
from streams.absent import completed
from streams.avro_parts import Memory
from streams.changelog import IDS_PREFIX, PARKED_PREFIX, Changelog
from streams.codec import Codec, NeedsSchema, Undecodable
from streams.dead_letters import DeadLetters
from streams.failures import Failure
from streams.identity import body_checksum
from streams.keys import lacks_tenant
from streams.live import DUE_PREFIX, LiveState, LiveStates, RecentEvents, Shared, Timers, event_digest
from streams.log_records import Notes, Outcome
from streams.outbox import Outgoing, Target
from streams.parking import ParkedKeys, Retries, Waiting, attempts_of
from streams.publisher import Publisher, header
from streams.replies import Replies
from streams.routing import Index, Route
from streams.settings import Settings
from streams.store import SEPARATOR, RawChange
from streams.times import time_of
from streams.topics import partition_for
from tables.state import Aggregate, Changes

REROUTED = "x-rerouted"

Told = tuple[Any, Target, Outgoing]
"""A published fact, where it goes and as what."""


class Unstorable(Exception):
    """The rules made a state that cannot be stored."""


class Partition:
    """The state of one table partition and the work under way on it.

    Attributes:
        outputs: what the unit publishes, by topic and partition, in order.
        sources: by ``topic-partition``, the last offset that the unit has taken in.
        counts: outcomes of the unit's events.
        taken: events of the unit that were applied.
        facts: what the rules answered in the unit and is published.
        failed: source topic and code of each failed attempt.
        letters: source topic and code of each dead letter.
        retried: outcomes of the unit's further attempts at events that waited.
        replies: what the unit answers to those who asked, to be sent once its state is stored.
        notes: what the log has to say of the unit, once its state is stored.
        deciding: the record whose rule is running, for ``streams.hang``; None between rules.
        careful: find out after each event whether its state can be stored, not only after the unit.
    """

    def __init__(
        self,
        *,
        aggregate: Aggregate,
        number: int,
        index: Index,
        changelog: Changelog,
        codec: Codec,
        publisher: Publisher,
        settings: Settings,
        replies: Replies,
        shared: Shared | None = None,
        traced: bool = False,
    ) -> None:
        self.aggregate = aggregate
        self.number = number
        self.changelog = changelog
        self.outputs: dict[Target, list[Outgoing]] = {}
        self.sources: dict[str, int] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.taken: list[Any] = []
        self.facts: list[Any] = []
        self.failed: list[tuple[str, str]] = []
        self.letters: list[tuple[str, str]] = []
        self.retried: Counter[str] = Counter()
        self.replies: dict[Target, list[Outgoing]] = {}
        self.notes = Notes()
        self._replies = replies
        self._shared = shared
        self._traced = traced
        self._index = index
        self._codec = codec
        self._encoders = Memory(partial(codec.encoder, changelog.topic))
        self._publisher = publisher
        self._dead_letters = DeadLetters(publisher, settings.app_id, aggregate.name)
        self._retries = Retries(settings.retry_policy())
        self._settings = settings
        self._max_bytes = settings.max_event_bytes
        self._states = LiveStates(settings.cache_records)
        self._touched: dict[bytes, LiveState] = {}
        self._recent = RecentEvents(settings.dedupe_max_ids, settings.dedupe_max_age)
        self.parked = ParkedKeys()
        self.timers = Timers()
        self._latest_ms = 0
        self._at_ms = -1
        self._at = time_of(0)
        self.deciding: Any = None
        self.careful = False
        self._load()

    def _load(self) -> None:
        store, decode = self.changelog.store, self._decode_state
        for key, value in sorted(store.scan(IDS_PREFIX)):
            self._recent.load(key, decode(value))
        if self._recent.latest is not None:
            # Parked events are retried before anything arrives: their ids must not look as old as the epoch.
            self._latest_ms = round(self._recent.latest.timestamp() * 1000)
        for key, value in sorted(store.scan(PARKED_PREFIX)):
            self.parked.load(key, decode(value))
        for key, value in store.scan(DUE_PREFIX):
            self.timers.load(key, value)

    def _decode_state(self, value: bytes) -> Any:
        record = self._codec.decode(value)
        if isinstance(record, Undecodable | NeedsSchema):
            raise failures.FatalFailure(
                f"a record of {self.changelog.topic}[{self.number}] cannot be decoded ({record}); "
                "is this worker older than the one that wrote it, or the registry empty?"
            )
        return record

    def _encode_state(self, record: Any) -> bytes:
        return self._encoders[type(record)](record)

    def place(self) -> str:
        """Return which partition of which table this is, for the log."""
        return f"{self.aggregate.name}[{self.number}]"

    # --- steps 2 to 6 -------------------------------------------------------------------------------------------

    def process(self, topic: str, records: Sequence[Any], events: Sequence[Any]) -> None:
        """Take in records of one source topic, decoded to ``events``, in offset order.

        The loop holds what nearly every event needs; ``_unusual`` takes the others. It is written for speed: a call
        costs a twentieth of the time that an event may take.

        Raises:
            FatalFailure: the worker must stop; nothing of the unit may be stored.
        """
        number, parked, recent, apply = self.number, self.parked, self._recent, self._apply
        known, take = recent.known, self.taken.append
        routes, states, max_bytes = self._index.on(topic), self._states.by_key, self._max_bytes
        done = 0
        for record, event in zip(records, events, strict=True):
            try:
                key = record.key
                route = routes.get(type(event))
                if route is not None and not (event.event_id and event.tenant_id):
                    event = completed(topic, number, record, event)  # noqa: PLW2901
                state = states.get(key)
                if (
                    route is None
                    or state is None
                    or route.key(event) != state.text
                    or key in parked
                    or len(record.value) > max_bytes
                ):
                    self._count(topic, record, self._unusual(topic, number, record, event))
                    continue
                if not route.quick:
                    # Commands have more to them, and are fewer.
                    self._count(topic, record, self._command(topic, number, record, event, route, state))
                    continue
                digest = event_digest(state.prefix, event.event_id)
                checksum = crc32(record.value)
                if digest in known:
                    self._count(topic, record, self._repeated(topic, number, record, event, digest, checksum))
                    continue
                rejected, memo, _ = apply(topic, number, record, event, route, state)
                if memo is not None:
                    recent.add(digest, checksum, memo)
                if rejected:
                    self._count(topic, record, "rejected")
                else:
                    done += 1
                    take(event)
            except Exception as exc:
                self._count(topic, record, self._failed(topic, number, record, event, failures.classify(exc)))
        if done:
            self.counts[topic, "done"] += done
        self.sources[f"{topic}-{number}"] = records[-1].offset
        self._latest_ms = max(self._latest_ms, records[-1].timestamp)

    def _count(self, topic: str, record: Any, outcome: str) -> None:
        self.counts[topic, outcome] += 1
        if self._traced and (outcome != "done" or isinstance(record, Waiting)):
            waited = isinstance(record, Waiting)
            self.notes.outcomes.append(
                Outcome(outcome, topic, self.number, record, attempts_of(record), waited)
            )

    def _unusual(self, topic: str, number: int, record: Any, event: Any) -> str:
        """Take an event of a key not seen lately, or one that cannot be applied as it is. Return the outcome."""
        key = record.key
        if not key or SEPARATOR in key:
            return self._failed(topic, number, record, event, refusals.bad_key(key))
        if record.value is not None and len(record.value) > self._max_bytes:
            return self._failed(topic, number, record, event, refusals.OVERSIZED)
        if key in self.parked and not isinstance(record, Waiting):
            return self._park_behind(topic, number, record, event)
        route = self._index.on(topic).get(type(event))
        if route is None:
            return self._failed(topic, number, record, event, refusals.unroutable(event, topic))
        own = route.key(event).encode()
        if key != own and not lacks_tenant(key, own, event.tenant_id):
            return self._failed(topic, number, record, event, refusals.KEY_MISMATCH)
        home = partition_for(own, self._settings.partitions)
        if key != own or home != self.number:
            return self._reroute(topic, number, record, event, own, home)
        return self._first(topic, number, record, event, route)

    def _first(self, topic: str, number: int, record: Any, event: Any, route: Route) -> str:
        state = self._states.by_key.get(record.key)
        if state is None:
            state = self._live(record.key, self._states)
            self._states.add(state)
        return self._command(topic, number, record, event, route, state)

    def _live(self, key: bytes, cache: LiveStates | None) -> LiveState:
        store, recall = self.changelog.store, self._recent.memo
        return LiveState(key, store, self._decode_state, recall, cache, self._shared)

    def _command(
        self, topic: str, number: int, record: Any, event: Any, route: Route, state: LiveState
    ) -> str:
        """Take an event that may be known by a business id, and that may want a reply. Return the outcome."""
        business = route.identity(event) if route.identity is not None else ""
        digest = event_digest(state.prefix, business or event.event_id)
        checksum = body_checksum(event) if route.answered or business else crc32(record.value)
        if digest in self._recent.known:
            return self._repeated(topic, number, record, event, digest, checksum)
        asker = self._replies.target(record.headers) if route.answered else None
        rejected, memo, facts = self._apply(topic, number, record, event, route, state)
        answer = None
        if asker is not None:
            answer = self._replies.answer(topic, number, record, event, facts)
            self._reply(asker, topic, record, event, answer)
        if memo is not None:
            self._recent.add(digest, checksum, memo, answer)
        if rejected:
            return "rejected"
        self.taken.append(event)
        return "done"

    def _reply(
        self,
        asker: Target,
        topic: str,
        record: Any,
        event: Any,
        answer: bytes,
        *,
        duplicate: bool = False,
    ) -> None:
        outgoing = self._replies.outgoing(topic, self.number, record, event, answer, duplicate=duplicate)
        self.replies.setdefault(asker, []).append(outgoing)

    def _repeated(
        self, topic: str, number: int, record: Any, event: Any, digest: bytes, checksum: int
    ) -> str:
        """Drop an event that was applied before; another one under its id is a conflict (scenario N04)."""
        if self._recent.checksum(digest) != checksum:
            return self._failed(topic, number, record, event, refusals.CONFLICT)
        asker = self._replies.target(record.headers) if record.headers else None
        if asker is not None:
            first = self._recent.answer(digest)
            answer = first or self._replies.applied_before(topic, number, record, event)
            self._reply(asker, topic, record, event, answer, duplicate=True)
        return "duplicate"

    def _apply(
        self, topic: str, number: int, record: Any, event: Any, route: Route, state: LiveState
    ) -> tuple[bool, str | None, list[Told]]:
        """Steps 5 and 6: let the rules answer, and collect what they change and publish.

        Returns:
            Whether the event was refused; the memo to keep with its id: None where the id must not be kept, because
            the event is a dead letter too and may be sent again; and the facts that are published.
        """
        aggregate = route.aggregate
        self.deciding = record
        try:
            facts = aggregate.decide(
                state,
                event,
                self._at if record.timestamp == self._at_ms else self._append_time(record.timestamp),
            )
        finally:
            self.deciding = None
        prepared_of = self._publisher.prepared.get
        fold = self._fold_carefully if self.careful else aggregate.fold
        told: list[Told] = []
        undo: list[dict[str, Any]] = []
        rejected, memo = False, ""
        dead: list[tuple[Failure, list[tuple[Target, Outgoing]]]] = []
        try:
            for index, fact in enumerate(facts):
                changes = fold(state, fact)
                prepared = prepared_of(type(fact))
                if prepared is not None:
                    target, outgoing = prepared.publish(fact, topic, number, record, index, event)
                    told.append((fact, target, outgoing))
                    if prepared.refusal:
                        rejected = True
                        memo = aggregate.memo(fact) or memo
                        dead += self._refused(topic, number, record, event, fact)
                else:
                    memo = aggregate.memo(fact) or memo
                if changes:
                    if len(facts) > 1:
                        undo.append(state.undo(changes))
                    state.dirty.update(changes)
        except Exception:
            for earlier in reversed(undo):
                state.restore(earlier)
            raise
        if state.dirty:
            self._touched[state.key] = state
        self._collect(told)
        if dead:
            self._bury(topic, number, record, event, dead)
        return rejected, None if dead else memo, told

    def _collect(self, told: Sequence[Told]) -> None:
        outputs, facts = self.outputs, self.facts
        for fact, target, outgoing in told:
            facts.append(fact)
            try:
                outputs[target].append(outgoing)
            except KeyError:
                outputs[target] = [outgoing]

    def _refused(
        self, topic: str, number: int, record: Any, event: Any, fact: Any
    ) -> list[tuple[Failure, list[tuple[Target, Outgoing]]]]:
        """Return why an event whose refusal asks for it is a dead letter, and the letter."""
        code = self.aggregate.dead_letter(fact)
        if code is None:
            return []
        failure = refusals.refusal(code)
        return [(failure, self._dead_letters.of(topic, number, record, event, failure))]

    def _bury(
        self,
        topic: str,
        number: int,
        record: Any,
        event: Any,
        dead: Sequence[tuple[Failure, Sequence[tuple[Target, Outgoing]]]],
    ) -> None:
        for failure, letters in dead:
            for target, letter in letters:
                self.outputs.setdefault(target, []).append(letter)
            self.letters.append((topic, failure.code))
            self.notes.add("dead_lettered", topic, number, record, event, attempts_of(record), failure)

    def _append_time(self, millis: int) -> datetime:
        # With LogAppendTime all records of a batch have the same time: it is converted once.
        self._at_ms = millis
        self._at = time_of(millis)
        return self._at

    def _reroute(self, topic: str, number: int, record: Any, event: Any, own: bytes, home: int) -> str:
        """Forward a record, once, under its aggregate's own key to that key's partition (peer-features F19)."""
        if header(record.headers, REROUTED) is not None:
            return self._failed(topic, number, record, event, refusals.LOST)
        headers = [*record.headers, (REROUTED, f"{topic}/{number}/{record.offset}".encode())]
        if own != record.key:
            headers = [(name, own if name == "ce_partitionkey" else value) for name, value in headers]
        if header(record.headers, "ce_id") is None:
            headers.append(("ce_id", event.event_id.encode()))
        outgoing: Outgoing = (own, record.value, headers, record.timestamp)
        self.outputs.setdefault((topic, home), []).append(outgoing)
        self.notes.add("rerouted", topic, number, record, event, 0)
        return "rerouted"

    # --- failures -----------------------------------------------------------------------------------------------

    def _failed(self, topic: str, number: int, record: Any, event: Any, failure: Failure) -> str:
        """Let a failed event wait where that may help, or make it a dead letter. Return the outcome."""
        if failure.kind == "fatal":
            raise failures.FatalFailure(failure.message)
        self.failed.append((topic, failure.code))
        if failure.kind == "retryable" and isinstance(record, Waiting):
            again = self._retries.again(record, failure)
            if again is not None:
                self.parked.postpone(record.parked.key or b"", again)
                self.notes.add("postponed", topic, number, record, event, again.attempt, failure, again.due)
                return "postponed"
        elif failure.kind == "retryable":
            first = self._retries.first(topic, number, record, failure)
            if first is not None:
                self.parked.append(record.key, first)
                self.notes.add("parked", topic, number, record, event, first.attempt, failure, first.due)
                return "parked"
        letters = self._dead_letters.of(topic, number, record, event, failure)
        self._bury(topic, number, record, event, [(failure, letters)])
        asker = self._replies.target(record.headers) if record.headers else None
        if asker is not None:
            self._reply(
                asker, topic, record, event, self._replies.failed(topic, number, record, event, failure)
            )
        return "dead_lettered"

    def _park_behind(self, topic: str, number: int, record: Any, event: Any) -> str:
        if self.parked.count(record.key) >= self._settings.park_max_events:
            return self._failed(topic, number, record, event, refusals.TOO_MANY_PARKED)
        head = self.parked.head(record.key)
        self.parked.append(record.key, self._retries.behind(topic, number, record, head))
        self.notes.add("parked", topic, number, record, event, 0, refusals.FOLLOWING, head.parked.due)
        return "parked"

    def process_waiting(self, key: bytes, most: int) -> int:
        """Try the waiting events of a key in order until one fails again, none is left or ``most`` were tried.

        Returns:
            How many were tried.
        """
        tried = 0
        while key in self.parked and tried < most:
            waiting = self.parked.head(key)
            topic, number = waiting.topic, waiting.partition
            event = self._codec.decode(waiting.value)
            if type(event) in self._index.on(topic):
                event = completed(topic, number, waiting, event)
            try:
                outcome = self._unusual(topic, number, waiting, event)
            except Exception as exc:
                outcome = self._failed(topic, number, waiting, event, failures.classify(exc))
            self._count(topic, waiting, outcome)
            self.retried[outcome] += 1
            tried += 1
            if outcome == "postponed":
                break
            if outcome != "dead_lettered":
                self.notes.add("released", topic, number, waiting, event, attempts_of(waiting))
            self.parked.release(key)
        return tried

    # --- steps 7 to 9 as far as they concern the partition -------------------------------------------------------

    @property
    def at(self) -> datetime:
        """Append time of the newest record of the unit, never earlier than that of units before it."""
        return time_of(self._latest_ms)

    def _fold_carefully(self, state: LiveState, fact: Any) -> Changes:
        """Fold, and raise what storing the result would raise."""
        changes, timers = self.aggregate.fold(state, fact), Timers()
        for name, record in changes.items():
            if record is not None:
                self._encode_state(record)
                timers.set(state.prefix + name.encode(), self.aggregate.due(name, record))
        timers.raw_changes()
        return changes

    def raw_changes(self) -> list[RawChange]:
        """Return everything the unit changes in the stored state, encoded.

        Raises:
            Unstorable: a record does not fit its schema, such as a sum of more digits than it takes.
        """
        try:
            return self._raw_changes()
        except Exception as exc:
            raise Unstorable from exc

    def _raw_changes(self) -> list[RawChange]:
        changes: list[RawChange] = []
        due, timers, encoders = self.aggregate.due, self.timers, self._encoders
        for state in self._touched.values():
            prefix = state.prefix
            for name, record in state.dirty.items():
                key = prefix + name.encode()
                wanted = due(name, record) if record is not None else None
                if wanted is not None or key in timers.due:
                    timers.set(key, wanted)
                changes.append((key, encoders[type(record)](record) if record is not None else None))
        changes += self._recent.raw_changes(self.at, self._encode_state)
        changes += self.parked.raw_changes(self._encode_state)
        changes += timers.raw_changes()
        return changes

    def command(self, record: bytes, due_ms: int) -> tuple[Target, Outgoing]:
        """Return the command that a due record wants; the same every time, so that repeating it changes nothing."""
        key, _, name = record.partition(SEPARATOR)
        state = self._states.by_key.get(key) or self._live(key, None)
        command = self.aggregate.on_due(key.decode(), name.decode(), state.get(name.decode()))
        [topic] = [route.topic.name for route in self._index.routes if route.event is type(command)]
        return (topic, self.number), self._publisher.command(command, topic, key, name, due_ms)

    @property
    def crowded(self) -> bool:
        """Whether ``trim`` has something to do."""
        return self._states.crowded

    def trim(self) -> None:
        """Forget what was decoded long ago. Only between units, and with every unit before in the store."""
        self._states.trim()

    def commit(self) -> None:
        """The unit is on its way to the changelog: the next one is decided on its changes.

        The store has them once they are acknowledged. Where they never are, the worker stops.
        """
        for state in self._touched.values():
            state.commit()
        self._recent.commit(self.at)
        self.parked.commit()
        self.timers.commit()
        self._clear()

    def rollback(self) -> None:
        """The unit is not stored: forget its changes."""
        for state in self._touched.values():
            state.rollback()
        self._recent.rollback()
        self.parked.rollback()
        self.timers.rollback()
        self._clear()

    def _clear(self) -> None:
        self._touched.clear()
        self.outputs = {}
        self.sources = {}
        self.counts = Counter()
        self.taken = []
        self.facts = []
        self.failed = []
        self.letters = []
        self.retried = Counter()
        self.replies = {}
        self.notes = Notes()
