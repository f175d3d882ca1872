"""A caller's own client or transport of httpx2, as if it were httpx's.

The drivers speak httpx: a request of theirs becomes one of httpx2, and what comes back, answers and
exceptions, becomes httpx's again. Imported only where httpx2 is, as its objects were given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2


class Client:
    """A client of httpx2, as far as one of httpx is used here."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.headers = client.headers

    @property
    def is_closed(self) -> bool:
        """Whether its owner closed it."""
        closed: bool = self._client.is_closed
        return closed


class SyncClient(Client):
    """``httpx2.Client``."""

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request as it is."""
        with _translated():
            return _answered(self._client.send(_asked(request), **options))


class AsyncClient(Client):
    """``httpx2.AsyncClient``."""

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request as it is."""
        with _translated():
            return _answered(await self._client.send(_asked(request), **options))


class SyncTransport(httpx.BaseTransport):
    """``httpx2.BaseTransport``."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        with _translated():
            return _answered(self._transport.handle_request(_asked(request)))


class AsyncTransport(httpx.AsyncBaseTransport):
    """``httpx2.AsyncBaseTransport``."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        with _translated():
            return _answered(await self._transport.handle_async_request(_asked(request)))


_KINDS: dict[str, tuple[type, type]] = {
    "Client": (httpx2.Client, SyncClient),
    "AsyncClient": (httpx2.AsyncClient, AsyncClient),
    "BaseTransport": (httpx2.BaseTransport, SyncTransport),
    "AsyncBaseTransport": (httpx2.AsyncBaseTransport, AsyncTransport),
}


def as_httpx(value: object, kind: str) -> Any:
    """The object as httpx's of this kind; None if it is none of httpx2."""
    theirs, ours = _KINDS[kind]
    return ours(value) if isinstance(value, theirs) else None


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of an answer."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._stream: Any = response.stream

    def __iter__(self) -> Iterator[bytes]:
        with _translated():
            yield from self._stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for piece in self._stream:
                yield piece

    def close(self) -> None:
        """Nobody reads on."""
        self._response.close()

    async def aclose(self) -> None:
        """The async twin of ``close``."""
        await self._response.aclose()


def _asked(request: httpx.Request) -> httpx2.Request:
    return httpx2.Request(
        request.method,
        str(request.url),
        headers=request.headers.raw,
        content=request.content or None,
        extensions=request.extensions,
    )


def _answered(response: httpx2.Response) -> httpx.Response:
    return httpx.Response(
        response.status_code,
        headers=response.headers.raw,
        stream=_Body(response),
        extensions=response.extensions,
    )


@contextmanager
def _translated() -> Iterator[None]:
    """What httpx2 raises, as httpx's exception of the same name."""
    try:
        yield
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
        found = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise found(str(error)) from error
