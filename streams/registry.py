"""The schema registry: schemas by id, ids by subject, and what ``sluice setup`` registers (contracts 3.13).

What was once read is kept in memory and in a file, so that a worker starts and goes on while the registry is
down. The file serves only the registry it was written for: ids mean nothing elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka.schema_registry import AsyncSchemaRegistryClient, Schema
from confluent_kafka.schema_registry.error import SchemaRegistryError

from streams.settings import Settings

log = logging.getLogger(__name__)

MISSING_FOR = 30.0
"""Seconds for which an id that the registry does not have is not asked for again."""
AT_ONCE = 32
"""Requests under way together while a whole catalogue is registered."""
UNREACHABLE_FOR = 1.0
"""Seconds for which a registry that did not answer is not asked again."""
HANGING_FOR = 10.0
"""The same for one that did not even refuse in the time that its caller had."""


class RegistryError(Exception):
    """The registry did not do what it was asked; the text says why and what to do."""


class RegistryUnreachable(RegistryError):
    """It did not answer, or not sensibly. Later it may."""


class RegistryRefused(RegistryError):
    """It answered no: credentials, an incompatible schema. Asking again changes nothing."""


class RegistryForbidden(RegistryRefused):
    """It wants another login than ours."""


class RegistryUntrusted(RegistryUnreachable):
    """Its certificate is not signed by an authority we trust, or has run out."""


class SchemaNotFound(RegistryError):
    """It has no such schema."""


def translate(error: Exception, what: str) -> RegistryError:
    """Return our error for one of the client's."""
    if _untrusted(error):
        return RegistryUntrusted(
            f"{what}: the certificate of the schema registry is not trusted ({error}); set SLUICE_REGISTRY_CA to the "
            "PEM file of the authority that signed it"
        )
    if not isinstance(error, SchemaRegistryError):
        cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return RegistryUnreachable(
            f"{what}: the schema registry does not answer ({cause}); start it (`sluice up`) or set "
            "SLUICE_REGISTRY_URL"
        )
    status, text = error.http_status_code, error.error_message
    if status == 404:
        return SchemaNotFound(f"{what}: the schema registry does not have it ({text})")
    if status in (401, 403):
        return RegistryForbidden(
            f"{what}: the schema registry refuses the login with {status}; check SLUICE_REGISTRY_USERNAME and "
            "SLUICE_REGISTRY_PASSWORD"
        )
    if 400 <= status < 500 and status not in (408, 429):
        return RegistryRefused(f"{what}: refused with {status} ({text})")
    return RegistryUnreachable(f"{what}: the schema registry answers {status} ({text}); it may be starting")


def _untrusted(error: BaseException | None) -> bool:
    """Tell whether an error goes back to a certificate: the client's own errors hide it."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def fingerprint(text: str) -> str:
    """Return a short name for a schema's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


