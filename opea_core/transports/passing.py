"""What is no call of the protocol: handed to the first endpoint as it is, once, outside the queue.

Files, audio and the like come and go in pieces of any size, and repeating an upload is for its
caller to decide. They go to no other server, as what they name lies at one of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from opea_core import errors
from opea_core.engine import Engine
from opea_core.flow.effects import CallSpec, FetchKey
from opea_core.flow.prepare import build_request
from opea_core.policy.endpoint import EndpointState
from opea_core.transport.http.library import HTTPLibrary
from opea_core.transport.http.proxy import choose_proxy, proxy_url
from opea_core.transport.http.tls import tls
from opea_core.transport.http.transports import parse_url
from opea_core.transports.outgoing import Outgoing, made_up

if TYPE_CHECKING:
    import httpx


class _Upload:
    """The body of another library's request."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield piece


@lru_cache
def _upload_class(library: HTTPLibrary) -> type[_Upload]:
    """A body, as those of the library are, which its clients look at."""
    return type("Upload", (_Upload, library.http.SyncByteStream, library.http.AsyncByteStream), {})


class _Rest:
    """The body of an answer, and the connection that is closed behind it."""

    def __init__(self, response: httpx.Response, transport: Any) -> None:
        self._stream: Any = response.stream
        self._transport = transport

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield piece

    def close(self) -> None:
        """The client wants no more."""
        self._stream.close()
        if self._transport is not None:
            self._transport.close()

    async def aclose(self) -> None:
        """The async twin of ``close``."""
        await self._stream.aclose()
        if self._transport is not None:
            await self._transport.aclose()


def passed(engine: Engine, spec: CallSpec, request: Any) -> Outgoing:
    """Hand a request on in sync code; its answer comes in pieces."""
    endpoint, driver = _first(engine), engine.drivers.sync
    key = driver._key(FetchKey(endpoint), engine.limiter)
    made = _forwarded(engine, spec, request, key, driver.library)
    transport, handle = None, driver._handle
    if handle is None:
        transport = driver.library.http.HTTPTransport(**_options(endpoint, driver.library))
        handle = transport.handle_request
    try:
        response = handle(made)
    except BaseException:
        if transport is not None:
            transport.close()
        raise
    rest, refusal = _Rest(response, transport), _redirected(endpoint, response)
    if refusal is not None:
        rest.close()
        return refusal
    return Outgoing(response.status_code, response.headers.raw, stream=rest)


async def apassed(engine: Engine, spec: CallSpec, request: Any) -> Outgoing:
    """The async twin of ``passed``."""
    endpoint, driver = _first(engine), engine.drivers.aio
    key = await driver._key(FetchKey(endpoint), await driver.place(), engine.limiter)
    made = _forwarded(engine, spec, request, key, driver.library)
    transport, handle = None, driver._handle
    if handle is None:
        transport = driver.library.http.AsyncHTTPTransport(**_options(endpoint, driver.library))
        handle = transport.handle_async_request
    try:
        response = await handle(made)
    except BaseException:
        if transport is not None:
            await transport.aclose()
        raise
    rest, refusal = _Rest(response, transport), _redirected(endpoint, response)
    if refusal is not None:
        await rest.aclose()
        return refusal
    return Outgoing(response.status_code, response.headers.raw, stream=rest)


def _first(engine: Engine) -> EndpointState:
    if engine.drivers.closed:
        raise errors.ClientClosed(
            "This OPEA object is closed.", "Make a new one, or close it later."
        )
    return engine.limiter.endpoints[0]


def _forwarded(
    engine: Engine, spec: CallSpec, request: Any, key: str | None, library: HTTPLibrary
) -> httpx.Request:
    """The request with the URL and the key of the first endpoint."""
    endpoint = _first(engine)
    made, _ = build_request(spec, engine._context, endpoint, endpoint.config.capabilities, key)
    if "content-type" not in request.headers:
        made.headers.pop("content-type", None)
    url = parse_url(made.url, library)
    headers = [(b"host", url.netloc)]
    headers += [(name.encode(), value.encode("latin-1")) for name, value in made.headers.items()]
    forwarded: httpx.Request = library.http.Request(
        made.method,
        url,
        headers=headers,
        stream=_upload_class(library)(request.stream),
        extensions={"timeout": dict(request.extensions.get("timeout") or {})},
    )
    return forwarded


def _options(endpoint: EndpointState, library: HTTPLibrary) -> dict[str, Any]:
    config = endpoint.config
    proxy = proxy_url(choose_proxy(config), library)
    return {"verify": tls(config, library), "proxy": proxy, "trust_env": False}


def _redirected(endpoint: EndpointState, response: httpx.Response) -> Outgoing | None:
    """An error in the place of a redirect: its client would follow it, and come back here."""
    if not response.has_redirect_location:
        return None
    return made_up(
        errors.ConfigurationError(
            f"{endpoint.label} redirects ({response.status_code}).",
            "Redirects are not followed, so that no key travels to another host.",
            status_code=response.status_code,
            endpoint=endpoint.label,
        )
    )
