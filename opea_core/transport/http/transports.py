"""Transports of httpx or httpx2 for one connection each, and the requests they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from opea_core.config import Endpoint
from opea_core.errors import ConfigurationError
from opea_core.flow.effects import Request
from opea_core.transport.deadline import AsyncDeadlineBackend, DeadlineBackend, SocketState
from opea_core.transport.http.library import HTTPLibrary
from opea_core.transport.http.proxy import proxy_url
from opea_core.transport.http.single_connection import AsyncSingleConnection, SingleConnection
from opea_core.transport.http.tls import tls

if TYPE_CHECKING:
    import httpx


def sync_transport(
    library: HTTPLibrary, endpoint: Endpoint, proxy: str | None, line: SocketState
) -> httpx.BaseTransport:
    """A transport for one connection at a time, whose waits end at the line's deadline."""
    transport: Any = make_transport(library.http.HTTPTransport, library, endpoint, proxy)
    made: httpx.BaseTransport = _over(
        transport, DeadlineBackend(line, library.core), SingleConnection
    )
    return made


def async_transport(
    library: HTTPLibrary, endpoint: Endpoint, proxy: str | None, line: SocketState
) -> httpx.AsyncBaseTransport:
    """The same for async use."""
    transport: Any = make_transport(library.http.AsyncHTTPTransport, library, endpoint, proxy)
    made: httpx.AsyncBaseTransport = _over(
        transport, AsyncDeadlineBackend(line, library.core), AsyncSingleConnection
    )
    return made


def _over(transport: Any, backend: object, single: Callable[[Any], object]) -> Any:
    """The transport with a network backend of ours, and one connection in the place of its pool."""
    transport._pool._network_backend = backend
    transport._pool = single(transport._pool)
    return transport


def make_transport(
    kind: Callable[..., Any], library: HTTPLibrary, endpoint: Endpoint, proxy: str | None
) -> Any:
    """A transport of the library, sync or async, for one connection at a time.

    ConfigurationError for a proxy that cannot be used here.
    """
    one = library.http.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
    options: dict[str, Any] = {
        "verify": tls(endpoint, library),
        "limits": one,
        "proxy": proxy_url(proxy, library),
        "trust_env": False,  # the caller looked there
    }
    try:
        return kind(**options)
    except ImportError:
        raise ConfigurationError(
            "A SOCKS proxy needs the package socksio.",
            "pip install socksio, or set proxy= or trust_env=False.",
        ) from None


@lru_cache(maxsize=512)
def parse_url(url: str, library: HTTPLibrary) -> httpx.URL:
    """The URL as the library wants it; ConfigurationError for what it cannot take."""
    try:
        found: httpx.URL = library.http.URL(url)
        _ = found.host  # read late, and only then refused
        return found
    except (library.http.InvalidURL, UnicodeError) as error:
        raise ConfigurationError(f"The URL cannot be used: {error}.") from None


def http_request(
    request: Request, timeouts: dict[str, float | None], library: HTTPLibrary
) -> httpx.Request:
    """The request as the library's transports take it; no client stands between."""
    url = parse_url(request.url, library)
    headers = [] if "host" in request.headers else [(b"host", url.netloc)]
    headers += [
        (name.encode("ascii"), value.encode("ascii")) for name, value in request.headers.items()
    ]
    if request.content is not None:
        headers.append((b"content-length", b"%d" % len(request.content)))
    stream = library.http.ByteStream(request.content or b"")
    made: httpx.Request = library.http.Request(
        request.method, url, headers=headers, stream=stream, extensions={"timeout": timeouts}
    )
    # A caller's hook or transport may ask for it; ``read`` would copy it.
    made._content = request.content or b""
    return made


def response_headers(response: httpx.Response) -> dict[str, str]:
    """Lower-case names; repeated ones are joined with a comma."""
    headers: dict[str, str] = {}
    for name, value in response.headers.raw:
        key, text = name.decode("ascii", "replace").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers
