"""The first contact with the brokers: which topics there are, or why nobody lets us in.

librdkafka takes a refused login and an untrusted certificate for passing troubles and tries again until the time is
up, and what it then reports is the time. So its errors are listened to: what no further try can change ends the
waiting, with its cause.
"""

from __future__ import annotations

import re
import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from streams.settings import Settings

FIRST_TRY_S = 0.5
"""Longer than a broker keeps a refused login waiting."""

LOGIN = "check SLUICE_SASL_MECHANISM, SLUICE_SASL_USERNAME and SLUICE_SASL_PASSWORD"
TRUST = "set SLUICE_KAFKA_CA to the PEM file of the authority that signed its certificate"
IDENTITY = "set SLUICE_KAFKA_CERT and SLUICE_KAFKA_KEY to a certificate that it trusts"
START = (
    "start one with `sluice up`, or set SLUICE_BOOTSTRAP_SERVERS, and SLUICE_TLS and SLUICE_SASL_* as it asks"
)


class BrokerError(Exception):
    """The brokers did not answer.

    Attributes:
        cause: what is wrong.
        remedy: what to do about it.
    """

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}; {remedy}")
        self.cause = cause
        self.remedy = remedy


class BrokerUnreachable(BrokerError):
    """No answer. Later there may be one."""


class BrokerRefused(BrokerError):
    """They refuse our login or certificate, or we theirs. Asking again changes nothing."""


def find_topics(settings: Settings, seconds: float) -> dict[str, Any]:
    """Return what the brokers know of each topic, by name (confluent_kafka's ``TopicMetadata``).

    Args:
        settings: addresses, login and certificates.
        seconds: how long to wait for brokers that do not answer.

    Raises:
        BrokerRefused: login or certificates do not do; as soon as that is known.
        BrokerUnreachable: no answer in time.
    """
    servers = settings.bootstrap_servers
    heard: list[KafkaError] = []
    # No log lines of its own: they come with every try, and the error below says it once.
    quiet: dict[str, Any] = {"log_level": 0, "error_cb": heard.append}
    client = AdminClient(settings.librdkafka_config() | quiet)
    deadline, patience = time.monotonic() + seconds, FIRST_TRY_S
    while True:
        left = max(0.1, deadline - time.monotonic())
        try:
            return dict(client.list_topics(timeout=min(patience, left)).topics)
        except KafkaException as error:
            client.poll(0)  # this hands over what went wrong meanwhile
            for each in heard:
                raise_refusal(each, servers)
            if left <= patience:
                reason = _reason(heard[0] if heard else error.args[0])
                raise BrokerUnreachable(f"no broker answers at {servers} ({reason})", START) from error
            patience *= 2  # a slow broker gets the time it needs, and a refusal is heard soon


def raise_refusal(error: KafkaError, servers: str) -> None:
    """Raise BrokerRefused if no further try can change this error of librdkafka's."""
    reason = _reason(error)
    if error.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001 its only name
        raise BrokerRefused(f"the broker at {servers} refuses the login ({reason})", LOGIN)
    if "certificate verify failed" in reason:
        raise BrokerRefused(f"the certificate of the broker at {servers} is not trusted ({reason})", TRUST)
    # With TLS 1.3 a server refuses the client's certificate after the handshake, so this comes as a broken connection.
    if re.search(r"alert (\w+ )*(certificate|unknown ca)", reason):
        raise BrokerRefused(f"the broker at {servers} asks for another certificate ({reason})", IDENTITY)


def _reason(error: KafkaError) -> str:
    return re.sub(r" \(after \d+ms in state \w+.*\)$", "", error.str())
