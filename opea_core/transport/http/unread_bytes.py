"""Whether anything has come on a kept connection that nobody asked for.

Bytes behind an answer would be taken for the answer to the next request. They may lie in each
layer: the HTTP parser, decrypted in TLS, a part of a record before TLS, the event loop's queue, the
socket. A layer that cannot be asked counts as having some: the connection is then not used again.
"""

from __future__ import annotations

import select
import ssl
from typing import Any

_RECORD_HEAD = 5
"""Bytes before each TLS record: its type, its version, and in the last two its length."""


def behind_answer(connection: Any) -> bool:
    """Whether bytes lie behind the last answer that httpcore's parser took from the stream."""
    while (inner := getattr(connection, "_connection", None)) is not None:
        connection = inner
    state = getattr(connection, "_h11_state", None)
    return state is None or bool(state.trailing_data[0])


def is_readable(sock: Any) -> bool:
    """Whether a socket has bytes or its end; True for one that is closed or cannot be asked."""
    try:
        number = sock.fileno()
        if number < 0:
            return True
        if not hasattr(select, "poll"):  # Windows; and where gevent has taken its place
            return bool(select.select([number], [], [], 0)[0])
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))
    except (AttributeError, OSError, ValueError):  # ValueError: a descriptor too high for select
        return True


def in_stream(stream: Any) -> bool:
    """Whether a sync stream of httpcore has anything unread."""
    incoming = getattr(stream, "_incoming", None)  # of TLS inside the TLS of a proxy
    if incoming is not None and (incoming.pending or stream.ssl_obj.pending()):
        return True
    sock = getattr(stream, "_sock", None)
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    return is_readable(sock)


def in_async_stream(stream: Any) -> bool:
    """Whether an async stream of httpcore over anyio has anything unread."""
    layer: Any = getattr(stream, "_stream", None)
    while hasattr(layer, "_read_bio"):
        if layer._read_bio.pending or layer._ssl_object.pending():
            return True
        layer = layer.transport_stream
    protocol: Any = getattr(layer, "_protocol", None)
    if (
        protocol is None
        or getattr(protocol, "read_queue", True)
        or getattr(protocol, "is_at_eof", False)
        or protocol.exception is not None
    ):
        return True
    return is_readable(layer._raw_socket)


class _Records:
    """Stands before the bytes that asyncio's TLS takes, and knows whether they end inside a record.

    OpenSSL takes the part of a record that is there, and tells nobody.
    """

    __slots__ = ("_bytes", "_head", "_left")

    def __init__(self, incoming: ssl.MemoryBIO) -> None:
        self._bytes = incoming
        self._head = b""
        self._left = 0
        rest = incoming.read()  # after the handshake: whole records were taken
        if rest:
            self.write(rest)

    def write(self, data: Any) -> int:
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
            else:
                step = min(_RECORD_HEAD - len(self._head), len(data) - at)
                self._head += bytes(data[at : at + step])
                if len(self._head) == _RECORD_HEAD:
                    self._left, self._head = int.from_bytes(self._head[3:], "big"), b""
            at += step
        return self._bytes.write(data)

    def write_eof(self) -> None:
        self._bytes.write_eof()

    @property
    def pending(self) -> int:
        return self._bytes.pending

    @property
    def has_some(self) -> bool:
        """Whether anything is left of which nothing was made yet."""
        return bool(self._head or self._left or self._bytes.pending)


def watch(transport: Any) -> None:
    """Count what comes on a loop's new transport, so that ``in_transport`` can tell later."""
    tls: Any = getattr(transport, "_ssl_protocol", None)
    if isinstance(getattr(tls, "_incoming", None), ssl.MemoryBIO):
        tls._incoming = _Records(tls._incoming)


def in_transport(transport: Any) -> bool:
    """Whether an event loop's transport has anything unread.

    TLS of other loops than asyncio's cannot be asked.
    """
    if transport is None or transport.is_closing():
        return True
    layer: Any = transport
    while layer.get_extra_info("ssl_object") is not None:
        tls: Any = getattr(layer, "_ssl_protocol", None)
        incoming = getattr(tls, "_incoming", None)
        if not isinstance(incoming, _Records) or incoming.has_some or tls._sslobj.pending():
            return True
        layer = tls._transport
    return is_readable(transport.get_extra_info("socket"))
