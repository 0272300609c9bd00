"""A TCP proxy in front of a registry, to take it away from one worker and give it back."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from ops.stack.processes import free_ports


class Proxy:
    """Forwards connections to the server of a URL while it is open; refuses them, or lets them hang, while not.

    Attributes:
        url: the URL with the proxy's address.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._address = ("127.0.0.1", free_ports(1)[0])
        self.url = urlunsplit(parts._replace(netloc=f"{self._address[0]}:{self._address[1]}"))
        self._server: socket.socket | None = None
        self._links: list[socket.socket] = []
        self._hanging = threading.Event()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Forward connections from now on."""
        self._hanging.clear()
        if self._server is None:
            self._server = socket.create_server(self._address)
            threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections from now on, and cut those there are."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
        self._cut()

    def hang(self) -> None:
        """Take connections from now on and never answer."""
        self._hanging.set()
        self._cut()

    def _cut(self) -> None:
        links, self._links = self._links, []
        for link in links:
            link.close()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            self._links.append(client)
            if self._hanging.is_set():
                continue
            upstream = socket.create_connection(self._target)
            self._links.append(upstream)
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # cut
