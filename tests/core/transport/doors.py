"""What stands between a client and the scripted server:
TLS, proxies, ports that answer nothing or nonsense.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Door:
    """A listening socket whose connections are each served by a function in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket, Door], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self.heads: list[str] = []
        """The first line and headers of each request that a proxy was sent."""
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self._serve(connection, self)

    def read_head(self, connection: socket.socket) -> bytes:
        """A request up to its empty line."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionResetError
            data += piece
        self.heads.append(data.decode("latin-1"))
        return data

    def close(self) -> None:
        """End it and every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@contextmanager
def door(serve: Callable[[socket.socket, Door], None]) -> Iterator[Door]:
    """A door that is open meanwhile."""
    it = Door(serve)
    try:
        yield it
    finally:
        it.close()


def join(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until either side ends."""

    def carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=carry, args=(other, one), daemon=True)
    back.start()
    carry(one, other)
    back.join(5)


def _reach(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=5)


def tls_to(origin: str, context: ssl.SSLContext) -> Callable[[socket.socket, Door], None]:
    """Speaks TLS, and hands on to a plain server."""
    target = urlsplit(origin)

    def serve(connection: socket.socket, _: Door) -> None:
        with (
            context.wrap_socket(connection, server_side=True) as inside,
            _reach(target.hostname or "", target.port or 0) as server,
        ):
            _shuttle(inside, server)

    return serve


def _shuttle(inside: ssl.SSLSocket, server: socket.socket) -> None:
    """Carry bytes with one thread: an SSLSocket is not for two."""
    while True:
        if not inside.pending():
            ready, _, _ = select.select([inside, server], [], [], 5)
            if not ready:
                return
        else:
            ready = [inside]
        for source, target in ((inside, server), (server, inside)):
            if source in ready:
                data = source.recv(65536)
                if not data:
                    return
                target.sendall(data)


def proxy(connection: socket.socket, it: Door) -> None:
    """An HTTP proxy: tunnels (CONNECT) and hands requests on."""
    head = it.read_head(connection)
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    if method == "CONNECT":
        host, _, port = target.rpartition(":")
        with _reach(host, int(port)) as server:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            join(connection, server)
    else:
        url = urlsplit(target)
        with _reach(url.hostname or "", url.port or 80) as server:
            server.sendall(
                head.replace(
                    target.encode(), (url.path + (f"?{url.query}" if url.query else "")).encode(), 1
                )
            )
            join(connection, server)


def refusing_proxy(connection: socket.socket, it: Door) -> None:
    """A proxy that wants a password."""
    it.read_head(connection)
    connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")


def plain_http(connection: socket.socket, _: Door) -> None:
    """A plain HTTP server that is spoken to in TLS: it takes the greeting for a bad request."""
    connection.recv(65536)
    connection.sendall(
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )


def silent(connection: socket.socket, _: Door) -> None:
    """Takes everything and says nothing, in TLS or not."""
    while connection.recv(65536):
        pass


def resetting(connection: socket.socket, _: Door) -> None:
    """Resets the connection at the first byte."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that does not take connections and does not refuse them either:
    its backlog is full.
    """
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect(listener.getsockname())
        fillers.append(filler)
    try:
        yield listener.getsockname()[1]
    finally:
        for filler in fillers:
            filler.close()
        listener.close()
