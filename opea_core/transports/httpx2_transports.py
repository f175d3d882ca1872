"""Transports for clients of httpx2."""

from __future__ import annotations

from opea_core.errors import ConfigurationError
from opea_core.transports.serving import AsyncPieces, Pieces, Serving

try:
    import httpx2
except ImportError:
    raise ConfigurationError(
        "HTTPX2Transport and AsyncHTTPX2Transport need httpx2.",
        "pip install 'opea-core[httpx2]'",
    ) from None


class _Body(Pieces, httpx2.SyncByteStream):
    """A body in sync code."""


class _AsyncBody(AsyncPieces, httpx2.AsyncByteStream):
    """A body in async code."""


class HTTPX2Transport(Serving, httpx2.BaseTransport):
    """``httpx2.Client(transport=HTTPX2Transport(opea))``: its calls go the way of ``opea``'s own.

    Each POST of the protocol (chat, completions, responses, embeddings, rerank) and the list of
    models goes through the queue, limits, breakers, retries and failover, with the URL and the key
    of the endpoint that serves it in place of the client's. Status, headers and bytes come back as
    the server sent them. Anything else (files, audio) is handed once to the first endpoint.

    The limits of the request's ``timeout`` extension hold for each attempt. What no server answered
    is an exception of httpx2, or a 503 or 504 for SDKs that read ``x-should-retry``. Closing the
    client does not close ``opea``. Raises ConfigurationError for anything but an OPEA object.
    """

    library = httpx2
    body = _Body

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Serve one request."""
        response: httpx2.Response = self._serve(request)
        return response


class AsyncHTTPX2Transport(Serving, httpx2.AsyncBaseTransport):
    """``HTTPX2Transport`` for ``httpx2.AsyncClient``."""

    library = httpx2
    body = _AsyncBody

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Serve one request."""
        response: httpx2.Response = await self._aserve(request)
        return response
