"""The driver for threads: performs the effects of a call by blocking."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from opea_core.errors import OPEAError
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
from opea_core.transport.exchange import DRAIN, Exchange
from opea_core.transport.http.library import HTTPLibrary, load_library
from opea_core.transport.http.pool import SWEEP, ConnectionPool, PooledConnection
from opea_core.transport.http.transports import http_request, sync_transport
from opea_core.transport.limiter import Limiter
from opea_core.transport.permit_holders import acting_for

if TYPE_CHECKING:
    import httpx

_LONGEST_WAIT, _LONGEST_LOCK = 5.0, 1e6
"""Seconds; a wait without end could not be interrupted on every system."""
SyncPooledConnection: TypeAlias = "PooledConnection[httpx.BaseTransport]"
SyncConnectionPool: TypeAlias = "ConnectionPool[httpx.BaseTransport]"
SyncHandle: TypeAlias = "Callable[[httpx.Request], httpx.Response]"


class SyncConnection:
    """One exchange, on a connection of ours or (no ``slot``) the caller's."""

    def __init__(
        self,
        request: Request,
        library: HTTPLibrary,
        handle: SyncHandle,
        slots: SyncConnectionPool,
        slot: SyncPooledConnection | None,
    ) -> None:
        self.exchange = Exchange(request, slot.line if slot else SocketState(own=False))
        self._request = request
        self._library = library
        self._handle = handle
        self._slots = slots
        self._slot = slot
        self._body: Iterator[bytes] = iter(())
        self._close_body: Callable[[], None] = lambda: None
        # Held while a stream is read: who closes it meanwhile leaves the closing to the reader.
        self._use = threading.Lock()
        self._unwanted = False

    def run(self) -> Reply | TransportFailure:
        """Send, and read: a stream up to its first content, anything else to its end."""
        outcome = self._open()
        while outcome is None:
            outcome = self.read()
            if outcome is None and self.exchange.hands_over:
                return self.exchange.reply(connection=self)
        self.finish() if self.exchange.can_keep(outcome) else self.discard(outcome)
        return outcome

    def _open(self) -> TransportFailure | Reply | None:
        exchange = self.exchange
        try:
            made = http_request(self._request, exchange.timeouts(), self._library)
            response = self._handle(made)
            stream: Any = response.stream
            if not isinstance(stream, self._library.http.SyncByteStream):
                raise TypeError(
                    "the transport gave an answer whose body cannot be read in this way"
                )
            self._body, self._close_body = iter(stream), stream.close
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
        """Who reads: the thread."""
        return threading.get_ident()

    def read(self) -> Reply | TransportFailure | None:
        """Read once; gives the outcome when nothing more is needed."""
        with self._use:
            outcome = None if self._unwanted else self._read()
        if self._unwanted:
            self.discard()
        return outcome

    def _read(self) -> Reply | TransportFailure | None:
        self.exchange.resume()
        if self.exchange.holds_back:
            return self.exchange.take(b"")
        try:
            data = next(self._body, None)
            if not isinstance(data, bytes | None):
                raise TypeError("a body is made of bytes")
        except (OPEAError, AssertionError):
            # The second one is what a test says in a transport of its own.
            raise
        except Exception as error:  # noqa: BLE001
            # Whatever a transport raises, its call ends with an error of ours.
            return self.exchange.failed(error)
        return self.exchange.ended() if data is None else self.exchange.take(data)

    def finish(self) -> None:
        """The answer is whole: keep the connection if the body ends within a moment."""
        guard = None
        try:
            if not self.exchange.over:
                self.exchange.drain()
                # A caller's connection keeps no deadline by itself.
                if self._slot is None and self.exchange.line.socket is not None:
                    guard = threading.Timer(DRAIN / SECOND, self.exchange.line.shutdown)
                    guard.start()
                if self._slot is not None or guard is not None:  # else nothing would end the wait
                    for _ in self._body:
                        pass
            self._close_body()
            if self._slot is not None:
                _close(self._slots.put(self._slot))
                sweep_while_idle(self._slots)
        except BaseException as error:
            self.discard()
            if not isinstance(error, Exception):
                raise
        finally:
            if guard is not None:
                guard.cancel()

    def discard(self, outcome: Reply | TransportFailure | None = None) -> None:
        """Close the connection; its idle siblings too if the server had closed it meanwhile.

        While another thread reads, it is only shut down, which wakes the reader, and the reader
        closes it: a descriptor that was closed under a reader could be another connection's by the
        time it reads.
        """
        self._unwanted = True
        self.exchange.line.shutdown()
        if not self._use.acquire(blocking=False):
            return
        try:
            with contextlib.suppress(Exception):
                self._close_body()
            if self._slot is not None:
                _close(
                    self._slots.drop(
                        self._slot, stale=isinstance(outcome, TransportFailure) and outcome.reused
                    )
                )
        finally:
            self._use.release()

    def shutdown(self) -> None:
        """Break the connection from any thread, without waiting."""
        self.exchange.line.shutdown()
        if self._slot is not None:
            self._slots.busy.discard(self._slot)


def _close(slots: list[SyncPooledConnection]) -> None:
    for slot in slots:
        with contextlib.suppress(Exception):
            slot.transport.close()


_FEW = 8
"""So many kept connections are left alone until the next call."""
_swept: weakref.WeakSet[SyncConnectionPool] = weakref.WeakSet()


