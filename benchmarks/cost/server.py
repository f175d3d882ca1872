"""A cheap server in a process of its own: answers made before, sent as fast as asyncio can.

Prints its port.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable

from . import canned

_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_held: dict[str, list[Callable[[], None]]] = {}
_connections = 0


class Connection(asyncio.Protocol):
    """One connection, kept alive; requests come one after the other."""

    def __init__(self) -> None:
        self.received = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        global _connections
        _connections += 1
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer when the request is whole."""
        self.received += data
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        length = _content_length(head)
        if len(rest) >= length:
            self.received = rest[length:]
            self._request(head.split(b" ", 2)[1].decode(), rest[:length])

    def _request(self, path: str, body: bytes) -> None:
        segment, _, route = path.lstrip("/").partition("/")
        asked = canned.options(segment)

        def answer() -> None:
            self._answer(route, asked, body)

        if asked.hold:
            held = _held.setdefault(segment, [])
            held.append(answer)
            if len(held) < asked.hold:
                return
            for one in _held.pop(segment):
                asyncio.get_running_loop().call_later(asked.lat / 1000, one)
        elif asked.lat:
            asyncio.get_running_loop().call_later(asked.lat / 1000, answer)
        else:
            answer()

    def _answer(self, route: str, asked: canned.Options, body: bytes) -> None:
        if route.endswith("/chat/completions"):
            if b'"stream":true' in body or b'"stream": true' in body:
                writes = canned.stream(
                    asked, b'include_usage":true' in body or b'include_usage": true' in body
                )
                self._write(writes, 0, asked.gap / 1e6, time.monotonic())
            else:
                self.transport.write(canned.chat())
        elif route.endswith("/embeddings"):
            self.transport.write(canned.embeddings(asked.batch, asked.dims, b"base64" in body))
        elif route.endswith("stats"):
            self.transport.write(canned.document(b'{"connections":%d}' % _connections))
        else:
            self.transport.write(_NOT_FOUND)

    def _write(self, writes: list[bytes], place: int, gap: float, due: float) -> None:
        """One write a turn of the loop, so that streams of other connections take turns."""
        if self.transport.is_closing():
            return
        self.transport.write(writes[place])
        if place + 1 == len(writes):
            return
        loop, due = asyncio.get_running_loop(), max(due + gap, time.monotonic())
        if gap >= 0.002:
            loop.call_at(due, self._write, writes, place + 1, gap, due)
            return
        if gap:  # the loop's own timers are too coarse
            time.sleep(max(0.0, due - time.monotonic()))
        loop.call_soon(self._write, writes, place + 1, gap, due)


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def serve() -> None:
    """Listen on a free port of loopback until the process is ended."""
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(sys.argv[1])})
    asyncio.run(serve())
