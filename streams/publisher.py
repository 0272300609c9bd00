"""Turning facts into outgoing records: id, headers, bytes, and where they go.

The id of a published fact is derived from the coordinates of the event that caused it, so that a replay publishes the
same bytes under the same id and consumers can drop the repetition.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from streams.codec import Codec
from streams.envelope import CeHeaders, Headers, ce_headers, derived_id
from streams.outbox import Outgoing, Target
from streams.routing import Index, Output, is_command, is_refusal
from streams.topics import partition_for
from streams.trace_context import Continue, passed_on

log = logging.getLogger(__name__)


def header(headers: Headers, name: str) -> str | None:
    """Return the text of a record's header, or None where it is absent."""
    for key, value in headers:
        if key == name:
            return value.decode("utf-8", "replace") if value is not None else None
    return None


class Prepared:
    """All about the publishing of one record type that never changes, and the publishing itself.

    Attributes:
        topic: where it goes.
        key: ``event -> key``.
        encode: ``(event, event_id) -> frame``.
        typed: whether each event says its own ``event_type``.
        refusal: whether it says that something was refused.
    """

    __slots__ = (
        "_source",
        "_struct",
        "_trace",
        "_write_headers",
        "encode",
        "homes",
        "key",
        "partitions",
        "refusal",
        "topic",
        "typed",
    )

    def __init__(
        self, output: Output, codec: Codec, partitions: int, source: str, trace: Continue = passed_on
    ) -> None:
        self.topic = output.topic.name
        self.key = output.key
        self.encode = codec.encoder(self.topic, output.event)
        self.partitions = partitions
        self._struct = output.event
        # A command's event_type, where it has one, is of the events that it is about.
        self.typed = hasattr(output.event, "event_type") and not is_command(output.event)
        self.refusal = is_refusal(output.event)
        self._source = source
        self._trace = trace
        self._write_headers: CeHeaders | None = None
        self.homes: dict[bytes, Target] = {}

    def headers(self, frame: bytes) -> CeHeaders:
        """Return what writes the headers of this type; ``frame`` tells the schema id the first time."""
        write = self._write_headers
        if write is None:
            write = self._write_headers = ce_headers(
                self._struct, self._source, int.from_bytes(frame[1:5], "big")
            )
            if deprecated := getattr(self._struct, "DEPRECATED", None):
                log.warning(
                    "%s, which is published to %s, is deprecated since %s; publish %s instead",
                    self._struct.__name__,
                    self.topic,
                    *deprecated,
                )
        return write

    def home(self, key: bytes) -> Target:
        """Return the topic and the partition of a key."""
        home = self.homes.get(key)
        if home is None:
            if len(self.homes) > 100_000:
                self.homes.clear()  # the keys of today need not be those of yesterday
            home = self.homes[key] = (self.topic, partition_for(key, self.partitions))
        return home

    def publish(
        self,
        fact: Any,
        topic: str,
        partition: int,
        record: Any,
        index: int | str,
        event: Any,
        key: bytes | None = None,
    ) -> tuple[Target, Outgoing]:
        """Return a fact as a record: see ``Publisher.publish``."""
        event_id = fact.event_id or derived_id(topic, partition, record.offset, index)
        if key is None:
            key = self.key(fact).encode()
        value = self.encode(fact, event_id)
        write_headers = self._write_headers or self.headers(value)
        cause = record.headers
        caused_by = getattr(event, "event_id", "")
        headers = write_headers(
            event_id,
            fact.timestamp,
            key,
            fact.tenant_id,
            fact.event_type if self.typed else "",
            correlation_of(event, cause) or caused_by,
            caused_by,
            self._trace(cause, topic, partition, record.offset) if cause else (),
        )
        return self.homes.get(key) or self.home(key), (key, value, headers, record.timestamp)


class Publisher:
    """Publishes facts for one worker.

    Attributes:
        prepared: what publishes a record type, by the type.
    """

    def __init__(
        self, index: Index, codec: Codec, partitions: int, source: str, trace: Continue = passed_on
    ) -> None:
        """Prepare the outputs of ``index``.

        Args:
            partitions: number of partitions of every topic.
            source: ``ce_source`` of everything published.
            trace: what continues the traces of its causes.
        """
        self.prepared = {
            event: Prepared(output, codec, partitions, source, trace)
            for event, output in index.outputs.items()
        }
        self._commands = {
            (route.event, route.topic.name): Prepared(
                Output(route.event, route.topic, route.key), codec, 1, source
            )
            for route in index.routes
        }

    def publish(
        self,
        fact: Any,
        topic: str,
        partition: int,
        record: Any,
        index: int | str,
        event: Any,
        key: bytes | None = None,
    ) -> tuple[Target, Outgoing] | None:
        """Return a fact as a record, or None where facts of its type are not published.

        Args:
            fact: the fact; an empty ``event_id`` is filled in.
            topic, partition, record: what it answers.
            index: which of the answers it is.
            event: the decoded cause, where it could be decoded.
            key: overrides the key that the output's row names.
        """
        prepared = self.prepared.get(type(fact))
        if prepared is None:
            return None
        return prepared.publish(fact, topic, partition, record, index, event, key)

    def command(self, command: Any, topic: str, key: bytes, name: bytes, due_ms: int) -> Outgoing:
        """Return the command of a due record, under its own id or one that is the same whenever it is sent."""
        prepared = self._commands[type(command), topic]
        event_id = command.event_id or derived_id(f"{topic}/{key.decode()}", 0, due_ms, name.decode())
        value = prepared.encode(command, event_id)
        headers = prepared.headers(value)(event_id, command.timestamp, key, command.tenant_id)
        return key, value, headers, int(datetime.now(UTC).timestamp() * 1000)


def correlation_of(event: Any, headers: Headers) -> str | None:
    """Return what an event has in common with all that belongs to it, by its envelope or its record's headers."""
    envelope = getattr(event, "envelope", None)
    if envelope is not None and envelope.correlation_id:
        return str(envelope.correlation_id)
    return header(headers, "ce_correlationid") if headers else None
