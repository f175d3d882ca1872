"""A server's end of a connection, to the byte: in no, one or two layers of TLS,
and what carries an answer may be cut anywhere.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Sequence

TUNNELLED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class End:
    """``layers`` are the contexts of TLS, the outermost first;
    with two, that one is a proxy's, which is asked for a tunnel.
    """

    def __init__(
        self,
        connection: socket.socket,
        layers: Sequence[ssl.SSLContext] = (),
        asked: Callable[[str], object] = lambda word: None,
    ) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._asked = asked
        self._layers: list[tuple[ssl.MemoryBIO, ssl.MemoryBIO, ssl.SSLObject]] = []
        for context in layers:
            if self._layers:
                self._head()
                self.send(TUNNELLED)
            self._shake_hands(context)

    def _shake_hands(self, context: ssl.SSLContext) -> None:
        came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(came, goes, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.send(goes.read())
                came.write(self.read())
        self.send(goes.read())
        self._layers.append((came, goes, tls))

    def read(self, layer: int | None = None) -> bytes:
        """What came, out of all layers of TLS unless told otherwise;
        ConnectionResetError at its end.
        """
        layer = len(self._layers) if layer is None else layer
        data = self._decrypted(layer) if layer else self._connection.recv(65536)
        if not data:
            raise ConnectionResetError
        return data

    def _decrypted(self, layer: int) -> bytes:
        came, _, tls = self._layers[layer - 1]
        while True:
            try:
                return tls.read(65536)
            except ssl.SSLWantReadError:
                came.write(self.read(layer - 1))

    def _head(self) -> tuple[str, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.read()
        head, _, rest = data.partition(b"\r\n\r\n")
        return head.decode("latin-1").lower(), rest

    def request(self) -> str:
        """Read a request, and tell of it; gives the text of its first message,
        or "" if it has no body.
        """
        head, body = self._head()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
        while len(body) < length:
            body += self.read()
        word = str(json.loads(body)["messages"][0]["content"]) if body else ""
        self._asked(word)
        return word

    def sealed(self, data: bytes, to: int = 0, of: int | None = None) -> bytes:
        """The bytes inside ``to`` layers of TLS that carry these,
        which are inside ``of`` (all of them unless given).
        """
        for _, goes, tls in reversed(self._layers[to:of]):
            tls.write(data)
            data = goes.read()
        return data

    def send(self, data: bytes, of: int | None = None) -> None:
        """Send bytes that are inside ``of`` layers (all of them unless given), in one piece."""
        if data:
            self._connection.sendall(self.sealed(data, of=of))

    def answer(self, answer: Callable[[str], bytes]) -> None:
        """Answer whatever is asked, until the client is gone."""
        while True:
            self.send(answer(self.request()))
