"""aiohttp's connections behind httpx's transport interface: its parser is written in C.

For those who hold thousands of streams in one process (``http_library="aiohttp"``, extra
``[aiohttp]``). A transport has one connection, as those of httpx here have, and tells its line the
same about it; the exceptions that leave it are httpx's, or those of httpx2 where only that is
installed.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import io
import time
from collections.abc import AsyncIterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler

from opea_core.config import Endpoint
from opea_core.errors import ConfigurationError
from opea_core.policy import SECOND
from opea_core.transport.deadline import KEEP_ALIVE, SocketState
from opea_core.transport.http.library import HTTPLibrary
from opea_core.transport.http.proxy import proxy_url
from opea_core.transport.http.tls import tls
from opea_core.transport.http.unread_bytes import in_transport, watch

if TYPE_CHECKING:
    import httpx

_LARGE = _LONGEST_LINE = 64 * 1024
_BROKEN = {  # by what aiohttp says, in httpx's words
    "more than": "Receive buffer too long",
    "Too many headers": "Receive buffer too long",
    "chunk": "illegal chunk header",
    "header": "illegal header line",
    "": "illegal status line",
}
_NO_OWN_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


def aiohttp_transport(
    library: HTTPLibrary, endpoint: Endpoint, proxy: str | None, line: SocketState
) -> httpx.AsyncBaseTransport:
    """A transport for one connection at a time, whose waits the line's timer ends.

    Raises ConfigurationError for a SOCKS proxy.
    """
    found = proxy_url(proxy, library)
    if found is not None and found.url.scheme not in ("http", "https"):
        raise ConfigurationError(
            "aiohttp knows no SOCKS proxies.",
            'Leave http_library="aiohttp" out, or use another proxy.',
        )
    transport: Any = _Transport(_Connector(line, tls(endpoint, library)), found, line, library)
    made: httpx.AsyncBaseTransport = transport
    return made


class _Protocol(ResponseHandler):
    """Tells the line when anything comes, and is not used again when more comes than an answer.

    aiohttp's parser takes a blank line or a part of a head behind an answer, and tells nobody. So
    the last byte is given to it alone: an answer that is over before has bytes behind it.
    """

    def __init__(self, line: SocketState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._line = line
        self._answer: Any = None
        self.used = False

    def connection_made(self, transport: Any) -> None:
        watch(transport)
        super().connection_made(transport)

    def set_response_params(self, **options: Any) -> None:
        self._answer = None
        super().set_response_params(**options)

    def feed_data(self, data: Any, size: int = 0) -> None:
        if data[0].code >= 200:
            self._answer = data[1]
        super().feed_data(data, size)

    def data_received(self, data: bytes, *args: Any) -> None:
        if not data:  # not from the connection: aiohttp goes on with what it has
            super().data_received(data, *args)
            return
        self._line.came = True
        for piece in (data[:-1], data[-1:]):
            if piece and self._answer is not None and self._answer.is_eof():
                self.force_close()
                return
            if piece:
                super().data_received(piece, *args)


class _Connector(aiohttp.TCPConnector):
    """Connects for one call at a time, and tells the line."""

    def __init__(self, line: SocketState, context: Any) -> None:
        super().__init__(limit=1, ssl=context, keepalive_timeout=86_400)
        self._factory = cast(Any, partial(_Protocol, line, self._loop))
        self._line = line
        self._protocol: Any = None
        self._reader: _Body | None = None

    # The timeout is in aiohttp's interface.
    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109
        """The kept connection, or a new one if that has bytes which nobody asked for."""
        line = self._line
        line.forget()
        began = time.monotonic_ns()
        connection = await super().connect(req, traces, timeout)
        protocol: Any = connection.protocol
        while protocol.used and (protocol.should_close or in_transport(connection.transport)):
            connection.close()
            began = time.monotonic_ns()
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
        if connection.transport is None or protocol.closed is None:
            connection.close()
            raise aiohttp.ServerDisconnectedError  # before anything was sent
        if line.at is not None and line.at <= time.monotonic_ns():
            connection.close()  # the timer had no socket to shut down
            raise aiohttp.ConnectionTimeoutError("the deadline passed")
        self._protocol = protocol
        if not protocol.used:
            protocol.used = line.fresh = True
            line.connected(began)
            protocol.closed.add_done_callback(partial(self._lost, protocol))
        line.socket = connection.transport.get_extra_info("socket")
        if line.fresh:
            for option in KEEP_ALIVE:
                line.socket.setsockopt(*option)
        line.writes()  # from here it may have been sent
        return connection

    def watch(self, reader: _Body) -> None:
        """Who reads an answer now: told when the connection is gone.

        aiohttp does not always tell, when it could not parse what came.
        """
        self._reader = reader
        if self._protocol.closed.done():
            self._lost(self._protocol, self._protocol.closed)

    def done(self) -> None:
        """The answer was read; what will not be used again ends at once.

        Even if the server has not read all of the request.
        """
        self._reader = None
        if self._protocol is not None and self._protocol.should_close:
            self._line.shutdown()

    def _lost(self, protocol: Any, closed: Any) -> None:
        failure = None if closed.cancelled() else closed.exception()
        if self._reader is not None and protocol is self._protocol:
            self._reader.lost(protocol.exception(), failure)


class _Transport:
    def __init__(
        self,
        connector: _Connector,
        proxy: httpx.Proxy | None,
        line: SocketState,
        library: HTTPLibrary,
    ) -> None:
        self._line = line
        self._http = library.http
        self._body_class = _body_class(library)
        self._connector = connector
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NO_OWN_HEADERS,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        self._session._retry_connection = False  # who sends again, and counts it, is the call
        self._response: aiohttp.ClientResponse | None = None
        self._proxy = None if proxy is None else str(proxy.url)
        self._proxy_auth: dict[str, str] = {}
        if proxy is not None and proxy.raw_auth is not None:
            said = base64.b64encode(b":".join(proxy.raw_auth)).decode()
            self._proxy_auth = {"Proxy-Authorization": f"Basic {said}"}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, and wait for the headers of the answer."""
        content: Any = request.stream  # all of it, as ours are
        headers = [
            (name.decode("ascii"), value.decode("ascii")) for name, value in request.headers.raw
        ]
        tunnel = request.url.scheme == "https"
        send = partial(
            self._send,
            request.method,
            yarl.URL(str(request.url), encoded=True),
            headers=headers if tunnel else [*headers, *self._proxy_auth.items()],
            proxy=self._proxy,
            proxy_headers=self._proxy_auth if tunnel else None,
            allow_redirects=False,
        )
        try:
            self._response = response = await send(b"".join(content))
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error, self._http) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._connector.closed and task is not None and not task.cancelling():
                # aiohttp cancels who waits for it.
                raise self._http.ConnectError("the connection was closed") from None
            raise
        body = self._body_class(response, self._connector, self._http)
        made: httpx.Response = self._http.Response(
            response.status, headers=response.raw_headers, stream=body
        )
        return made

    async def _send(
        self, method: str, url: yarl.URL, content: bytes, **options: Any
    ) -> aiohttp.ClientResponse:
        self._line.connects()
        while True:
            left, began = _seconds_left(self._line.connect_at), time.monotonic_ns()
            limit = aiohttp.ClientTimeout(total=None, connect=left, ceil_threshold=float("inf"))
            try:
                return await self._session.request(
                    method, url, data=_body(content), timeout=limit, **options
                )
            except aiohttp.ServerTimeoutError:
                if self._line.wrote or not self._line.loop_was_held(began, left):
                    raise

    async def aclose(self) -> None:
        """Close the connection."""
        self._line.forget()
        self._connector.done()
        if self._response is not None:
            self._response.close()
        await self._session.close()


