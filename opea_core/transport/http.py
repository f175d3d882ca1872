"""HTTP connections: our own, one transport per call in flight, or the caller's.

The dispatcher already limits what is in flight, so nothing here queues. httpx and httpcore are imported
here, in ``deadline`` and in ``single`` alone, and none of their exceptions or responses leaves ``transport``.
"""

from __future__ import annotations

import errno
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

from opea_core.config import Endpoint
from opea_core.errors import ConfigurationError
from opea_core.flow.effects import Request, TransportFailure
from opea_core.policy import SECOND
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.retry import Phase
from opea_core.transport.deadline import AsyncDeadlineBackend, DeadlineBackend, SocketState
from opea_core.transport.no_proxy import goes_direct
from opea_core.transport.single_connection import AsyncSingleConnection, SingleConnection
from opea_core.transport.unread_bytes import is_readable

_IDLE = 30 * SECOND
SWEEP = 2 * SECOND
"""So often the kept connections are looked after while nobody calls."""
_MOST_KEPT = 256
"""Kept connections of all origins."""
_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
_context_lock = threading.Lock()


def _renew_lock() -> None:
    global _context_lock
    _context_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


TransportT = TypeVar("TransportT", httpx.BaseTransport, httpx.AsyncBaseTransport)


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
        return cls(endpoint.url.origin, choose_proxy(endpoint), tls, endpoint.cert, endpoint.trust_env)


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

    def take(self, endpoint: EndpointState) -> tuple[PooledConnection[TransportT], list[PooledConnection[TransportT]]]:
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
        """The kept ones that are to be closed: idle for too long, too many, or closed by their servers."""
        with self._lock:
            old = self._old(now=True)
            for idle in self._idle.values():
                gone = [slot for slot in idle if is_readable(slot.line.socket)]
                if gone:
                    old += gone
                    idle[:] = [slot for slot in idle if slot not in gone]
            return old

    def drop(self, slot: PooledConnection[TransportT], stale: bool = False) -> list[PooledConnection[TransportT]]:
        """Forget a connection; ``stale`` (the server had closed it) forgets its idle siblings too."""
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
        return [slot.line for slot in (*self.busy, *(slot for slots in self._idle.values() for slot in slots))]

    def let_go(self) -> None:
        """In a forked child: the parent's connections are not ours; only our copies of them are closed. The lock may be held for ever."""
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
        """Those that were idle for too long, of every origin, and the oldest beyond what is kept; looked for now and then."""
        at = time.monotonic_ns()
        if at < self._sweeps_at and not now and self.kept <= _MOST_KEPT:
            return []
        self._sweeps_at = at + SWEEP
        every = sorted((slot for idle in self._idle.values() for slot in idle), key=lambda slot: slot.idle_since)
        too_many = max(0, len(every) - _MOST_KEPT)
        old = [slot for number, slot in enumerate(every) if number < too_many or slot.idle_since < at - _IDLE]
        gone = set(map(id, old))
        self._idle = {key: left for key, idle in self._idle.items() if (left := [slot for slot in idle if id(slot) not in gone])}
        return old


def choose_proxy(endpoint: Endpoint) -> str | None:
    """The proxy of an endpoint: its own, else the environment's when ``trust_env``; None for none."""
    if endpoint.proxy is not None or not endpoint.trust_env:
        return endpoint.proxy
    split = urlsplit(endpoint.url.origin)
    proxies = getproxies()
    found = proxies.get(split.scheme) or proxies.get("all")
    if not found or goes_direct(split.hostname or "", split.port or (443 if split.scheme == "https" else 80), proxies.get("no")):
        return None
    return found if "://" in found else f"http://{found}"


def sync_transport(endpoint: Endpoint, proxy: str | None, line: SocketState) -> httpx.BaseTransport:
    """A transport for one connection at a time, whose waits end at the line's deadline."""
    with _explained():
        transport = httpx.HTTPTransport(verify=tls(endpoint), limits=_LIMITS, proxy=proxy_url(proxy), trust_env=False)
    transport._pool._network_backend = DeadlineBackend(line)
    transport._pool = SingleConnection(transport._pool)  # type: ignore[assignment]
    return transport


def async_transport(endpoint: Endpoint, proxy: str | None, line: SocketState) -> httpx.AsyncBaseTransport:
    """The same for async use."""
    with _explained():
        transport = httpx.AsyncHTTPTransport(verify=tls(endpoint), limits=_LIMITS, proxy=proxy_url(proxy), trust_env=False)
    transport._pool._network_backend = AsyncDeadlineBackend(line)
    transport._pool = AsyncSingleConnection(transport._pool)  # type: ignore[assignment]
    return transport


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise ConfigurationError(
            "A SOCKS proxy needs the package socksio.", "pip install 'httpx[socks]', or set proxy= or trust_env=False."
        ) from None


def proxy_url(proxy: str | None) -> httpx.Proxy | None:
    """The proxy as httpx has it, or ConfigurationError."""
    try:
        return None if proxy is None else httpx.Proxy(proxy)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError(
            "The proxy is no usable URL (it is not shown, as it may hold a password).", f"{type(error).__name__}"
        ) from None


def tls(endpoint: Endpoint) -> ssl.SSLContext:
    """What an endpoint's connections are verified by; one object for all that verify alike."""
    if isinstance(endpoint.verify, ssl.SSLContext):
        return endpoint.verify
    if endpoint.url.origin.startswith("http://"):
        return _no_tls()
    verify = endpoint.verify if isinstance(endpoint.verify, bool) else str(endpoint.verify)
    with _context_lock:
        files = tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")) if endpoint.trust_env else None
        return _tls_context(verify, endpoint.cert, files)