async def some_at_once(work: Iterable[Awaitable[Any]], *, return_exceptions: bool = False) -> list[Any]:
    """Return the answers in the order of the questions, like ``asyncio.gather``, with AT_ONCE of them under way."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def limited(each: Awaitable[Any]) -> Any:
        async with limit:
            return await each

    return await asyncio.gather(*(limited(each) for each in work), return_exceptions=return_exceptions)


class Registry:
    """One schema registry and what is remembered of it.

    Args:
        settings: url, credentials and TLS of the registry, and the folder of the cache file.
    """

    def __init__(self, settings: Settings) -> None:
        self.url = settings.registry_url
        self._client = AsyncSchemaRegistryClient(settings.registry_config())
        self._cache = settings.data_dir / "registry-cache.json"
        self._schemas: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self._verdicts: dict[int, tuple[float, RegistryError]] = {}
        self._down: tuple[float, RegistryUnreachable] | None = None
        self._batches = 0
        self._unsaved = False
        self._load()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def known(self, schema_id: int) -> str | None:
        """Return the schema's text where it is remembered; asks nobody."""
        return self._schemas.get(schema_id)

    def verdict(self, schema_id: int) -> RegistryError | None:
        """Return why an id could not be fetched, as long as that holds."""
        until, error = self._verdicts.get(schema_id, (0.0, None))
        return error if time.monotonic() < until else None

    async def fetch(self, schema_id: int) -> None:
        """Ask for a schema by id. Afterwards either ``known`` or ``verdict`` has the answer."""
        if schema_id in self._schemas or self.verdict(schema_id) is not None:
            return
        try:
            found = await self._ask(f"schema id {schema_id}", lambda: self._client.get_schema(schema_id))
        except RegistryError as ours:
            hold = MISSING_FOR if isinstance(ours, SchemaNotFound) else UNREACHABLE_FOR
            self._verdicts[schema_id] = (time.monotonic() + hold, ours)
            return
        self._remember({schema_id: found.schema_str or ""}, {})

    async def id_of(self, subject: str, text: str) -> int:
        """Return the id of a registered schema; from memory when the registry does not answer.

        Raises:
            SchemaNotFound: it is not registered under this subject.
            RegistryUnreachable: no answer, and it is not remembered either.
            RegistryRefused: credentials.
        """
        name, schema = f"{subject} {fingerprint(text)}", Schema(text, "AVRO")
        try:
            found = await self._ask(
                f"subject {subject}", lambda: self._client.lookup_schema(subject, schema, True)
            )
        except RegistryUnreachable:
            if name in self._ids:
                return self._ids[name]
            raise
        except SchemaNotFound as error:
            raise SchemaNotFound(f"{error}; run `sluice setup` to register it") from error
        schema_id = int(found.schema_id or 0)
        if self._ids.get(name, schema_id) != schema_id:
            # The registry was emptied and filled anew: every remembered id is somebody else's now.
            self._schemas, self._ids = {}, {}
        self._remember({schema_id: text}, {name: schema_id})
        return schema_id

    async def ready(self) -> bool:
        """Return whether the registry answers."""
        try:
            await asyncio.wait_for(self._client.get_subjects(), timeout=5)
        except Exception:
            return False
        return True

    async def subjects(self) -> list[str]:
        """Return all subjects in the registry."""
        return sorted(await self._ask("subjects", self._client.get_subjects))

    async def versions(self, subject: str) -> list[str]:
        """Return the texts of all versions under a subject, oldest first. Raises SchemaNotFound."""
        found = await self._all_versions(subject, await self._numbers(subject))
        return [version.schema.schema_str or "" for version in found]

    @contextmanager
    def saved_once(self) -> Iterator[None]:
        """Write what is learnt inside to the cache file at the end, not for each of hundreds of answers."""
        self._batches += 1
        try:
            yield
        finally:
            self._batches -= 1
            self._save()

    async def learn_versions(self, subject: str) -> None:
        """Remember the versions of a subject by their ids, so that what earlier code has written can be read at once.

        The only version of a subject is known already to whoever looks up the id of its text.

        Raises:
            SchemaNotFound: there is no such subject.
            RegistryUnreachable: no answer.
        """
        numbers = await self._numbers(subject)
        for version in await self._all_versions(subject, numbers if len(numbers) > 1 else ()):
            self._remember({int(version.schema_id): version.schema.schema_str or ""}, {})

    async def _numbers(self, subject: str) -> Sequence[int]:
        numbers: Sequence[int] = await self._ask(subject, lambda: self._client.get_versions(subject))
        return numbers

    async def _all_versions(self, subject: str, numbers: Sequence[int]) -> list[Any]:
        def get(number: int) -> Callable[[], Awaitable[Any]]:
            return lambda: self._client.get_version(subject, number)

        return [await self._ask(subject, get(number)) for number in numbers]

    async def level(self, subject: str) -> str | None:
        """Return the compatibility level that a subject has of its own, or None."""
        try:
            return str(await self._ask(subject, lambda: self._client.get_compatibility(subject)))
        except SchemaNotFound:
            return None

    async def fits(self, subject: str, text: str) -> bool:
        """Return whether the registry would take a schema as a subject's next version. Changes nothing."""
        schema = Schema(text, "AVRO")
        try:
            return bool(
                await self._ask(
                    subject, lambda: self._client.test_compatibility_all_versions(subject, schema, True)
                )
            )
        except SchemaNotFound:
            return True  # the subject has no version yet, so there is nothing to be compatible with

    async def check(self, subject: str, text: str, level: str) -> None:
        """Set the subject's compatibility level and check a schema against it, without registering it.

        The level comes first: Apicurio answers 404 to a check on a subject that has none.

        Raises:
            RegistryRefused: the schema is not compatible; the text holds the registry's reasons.
            RegistryUnreachable: no answer.
        """
        await self._set_level(subject, level)
        if not await self.fits(subject, text):
            raise RegistryRefused(
                f"{subject}: the schema is not {level}; add fields with defaults only, or make a new record"
            )

    async def _set_level(self, subject: str, level: str) -> None:
        await self._ask(subject, lambda: self._client.set_compatibility(subject, level))

    async def register(self, subject: str, text: str, level: str) -> int:
        """Check a schema and register it; return its id. Registering again gives the same id.

        Raises:
            RegistryRefused: the schema is not compatible.
            RegistryUnreachable: no answer.
        """
        await self.check(subject, text, level)
        return await self._register(subject, text)

    async def find(self, wanted: Iterable[tuple[str, str, str]]) -> dict[str, int | None]:
        """Return of each subject that exists the id of its row's schema, or None where that is not registered yet.

        Raises:
            RegistryUnreachable: no answer.
        """
        existing = set(await self.subjects())
        asked = [(subject, text) for subject, text, _ in wanted if subject in existing]
        with self.saved_once():
            ids = await some_at_once(self._id_of_registered(*each) for each in asked)
        return {subject: schema_id for (subject, _), schema_id in zip(asked, ids, strict=True)}

    async def _id_of_registered(self, subject: str, text: str) -> int | None:
        try:
            return await self.id_of(subject, text)
        except SchemaNotFound:
            return None

    async def register_all(
        self, wanted: Iterable[tuple[str, str, str]], found: Mapping[str, int | None] | None = None
    ) -> dict[str, int]:
        """Register (subject, text, level) rows, all checked before any; return the ids by subject.

        Args:
            wanted: the rows. Of what is registered, only the level is set.
            found: what ``find`` says of them, where that is known.

        Raises:
            RegistryRefused: one or more are not compatible; the text lists all of them.
            RegistryUnreachable: no answer.
        """
        rows = list(wanted)
        found = await self.find(rows) if found is None else found
        ids = {subject: schema_id for subject, schema_id in found.items() if schema_id is not None}
        new = [(subject, text) for subject, text, _ in rows if subject not in ids]
        checks = [
            self.check(subject, text, level)
            if subject in found and subject not in ids
            else self._set_level(subject, level)
            for subject, text, level in rows
        ]
        answers = await some_at_once(checks, return_exceptions=True)
        failed = [each for each in answers if isinstance(each, BaseException)]
        refused = [str(error) for error in failed if isinstance(error, RegistryRefused)]
        if refused:
            raise RegistryRefused("\n".join(refused))
        if failed:
            raise failed[0]
        with self.saved_once():
            registered = await some_at_once([self._register(*each) for each in new])
        return ids | {subject: made for (subject, _), made in zip(new, registered, strict=True)}

    async def _register(self, subject: str, text: str) -> int:
        schema = Schema(text, "AVRO")
        schema_id = int(await self._ask(subject, lambda: self._client.register_schema(subject, schema, True)))
        self._remember({schema_id: text}, {f"{subject} {fingerprint(text)}": schema_id})
        return schema_id

    async def _ask(self, what: str, question: Callable[[], Awaitable[Any]]) -> Any:
        """Return an answer of the registry's. One that was just down is not asked: tries take their time."""
        if self._down is not None and time.monotonic() < self._down[0]:
            raise type(self._down[1])(str(self._down[1]))
        try:
            answer = await question()
        except asyncio.CancelledError:
            # Whoever asked lost patience: a registry that hangs must not cost everybody that wait again and again.
            self._down = (time.monotonic() + HANGING_FOR, RegistryUnreachable(f"no answer in time ({what})"))
            raise
        except Exception as error:
            ours = translate(error, what)
            if isinstance(ours, RegistryUnreachable):
                if self._down is None:
                    log.info("%s; what is remembered of it is used", ours)
                self._down = (time.monotonic() + UNREACHABLE_FOR, ours)
            raise ours from error
        self._down = None
        return answer

    def _remember(self, schemas: dict[int, str], ids: dict[str, int]) -> None:
        fresh = any(self._schemas.get(k) != v for k, v in schemas.items()) or any(
            self._ids.get(k) != v for k, v in ids.items()
        )
        self._schemas.update(schemas)
        self._ids.update(ids)
        self._unsaved = self._unsaved or fresh
        self._save()

    def _save(self) -> None:
        if self._batches or not self._unsaved:
            return
        self._unsaved = False
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        content = {"url": self.url, "schemas": self._schemas, "ids": self._ids}
        draft = self._cache.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(content), encoding="utf-8")
        draft.replace(self._cache)  # a reader sees the old file or the new one, never half of one

    def _load(self) -> None:
        if not self._cache.exists():
            return
        try:
            content = json.loads(self._cache.read_text(encoding="utf-8"))
            if content["url"] == self.url:
                self._schemas = {int(k): str(v) for k, v in content["schemas"].items()}
                self._ids = {str(k): int(v) for k, v in content["ids"].items()}
        except (ValueError, LookupError, TypeError, AttributeError, OSError):
            return  # only a cache: the registry is asked instead
