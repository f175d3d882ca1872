"""The driver for event loops: performs the effects of a call by awaiting."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import httpx

from opea_core.config import Endpoint
from opea_core.errors import ConfigurationError, OPEAError
from opea_core.flow.call import Answer
from opea_core.flow.effects import Acquire, Broken, FetchKey, Reply, Request, Send
from opea_core.policy import SECOND
from opea_core.policy.dispatcher import Reason, Rejection
from opea_core.policy.endpoint import Grant
from opea_core.transport import keys
from opea_core.transport.deadline import Line
from opea_core.transport.exchange import DRAIN, Exchange
from opea_core.transport.gate import Gate
from opea_core.transport.http import SWEEP, Slot, Slots, async_transport, http_request
from opea_core.transport.running import Running

AsyncSlot = Slot[httpx.AsyncBaseTransport]
AsyncSlots = Slots[httpx.AsyncBaseTransport]
MakeTransport = Callable[[Endpoint, str | None, Line], httpx.AsyncBaseTransport]
AsyncHandle = Callable[[httpx.Request], Awaitable[httpx.Response]]


async def _nothing() -> None:
    return None


async def _no_body() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for data in nothing:
        yield data


class Timer:
    """Shuts an async connection down when its line's deadline passes; re-armed lazily, one handle a call."""

    __slots__ = ("_at", "_handle", "_line", "_loop", "watching")

    def __init__(self, loop: asyncio.AbstractEventLoop, line: Line) -> None:
        self._loop = loop
        self._line = line
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0  # what the handle was made for, as the line counts
        self.watching = False
        """Whether somebody waits in the connection now; between the reads of a stream nobody does."""

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


class AsyncConnection:
    """One exchange, on a connection of ours or (no ``slot``) the caller's."""

    def __init__(self, request: Request, handle: AsyncHandle, place: LoopPlace, slot: AsyncSlot | None) -> None:
        self.exchange = Exchange(request, slot.line if slot else Line(own=False))
        self._request = request
        self._handle = handle
        self._place = place
        self._slot = slot
        self._timer = Timer(place.loop, self.exchange.line)
        self._body: AsyncIterator[bytes] = _no_body()
        self._close_body: Callable[[], Awaitable[None]] = _nothing

    async def run(self) -> Reply | Broken:
        """Send, and read: a stream up to its first content, anything else to its end."""
        outcome = await self._open()
        while outcome is None:
            outcome = await self.read()
            if outcome is None and self.exchange.hands_over:
                return self.exchange.reply(connection=self)
        await self.finish() if self.exchange.can_keep(outcome) else self.discard(outcome)
        return outcome

    async def _open(self) -> Broken | Reply | None:
        exchange = self.exchange
        self._timer.arm()
        try:
            response = await self._handle(http_request(self._request, exchange.timeouts()))
            stream = response.stream
            if not isinstance(stream, httpx.AsyncByteStream):
                raise TypeError("the transport gave an answer whose body cannot be read in this way")
            self._body, self._close_body = aiter(stream), stream.aclose
            exchange.opened(response)
        except OPEAError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, its call ends with an error of ours
            return exchange.failed(error)
        return None

    @staticmethod
    def reader() -> object:
        """Who reads: the task, weakly, as a stream that it drops must not live on with it."""
        task = asyncio.current_task()
        return None if task is None else weakref.ref(task)

    async def read(self) -> Reply | Broken | None:
        """Read once; gives the outcome when nothing more is needed."""
        self.exchange.resume()
        self._timer.arm()
        try:
            data = await anext(self._body, None)
            if not isinstance(data, bytes | None):
                raise TypeError("a body is made of bytes")
        except OPEAError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, its call ends with an error of ours
            return self.exchange.failed(error)
        finally:
            self._timer.watching = False
        return self.exchange.ended() if data is None else self.exchange.take(data)

    async def finish(self) -> None:
        """The answer is whole: keep the connection if the body ends within a moment."""
        try:
            if not self.exchange.over:
                self.exchange.drain()
                self._timer.arm()
                async with asyncio.timeout(DRAIN / SECOND if self._slot is None else None):
                    async for _ in self._body:
                        pass
            await self._close_body()
        except BaseException as error:
            self.discard()
            if not isinstance(error, Exception):
                raise
            return
        self._timer.stop()
        if self._slot is not None:
            self._place.keep(self._slot)

    def discard(self, outcome: Reply | Broken | None = None) -> None:
        """Close the connection; its idle siblings too if the server had closed it meanwhile."""
        self._timer.stop()
        self.exchange.line.shutdown()
        if self._slot is not None:
            stale = isinstance(outcome, Broken) and outcome.reused
            self._place.close_soon(self._place.slots.drop(self._slot, stale))
        else:
            self._place.soon(self._close_body)

    def shutdown(self) -> None:
        """Break the connection from any thread, without waiting."""
        self.exchange.line.shutdown()
        self._place.forget(self._slot, self._timer)


