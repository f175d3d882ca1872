"""Connections that are kept, and who uses them."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from opea_core.config import Endpoint
from opea_core.policy import SECOND
from opea_core.policy.endpoint import EndpointState
from opea_core.transport.deadline import SocketState
from opea_core.transport.http.proxy import choose_proxy
from opea_core.transport.http.unread_bytes import is_readable

if TYPE_CHECKING:
    import httpx

_IDLE = 30 * SECOND
SWEEP = 2 * SECOND
"""So often the kept connections are looked after while nobody calls."""
_MOST_KEPT = 256
"""Kept connections of all origins."""

TransportT = TypeVar("TransportT", "httpx.BaseTransport", "httpx.AsyncBaseTransport")


@dataclass(frozen=True, slots=True)
class ConnectionKey:
    """What two calls must have in common to use the same connection."""

    origin: str
    proxy: str | None = field(repr=False)
    tls: str | ssl.SSLContext
    cert: str | tuple[str, ...] | None
    trust_env: bool

    @classmethod
    def of(cls, endpoint: Endpoint) -> ConnectionKey:
        """The key of an endpoint; reads the environment's proxies."""
        verify = endpoint.verify
        tls = verify if isinstance(verify, ssl.SSLContext) else str(verify)
        return cls(
            endpoint.url.origin, choose_proxy(endpoint), tls, endpoint.cert, endpoint.trust_env
        )


class PooledConnection(Generic[TransportT]):
    """One connection: a transport that holds at most one, and its line."""

    __slots__ = ("idle_since", "key", "line", "transport")

    def __init__(self, key: ConnectionKey, transport: TransportT, line: SocketState) -> None:
        self.key = key
        self.transport: TransportT = transport
        self.line = line
        self.idle_since = 0


class ConnectionPool(Generic[TransportT]):
    """The connections of one event loop, or of all sync calls: idle ones last in, first out."""

    def __init__(self, make: Callable[[Endpoint, str | None, SocketState], TransportT]) -> None:
        self._make: Callable[[Endpoint, str | None, SocketState], TransportT] = make
        self._idle: dict[ConnectionKey, list[PooledConnection[TransportT]]] = {}
        self._lock = threading.Lock()
        self._sweeps_at = 0
        self.busy: set[PooledConnection[TransportT]] = set()
        self.closed = False

    def take(
        self, endpoint: EndpointState
    ) -> tuple[PooledConnection[TransportT], list[PooledConnection[TransportT]]]:
        """A connection nobody uses, and the ones that were idle for too long, to be closed."""
        if endpoint.connection_key is None:
            endpoint.connection_key = ConnectionKey.of(endpoint.config)
        key = cast(ConnectionKey, endpoint.connection_key)
        taken: list[PooledConnection[TransportT]] = []
        old: list[PooledConnection[TransportT]] = []
        try:
            with self._lock:
                idle = self._idle.setdefault(key, [])
                taken, idle[-1:] = idle[-1:], []
                old = self._old()
            slot = taken[0] if taken else self._new(endpoint, key)
        except BaseException:  # of a new one, or Ctrl-C: what was taken is as idle as before
            with self._lock:
                self._put_back(old + taken)
            raise
        self.busy |= {slot}  # no call: no Ctrl-C between this and the caller's try
        return slot, old

    def _put_back(self, slots: Iterable[PooledConnection[TransportT]]) -> None:
        for slot in slots:
            self._idle.setdefault(slot.key, []).append(slot)

    def _new(self, endpoint: EndpointState, key: ConnectionKey) -> PooledConnection[TransportT]:
        line = SocketState()
        line.proxied = key.proxy is not None
        line.tunnel = line.proxied and key.origin.startswith("https")
        return PooledConnection(key, self._make(endpoint.config, key.proxy, line), line)

    def put(self, slot: PooledConnection[TransportT]) -> list[PooledConnection[TransportT]]:
        """Keep a connection for the next call; gives the ones to be closed."""
        slot.idle_since = time.monotonic_ns()
        with self._lock:
            if self.closed:
                self.busy.discard(slot)
                return [slot]
            self._put_back([slot])
            self.busy.discard(slot)
            return self._old()

    @property
    def kept(self) -> int:
        """How many are kept."""
        return sum(len(idle) for idle in list(self._idle.values()))

    def sweep(self) -> list[PooledConnection[TransportT]]:
        """The kept ones to be closed: idle for too long, too many, or closed by their servers."""
        with self._lock:
            old = self._old(now=True)
            for idle in self._idle.values():
                gone = [slot for slot in idle if is_readable(slot.line.socket)]
                if gone:
                    old += gone
                    idle[:] = [slot for slot in idle if slot not in gone]
            return old

    def drop(
        self, slot: PooledConnection[TransportT], stale: bool = False
    ) -> list[PooledConnection[TransportT]]:
        """Forget a connection; ``stale`` (the server had closed it): its idle siblings, too."""
        with self._lock:
            self.busy.discard(slot)
            return [slot, *(self._idle.pop(slot.key, ()) if stale else ())]

    def clear(self) -> list[PooledConnection[TransportT]]:
        """All idle connections, to be closed."""
        with self._lock:
            idle = [slot for slots in self._idle.values() for slot in slots]
            self._idle.clear()
        return idle

    def lines(self) -> list[SocketState]:
        """All lines, idle or in use; takes no lock."""
        return [
            slot.line
            for slot in (*self.busy, *(slot for slots in self._idle.values() for slot in slots))
        ]

    def let_go(self) -> None:
        """In a forked child: the parent's connections are not ours.

        Only our copies of them are closed. The lock may be held for ever.
        """
        self._lock = threading.Lock()
        for line in self.lines():
            line.let_go()
        self._idle.clear()
        self.busy.clear()

    def break_busy(self) -> None:
        """Break the connections in use, from any thread: whoever waits in one wakes up."""
        for slot in list(self.busy):
            slot.line.shutdown()

    def _old(self, now: bool = False) -> list[PooledConnection[TransportT]]:
        """Those that were idle for too long, of every origin, and the oldest beyond what is kept.

        Looked for now and then.
        """
        at = time.monotonic_ns()
        if at < self._sweeps_at and not now and self.kept <= _MOST_KEPT:
            return []
        self._sweeps_at = at + SWEEP
        every = sorted(
            (slot for idle in self._idle.values() for slot in idle),
            key=lambda slot: slot.idle_since,
        )
        too_many = max(0, len(every) - _MOST_KEPT)
        old = [
            slot
            for number, slot in enumerate(every)
            if number < too_many or slot.idle_since < at - _IDLE
        ]
        gone = set(map(id, old))
        self._idle = {
            key: left
            for key, idle in self._idle.items()
            if (left := [slot for slot in idle if id(slot) not in gone])
        }
        return old
