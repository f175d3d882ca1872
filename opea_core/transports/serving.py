"""A request of another HTTP client, served by an OPEA object: the same for httpx and httpx2."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn

from opea_core import errors
from opea_core.calls import Call
from opea_core.engine import Engine, new_id
from opea_core.opea import OPEA
from opea_core.transport.http.library import transport_errors
from opea_core.transports import passing
from opea_core.transports.incoming import Incoming, OwnNames, call_of, passed_on
from opea_core.transports.outgoing import (
    Outgoing,
    begun,
    exception_name,
    refused,
    whole,
)
from opea_core.transports.streams import araw_stream, raw_stream
from opea_core.wire.raw_reader import RawCall, RawReader


class Serving:
    """What the transports share. ``library`` is the module whose classes they speak."""

    library: Any
    body: Any
    """The class of a body that comes in pieces."""

    def __init__(self, opea: OPEA) -> None:
        if not isinstance(opea, OPEA):
            raise errors.ConfigurationError(
                f"{type(self).__name__} takes an OPEA object, not {type(opea).__name__}.",
                f"Write {type(self).__name__}(OPEA(base_url=...)).",
            )
        self._opea = opea
        self._own: tuple[object, OwnNames] = (None, OwnNames(frozenset(), frozenset()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._opea!r})"

    @property
    def _engine(self) -> Engine:
        return self._opea._engine

    def _incoming(self, request: Any) -> Incoming:
        timeout = request.extensions.get("timeout")
        return Incoming.of(request.method, request.url.raw_path, request.headers.raw, timeout)

    def _names(self) -> OwnNames:
        """The names that the endpoints have of their own, read again when these are others."""
        endpoints = self._engine.settings.endpoints
        if self._own[0] is not endpoints:
            self._own = (endpoints, OwnNames.of(endpoints))
        return self._own[1]

    def _call(self, incoming: Incoming, content: bytes) -> Call:
        settings, now = self._engine.settings, time.monotonic_ns()
        return call_of(incoming, content, settings, self._names(), new_id(), now)

    def _serve(self, request: Any) -> Any:
        """Answer a request in sync code."""
        incoming, engine = self._incoming(request), self._engine
        if incoming.kind is None:
            return self._pass(request, incoming)
        raw = RawCall(b"", "")
        try:
            call = self._call(incoming, request.read())
            raw = _raw(call)
            if not call.spec.stream:
                engine.run(call)
                return self._response(request, whole(_reader(raw)))
            stream = raw_stream(engine, call)
            stream.__enter__()
            return self._response(request, begun(_reader(raw), stream))
        except errors.OPEAError as error:
            return self._refuse(request, incoming, error, raw)

    async def _aserve(self, request: Any) -> Any:
        """Answer a request in async code."""
        incoming, engine = self._incoming(request), self._engine
        if incoming.kind is None:
            return await self._apass(request, incoming)
        raw = RawCall(b"", "")
        try:
            content = await request.aread()
            call = self._call(incoming, content)
            raw = _raw(call)
            if not call.spec.stream:
                await engine.arun(call)
                return self._response(request, whole(_reader(raw)))
            stream = araw_stream(engine, call)
            await stream.__aenter__()
            return self._response(request, begun(_reader(raw), stream))
        except errors.OPEAError as error:
            return self._refuse(request, incoming, error, raw)

    def _pass(self, request: Any, incoming: Incoming) -> Any:
        try:
            spec = passed_on(incoming, self._engine.settings, self._names(), new_id())
            return self._response(request, passing.passed(self._engine, spec, request))
        except errors.OPEAError as error:
            return self._refuse(request, incoming, error, RawCall(b"", ""))
        except transport_errors() as error:
            self._raise(error, request)

    async def _apass(self, request: Any, incoming: Incoming) -> Any:
        try:
            spec = passed_on(incoming, self._engine.settings, self._names(), new_id())
            outgoing = await passing.apassed(self._engine, spec, request)
            return self._response(request, outgoing)
        except errors.OPEAError as error:
            return self._refuse(request, incoming, error, RawCall(b"", ""))
        except transport_errors() as error:
            self._raise(error, request)

    def _refuse(
        self, request: Any, incoming: Incoming, error: errors.OPEAError, raw: RawCall
    ) -> Any:
        outgoing = refused(error, raw, incoming.from_sdk)
        if outgoing is None:
            self._raise(error, request)
        return self._response(request, outgoing)

    def _response(self, request: Any, outgoing: Outgoing) -> Any:
        stream: Any = self.library.ByteStream(outgoing.content)
        if outgoing.stream is not None:
            stream = self.body(outgoing.stream, lambda error: self._raise(error, request))
        return self.library.Response(
            outgoing.status, headers=list(outgoing.headers), stream=stream, request=request
        )

    def _raise(self, error: Exception, request: Any) -> NoReturn:
        """Raise what the library's own transport would raise."""
        if isinstance(error, errors.OPEAError):
            name = exception_name(error)
            if name is None:
                raise error
        else:
            name = type(error).__name__
        raise getattr(self.library, name)(str(error), request=request) from error


def _failures() -> tuple[type[Exception], ...]:
    return errors.OPEAError, *transport_errors()


def _raw(call: Call) -> RawCall:
    raw = call.spec.raw
    assert isinstance(raw, RawCall)
    return raw


def _reader(raw: RawCall) -> RawReader:
    assert raw.reader is not None
    return raw.reader


class Pieces:
    """A body that comes in pieces, in sync code.

    ``fail`` raises an error of ours as one of the client's library.
    """

    def __init__(self, stream: Any, fail: Any) -> None:
        self._stream = stream
        self._fail = fail

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except _failures() as error:
            self._fail(error)

    def close(self) -> None:
        """The client wants no more."""
        self._stream.close()


class AsyncPieces:
    """The async twin of ``Pieces``."""

    def __init__(self, stream: Any, fail: Any) -> None:
        self._stream = stream
        self._fail = fail

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._stream:
                yield piece
        except _failures() as error:
            self._fail(error)

    async def aclose(self) -> None:
        """The client wants no more."""
        await self._stream.aclose()
