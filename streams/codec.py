"""Kafka values to structs and back: Confluent framing around Avro (contracts 3.0, field study 1.1).

A frame is byte 0, the writer's schema id in four bytes (big-endian), and the Avro body. The writer's schema
is resolved to ours, the record of ``avro/`` with the same full name, once per id; after that a value costs
one call of a compiled reader. No value, whatever its bytes, raises or disturbs its neighbours.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from fastavro import parse_schema, schemaless_reader

from streams.avro_careful import Unencodable, write_carefully
from streams.avro_reader import Unsupported, compile_reader
from streams.avro_writer import compile_writer
from streams.events import RECORDS
from streams.registry import Registry, RegistryUnreachable, SchemaNotFound, some_at_once
from streams.schemas import Contract, Node, contracts, qualify

__all__ = ["Codec", "NeedsSchema", "Undecodable", "Unencodable"]

log = logging.getLogger(__name__)

Record = msgspec.Struct


class Undecodable(msgspec.Struct, frozen=True):
    """A value that gave no record.

    Attributes:
        code: NULL_VALUE, NOT_FRAMED, UNKNOWN_SCHEMA_ID, UNKNOWN_RECORD or UNDECODABLE, all of which are
            poison, or TEMPORARY_FAILURE, when the registry could not be asked.
        message: the cause; holds nothing of the value.
        retryable: whether decoding later may go better.
        schema_id: the id in the frame, where there is one.
    """

    code: str
    message: str
    retryable: bool = False
    schema_id: int | None = None


class NeedsSchema(msgspec.Struct, frozen=True):
    """A value whose schema has to be fetched first: await ``Codec.resolve`` and decode it again."""

    schema_id: int


Decoded = Any
"""A record, ``Undecodable`` or ``NeedsSchema``."""
Function = Callable[[bytes], Any]
Encoder = Callable[..., bytes]
"""``(record, event_id=None) -> frame``"""


class General:
    """Reads with fastavro, at a third of the speed, a pair of schemas that no reader can be compiled for."""

    def __init__(self, written: Any, contract: Contract, struct: type[Record]) -> None:
        self.written = parse_schema(written)
        self.wanted = parse_schema(contract.schema)
        self.struct = struct

    def read(self, frame: bytes) -> Record:
        """Return the record, or raise whatever fastavro or msgspec raise."""
        stream = io.BytesIO(frame)
        stream.seek(5)
        found = schemaless_reader(stream, self.written, self.wanted)
        if stream.tell() != len(frame):
            raise ValueError("bytes are left over")
        return msgspec.convert(found, self.struct)


class Codec:
    """Decodes and encodes with the schemas of one registry.

    Args:
        registry: where schemas and their ids come from.
        known: our contracts by full name; those of ``avro/`` unless given.
        structs: the struct of every record in ``known``; those of ``streams.events`` unless given.
    """

    def __init__(
        self,
        registry: Registry,
        known: Mapping[str, Contract] | None = None,
        structs: Mapping[str, type[Record]] | None = None,
    ) -> None:
        self._registry = registry
        self._contracts = contracts() if known is None else known
        self._structs = RECORDS if structs is None else structs
        self._fast: dict[bytes, Function] = {}
        self._careful: dict[int, Function | Undecodable] = {}
        self._encoders: dict[tuple[str, type], Encoder] = {}

    async def prepare(self, pairs: Iterable[tuple[str, type]]) -> None:
        """Look up the ids of everything that will be encoded: (topic, record type). Once, at start.

        Raises:
            SchemaNotFound: a schema is not registered for its topic.
            RegistryUnreachable: neither the registry nor the local cache file knows it.
            RegistryRefused: the registry does not accept our credentials.
        """
        rows = [(topic, struct, self._contracts[name_of(struct)]) for topic, struct in dict.fromkeys(pairs)]
        asked = [(f"{topic}-{contract.name}", contract.text) for topic, _, contract in rows]
        # One alone at first: a registry that does not let us in need not refuse hundreds of logins.
        with self._registry.saved_once():
            ids = [await self._registry.id_of(*each) for each in asked[:1]]
            ids += await some_at_once(self._registry.id_of(*each) for each in asked[1:])
        for (topic, struct, contract), schema_id in zip(rows, ids, strict=True):
            self._encoders[topic, struct] = encoder_for(contract, schema_id)

    def knows(self, topic: str, struct: type) -> bool:
        """Return whether a pair was prepared."""
        return (topic, struct) in self._encoders

    def schema_of(self, struct: type) -> Node:
        """Return our schema of a struct's record."""
        return self._contracts[name_of(struct)].schema

    def decode_batch(self, values: Sequence[bytes | None]) -> list[Decoded]:
        """Return what each value holds, in the same order. Never raises for what is in a value."""
        out: list[Decoded] = []
        append, fast = out.append, self._fast
        for value in values:
            try:
                append(fast[value[:5]](value))  # type: ignore[index, arg-type]
            except Exception:
                # Whatever the fast reader trips over, the careful one decides whether the value is good.
                append(self._decode_carefully(value))
        return out

    def decode(self, value: bytes | None) -> Decoded:
        """Return what one value holds; in a loop use ``decode_batch``."""
        return self.decode_batch((value,))[0]

    async def learn_versions(self, pairs: Iterable[tuple[str, type]]) -> None:
        """Get to know all versions under which the records of (topic, record type) may have been written.

        A table's records are decoded in the middle of a rule, where nobody can wait for the registry. Ids of versions
        that it knew before, from the local cache file, need no registry; so one that is down is no error.
        """
        subjects = [
            f"{topic}-{self._contracts[name_of(struct)].name}" for topic, struct in dict.fromkeys(pairs)
        ]
        try:
            with self._registry.saved_once():
                await some_at_once(self._registry.learn_versions(subject) for subject in subjects)
        except RegistryUnreachable as error:
            log.info("%s; earlier versions of state are known as far as the cache file has them", error)

    async def resolve(self, ids: Iterable[int]) -> None:
        """Fetch schemas by id, so that values which gave ``NeedsSchema`` can be decoded again.

        Decoding them then gives the record, or ``Undecodable`` with UNKNOWN_SCHEMA_ID where the registry does
        not have the id, or with TEMPORARY_FAILURE for about a second where it could not be asked.
        """
        for schema_id in sorted(set(ids)):
            await self._registry.fetch(schema_id)

    def encode(self, record: Record, topic: str, event_id: str | None = None) -> bytes:
        """Return the frame of a record for a topic, or for a table's changelog.

        Args:
            record: an event or state record.
            topic: the topic, which was prepared together with the record's type.
            event_id: written in place of the record's own ``event_id``.

        Raises:
            Unencodable: a value does not fit the schema, or (topic, type) was not prepared.
        """
        return self.encoder(topic, type(record))(record, event_id)

    def encoder(self, topic: str, struct: type) -> Encoder:
        """Return what ``encode`` calls for one pair: ``(record, event_id=None) -> frame``.

        Raises:
            Unencodable: the pair was not prepared.
        """
        encoder = self._encoders.get((topic, struct))
        if encoder is None:
            raise Unencodable(
                f"{struct.__name__} is not prepared for {topic}; list the record with the topic in "
                "streams/topics.py and run `sluice setup`"
            )
        return encoder

    def _decode_carefully(self, value: bytes | None) -> Decoded:
        if value is None:
            return Undecodable(
                "NULL_VALUE", "the record has no value; a tombstone means nothing on this topic"
            )
        if len(value) < 5 or value[0] != 0:
            return Undecodable("NOT_FRAMED", unframed(value))
        schema_id = int.from_bytes(value[1:5], "big")
        reader = self._careful.get(schema_id) or self._reader_of(schema_id)
        if not callable(reader):
            return reader
        try:
            return reader(value)
        except Exception as error:
            # Malformed bytes raise many kinds of errors, some of fastavro's; none says more.
            cause = f"the body is not what schema {schema_id} says ({type(error).__name__})"
            return Undecodable("UNDECODABLE", cause, schema_id=schema_id)

    def _reader_of(self, schema_id: int) -> Function | Undecodable | NeedsSchema:
        """Return what decodes values of an id met for the first time, or what stands in for them."""
        text = self._registry.known(schema_id)
        if text is None:
            verdict = self._registry.verdict(schema_id)
            if verdict is None:
                return NeedsSchema(schema_id)
            if isinstance(verdict, SchemaNotFound):
                return Undecodable("UNKNOWN_SCHEMA_ID", str(verdict), schema_id=schema_id)
            return Undecodable("TEMPORARY_FAILURE", str(verdict), retryable=True, schema_id=schema_id)
        reader = self._compile(schema_id, text)
        self._careful[schema_id] = reader
        return reader

    def _compile(self, schema_id: int, text: str) -> Function | Undecodable:
        try:
            parsed = json.loads(text)
            written = qualify(parsed, "")
            name = written["name"]
        except (ValueError, LookupError, TypeError):
            return Undecodable("UNKNOWN_RECORD", f"schema {schema_id} is no Avro record", schema_id=schema_id)
        contract = self._contracts.get(name)
        if contract is None or name not in self._structs:
            message = f"schema {schema_id} is of record {name}, which is not in avro/"
            return Undecodable("UNKNOWN_RECORD", message, schema_id=schema_id)
        if deprecated := contract.deprecated:
            log.warning(
                "%s still arrives (schema %d) and is deprecated since %s; its producers should send %s",
                name,
                schema_id,
                deprecated.since,
                deprecated.successor,
            )
        try:
            reader = compile_reader(written, contract.schema, self._structs)
        except Unsupported:
            return general(schema_id, parsed, contract, self._structs[name])
        self._fast[b"\0" + schema_id.to_bytes(4, "big")] = reader.fast
        return reader.careful


