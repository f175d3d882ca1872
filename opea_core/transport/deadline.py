"""Time limits that hold: a network backend that bounds every operation by one moving deadline.

It is what httpcore and httpcore2 take for one: their interfaces are the same. httpx reads its read
timeout once per phase, so drips and keep-alives defeat it. Sync connections get a backend whose
every operation waits at most until ``Line.at``; for async ones a timer shuts the socket down when
``Line.at`` passes. The backends also tell whether a connection was new and whether bytes of the
request were written.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

from opea_core.policy import SECOND
from opea_core.transport.http import unread_bytes
from opea_core.transport.interruptible import look_up

_WRITE_PIECE = 64 * 1024
_LONGEST = 86_400.0  # seconds; the system takes no wait without end
_AT_ONCE = SECOND // 50
_HELD, _EXTENSIONS = SECOND // 50, 3
"""A wait in an event loop that ends so late says that the loop was held, not that nothing came.

So often a connection gets its time again: a loop may be late all the time, and the server dead.
"""
KEEP_ALIVE = tuple(
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),  # seconds; Linux and Windows
        (socket.IPPROTO_TCP, "TCP_KEEPALIVE", 60),  # macOS
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 20),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    )
    if hasattr(socket, name)
)
"""A first token may take minutes.

What stands in between forgets connections that are silent for so long.
"""
_UNASKED = "bytes that nobody asked for were on the connection"


class SocketState:
    """What is known of the connection a call uses, and until when it may wait."""

    __slots__ = (
        "_begun", "_extended", "_guard", "at", "came", "connect_at", "connecting_took", "core",
        "fresh", "own", "pid", "proxied", "socket", "tunnel", "wrote", "wrote_at",
    )  # fmt: skip

    def __init__(self, own: bool = True) -> None:
        self.own = own
        """False for a caller's transport, which does not tell what it wrote."""
        self.at: int | None = None
        self.connect_at: int | None = None
        self.fresh = False
        self.connecting_took = 0
        """What connecting took, in nanoseconds: about one way there and back."""
        self.wrote = False
        self.wrote_at = 0
        self.came = False
        """Whether any byte of an answer came."""
        self.socket: Any = None
        self.core: Any = None
        """``httpcore`` or ``httpcore2``, of whose kind the exceptions on this connection are."""
        self._guard = threading.RLock()
        self.pid = os.getpid()
        self.proxied = self.tunnel = False
        self._begun = self._extended = 0

    def begin(self, connect_at: int | None, at: int | None) -> None:
        """A request starts: nothing is written, and the connection is not new until one is made."""
        self.fresh = self.came = False
        self._begun, self._extended = time.monotonic_ns(), 0
        self.wrote = not self.own
        self.connect_at, self.at = connect_at, at

    def loop_was_held(self, began: int, limit: float | None) -> bool:
        """Whether a wait to connect ended late: then it may take as long again.

        Who starts thousands of calls holds the loop for seconds, in which nobody sees that the
        server took the connection. ``limit`` is what the wait was to take at most, in seconds.
        """
        now = time.monotonic_ns()
        if limit is None or self._extended >= _EXTENSIONS:
            return False
        if now - began - int(limit * SECOND) < _HELD:
            return False
        self._extended += 1
        again = now + int(limit * SECOND)
        self.connect_at = again if self.at is None else min(again, self.at)
        return now < self.connect_at

    def connects(self) -> None:
        """The connection is to be made now: the loop may have been held since the beginning."""
        if self.connect_at is not None and self.connect_at <= time.monotonic_ns():
            self.loop_was_held(self._begun, (self.connect_at - self._begun) / SECOND)

    def connected(self, began: int) -> None:
        """A connection was made."""
        self.connecting_took = time.monotonic_ns() - began

    def writes(self) -> None:
        """The request goes out."""
        if not self.wrote:
            self.wrote, self.wrote_at = True, time.monotonic_ns()

    def was_stale(self, now: int) -> bool:
        """Whether a kept connection was closed before it had the request.

        It broke at once, and no byte came.

        At once is the time that the word of it needs: the server may have closed it while the
        request was on its way.
        """
        if self.fresh or self.came:
            return False
        return (
            not (self.own and self.wrote)
            or now - self.wrote_at < _AT_ONCE + 2 * self.connecting_took
        )

    def shutdown(self) -> None:
        """Break the connection from any thread: whoever waits in it wakes up.

        Not in a forked child.
        """
        if self.pid != os.getpid() or not self._guard.acquire(blocking=False):
            return
        try:
            if self.socket is not None:
                _break(self.socket)
        finally:
            self._guard.release()

    def forget(self) -> None:
        """The socket is about to be closed: nobody shuts it down any more.

        Its descriptor may be another's at once.
        """
        if self.pid == os.getpid():
            with self._guard:
                self.socket = None

    def let_go(self) -> None:
        """In a forked child: close this process's copy of the socket and nothing else.

        The parent goes on using its own.
        """
        real = getattr(self.socket, "_sock", self.socket)  # asyncio hands out a view of it
        if isinstance(real, socket.socket):
            with contextlib.suppress(OSError):
                os.close(real.detach())
        self.socket = None

    def left(self, timeout: float | None = None) -> float | None:
        """Seconds until the deadline; raises ``ReadTimeout`` of ``core`` when it has passed."""
        return _left(self.at, timeout, self.core.ReadTimeout)

    def connect_left(self, timeout: float | None = None) -> float | None:
        """The same for the connecting phase; raises ``ConnectTimeout``."""
        return _left(self.connect_at, timeout, self.core.ConnectTimeout)


