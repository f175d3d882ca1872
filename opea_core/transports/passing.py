"""What is no call of the protocol: handed to the first endpoint as it is, once, outside the queue.

Files, audio and the like come and go in pieces of any size, and repeating an upload is for its
caller to decide. They go to no other server, as what they name lies at one of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from opea_core import errors
from opea_core.engine import Engine
from opea_core.flow.effects import CallSpec, FetchKey
from opea_core.flow.prepare import build_request
from opea_core.policy import SECOND
from opea_core.policy.endpoint import EndpointState
from opea_core.transport.deadline import SocketState
from opea_core.transport.http.library import HTTPLibrary
from opea_core.transport.http.proxy import choose_proxy
from opea_core.transport.http.transports import make_transport, parse_url, sync_transport
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

    def __init__(self, response: httpx.Response, transport: Any, deadline: int | None) -> None:
        self._stream: Any = response.stream
        self._transport = transport
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            if self._deadline is not None and time.monotonic_ns() >= self._deadline:
                raise _late()
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        while True:
            async with _until(self._deadline):
                piece = await anext(pieces, None)
            if piece is None:
                return
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
    deadline = _deadline(engine)
    key = driver._key(FetchKey(endpoint, deadline), engine.limiter)
    made = _forwarded(engine, spec, request, key, driver.library, deadline)
    transport, handle = None, driver._handle
    if handle is None:
        line, config = SocketState(), endpoint.config
        line.begin(deadline, deadline)
        transport = sync_transport(driver.library, config, choose_proxy(config), line)
        handle = transport.handle_request
    try:
        response = handle(made)
    except BaseException:
        if transport is not None:
            transport.close()
        raise
    rest, refusal = _Rest(response, transport, deadline), _redirected(endpoint, response)
    if refusal is not None:
        rest.close()
        return refusal
    return Outgoing(response.status_code, response.headers.raw, stream=rest)


async def apassed(engine: Engine, spec: CallSpec, request: Any) -> Outgoing:
    """The async twin of ``passed``."""
    endpoint, driver = _first(engine), engine.drivers.aio
    deadline = _deadline(engine)
    key = await driver._key(FetchKey(endpoint, deadline), await driver.place(), engine.limiter)
    made = _forwarded(engine, spec, request, key, driver.library, deadline)
    transport, handle = None, driver._handle
    if handle is None:
        library, config = driver.library, endpoint.config
        kind, proxy = library.http.AsyncHTTPTransport, choose_proxy(config)
        transport = make_transport(kind, library, config, proxy)
        handle = transport.handle_async_request
    try:
        async with _until(deadline):
            response = await handle(made)
    except BaseException:
        if transport is not None:
            await transport.aclose()
        raise
    rest, refusal = _Rest(response, transport, deadline), _redirected(endpoint, response)
    if refusal is not None:
        await rest.aclose()
        return refusal
    return Outgoing(response.status_code, response.headers.raw, stream=rest)


def _deadline(engine: Engine) -> int | None:
    total = engine.settings.timeouts.total
    return None if total is None else time.monotonic_ns() + int(total * SECOND)


def _late() -> errors.DeadlineExceeded:
    return errors.DeadlineExceeded("The deadline passed before the whole answer had come.")


@asynccontextmanager
async def _until(deadline: int | None) -> AsyncIterator[None]:
    if deadline is None:
        yield
        return
    left = (deadline - time.monotonic_ns()) / SECOND
    try:
        async with asyncio.timeout(left):
            yield
    except TimeoutError:
        raise _late() from None


def _first(engine: Engine) -> EndpointState:
    if engine.drivers.closed:
        raise errors.ClientClosed(
            "This OPEA object is closed.", "Make a new one, or close it later."
        )
    return engine.limiter.endpoints[0]


def _forwarded(
    engine: Engine,
    spec: CallSpec,
    request: Any,
    key: str | None,
    library: HTTPLibrary,
    deadline: int | None,
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
        extensions={"timeout": _bounded(request.extensions.get("timeout") or {}, deadline)},
    )
    return forwarded


def _bounded(timeouts: Mapping[str, float | None], deadline: int | None) -> dict[str, float | None]:
    """The client's own limits, none of them beyond the deadline."""
    if deadline is None:
        return dict(timeouts)
    left = max(0.001, (deadline - time.monotonic_ns()) / SECOND)
    given = {name: timeouts.get(name) for name in ("connect", "read", "write", "pool")}
    return {name: left if value is None else min(value, left) for name, value in given.items()}


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
