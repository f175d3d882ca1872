"""What ``OPEA`` does in the Responses dialect as it is: dicts in, the server's own objects out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from typing import Unpack

    from opea_core.call_options import ResponsesOptions
    from opea_core.engine import Engine
    from opea_core.transport.stream import AsyncChatStream, ChatStream
    from opea_core.types import ChatChunk, Json


class ResponsesMethods:
    """Calls of ``/v1/responses`` through the same queue, limits, retries and failover."""

    _engine: Engine

    def responses(
        self,
        input: str | Sequence[Any],  # noqa: A002 - the field's name
        **options: Unpack[ResponsesOptions],
    ) -> Json:
        """One response: the server's object as it came.

        ``input`` is a text or a list of items. Nothing is translated and nothing added: ``store``
        is as the server has it. Raises an OPEAError, also for a response whose status is
        ``failed``. To chat in this dialect with the objects of ``chat``, set
        ``dialect="responses"``.
        """
        response: Json = self._engine.run(self._engine.calls.responses(input, options, False))
        return response

    async def aresponses(
        self,
        input: str | Sequence[Any],  # noqa: A002 - the field's name
        **options: Unpack[ResponsesOptions],
    ) -> Json:
        """``responses`` for async code."""
        call = self._engine.calls.responses(input, options, False)
        response: Json = await self._engine.arun(call)
        return response

    def stream_responses(
        self,
        input: str | Sequence[Any],  # noqa: A002 - the field's name
        **options: Unpack[ResponsesOptions],
    ) -> ResponseStream:
        """The events of one response as they came; the request goes out at the first ``next``."""
        call = self._engine.calls.responses(input, options, True)
        return ResponseStream(self._engine.stream(call))

    def astream_responses(
        self,
        input: str | Sequence[Any],  # noqa: A002 - the field's name
        **options: Unpack[ResponsesOptions],
    ) -> AsyncResponseStream:
        """``stream_responses`` for async code; no ``await`` before ``async for``."""
        call = self._engine.calls.responses(input, options, True)
        return AsyncResponseStream(self._engine.astream(call))


class _Once:
    """An event stands on each chunk that was made of it; it is handed out once."""

    def __init__(self) -> None:
        self._last: Json | None = None

    def is_new(self, chunk: ChatChunk) -> bool:
        is_new = bool(chunk.raw) and chunk.raw is not self._last
        self._last = chunk.raw
        return is_new


class ResponseStream:
    """The events of one response; iterate it, or use it as a context manager, which closes it.

    Raises StreamInterrupted when it breaks off after something was handed out.
    """

    def __init__(self, chunks: ChatStream) -> None:
        self._chunks = chunks
        self._events = self._all()

    def _all(self) -> Iterator[Json]:
        once = _Once()
        return (chunk.raw for chunk in self._chunks if once.is_new(chunk))

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, or ours; None before the request went out."""
        return self._chunks.request_id

    @property
    def endpoint(self) -> str | None:
        """The label of the endpoint that answers; None before one was chosen."""
        return self._chunks.endpoint

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Json:
        return next(self._events)

    def close(self) -> None:
        """Stop: the connection is closed, so that the server stops too."""
        self._chunks.close()

    def __enter__(self) -> Self:
        self._chunks.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncResponseStream:
    """The async twin of ``ResponseStream``: ``async for``, ``async with``, ``aclose``."""

    def __init__(self, chunks: AsyncChatStream) -> None:
        self._chunks = chunks
        self._events = self._all()

    async def _all(self) -> AsyncIterator[Json]:
        once = _Once()
        async for chunk in self._chunks:
            if once.is_new(chunk):
                yield chunk.raw

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, or ours; None before the request went out."""
        return self._chunks.request_id

    @property
    def endpoint(self) -> str | None:
        """The label of the endpoint that answers; None before one was chosen."""
        return self._chunks.endpoint

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Json:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Stop: the connection is closed, so that the server stops too."""
        await self._chunks.aclose()

    async def __aenter__(self) -> Self:
        await self._chunks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