def _break(given: Any) -> None:
    """Shut a socket down.

    Event loops hand out what only looks like one, and on Windows a descriptor cannot be copied.
    """
    real = getattr(given, "_sock", given)
    with contextlib.suppress(OSError, ValueError):
        if isinstance(real, socket.socket):
            # Not that of a TLS socket, which would unwrap it under its reader.
            socket.socket.shutdown(real, socket.SHUT_RDWR)
        else:
            with socket.socket(fileno=os.dup(given.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)


def _left(at: int | None, timeout: float | None, passed: type[Exception]) -> float | None:
    if at is None:
        return timeout
    left = (at - time.monotonic_ns()) / SECOND
    if left <= 0:
        raise passed("the deadline passed")
    return min(left, _LONGEST) if timeout is None else min(left, timeout, _LONGEST)


# The timeouts are in the interface; the line bounds what they would.
# ruff: noqa: ARG002, ASYNC109


class DeadlineBackend:
    """A ``NetworkBackend`` that connects within ``connect_at``, over all addresses of the host."""

    def __init__(self, line: SocketState, core: Any) -> None:
        self._line = line
        line.core = core
        self._inner = core.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> _Stream:
        """Try each address in turn; the last failure is raised when none answers."""
        core = self._line.core
        self._line.fresh = True
        try:
            found = look_up(host, port, self._line.connect_left(timeout))
        except TimeoutError as error:
            raise core.ConnectTimeout(f"the name {host} was not found in time") from error
        except (OSError, UnicodeError) as error:
            raise core.ConnectError(str(error)) from error
        failure: Exception = core.ConnectError("the name has no address")
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for tried, address in enumerate(addresses):
            left = self._line.connect_left(timeout)
            # One that drops packets must leave time for the others.
            share = None if left is None else left / (len(addresses) - tried)
            began = time.monotonic_ns()
            try:
                stream = self._inner.connect_tcp(
                    address, port, share, local_address, [*(socket_options or ()), *KEEP_ALIVE]
                )
            except (core.ConnectError, core.ConnectTimeout) as error:
                failure = error
                continue
            self._line.connected(began)
            return _Stream(stream, self._line, self._line.tunnel)
        raise failure


class _Stream:
    """A ``NetworkStream``: head and body of a small request leave in one write.

    What is written waits until something is read.
    """

    def __init__(self, inner: Any, line: SocketState, tunnel: bool = False) -> None:
        self._inner = inner
        self._line = line
        # What a proxy is asked first belongs to connecting.
        self._left = line.connect_left if tunnel else line.left
        self._tunnel = tunnel
        self._unsent = b""
        line.socket = inner.get_extra_info("socket")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unsent:
            # The server may have answered before it closed.
            with contextlib.suppress(self._line.core.WriteError):
                self._flush()
        data: bytes = self._inner.read(max_bytes, self._left(timeout))
        self._line.came = self._line.came or bool(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unsent += buffer
        if len(self._unsent) > _WRITE_PIECE:
            self._flush()

    def _flush(self) -> None:
        if not (self._line.fresh or self._line.wrote) and unread_bytes.in_stream(self._inner):
            raise self._line.core.ReadError(_UNASKED)
        if not self._tunnel:
            self._line.writes()
        data, self._unsent = self._unsent, b""
        for start in range(0, len(data), _WRITE_PIECE):
            self._inner.write(data[start : start + _WRITE_PIECE], self._left())

    def close(self) -> None:
        self._line.forget()
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> _Stream:
        self._line.wrote = False  # what a proxy was told is not the request
        return _Stream(
            self._inner.start_tls(ssl_context, server_hostname, self._line.connect_left(timeout)),
            self._line,
        )

    def get_extra_info(self, info: str) -> Any:
        return (
            unread_bytes.in_stream(self._inner)
            if info == "is_readable"
            else self._inner.get_extra_info(info)
        )


class AsyncDeadlineBackend:
    """An ``AsyncNetworkBackend``; its streams tell the line what happens on them."""

    def __init__(self, line: SocketState, core: Any) -> None:
        self._line = line
        line.core = core
        self._inner = core.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> _AsyncStream:
        """Connect within ``connect_at``."""
        line, options = self._line, [*(socket_options or ()), *KEEP_ALIVE]
        line.fresh = True
        line.connects()
        while True:
            left, began = line.connect_left(timeout), time.monotonic_ns()
            try:
                stream = await self._inner.connect_tcp(host, port, left, local_address, options)
            except line.core.ConnectTimeout:
                if not line.loop_was_held(began, left):
                    raise
                continue
            break
        line.loop_was_held(began, left)  # so that TLS has its time, too
        line.connected(began)
        return _AsyncStream(stream, self._line, self._line.tunnel)


class _AsyncStream:
    def __init__(self, inner: Any, line: SocketState, tunnel: bool = False) -> None:
        self._inner = inner
        self._line = line
        self._tunnel = tunnel
        self._unsent = b""
        line.socket = inner.get_extra_info("socket")

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unsent:
            with contextlib.suppress(self._line.core.WriteError):
                await self._flush()
        data: bytes = await self._inner.read(
            max_bytes, self._line.connect_left() if self._tunnel else None
        )
        self._line.came = self._line.came or bool(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unsent += buffer
        if len(self._unsent) > _WRITE_PIECE:
            await self._flush()

    async def _flush(self) -> None:
        if not (self._line.fresh or self._line.wrote) and unread_bytes.in_async_stream(self._inner):
            raise self._line.core.ReadError(_UNASKED)
        if not self._tunnel:
            self._line.writes()
        self._line.left()  # the timer had no socket to shut down if it passed while connecting
        data, self._unsent = self._unsent, b""
        await self._inner.write(data, None)

    async def aclose(self) -> None:
        self._line.forget()
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> _AsyncStream:
        self._line.wrote = False
        try:
            stream = await self._inner.start_tls(
                ssl_context, server_hostname, self._line.connect_left(timeout)
            )
        except BaseException:
            # Cancelled, it would leave the transport open, which nobody else knows.
            with contextlib.suppress(Exception):
                await self._inner.aclose()
            raise
        return _AsyncStream(stream, self._line)

    def get_extra_info(self, info: str) -> Any:
        return (
            unread_bytes.in_async_stream(self._inner)
            if info == "is_readable"
            else self._inner.get_extra_info(info)
        )