def general(schema_id: int, written: Any, contract: Contract, struct: type[Record]) -> Function | Undecodable:
    """Return the reader with fastavro of a schema, or what stands in for values of one that is no schema."""
    try:
        return General(written, contract, struct).read
    except Exception as error:
        message = f"schema {schema_id} is not valid Avro ({type(error).__name__})"
        return Undecodable("UNDECODABLE", message, schema_id=schema_id)


def unframed(value: bytes) -> str:
    """Return why a value is not a frame."""
    if len(value) < 5:
        return f"a value of {len(value)} bytes is too short for a frame; use a Confluent Avro serializer"
    if value[0] == 1:
        return "the frame holds a schema GUID (magic byte 1); configure the producer to write schema ids"
    return (
        f"the first byte is {value[0]} and not 0; use a Confluent Avro serializer with the id before the body"
    )


def name_of(struct: type) -> str:
    """Return the full name of a generated struct's record."""
    name: str = struct.RECORD  # type: ignore[attr-defined]
    return name


def encoder_for(contract: Contract, schema_id: int) -> Encoder:
    """Return the encoder of one record type under one schema id."""
    head = b"\0" + schema_id.to_bytes(4, "big")

    def careful(record: Any, event_id: str | None) -> bytes:
        # The compiled writer takes what is common, this one the rest, or it names the wrong field.
        if event_id is not None:
            record = msgspec.structs.replace(record, event_id=event_id)
        return head + write_carefully(contract.schema, record)

    return compile_writer(contract.schema, head, careful)
