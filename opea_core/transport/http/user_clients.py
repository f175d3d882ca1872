"""A caller's own HTTP client or transport, used as it is and never closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import httpx

from opea_core.config import NOT_YOURS
from opea_core.errors import ConfigurationError
from opea_core.transport.http.transports import parse_url


class Lent:
    """The origins that a caller's HTTP client was lent for.

    Only there go the headers and the credentials it has of its own.
    """

    def __init__(self, origins: Iterable[str] = (), *clients: Any) -> None:
        self.values = tuple(_own_values(clients))
        """What it adds to requests and nobody is to be shown."""
        self.origins: frozenset[tuple[str, str, int | None]] = frozenset()
        self.to(origins)

    def to(self, origins: Iterable[str]) -> None:
        """Change for which."""
        self.origins = frozenset(_parts(parse_url(origin)) for origin in origins)

    def covers(self, request: httpx.Request) -> bool:
        """Whether the request goes to one of them."""
        return _parts(request.url) in self.origins


def _own_values(clients: Iterable[Any]) -> Iterator[str]:
    for client in clients:
        if isinstance(client, httpx.Client | httpx.AsyncClient):
            yield from (
                value for name, value in client.headers.multi_items() if name.lower() not in _USUAL
            )


_USUAL = frozenset({"accept", "accept-encoding", "connection", "user-agent", "content-type"})


def _parts(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def borrowed_sync(
    client: httpx.Client | None, transport: httpx.BaseTransport | None, lent: Lent
) -> Callable[[httpx.Request], httpx.Response] | None:
    """How to send over a caller's own client or transport; None if there is neither."""
    if client is None:
        _check_kind("transport", transport, httpx.BaseTransport)
        return None if transport is None else transport.handle_request
    _check_kind("http_client", client, httpx.Client)
    given = client

    def send(request: httpx.Request) -> httpx.Response:
        if not lent.covers(request):
            return given.send(
                _checked(given, request), stream=True, follow_redirects=False, auth=None
            )
        return given.send(_with_defaults(given, request), stream=True, follow_redirects=False)

    return send


def borrowed_async(
    client: httpx.AsyncClient | None, transport: httpx.AsyncBaseTransport | None, lent: Lent
) -> Callable[[httpx.Request], Awaitable[httpx.Response]] | None:
    """The async twin of ``borrowed_sync``."""
    if client is None:
        _check_kind("async_transport", transport, httpx.AsyncBaseTransport)
        return None if transport is None else transport.handle_async_request
    _check_kind("async_http_client", client, httpx.AsyncClient)
    given = client

    async def send(request: httpx.Request) -> httpx.Response:
        if not lent.covers(request):
            return await given.send(
                _checked(given, request), stream=True, follow_redirects=False, auth=None
            )
        return await given.send(_with_defaults(given, request), stream=True, follow_redirects=False)

    return send


def _check_kind(name: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        or_word = ' or "aiohttp"' if name == "async_http_client" else ""
        raise ConfigurationError(
            f"{name}= takes an httpx.{kind.__name__}{or_word}, not {type(value).__name__}."
        )


def _with_defaults(
    client: httpx.Client | httpx.AsyncClient, request: httpx.Request
) -> httpx.Request:
    """The request with the client's own headers where it has none of that name."""
    _checked(client, request)
    for name, value in client.headers.multi_items():
        if name not in request.headers and (
            name.lower() not in NOT_YOURS or name.lower() == "connection"
        ):
            request.headers[name] = value
    return request


def _checked(client: httpx.Client | httpx.AsyncClient, request: httpx.Request) -> httpx.Request:
    if client.is_closed:
        raise ConfigurationError(
            "The HTTP client you passed is closed.", "Close it after the OPEA object that uses it."
        )
    return request


def borrowed_socket(response: httpx.Response) -> Any:
    """The socket under an answer over a caller's transport.

    None unless it serves this exchange alone.
    """
    stream = response.extensions.get("network_stream")
    if stream is None or response.extensions.get("http_version") != b"HTTP/1.1":
        return None
    return stream.get_extra_info("socket")
