"""A broker and a registry that let nobody in without TLS and a login, with an authority of their own."""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import ClientSession, web
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ops.stack.local import LocalStack, Ports
from ops.stack.processes import free_ports
from ops.stack.registry import API

USER = "meter"
# Each is awkward for a client that puts passwords into other texts: separators, escapes, a quotation.
PLAIN_PASSWORD = "plain:pass%2Fword=1;"
SCRAM_PASSWORD = "scram:pass,word=2%n"
REGISTRY_PASSWORD = "registry:pass%40word@3/"

DAY = timedelta(days=1)


class Authority:
    """A certificate authority; everything it makes lies as PEM files in one folder.

    Attributes:
        certificate: its own, for clients to trust.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._subject, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / "ca.pem"
        self.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Return certificate and key of a server on loopback, or of a client, with this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return paths

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


class Gate:
    """TLS in front of a registry, that asks for a user and a password. Runs in a thread of its own.

    Attributes:
        passed, refused: number of requests with and without the right login.
    """

    def __init__(self, upstream: str, port: int, certificate: Path, key: Path) -> None:
        self.passed = self.refused = 0
        self._upstream, self._port = upstream, port
        login = base64.b64encode(f"{USER}:{REGISTRY_PASSWORD}".encode()).decode()
        self._login = f"Basic {login}"
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate, key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="registry-gate", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._session = ClientSession()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _forward(self, request: web.Request) -> web.Response:
        if not hmac.compare_digest(request.headers.get("Authorization", ""), self._login):
            self.refused += 1
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="registry"'})
        self.passed += 1
        kept = {"Content-Type", "Accept"} & request.headers.keys()
        headers = {name: request.headers[name] for name in kept}
        url = f"{self._upstream}{request.rel_url}"
        async with self._session.request(
            request.method, url, data=await request.read(), headers=headers
        ) as answer:
            body = await answer.read()
            return web.Response(status=answer.status, body=body, content_type=answer.content_type)


class SecureCluster:
    """A broker with a listener for logins over TLS and one for client certificates, and a gate before a registry.

    Args:
        folder: of certificates and data.
        registry: address of a registry that anybody may use.

    Attributes:
        authority: signs the broker's and the gate's certificates; no system trusts it.
        gate: what clients of the registry talk to.
    """

    def __init__(self, folder: Path, registry: str) -> None:
        self.authority = Authority(folder / "authority", "Sluice test authority")
        self._login_port, self._certificate_port, self._gate_port = free_ports(3)
        ports = Ports.free()
        server = self.authority.issue("server")
        self.client = self.authority.issue("client")
        extra = self._listeners(ports) | self._tls(folder / "server-chain.pem", *server)
        self._stack = LocalStack(folder / "stack", ports, kafka_extra=extra)
        self.gate = Gate(registry.removesuffix(API), self._gate_port, *server)

    def __enter__(self) -> Self:
        try:
            self._stack.start_kafka()
            self._add_scram_user()
            self.gate.__enter__()
        except BaseException:
            self._stack.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gate.__exit__(kind, error, trace)
        self._stack.stop()

    @property
    def registry(self) -> dict[str, str]:
        """The settings with which the registry lets a client in."""
        return {
            "registry_url": f"https://127.0.0.1:{self._gate_port}{API}",
            "registry_ca": str(self.authority.certificate),
            "registry_username": USER,
            "registry_password": REGISTRY_PASSWORD,
        }

    def login(self, mechanism: str, password: str) -> dict[str, str]:
        """The settings with which the broker lets a user in."""
        return {
            "bootstrap_servers": f"127.0.0.1:{self._login_port}",
            "kafka_ca": str(self.authority.certificate),
            "sasl_mechanism": mechanism,
            "sasl_username": USER,
            "sasl_password": password,
        }

    def certificate(self) -> dict[str, str]:
        """The settings with which the broker lets the owner of a certificate in."""
        certificate, key = self.client
        return {
            "bootstrap_servers": f"127.0.0.1:{self._certificate_port}",
            "kafka_ca": str(self.authority.certificate),
            "kafka_cert": str(certificate),
            "kafka_key": str(key),
        }

    def secrets(self) -> list[str]:
        """Return every text that no output may hold."""
        passwords = [PLAIN_PASSWORD, SCRAM_PASSWORD, REGISTRY_PASSWORD]
        coded = [base64.b64encode(f"{USER}:{REGISTRY_PASSWORD}".encode()).decode()]
        key_lines = self.client[1].read_text().splitlines()[1:-1]
        return passwords + coded + key_lines

    def _listeners(self, ports: Ports) -> dict[str, object]:
        open_ = {
            "PLAINTEXT": ports.kafka,
            "LOGIN": self._login_port,
            "CERTIFICATE": self._certificate_port,
        }
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in open_.items())
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
        return {
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{ports.controller}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_SSL,CERTIFICATE:SSL"
            ),
            "listener.name.login.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.login.plain.sasl.jaas.config": (
                f'{plain} required user_{USER}="{PLAIN_PASSWORD}";'
            ),
            "listener.name.login.scram-sha-512.sasl.jaas.config": f"{scram} required;",
            "listener.name.certificate.ssl.client.auth": "required",
        }

    def _tls(self, chain: Path, certificate: Path, key: Path) -> dict[str, object]:
        chain.write_text(key.read_text() + certificate.read_text())
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": chain,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.certificate,
        }

    def _add_scram_user(self) -> None:
        admin = AdminClient({"bootstrap.servers": self._stack.bootstrap_servers})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(USER, info, SCRAM_PASSWORD.encode())
        for done in admin.alter_user_scram_credentials([change]).values():
            done.result(10)
