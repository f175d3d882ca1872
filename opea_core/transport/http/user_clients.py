"""A caller's own HTTP client or transport, and the servers it was lent for.

It is used as it is and never closed. Its own headers and credentials go to those servers only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from opea_core.errors import ConfigurationError
from opea_core.header_checks import NOT_YOURS
from opea_core.transport.http.library import HTTPLibrary, load_library, used_libraries
from opea_core.transport.http.transports import parse_url

if TYPE_CHECKING:
    import httpx

Borrowed: TypeAlias = "tuple[Callable[[httpx.Request], httpx.Response], HTTPLibrary]"
AsyncBorrowed: TypeAlias = (
    "tuple[Callable[[httpx.Request], Awaitable[httpx.Response]], HTTPLibrary]"
)


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
        library = load_library()
        self.origins = frozenset(_parts(parse_url(origin, library)) for origin in origins)

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


def borrowed_sync(client: object, transport: object, lent: Lent) -> Borrowed | None:
    """How to send over a caller's own client or transport, and with which library.

    None if there is neither.
    """
    if client is None:
        if transport is None:
            return None
        library = _library_of("transport", transport, "BaseTransport")
        own: Any = transport
        return own.handle_request, library
    library = _library_of("http_client", client, "Client")
    given: Any = client

    def send(request: httpx.Request) -> httpx.Response:
        made, options = _as_lent(given, request, lent)
        response: httpx.Response = given.send(made, **options)
        return response

    return send, library


def borrowed_async(client: object, transport: object, lent: Lent) -> AsyncBorrowed | None:
    """The async twin of ``borrowed_sync``."""
    if client is None:
        if transport is None:
            return None
        library = _library_of("async_transport", transport, "AsyncBaseTransport")
        own: Any = transport
        return own.handle_async_request, library
    library = _library_of("async_http_client", client, "AsyncClient")
    given: Any = client

    async def send(request: httpx.Request) -> httpx.Response:
        made, options = _as_lent(given, request, lent)
        response: httpx.Response = await given.send(made, **options)
        return response

    return send, library


def _library_of(name: str, value: object, kind: str) -> HTTPLibrary:
    """Of httpx or httpx2: the one that the caller's object is of."""
    for library in used_libraries():
        if isinstance(value, getattr(library.http, kind)):
            return library
    raise ConfigurationError(
        f"{name}= takes an httpx.{kind} or one of httpx2, not {type(value).__name__}."
    )


def _as_lent(
    client: httpx.Client | httpx.AsyncClient, request: httpx.Request, lent: Lent
) -> tuple[httpx.Request, dict[str, Any]]:
    """A request as it goes out over a caller's client, and the options of sending it.

    The client's own headers and credentials go only where it was lent for.
    """
    options: dict[str, Any] = {"stream": True, "follow_redirects": False}
    if lent.covers(request):
        return _with_defaults(client, request), options
    return _checked(client, request), {**options, "auth": None}


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
