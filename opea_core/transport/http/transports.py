"""Transports of httpx for one connection each, and the requests they take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import httpx

from opea_core.config import Endpoint
from opea_core.errors import ConfigurationError
from opea_core.flow.effects import Request
from opea_core.transport.deadline import AsyncDeadlineBackend, DeadlineBackend, SocketState
from opea_core.transport.http.proxy import proxy_url
from opea_core.transport.http.single_connection import AsyncSingleConnection, SingleConnection
from opea_core.transport.http.tls import tls

_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)


def sync_transport(endpoint: Endpoint, proxy: str | None, line: SocketState) -> httpx.BaseTransport:
    """A transport for one connection at a time, whose waits end at the line's deadline."""
    with _explained():
        transport = httpx.HTTPTransport(
            verify=tls(endpoint), limits=_LIMITS, proxy=proxy_url(proxy), trust_env=False
        )
    transport._pool._network_backend = DeadlineBackend(line)
    transport._pool = SingleConnection(transport._pool)  # type: ignore[assignment]
    return transport


def async_transport(
    endpoint: Endpoint, proxy: str | None, line: SocketState
) -> httpx.AsyncBaseTransport:
    """The same for async use."""
    with _explained():
        transport = httpx.AsyncHTTPTransport(
            verify=tls(endpoint), limits=_LIMITS, proxy=proxy_url(proxy), trust_env=False
        )
    transport._pool._network_backend = AsyncDeadlineBackend(line)
    transport._pool = AsyncSingleConnection(transport._pool)  # type: ignore[assignment]
    return transport


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise ConfigurationError(
            "A SOCKS proxy needs the package socksio.",
            "pip install 'httpx[socks]', or set proxy= or trust_env=False.",
        ) from None


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
    headers += [
        (name.encode("ascii"), value.encode("ascii")) for name, value in request.headers.items()
    ]
    if request.content is not None:
        headers.append((b"content-length", b"%d" % len(request.content)))
    stream = httpx.ByteStream(request.content or b"")
    made = httpx.Request(
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
