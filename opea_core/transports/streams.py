"""Streams of bytes: those of a call, read and given back as every other stream is."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, cast

from opea_core.transport.stream import (
    AsyncChatStream,
    ChatStream,
    ConnectionT,
    OpenStream,
)
from opea_core.wire.raw_reader import RawReader

if TYPE_CHECKING:
    from opea_core.calls import Call
    from opea_core.engine import Engine
    from opea_core.flow.call import CallResult
    from opea_core.transport.call_session import CallSession


class RawStream(OpenStream[ConnectionT], Generic[ConnectionT]):
    """A stream that hands out the bytes as they came."""

    def __init__(self, running: CallSession, answer: CallResult) -> None:
        super().__init__(running, answer)
        self.chunks = cast(deque[Any], cast(RawReader, self.response_reader).pieces)

    def pop(self) -> Any:
        """The next of the pieces that have come."""
        return self.chunks.popleft()


def _opened(running: CallSession, answer: CallResult) -> RawStream[Any]:
    try:
        return RawStream(running, answer)
    except BaseException as error:
        running.leave(error)
        raise


def raw_stream(engine: Engine, call: Call) -> ChatStream:
    """The stream of a raw call, whose pieces are bytes."""

    def start() -> OpenStream[Any]:
        running = engine._start(call)
        return _opened(running, engine.drivers.sync.run(running))

    return ChatStream(start)


def araw_stream(engine: Engine, call: Call) -> AsyncChatStream:
    """The async twin of ``raw_stream``."""

    async def start() -> OpenStream[Any]:
        running = engine._start(call)
        return _opened(running, await engine.drivers.aio.run(running))

    return AsyncChatStream(start)
