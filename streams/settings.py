"""Settings of a worker: ``SLUICE_*`` variables, read once, checked together, never changed afterwards."""

from __future__ import annotations

import difflib
import json
import os
import socket
import ssl
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from streams.failures import POLICIES, RetryPolicy
from streams.settings_senders import SenderSettings

PREFIX = "SLUICE_"
Token = Annotated[str, Field(min_length=1)]
Meter = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
MOST_METERS = 40


class SettingsError(ValueError):
    """One or more settings are wrong; the text lists all of them, each with its variable and no secret."""


class Settings(SenderSettings):
    """What a worker needs to know. Every field is set by ``SLUICE_<NAME>``, those of ``SenderSettings`` too.

    Attributes:
        bootstrap_servers: Kafka brokers, ``host:port`` with commas between.
        tls: encrypt to the brokers; implied by kafka_ca and kafka_cert.
        kafka_ca, kafka_cert, kafka_key: PEM files; without kafka_ca the system's authorities are trusted.
        sasl_mechanism, sasl_username, sasl_password: log in to the brokers.
        registry_url: Schema Registry with Confluent's API.
        registry_username, registry_password: log in to it.
        registry_ca: PEM file of its authority; without it those that come with Python's certifi are trusted.
        app_id: consumer group, and prefix of changelogs. Changing it restarts every table from zero.
        partitions: of every source topic; all tables are co-partitioned by it.
        replication_factor: of topics that ``sluice setup`` creates.
        data_dir: local state and caches, one per worker.
        store: where tables live. Memory is rebuilt from the changelog at every start, rocksdict continues.
        web_host, web_port: where views are served. Loopback unless said otherwise, because they show users'
            data.
        exporter_port: where `sluice exporter` is served, on web_host and with the tokens of the views.
        advertised_url: how other workers reach this one's views.
        web_token: bearer token that every view asks for; without it views are open.
        web_tenant_tokens: JSON object of further tokens, each to the one tenant whose data it reads and changes.
        web_allow_open: bind to the network even without a token.
        demo: let the console break things, as ``sluice demo`` does; only on loopback.
        stall_timeout_s: a partition that has work and does not move for this long fails ``/health/live``.
        group_instance_id: a stable name per worker gives static membership: a restart moves no partitions.
        session_timeout_s: after this long without a heartbeat a worker's partitions are given away.
        unit_records: most records in one unit of work.
        linger_s: age that the first records of a unit reach before it starts, so that more of them meet.
        commit_interval_s: between commits of offsets.
        dedupe_max_ids, dedupe_max_age: how many event ids a partition remembers, and for how long.
        cache_records: decoded state records that a partition keeps.
        retry: name of the retry policy: default, no_retry, aggressive (001) or events (003).
        max_event_bytes: larger events are dead-lettered (OVERSIZED): what follows from an event, its derived
            events and its state, must fit into topics that take 1 MiB.
        park_max_events: events that may wait behind one key before further ones are dead-lettered.
        handler_timeout_s: after this long in one decision the worker gives up (001-14).
        changelog_max_bytes: largest batch of a changelog.
        log_level, log_json: what is logged and in which form.
        metrics: count, and serve what was counted (001-68).
        metrics_meters: meters of usage with series of their own, beside those that every worker knows.
        tracing: address of an OTLP/HTTP receiver of traces; without it there are none.
        tracing_ratio: share of the traces begun here that are recorded; those that others began follow them.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=True)

    bootstrap_servers: str = Field("127.0.0.1:9092", pattern=r"^[^\s,]+:\d+(,[^\s,]+:\d+)*$")
    tls: bool = False
    kafka_ca: Path | None = None
    kafka_cert: Path | None = None
    kafka_key: Path | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None

    registry_url: str = Field("http://127.0.0.1:8081/apis/ccompat/v7", pattern=r"^https?://\S+$")
    registry_username: str | None = None
    registry_password: SecretStr | None = None
    registry_ca: Path | None = None

    app_id: str = Field("sluice", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    partitions: int = Field(4, ge=1, le=10_000)
    replication_factor: int = Field(1, ge=1, le=10)
    data_dir: Path = Path(".sluice")
    store: Literal["memory", "rocksdict"] = "memory"

    web_host: str = "127.0.0.1"
    web_port: int = Field(6066, ge=1, le=65535)
    exporter_port: int = Field(9308, ge=1, le=65535)
    advertised_url: str | None = Field(None, pattern=r"^https?://[^\s/]+/?$")
    web_token: SecretStr | None = Field(None, min_length=1)
    web_tenant_tokens: Annotated[dict[Token, str], NoDecode] = Field({}, repr=False)
    web_allow_open: bool = False
    demo: bool = False
    stall_timeout_s: float = Field(120.0, gt=0)

    group_instance_id: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,100}$")
    session_timeout_s: float = Field(10.0, ge=1, le=1800)
    unit_records: int = Field(4_000, ge=1, le=100_000)
    linger_s: float = Field(0.003, ge=0, le=1)
    commit_interval_s: float = Field(1.0, gt=0, le=60)
    dedupe_max_ids: int = Field(100_000, ge=0, le=10_000_000)
    dedupe_max_age: timedelta = timedelta(hours=1)
    cache_records: int = Field(100_000, ge=1)
    retry: Literal["default", "no_retry", "aggressive", "events"] = "default"
    max_event_bytes: int = Field(512 * 1024, ge=1024)
    park_max_events: int = Field(1_000, ge=1)
    handler_timeout_s: float = Field(30.0, gt=0)
    changelog_max_bytes: int = Field(16 * 1024 * 1024, ge=1024 * 1024)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_json: bool = False
    metrics: bool = True
    metrics_meters: Annotated[tuple[Meter, ...], NoDecode, Field(max_length=MOST_METERS)] = ()
    tracing: str | None = Field(None, pattern=r"^https?://[^\s@]+$")
    tracing_ratio: float = Field(1.0, ge=0, le=1)

    @classmethod
    def read(cls, **overrides: Any) -> Self:
        """Return the settings of the environment, with ``overrides`` in place of variables.

        Raises:
            SettingsError: with every error there is.
        """
        errors = misspelled(os.environ, set(cls.model_fields))
        try:
            settings = cls(**overrides)
        except ValidationError as error:
            errors += [explain(entry) for entry in error.errors(include_input=False, include_url=False)]
        if errors:
            raise SettingsError("\n".join(errors))
        return settings

    @field_validator("web_tenant_tokens", mode="before")
    @classmethod
    def _tokens(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError('not a JSON object such as {"token": "tenant"}') from None

    @field_validator("metrics_meters", mode="before")
    @classmethod
    def _meters(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        return tuple(name.strip() for name in names if name.strip())

    @model_validator(mode="after")
    def _together(self) -> Self:
        wrong = self.sender_errors()
        login = (self.sasl_username, self.sasl_password)
        if self.sasl_mechanism is None and any(login):
            wrong.append("SASL_USERNAME and SASL_PASSWORD need SASL_MECHANISM")
        if self.sasl_mechanism is not None and not all(login):
            wrong.append("SASL_MECHANISM needs SASL_USERNAME and SASL_PASSWORD")
        if (self.kafka_cert is None) != (self.kafka_key is None):
            wrong.append("KAFKA_CERT and KAFKA_KEY belong together")
        if (self.registry_username is None) != (self.registry_password is None):
            wrong.append("REGISTRY_USERNAME and REGISTRY_PASSWORD belong together")
        if reveal(self.web_token) in self.web_tenant_tokens:
            wrong.append("WEB_TENANT_TOKENS must not hold WEB_TOKEN, which reads every tenant's data")
        for name in ("kafka_ca", "kafka_cert", "kafka_key", "registry_ca"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                wrong.append(f"{name.upper()}: there is no file {path}")
            elif path is not None and name.endswith("_ca") and not readable(path):
                wrong.append(f"{name.upper()}: {path} holds no certificates in PEM")
        pair = (self.kafka_cert, self.kafka_key)
        if all(path is not None and path.is_file() for path in pair) and not readable(None, *pair):
            wrong.append("KAFKA_CERT and KAFKA_KEY: not a certificate in PEM and its own key, not encrypted")
        if "@" in urlsplit(self.registry_url).netloc:
            # The address is shown and stored in many places.
            wrong.append("REGISTRY_URL must hold no login; set REGISTRY_USERNAME and REGISTRY_PASSWORD")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def encrypted(self) -> bool:
        """Whether the connection to the brokers is TLS."""
        return self.tls or self.kafka_ca is not None or self.kafka_cert is not None

    @property
    def security_protocol(self) -> str:
        """Kafka's name for the combination of TLS and SASL."""
        if self.sasl_mechanism is not None:
            return "SASL_SSL" if self.encrypted else "SASL_PLAINTEXT"
        return "SSL" if self.encrypted else "PLAINTEXT"

    @property
    def state_dir(self) -> Path:
        """Folder of this worker's tables."""
        return self.data_dir / "state" / (self.group_instance_id or "worker")

    @cached_property
    def worker_name(self) -> str:
        """Who this worker is in changelogs and logs."""
        return f"{self.group_instance_id or socket.gethostname()}:{os.getpid()}"

    @property
    def advertised_host(self) -> str:
        """Host by which other workers reach this one."""
        return (urlsplit(self.advertised_url).hostname if self.advertised_url else None) or self.web_host

    def retry_policy(self) -> RetryPolicy:
        """Return the policy for retryable failures."""
        return POLICIES[self.retry]

    def ssl_context(self) -> ssl.SSLContext:
        """Return the TLS context for the brokers."""
        context = ssl.create_default_context(cafile=str(self.kafka_ca) if self.kafka_ca else None)
        if self.kafka_cert is not None and self.kafka_key is not None:
            context.load_cert_chain(self.kafka_cert, self.kafka_key)
        return context

    def aiokafka_security(self) -> dict[str, Any]:
        """Return the arguments for aiokafka's clients."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self.encrypted:
            options["ssl_context"] = self.ssl_context()
        if self.sasl_mechanism is not None:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = reveal(self.sasl_password)
        return options

    def librdkafka_config(self) -> dict[str, Any]:
        """Return the same for confluent_kafka's clients, with the brokers.

        A producer needs ``partitioner`` ``murmur2_random`` beside it: librdkafka's own default sends keys to other
        partitions than every other client does. It stands not here, because consumers warn of it.
        """
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
        }
        files = {
            "ssl.ca.location": self.kafka_ca,
            "ssl.certificate.location": self.kafka_cert,
            "ssl.key.location": self.kafka_key,
        }
        config |= {name: str(path) for name, path in files.items() if path is not None}
        if self.sasl_mechanism is not None:
            config["sasl.mechanism"] = self.sasl_mechanism
            config["sasl.username"] = self.sasl_username
            config["sasl.password"] = reveal(self.sasl_password)
        return config

    def faust_credentials(self) -> Any:
        """Return the same as Faust's credentials, or None where there are none."""
        from faust.auth import SASLCredentials, SSLCredentials

        context = self.ssl_context() if self.encrypted else None
        if self.sasl_mechanism is not None:
            return SASLCredentials(
                username=self.sasl_username,
                password=reveal(self.sasl_password),
                mechanism=self.sasl_mechanism,
                ssl_context=context,
            )
        return SSLCredentials(context) if context is not None else None

    def registry_config(self) -> dict[str, Any]:
        """Return the properties for confluent_kafka's registry client.

        One short retry: whoever needs a schema retries on its own schedule, and must not wait a minute for an
        answer.
        """
        config: dict[str, Any] = {"url": self.registry_url, "timeout": 10, "max.retries": 1}
        config |= {"retries.wait.ms": 100, "retries.max.wait.ms": 200}
        if self.registry_username is not None:
            config["basic.auth.user.info"] = f"{self.registry_username}:{reveal(self.registry_password)}"
        if self.registry_ca is not None:
            config["ssl.ca.location"] = str(self.registry_ca)
        return config


def reveal(secret: SecretStr | None) -> str | None:
    """Return a secret's text, for the client that needs it."""
    return None if secret is None else secret.get_secret_value()


def readable(authority: Path | None, certificate: Path | None = None, key: Path | None = None) -> bool:
    """Return whether OpenSSL can use PEM files: an authority's, or a certificate with its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if authority is not None:
            context.load_verify_locations(authority)
        if certificate is not None:
            # With a password, even an empty one, nobody is asked for it on the terminal.
            context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError):
        return False
    return True


def explain(entry: Mapping[str, Any]) -> str:
    """Return one of pydantic's errors as the variable, what is wrong with it, and nothing of its value."""
    message = str(entry["msg"]).removeprefix("Value error, ")
    if not entry["loc"]:
        return "; ".join(f"{PREFIX}{part}" for part in message.split("; "))
    return f"{PREFIX}{str(entry['loc'][0]).upper()}: {message}"


def misspelled(environment: Mapping[str, str], fields: set[str]) -> list[str]:
    """Return an error for each variable that is nearly the name of a setting: it would be ignored."""
    known = [PREFIX + name.upper() for name in fields]
    errors = []
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.88)
            errors += [f"{name}: there is no such setting; did you mean {near[0]}?"] if near else []
    return errors
