"""The driver for event loops: performs the effects of a call by awaiting."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from opea_core.errors import ConfigurationError, OPEAError
from opea_core.flow.call import CallResult
from opea_core.flow.effects import (
    Acquire,
    Effect,
    Emit,
    FetchKey,
    Outcome,
    Reply,
    Request,
    Send,
    Settle,
    TransportFailure,
)
from opea_core.policy import SECOND
from opea_core.policy.permit import Permit
from opea_core.policy.scheduler import Reason, Rejection
from opea_core.transport import keys
from opea_core.transport.call_session import CallSession
from opea_core.transport.deadline import SocketState
from opea_core.transport.drivers.loop_connections import (
    OPEN_PLACES,
    AsyncPooledConnection,
    LoopPlace,
    MakeTransport,
    Timer,
)
from opea_core.transport.exchange import DRAIN, Exchange
from opea_core.transport.http.library import HTTPLibrary, load_library
from opea_core.transport.http.transports import async_transport, http_request
from opea_core.transport.limiter import Limiter
from opea_core.transport.permit_holders import acting_for

if TYPE_CHECKING:
    import httpx

AsyncHandle: TypeAlias = "Callable[[httpx.Request], Awaitable[httpx.Response]]"


async def _nothing() -> None:
    return None


async def _no_body() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for data in nothing:
        yield data


class AsyncConnection:
    """One exchange, on a connection of ours or (no ``slot``) the caller's."""

    def __init__(
        self,
        request: Request,
        library: HTTPLibrary,
        handle: AsyncHandle,
        place: LoopPlace,
        slot: AsyncPooledConnection | None,
    ) -> None:
        self.exchange = Exchange(request, slot.line if slot else SocketState(own=False))
        self._request = request
        self._library = library
        self._handle = handle
        self._place = place
        self._slot = slot
        self._timer = Timer(place.loop, self.exchange.line)
        self._body: AsyncIterator[bytes] = _no_body()
        self._close_body: Callable[[], Awaitable[None]] = _nothing

    async def run(self) -> Reply | TransportFailure:
        """Send, and read: a stream up to its first content, anything else to its end."""
        outcome = await self._open()
        while outcome is None:
            outcome = await self.read()
            if outcome is None and self.exchange.hands_over:
                return self.exchange.reply(connection=self)
        await self.finish() if self.exchange.can_keep(outcome) else self.discard(outcome)
        return outcome

    async def _open(self) -> TransportFailure | Reply | None:
        exchange = self.exchange
        self._timer.arm()
        try:
            made = http_request(self._request, exchange.timeouts(), self._library)
            response = await self._handle(made)
            stream: Any = response.stream
            if not isinstance(stream, self._library.http.AsyncByteStream):
                raise TypeError(
                    "the transport gave an answer whose body cannot be read in this way"
                )
            self._body, self._close_body = aiter(stream), stream.aclose
            exchange.opened(response)
        except (OPEAError, AssertionError):
            # The second one is what a test says in a transport of its own.
            raise
        except Exception as error:  # noqa: BLE001
            # Whatever a transport raises, its call ends with an error of ours.
            return exchange.failed(error)
        return None

    @staticmethod
    def reader() -> object:
        """Who reads: the task, weakly, as a stream that it drops must not live on with it."""
        task = asyncio.current_task()
        return None if task is None else weakref.ref(task)

    async def read(self) -> Reply | TransportFailure | None:
        """Read once; gives the outcome when nothing more is needed."""
        self.exchange.resume()
        if self.exchange.holds_back:
            return self.exchange.take(b"")
        self._timer.arm()
        try:
            data = await anext(self._body, None)
            if not isinstance(data, bytes | None):
                raise TypeError("a body is made of bytes")
        except (OPEAError, AssertionError):
            # The second one is what a test says in a transport of its own.
            raise
        except Exception as error:  # noqa: BLE001
            # Whatever a transport raises, its call ends with an error of ours.
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

    def discard(self, outcome: Reply | TransportFailure | None = None) -> None:
        """Close the connection; its idle siblings too if the server had closed it meanwhile."""
        self._timer.stop()
        self.exchange.line.shutdown()
        if self._slot is not None:
            stale = isinstance(outcome, TransportFailure) and outcome.reused
            self._place.close_soon(self._place.slots.drop(self._slot, stale))
        else:
            self._place.soon(self._close_body)

    def shutdown(self) -> None:
        """Break the connection from any thread, without waiting."""
        self.exchange.line.shutdown()
        self._place.forget(self._slot, self._timer)


