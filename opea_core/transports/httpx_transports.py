"""Transports for clients of httpx."""

from __future__ import annotations

import httpx

from opea_core.transports.serving import AsyncPieces, Pieces, Serving


class _Body(Pieces, httpx.SyncByteStream):
    """A body in sync code."""


class _AsyncBody(AsyncPieces, httpx.AsyncByteStream):
    """A body in async code."""


class HTTPXTransport(Serving, httpx.BaseTransport):
    """``httpx.Client(transport=HTTPXTransport(opea))``: its calls go the way of ``opea``'s own.

    Each POST of the protocol (chat, completions, responses, embeddings, rerank) and the list of
    models goes through the queue, limits, breakers, retries and failover, with the URL and the key
    of the endpoint that serves it in place of the client's. Status, headers and bytes come back as
    the server sent them. Anything else (files, audio) is handed once to the first endpoint.

    The limits of the request's ``timeout`` extension hold for each attempt. What no server answered
    is an exception of httpx, or a 503 or 504 for SDKs that read ``x-should-retry``. Closing the
    client does not close ``opea``. Raises ConfigurationError for anything but an OPEA object.
    """

    library = httpx
    body = _Body

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Serve one request."""
        response: httpx.Response = self._serve(request)
        return response


class AsyncHTTPXTransport(Serving, httpx.AsyncBaseTransport):
    """``HTTPXTransport`` for ``httpx.AsyncClient``."""

    library = httpx
    body = _AsyncBody

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Serve one request."""
        response: httpx.Response = await self._aserve(request)
        return response
