"""A caller's own HTTP client or transport, used as it is and never closed."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

import httpx

from opea_core.errors import ConfigurationError
from opea_core.header_checks import NOT_YOURS
from opea_core.transport.http.transports import parse_url

KindT = TypeVar("KindT")


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
        headers = getattr(client, "headers", None)
        items: Iterable[tuple[str, str]] = getattr(headers, "multi_items", tuple)()
        yield from (value for name, value in items if name.lower() not in _USUAL)


_USUAL = frozenset({"accept", "accept-encoding", "connection", "user-agent", "content-type"})


def _parts(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def borrowed_sync(
    client: object, transport: object, lent: Lent
) -> Callable[[httpx.Request], httpx.Response] | None:
    """How to send over a caller's own client or transport; None if there is neither."""
    if client is None:
        own = _checked_kind("transport", transport, httpx.BaseTransport)
        return None if own is None else own.handle_request
    given = _checked_kind("http_client", client, httpx.Client)
    assert given is not None

    def send(request: httpx.Request) -> httpx.Response:
        if not lent.covers(request):
            return given.send(
                _checked(given, request), stream=True, follow_redirects=False, auth=None
            )
        return given.send(_with_defaults(given, request), stream=True, follow_redirects=False)

    return send


def borrowed_async(
    client: object, transport: object, lent: Lent
) -> Callable[[httpx.Request], Awaitable[httpx.Response]] | None:
    """The async twin of ``borrowed_sync``."""
    if client is None:
        own = _checked_kind("async_transport", transport, httpx.AsyncBaseTransport)
        return None if own is None else own.handle_async_request
    given = _checked_kind("async_http_client", client, httpx.AsyncClient)
    assert given is not None

    async def send(request: httpx.Request) -> httpx.Response:
        if not lent.covers(request):
            return await given.send(
                _checked(given, request), stream=True, follow_redirects=False, auth=None
            )
        return await given.send(_with_defaults(given, request), stream=True, follow_redirects=False)

    return send


def _checked_kind(name: str, value: object, kind: type[KindT]) -> KindT | None:
    """A client or transport of httpx, or what is used like it of httpx2's."""
    if value is None or isinstance(value, kind):
        return value
    if "httpx2" in sys.modules:  # its objects come from nowhere else
        from opea_core.transport.http.httpx2_clients import as_httpx

        found: KindT | None = as_httpx(value, kind.__name__)
        if found is not None:
            return found
    either = f"an httpx.{kind.__name__} or one of httpx2"
    or_word = ', or "aiohttp"' if name == "async_http_client" else ""
    raise ConfigurationError(f"{name}= takes {either}{or_word}, not {type(value).__name__}.")


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