class AsyncDriver:
    """Runs calls in the running event loop; keeps the connections of each loop apart."""

    def __init__(
        self,
        handle: AsyncHandle | None = None,
        library: HTTPLibrary | None = None,
        make: Callable[..., httpx.AsyncBaseTransport] = async_transport,
    ) -> None:
        self._handle = handle
        self.library = library or load_library()
        self._make: MakeTransport = partial(make, self.library)
        self._handle_loop: asyncio.AbstractEventLoop | None = None
        self._places: dict[asyncio.AbstractEventLoop, LoopPlace] = {}

    async def run(self, running: CallSession) -> CallResult:
        """Drive a call to its answer; a stream's answer keeps its place.

        Raises the call's error.
        """
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
            answer: CallResult = stop.value
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
            OPEN_PLACES.discard(place)

    def __del__(self) -> None:
        self.close()
        for place in self._places.values():
            with contextlib.suppress(RuntimeError):
                place.loop.call_soon_threadsafe(OPEN_PLACES.discard, place)

    async def place(self) -> LoopPlace:
        """What belongs to the running loop; made at its first call, gone when it ends."""
        loop = _running_loop()
        if self._handle is not None:
            self._handle_loop = self._handle_loop or loop
            if self._handle_loop is not loop:
                raise ConfigurationError(
                    "An async HTTP client or transport of yours works only in the event loop"
                    " that used it first.",
                    "Make one OPEA per loop, or let OPEA make its own connections:"
                    " those work in every loop.",
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

    async def _perform(self, effect: Effect, running: CallSession, place: LoopPlace) -> Outcome:
        match effect:
            case Acquire():
                return running.got(await self._acquire(running, place.loop))
            case Send():
                running.sending(effect)
                return running.sent(effect, await self._send(effect, running, place))
            case FetchKey():
                return await self._key(effect, place, running.limiter)
            case Settle() | Emit():
                return running.perform(effect)
            case _:
                assert_never(effect)

    async def _acquire(
        self, running: CallSession, loop: asyncio.AbstractEventLoop
    ) -> Permit | Rejection:
        limiter, ticket = running.limiter, running.ticket
        ticket.holder = AsyncConnection.reader()
        ticket.caller = acting_for()
        waited = False
        while True:
            woken: asyncio.Future[None] = loop.create_future()
            ticket.wake = _waker(loop, woken)
            got, until = limiter.ask(ticket)
            if got is not None:
                return got
            if limiter.blocks_others(ticket):
                limiter.leave(ticket)
                return Rejection(Reason.WOULD_BLOCK, time.monotonic_ns())
            if keys.inside(limiter) or limiter.waits_for_itself(ticket):
                limiter.leave(ticket)
                return Rejection(Reason.WAITS_FOR_ITSELF, time.monotonic_ns())
            if not waited:
                waited = True
                running.queued()
            timer = None
            if until is not None:
                timer = loop.call_later(
                    max(0.0, (until - time.monotonic_ns()) / SECOND), _resolve, woken
                )
            try:
                await woken
            finally:
                if timer is not None:
                    timer.cancel()

    async def _send(
        self, send: Send, running: CallSession, place: LoopPlace
    ) -> Reply | TransportFailure:
        connection = self._connection(send, place)
        try:
            outcome = await connection.run()
            running.connection = outcome.connection
        except BaseException:
            connection.discard()
            raise
        return outcome

    def _connection(self, send: Send, place: LoopPlace) -> AsyncConnection:
        library = self.library
        if self._handle is not None:
            return AsyncConnection(send.request, library, self._handle, place, None)
        slot, old = place.slots.take(send.permit.endpoint)
        place.close_soon(old)
        handle = slot.transport.handle_async_request
        return AsyncConnection(send.request, library, handle, place, slot)

    @staticmethod
    async def _key(effect: FetchKey, place: LoopPlace, limiter: Limiter) -> str | None:
        source = effect.endpoint.config.api_key
        if not callable(source):
            return keys.plain_key(source)
        keys.refuse_nested(source)
        left = None if effect.deadline is None else (effect.deadline - time.monotonic_ns()) / SECOND
        limit = asyncio.timeout(left)
        try:
            async with limit, place.key_locks[id(source)]:
                return await keys.ask_async(source, limiter)
        except TimeoutError:
            raise keys.late() from None


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "Async calls run under asyncio, and no event loop of asyncio is running here.",
            "Under trio, call the methods without an a in front in a thread:"
            " trio.to_thread.run_sync(opea.chat, ...).",
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