class _Body:
    def __init__(self, response: aiohttp.ClientResponse, connector: _Connector, http: Any) -> None:
        self._http = http
        self._response = response
        self._connector = connector
        connector.watch(self)

    def lost(self, why: BaseException | None, failure: BaseException | None) -> None:
        """The connection is gone: ``why`` aiohttp ended it, or the ``failure`` of it.

        A failure ends a body without a length, too.
        """
        response, content = self._response, self._response.content
        if (
            failure is not None
            and content.exception() is None
            and not {"Content-Length", "Transfer-Encoding"} & response.headers.keys()
        ):
            content.set_exception(failure)
        elif not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError(str(why or "Not enough data")))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._response.content
        try:
            async for data in content.iter_any():
                yield data
            failure = content.exception()
            if failure is not None:
                raise failure
        except (aiohttp.ClientError, OSError) as error:
            # A failure goes before what came before it, and would hide it.
            rest = content._read_nowait(-1)
            if rest:
                yield rest
            raise _translated(error, self._http) from error

    async def aclose(self) -> None:
        """Keep the connection if the body was read to its end."""
        self._connector.done()
        self._response.release()


@lru_cache
def _body_class(library: HTTPLibrary) -> type[_Body]:
    """A body, as those of the library are."""
    return type("Body", (_Body, library.http.AsyncByteStream), {})


def _body(content: bytes) -> Any:
    """aiohttp wants large ones as files, which it writes piece by piece."""
    return io.BytesIO(content) if len(content) > _LARGE else content or None


def _seconds_left(at: int | None) -> float | None:
    return None if at is None else max(0.001, (at - time.monotonic_ns()) / SECOND)


def _translated(error: Exception, http: Any) -> Exception:
    """The exception that httpx has for what happened."""
    kind, text = _kind_of(error)
    made: Exception = getattr(http, kind)(text)
    return made


def _kind_of(error: Exception) -> tuple[str, str]:
    # Else it has the URL in it.
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    match error:
        case aiohttp.ClientProxyConnectionError():
            return "ProxyError", text
        case aiohttp.ClientHttpProxyError():
            return "ProxyError", f"{error.status} {text}"
        case aiohttp.ServerTimeoutError():
            return "ConnectTimeout", text
        case aiohttp.ClientConnectorError(os_error=OSError(errno=errno.ECONNREFUSED)):
            return "ConnectError", "connection refused"
        case aiohttp.ClientConnectorError():
            return "ConnectError", text
        case aiohttp.ServerDisconnectedError():
            return "RemoteProtocolError", "Server disconnected without sending a response"
        case aiohttp.ClientPayloadError() if "Not enough data" in text or error.__cause__ is None:
            return (
                "RemoteProtocolError",
                "peer closed connection without sending complete message body",
            )
        case aiohttp.InvalidURL():
            return "InvalidURL", text
        case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            mark = next((mark for mark in _BROKEN if mark in text), "")
            return "RemoteProtocolError", _BROKEN[mark]
    return "ReadError", text or type(error).__name__
