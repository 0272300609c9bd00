"""Who may do what: bearer tokens in front of every view and command, and where the web port may be bound.

``web_token`` is the operator's and may do everything. A token of ``web_tenant_tokens`` reads the data of one
tenant and gives its commands, and nothing about the others or the worker. Views show users' data, so without
any token they are for this machine only.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from streams.failures import FatalFailure
from streams.settings import Settings
from streams.web_errors import Forbidden, Handler, Unauthenticated, route_of

HEALTH_PATHS = ("/health/live", "/health/ready")
"""Whatever starts and stops workers asks these, and has no token; they show no data of users."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        tenant: the only tenant whose data may be read and changed; None may do everything.
    """

    tenant: str | None = None

    def may_read(self, tenant: str) -> None:
        """Check a tenant.

        Raises:
            Forbidden: its data is not for this caller.
        """
        if self.tenant is not None and tenant != self.tenant:
            raise Forbidden("this token is another tenant's; use a token of the tenant, or the operator's")

    def may_operate(self) -> None:
        """Check what is about the worker and not about a tenant.

        Raises:
            Forbidden: only the operator's token reads it.
        """
        if self.tenant is not None:
            raise Forbidden("a tenant's token does not read this; use the operator's, SLUICE_WEB_TOKEN")

    def may_command(self, tenant: str, *, operator: bool) -> None:
        """Check a command.

        Args:
            tenant: whose data it changes.
            operator: whether it is the operator's, such as a tenant's quota.

        Raises:
            Forbidden: it is not this caller's to give.
        """
        if operator and self.tenant is not None:
            raise Forbidden(
                "a tenant's token does not give this command; use the operator's, SLUICE_WEB_TOKEN"
            )
        self.may_read(tenant)


CALLER = web.RequestKey("caller", Caller)


class Doorkeeper:
    """Knows the tokens, and lets nobody in without one where there are any.

    Without tokens it asks for the worker's own name instead: a page in somebody's browser can make its own name
    point to this machine, and would read the views as if it came from here (DNS rebinding).
    """

    def __init__(self, settings: Settings) -> None:
        self._any_host = settings.web_allow_open
        self._hosts = {settings.web_host.lower(), settings.advertised_host.lower()}
        self._tokens: list[tuple[bytes, Caller]] = []
        if settings.web_token is not None:
            self._tokens.append((settings.web_token.get_secret_value().encode(), Caller()))
        for token, tenant in settings.web_tenant_tokens.items():
            self._tokens.append((token.encode(), Caller(tenant)))

    @property
    def guarded(self) -> bool:
        """Whether a token is asked for."""
        return bool(self._tokens)

    def identify(self, authorization: str) -> Caller:
        """Return who sent an Authorization header.

        Raises:
            Unauthenticated: there are tokens, and this is none of them.
        """
        if not self._tokens:
            return Caller()
        scheme, _, given = authorization.partition(" ")
        token = given.strip().encode(errors="surrogateescape")
        found: Caller | None = None
        for known, caller in self._tokens:  # all of them: the time tells nothing about which one came close
            if hmac.compare_digest(known, token):
                found = caller
        if found is None or scheme.lower() != "bearer":
            raise Unauthenticated("send the worker's token: `Authorization: Bearer <SLUICE_WEB_TOKEN>`")
        return found

    def admit(self, request: web.Request) -> Caller:
        """Return who sent a request.

        Raises:
            Unauthenticated: as in ``identify``.
            Forbidden: there are no tokens, and the request names another host than this worker.
        """
        caller = self.identify(request.headers.get("Authorization", ""))
        host = (request.url.host or "").lower()
        if not (self.guarded or self._any_host or is_loopback(host) or host in self._hosts):
            raise Forbidden("this is not the worker's name; use its address, or set SLUICE_WEB_TOKEN")
        return caller

    def middleware(self, open_paths: Collection[str] = HEALTH_PATHS) -> Middleware:
        """Return the aiohttp middleware that identifies who asks, before any view sees the request.

        Args:
            open_paths: what needs no token, because it shows no data of users.
        """

        @web.middleware
        async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
            if route_of(request) not in open_paths:
                request[CALLER] = self.admit(request)
            return await handler(request)

        return identify


def check_origin(request: web.Request) -> None:
    """Refuse what a page of another site sends: browsers tell whose page it is, and other programs say nothing.

    Raises:
        Forbidden: it is another site's.
    """
    origin = request.headers.get("Origin")
    here = request.headers.get("Host", "")
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none") or (
        origin is not None and urlsplit(origin).netloc.lower() != here.lower()
    ):
        raise Forbidden("this was sent by a page of another site; only the worker's own pages may")


def check_binding(settings: Settings) -> None:
    """Refuse to show users' data to the network without a token, and to let anybody there break things.

    Raises:
        FatalFailure: with what to set.
    """
    if settings.demo and not is_loopback(settings.web_host):
        raise FatalFailure(
            f"SLUICE_DEMO lets whoever looks at the console break things, and SLUICE_WEB_HOST={settings.web_host} is "
            "open to the network. Bind to 127.0.0.1, or leave out SLUICE_DEMO"
        )
    tokens = settings.web_token is not None or bool(settings.web_tenant_tokens)
    if is_loopback(settings.web_host) or tokens or settings.web_allow_open:
        return
    raise FatalFailure(
        f"SLUICE_WEB_HOST={settings.web_host} would show every tenant's usage to the network. Set "
        "SLUICE_WEB_TOKEN, bind to 127.0.0.1, or accept it with SLUICE_WEB_ALLOW_OPEN=true"
    )


def is_loopback(host: str) -> bool:
    """Return whether a bind address is for this machine only; of names, localhost alone counts."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