@lru_cache
def _no_tls() -> ssl.SSLContext:
    """For http origins, which need none: trusts nobody."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@lru_cache
def _tls_context(verify: bool | str, cert: str | tuple[str, ...] | None, env: tuple[str | None, ...] | None) -> ssl.SSLContext:
    """One context for all that verify the same way; ``env`` are the CA variables it honours, None for none."""
    try:
        if isinstance(verify, str):
            path = Path(verify)
            context = ssl.create_default_context(cafile=None if path.is_dir() else verify, capath=verify if path.is_dir() else None)
        else:
            context = httpx.create_ssl_context(verify=verify, trust_env=env is not None)
        if cert is not None:
            files = (cert,) if isinstance(cert, str) else cert
            context.load_cert_chain(*files)
    except (OSError, TypeError) as error:
        raise ConfigurationError(f"verify= or cert= cannot be loaded: {error}.", "Give paths of PEM files.") from None
    return context


@lru_cache(maxsize=512)
def parse_url(url: str) -> httpx.URL:
    """The URL as httpx wants it; ConfigurationError for what it cannot take."""
    try:
        found = httpx.URL(url)
        _ = found.host  # read late, and only then refused
        return found
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigurationError(f"The URL cannot be used: {error}.") from None


def http_request(request: Request, timeouts: dict[str, float | None]) -> httpx.Request:
    """The request as httpx's transports take it; no client stands between."""
    url = parse_url(request.url)
    headers = [] if "host" in request.headers else [(b"host", url.netloc)]
    headers += [(name.encode("ascii"), value.encode("ascii")) for name, value in request.headers.items()]
    if request.content is not None:
        headers.append((b"content-length", b"%d" % len(request.content)))
    stream = httpx.ByteStream(request.content or b"")
    made = httpx.Request(request.method, url, headers=headers, stream=stream, extensions={"timeout": timeouts})
    made._content = request.content or b""  # a caller's hook or transport may ask for it; ``read`` would copy it
    return made


def response_headers(response: httpx.Response) -> dict[str, str]:
    """Lower-case names; repeated ones are joined with a comma."""
    headers: dict[str, str] = {}
    for name, value in response.headers.raw:
        key, text = name.decode("ascii", "replace").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def describe(error: Exception, line: SocketState, sent_at: int, now: int) -> TransportFailure:
    """What an exception of httpx means. The caller adds which of its time limits had passed."""
    phase = Phase.MAYBE_SENT if line.wrote else Phase.NOT_SENT
    if phase is Phase.NOT_SENT and line.own and _is_out_of_files():
        return TransportFailure(phase, "local", "this process has no file descriptor left", sent_at, now)
    reason = _reason(error)
    if isinstance(error, httpx.TimeoutException):
        if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
            return TransportFailure(Phase.NOT_SENT, "timeout", reason, sent_at, now, limit="connect")
        return TransportFailure(phase, "timeout", reason, sent_at, now)
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.InvalidURL):
        return TransportFailure(phase, "invalid", type(error).__name__, sent_at, now)  # its words quote header values
    if isinstance(error, httpx.ProxyError):
        return TransportFailure(Phase.NOT_SENT, "proxy", reason, sent_at, now)
    if isinstance(error, httpx.ConnectError):
        kind = "certificate" if _certificate(error) else "not_tls" if reason == _NOT_TLS else "proxy" if line.proxied else "connect"
        return TransportFailure(Phase.NOT_SENT, kind, reason, sent_at, now)  # type: ignore[arg-type]
    if not isinstance(error, httpx.HTTPError | httpx.StreamError | OSError | EOFError):
        return TransportFailure(phase, "unexpected", type(error).__name__, sent_at, now, cause=error)
    return TransportFailure(phase, "disconnected", reason, sent_at, now, reused=line.was_stale(now), own=line.own)


def _is_out_of_files() -> bool:
    """Whether it is this process that can open nothing more: a failed connection or name lookup does not always say so."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def _certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


_NOT_TLS = "the other side does not speak TLS"
_NO_HANDSHAKE = "connection closed in the TLS handshake"
_PLAIN_WORDS = {
    "ECONNREFUSED": "connection refused",
    "Connection refused": "connection refused",
    "All connection attempts failed": "connection refused",
    "Name or service not known": "the host name is not known",
    "nodename nor servname": "the host name is not known",
    "No address associated": "the host name is not known",
    "Temporary failure in name resolution": "the host name is not known",
    "Connection reset": "connection reset",
    "Server disconnected without sending a response": "disconnected without an answer",
    "peer closed connection without sending complete message body": "connection closed in the middle of the answer",
    "UNEXPECTED_EOF_WHILE_READING": _NO_HANDSHAKE,
    "illegal chunk header": "the chunks of the answer are broken",
    "Receive buffer too long": "the headers of the answer are too large",
    "illegal status line": "the other side does not speak HTTP",
    "illegal header line": "the headers of the answer are broken",
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "wrong version number": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "record layer failure": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "EndOfStream": _NO_HANDSHAKE,
}


def _reason(error: Exception) -> str:
    """A short reason in plain words."""
    text = str(error) or type(error).__name__
    chain = text
    cause: BaseException | None = error
    while cause is not None:
        chain += f" {type(cause).__name__} {cause}"
        if isinstance(cause, BaseExceptionGroup):
            chain += " ".join(str(e) for e in cause.exceptions)
        cause = cause.__cause__ or cause.__context__
    return next((words for mark, words in _PLAIN_WORDS.items() if mark in chain), text)