_open_places: set[LoopPlace] = set()
"""Keeps connections out of the garbage collector's hands until their loop has closed them."""


class LoopPlace:
    """What belongs to one event loop: its connections, and the closing of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, make: MakeTransport) -> None:
        self.loop = loop
        self.slots: AsyncSlots = Slots(make)
        self.key_locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)  # by key function
        self._closing: set[asyncio.Task[None]] = set()
        self._cancelled: list[Callable[[], Awaitable[None]]] = []
        self._doomed: list[AsyncSlot] = []  # broken from outside, to be closed by the loop
        self._guard: AsyncGenerator[None, None] | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._over = False  # the loop is in its last turns: all is closed, and no task would come to its end

    async def open(self, places: dict[asyncio.AbstractEventLoop, LoopPlace]) -> None:
        """Stay until the loop ends: ``asyncio.run`` finishes the suspended generator, which closes all."""
        self._guard = self._until_the_end(places)
        _open_places.add(self)
        await anext(self._guard)

    async def _until_the_end(self, places: dict[asyncio.AbstractEventLoop, LoopPlace]) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            places.pop(self.loop, None)
            _open_places.discard(self)
            await self.aclose()
            self._over = True

    async def aclose(self) -> None:
        """Break what is in use, close the idle connections, and wait for those that are being closed."""
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
        """Break the connections in use and let the loop, if it lives, close the idle ones; from any thread."""
        self.slots.closed = True
        self.slots.break_busy()
        self._doomed.extend(self.slots.clear())
        for slot in self._doomed:
            slot.line.shutdown()
        try:  # a turn later: no task is begun in a loop that is about to stop for good
            self.loop.call_soon_threadsafe(self.loop.call_soon, self._close_doomed)
        except RuntimeError:  # the loop is closed
            _open_places.discard(self)

    def keep(self, slot: AsyncSlot) -> None:
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

    def close_soon(self, slots: list[AsyncSlot]) -> None:
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

    def forget(self, slot: AsyncSlot | None, timer: Timer) -> None:
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


class AsyncDriver:
    """Runs calls in the running event loop; keeps the connections of each loop apart."""

    def __init__(self, handle: AsyncHandle | None = None, make: MakeTransport = async_transport) -> None:
        self._handle = handle
        self._make = make
        self._handle_loop: asyncio.AbstractEventLoop | None = None
        self._places: dict[asyncio.AbstractEventLoop, LoopPlace] = {}

    async def run(self, running: Running) -> Answer:
        """Drive a call to its answer; a stream's answer keeps its place. Raises the call's error."""
        holds, failure = False, None
        try:
            running.begin()
            flow = running.flow()
            place = await self.place()
            running.ticket.owner = place.loop
            effect = next(flow)
            while True:
                effect = flow.send(await self._perform(effect, running, place))
        except StopIteration as stop:
            answer: Answer = stop.value
            holds = answer.reply.connection is not None
            return answer
        except BaseException as error:
            failure = error
            raise
        finally:
            if not holds:
                running.leave(failure)

    async def aclose(self) -> None:
        """Break what is in use in every loop, and close this loop's connections gracefully."""
        place = self._places.get(_running_loop())
        if place is not None:
            await place.aclose()
        self.close()

    def close(self) -> None:
        """Break every connection of every loop; waits for none."""
        for place in list(self._places.values()):
            place.break_all()

    @staticmethod
    def check_loop() -> None:
        """Raise ConfigurationError outside of asyncio."""
        _running_loop()

    def let_go(self) -> None:
        """In a forked child: the parent's loops and connections are not ours."""
        places, self._places = list(self._places.values()), {}
        for place in places:
            place.slots.let_go()
            _open_places.discard(place)

    def __del__(self) -> None:
        self.close()
        for place in self._places.values():
            with contextlib.suppress(RuntimeError):
                place.loop.call_soon_threadsafe(_open_places.discard, place)

    async def place(self) -> LoopPlace:
        """What belongs to the running loop; made at its first call, gone when it ends."""
        loop = _running_loop()
        if self._handle is not None:
            self._handle_loop = self._handle_loop or loop
            if self._handle_loop is not loop:
                raise ConfigurationError(
                    "An async HTTP client or transport of yours works only in the event loop that used it first.",
                    "Make one OPEA per loop, or let OPEA make its own connections: those work in every loop.",
                )
        place = self._places.get(loop)
        if place is None:
            for other in [other for other in list(self._places) if other.is_closed()]:
                gone = self._places.pop(other, None)
                if gone is not None:
                    gone.break_all()
            place = self._places[loop] = LoopPlace(loop, self._make)
            await place.open(self._places)
        return place

    async def _perform(self, effect: object, running: Running, place: LoopPlace) -> object:
        if isinstance(effect, Acquire):
            return running.got(await self._acquire(running, place.loop))
        if isinstance(effect, Send):
            running.sending(effect)
            return running.sent(effect, await self._send(effect, running, place))
        if isinstance(effect, FetchKey):
            return await self._key(effect, place, running.gate)
        return running.perform(effect)

    async def _acquire(self, running: Running, loop: asyncio.AbstractEventLoop) -> Grant | Rejection:
        gate, ticket = running.gate, running.ticket
        ticket.holder = AsyncConnection.reader()
        waited = False
        while True:
            woken: asyncio.Future[None] = loop.create_future()
            ticket.wake = _waker(loop, woken)
            got, until = gate.ask(ticket)
            if got is not None:
                return got
            if keys.inside(gate) or gate.waits_for_itself(ticket):
                gate.leave(ticket)
                return Rejection(Reason.WAITS_FOR_ITSELF, time.monotonic_ns())
            if not waited:
                waited = True
                running.queued()
            timer = None
            if until is not None:
                timer = loop.call_later(max(0.0, (until - time.monotonic_ns()) / SECOND), _resolve, woken)
            try:
                await woken
            finally:
                if timer is not None:
                    timer.cancel()

    async def _send(self, send: Send, running: Running, place: LoopPlace) -> Reply | Broken:
        connection = self._connection(send, place)
        try:
            outcome = await connection.run()
            running.connection = outcome.connection
        except BaseException:
            connection.discard()
            raise
        return outcome

    def _connection(self, send: Send, place: LoopPlace) -> AsyncConnection:
        if self._handle is not None:
            return AsyncConnection(send.request, self._handle, place, None)
        slot, old = place.slots.take(send.grant.endpoint)
        place.close_soon(old)
        return AsyncConnection(send.request, slot.transport.handle_async_request, place, slot)

    @staticmethod
    async def _key(effect: FetchKey, place: LoopPlace, gate: Gate) -> str | None:
        source = effect.endpoint.config.api_key
        if not callable(source):
            return keys.plain_key(source)
        keys.refuse_nested(source)
        left = None if effect.deadline is None else (effect.deadline - time.monotonic_ns()) / SECOND
        limit = asyncio.timeout(left)
        try:
            async with limit, place.key_locks[id(source)]:
                return await keys.ask_async(source, gate)
        except TimeoutError:
            raise keys.late() from None


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "Async calls run under asyncio, and no event loop of asyncio is running here.",
            "Under trio, call the methods without an a in front in a thread: trio.to_thread.run_sync(opea.chat, ...).",
        ) from None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _waker(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> Callable[[], None]:
    """Wakes the waiter from any thread; raises RuntimeError when its loop is closed."""

    def wake() -> None:
        if asyncio._get_running_loop() is loop:
            _resolve(future)
        else:
            loop.call_soon_threadsafe(_resolve, future)

    return wake
