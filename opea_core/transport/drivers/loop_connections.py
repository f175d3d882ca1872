"""What belongs to one event loop.

Its connections, the time limits of those in use, and the closing of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from opea_core.config import Endpoint
from opea_core.policy import SECOND
from opea_core.transport.deadline import SocketState
from opea_core.transport.http.pool import SWEEP, ConnectionPool, PooledConnection

if TYPE_CHECKING:
    import httpx

AsyncPooledConnection: TypeAlias = "PooledConnection[httpx.AsyncBaseTransport]"
AsyncConnectionPool: TypeAlias = "ConnectionPool[httpx.AsyncBaseTransport]"
MakeTransport: TypeAlias = "Callable[[Endpoint, str | None, SocketState], httpx.AsyncBaseTransport]"


class Timer:
    """Shuts an async connection down when its line's deadline passes.

    It is re-armed lazily, one handle a call.
    """

    __slots__ = ("_at", "_handle", "_line", "_loop", "watching")

    def __init__(self, loop: asyncio.AbstractEventLoop, line: SocketState) -> None:
        self._loop = loop
        self._line = line
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0  # what the handle was made for, as the line counts
        self.watching = False
        """Whether somebody waits in the connection now; between reads of a stream nobody does."""

    def arm(self) -> None:
        """Take the line's deadline; only a deadline that moved forward needs no new handle."""
        self.watching = True
        at = self._line.at
        if at is not None and (self._handle is None or at < self._at):
            self.stop()
            self._at = at
            self._handle = self._loop.call_later((at - time.monotonic_ns()) / SECOND, self._fire)

    def stop(self) -> None:
        """Watch no longer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        if not self.watching:
            return
        if self._line.at is not None and self._line.at <= time.monotonic_ns():
            self._line.shutdown()
        else:
            self.arm()


OPEN_PLACES: set[LoopPlace] = set()
"""Keeps connections out of the garbage collector's hands until their loop has closed them."""


class LoopPlace:
    """What belongs to one event loop: its connections, and the closing of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, make: MakeTransport) -> None:
        self.loop = loop
        self.slots: AsyncConnectionPool = ConnectionPool(make)
        # One for each key function.
        self.key_locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._closing: set[asyncio.Task[None]] = set()
        self._cancelled: list[Callable[[], Awaitable[None]]] = []
        # Broken from outside, to be closed by the loop.
        self._doomed: list[AsyncPooledConnection] = []
        self._guard: AsyncGenerator[None, None] | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._over = (
            False  # the loop is in its last turns: all is closed, and no task would come to its end
        )

    async def open(self, places: dict[asyncio.AbstractEventLoop, LoopPlace]) -> None:
        """Stay until the loop ends.

        ``asyncio.run`` finishes the suspended generator, which closes all.
        """
        self._guard = self._until_the_end(places)
        OPEN_PLACES.add(self)
        await anext(self._guard)

    async def _until_the_end(
        self, places: dict[asyncio.AbstractEventLoop, LoopPlace]
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            places.pop(self.loop, None)
            OPEN_PLACES.discard(self)
            await self.aclose()
            self._over = True

    async def aclose(self) -> None:
        """Break what is in use, close the idle connections, and wait for those being closed."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self.slots.break_busy()
        self._doomed.extend((*self.slots.busy, *self.slots.clear()))
        while self._doomed or self._closing:
            self._close_doomed()
            await asyncio.gather(*self._closing, return_exceptions=True)
        while self._cancelled:
            await _quietly(self._cancelled.pop())

    def break_all(self) -> None:
        """Break the connections in use, and let the loop, if it lives, close the idle ones.

        From any thread.
        """
        self.slots.closed = True
        self.slots.break_busy()
        self._doomed.extend(self.slots.clear())
        for slot in self._doomed:
            slot.line.shutdown()
        try:  # a turn later: no task is begun in a loop that is about to stop for good
            self.loop.call_soon_threadsafe(self.loop.call_soon, self._close_doomed)
        except RuntimeError:  # the loop is closed
            OPEN_PLACES.discard(self)

    def keep(self, slot: AsyncPooledConnection) -> None:
        """Keep a connection for the next call, and look after the kept ones while nobody calls."""
        self.close_soon(self.slots.put(slot))
        if self._sweep is None:
            self._sweep = self.loop.call_later(SWEEP / SECOND, self._swept)

    def _swept(self) -> None:
        self._sweep = None
        if self._over or self.slots.closed:
            return
        self.close_soon(self.slots.sweep())
        if self.slots.kept:
            self._sweep = self.loop.call_later(SWEEP / SECOND, self._swept)

    def _close_doomed(self) -> None:
        doomed, self._doomed = self._doomed, []
        self.close_soon(doomed)

    def close_soon(self, slots: list[AsyncPooledConnection]) -> None:
        """Close connections without making the caller wait."""
        for slot in slots:
            slot.line.shutdown()
            self.soon(slot.transport.aclose)

    def soon(self, close: Callable[[], Awaitable[None]]) -> None:
        """Run a closing function as a task of its own."""
        if not self._over and not self.loop.is_closed():
            task = self.loop.create_task(_quietly(close))
            self._closing.add(task)
            task.add_done_callback(lambda done: self._closed(done, close))

    def _closed(self, task: asyncio.Task[None], close: Callable[[], Awaitable[None]]) -> None:
        self._closing.discard(task)
        if task.cancelled():  # ``asyncio.run`` cancels what is left before it ends the loop
            self._cancelled.append(close)

    def forget(self, slot: AsyncPooledConnection | None, timer: Timer) -> None:
        """A connection was broken from outside the loop: let the loop clean up, if it lives."""
        if slot is not None:
            self._doomed.append(slot)
            self.slots.busy.discard(slot)
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(timer.stop)
            self.loop.call_soon_threadsafe(self._close_doomed)


async def _quietly(close: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(Exception):
        await close()