def sweep_while_idle(slots: SyncConnectionPool) -> None:
    """After a burst of calls, close in a thread what their servers have closed.

    A program may not call again for long.
    """
    if slots in _swept or slots.kept <= _FEW:
        return
    _swept.add(slots)
    threading.Thread(
        target=_sweep, args=(weakref.ref(slots),), daemon=True, name="opea-sweep"
    ).start()


def _sweep(known: weakref.ref[SyncConnectionPool]) -> None:
    while True:
        time.sleep(SWEEP / SECOND)
        slots = known()
        if slots is None:
            return
        _close(slots.sweep())
        if slots.closed or not slots.kept:
            _swept.discard(slots)
            return
        del slots


def _close_all(slots: SyncConnectionPool) -> None:
    _close(slots.clear())


class SyncDriver:
    """Runs calls in the calling thread. One for all threads of an object."""

    def __init__(
        self, handle: SyncHandle | None = None, library: HTTPLibrary | None = None
    ) -> None:
        self._handle = handle
        self.library = library or load_library()
        self._new_slots()
        # One for each key function.
        self._key_locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    def run(self, running: CallSession) -> CallResult:
        """Drive a call to its answer; a stream's answer keeps its place.

        Raises the call's error.
        """
        holds, failure = False, None
        try:
            running.begin()
            flow = running.flow()
            effect = next(flow)
            while True:
                effect = flow.send(self._perform(effect, running))
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

    def close(self) -> None:
        """Break what is in use and close what is idle."""
        self.slots.closed = True
        self.slots.break_busy()
        _close(self.slots.clear())

    def _new_slots(self) -> None:
        self.slots: SyncConnectionPool = ConnectionPool(partial(sync_transport, self.library))
        # not __del__: in a reference cycle that would run after the sockets' own, which warn
        self._finalizer = weakref.finalize(self, _close_all, self.slots)

    def reset(self) -> None:
        """In a forked child: the parent's connections are not ours.

        Only our copies of them are closed.
        """
        self._finalizer.detach()
        _swept.discard(self.slots)
        self.slots.let_go()
        self._new_slots()
        self._key_locks.clear()

    def _perform(self, effect: Effect, running: CallSession) -> Outcome:
        match effect:
            case Acquire():
                return running.got(self._acquire(running))
            case Send():
                running.sending(effect)
                return running.sent(effect, self._send(effect, running))
            case FetchKey():
                return self._key(effect, running.limiter)
            case Settle() | Emit():
                return running.perform(effect)
            case _:
                assert_never(effect)

    def _acquire(self, running: CallSession) -> Permit | Rejection:
        limiter, ticket = running.limiter, running.ticket
        ticket.holder = threading.get_ident()
        ticket.caller = acting_for()
        box: queue.SimpleQueue[None] | None = None
        while True:
            got, until = limiter.ask(ticket)
            if got is not None:
                return got
            if self._would_block(running) or limiter.blocks_others(ticket):
                limiter.leave(ticket)
                return Rejection(Reason.WOULD_BLOCK, time.monotonic_ns())
            if keys.inside(limiter) or limiter.waits_for_itself(ticket):
                limiter.leave(ticket)
                return Rejection(Reason.WAITS_FOR_ITSELF, time.monotonic_ns())
            if box is None:
                running.queued()
                box = queue.SimpleQueue()
                ticket.wake = _waker(box)
                continue  # something may have come before there was a way to be woken
            with contextlib.suppress(queue.Empty):
                left = (
                    _LONGEST_WAIT
                    if until is None
                    else max(0.0, (until - time.monotonic_ns()) / SECOND)
                )
                box.get(timeout=min(left, _LONGEST_WAIT))

    @staticmethod
    def _would_block(running: CallSession) -> bool:
        """Whether waiting would block the event loop whose own calls must end first."""
        asyncio = sys.modules.get("asyncio")  # not imported for this: without it there is no loop
        # Another thread may be in the middle of importing it.
        running_loop = getattr(asyncio, "_get_running_loop", None)
        loop = running_loop() if running_loop else None
        return loop is not None and running.limiter.would_block(running.ticket, loop)

    def _send(self, send: Send, running: CallSession) -> Reply | TransportFailure:
        connection = self._connection(send)
        try:
            outcome = connection.run()
            running.connection = outcome.connection
        except BaseException:
            connection.discard()
            raise
        return outcome

    def _connection(self, send: Send) -> SyncConnection:
        library = self.library
        if self._handle is not None:
            return SyncConnection(send.request, library, self._handle, self.slots, None)
        slot, old = self.slots.take(send.permit.endpoint)
        try:
            _close(old)
            handle = slot.transport.handle_request
            return SyncConnection(send.request, library, handle, self.slots, slot)
        except BaseException:
            _close(self.slots.drop(slot))
            raise

    def _key(self, effect: FetchKey, limiter: Limiter) -> str | None:
        source = effect.endpoint.config.api_key
        if not callable(source):
            return keys.plain_key(source)
        keys.refuse_nested(source)
        lock = self._key_locks[id(source)]
        if not lock.acquire(
            timeout=-1
            if effect.deadline is None
            else min(max(0.0, _left(effect.deadline)), _LONGEST_LOCK)
        ):
            raise keys.late()
        try:
            return keys.ask(
                source, limiter, None if effect.deadline is None else _left(effect.deadline)
            )
        finally:
            lock.release()


def _left(deadline: int) -> float:
    return (deadline - time.monotonic_ns()) / SECOND


def _waker(box: queue.SimpleQueue[None]) -> Callable[[], None]:
    return lambda: box.put(None)
