"""Streams a caller holds: chunks as they come, and whatever the call held given back at the end.

A stream takes over the place and the connection of its call once its first content has come. From
there bytes go into the response reader and chunks come out: no effect, no lock and no validation
per token.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from opea_core import errors
from opea_core.flow.call import CallResult
from opea_core.flow.effects import Reply, TransportFailure
from opea_core.types import ChatChunk, ChatResponse

if TYPE_CHECKING:
    from opea_core.transport.call_session import CallSession
    from opea_core.transport.drivers.aio import AsyncConnection
    from opea_core.transport.drivers.sync import SyncConnection
    from opea_core.wire.response_reader import ResponseReader

_TURN = 16  # chunks handed out without waiting, before the event loop gets a turn


class _Turn:
    """``asyncio.sleep(0)`` without importing asyncio for those who never need it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


ConnectionT = TypeVar("ConnectionT", "SyncConnection", "AsyncConnection")


class OpenStream(Generic[ConnectionT]):
    """A stream whose first content has come: the answer so far, and how it ends. Does no I/O."""

    def __init__(self, running: CallSession, answer: CallResult) -> None:
        self.running: CallSession = running
        self.answer: CallResult = answer
        self.response_reader: ResponseReader = answer.reply.response_reader
        self.connection: ConnectionT | None = answer.reply.connection
        self.error: errors.OPEAError | None = None
        running.ticket.read_at = time.monotonic_ns()
        self.chunks = self.response_reader.chunks
        """What has come and was not taken yet."""
        if self.connection is None:  # the whole answer came at once, and its place is back already
            running.ended(None, answer)

    @property
    def holds(self) -> bool:
        """Whether a place is still held."""
        return self.connection is not None

    def pop(self) -> ChatChunk:
        """The next of the chunks that have come."""
        chunk = self.chunks.popleft()
        if chunk.response is not None:
            self.running.dress(chunk.response, self.answer)
        return chunk

    def close(self, outcome: Reply | TransportFailure) -> bool:
        """The body is over: give the place back. Whether the connection can be kept."""
        # Whoever gets it ends the stream, be it another thread.
        connection, self.connection = self.connection, None
        if connection is None:
            return False
        try:
            self.response_reader.end()
            if isinstance(outcome, TransportFailure) or self.response_reader.problem is not None:
                self.error = self.running.broke(self.answer, outcome)
                return False
            self.running.finished(self.answer)
        except BaseException as error:
            self.running.leave(error)
            raise
        return True

    def abandon(self) -> None:
        """The caller wants no more: give the place back and close the connection."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        try:
            self.running.abandoned(self.answer)
        except BaseException as error:
            self.running.leave(error)
            raise
        finally:
            connection.discard()


def opened(running: CallSession, answer: CallResult) -> OpenStream[Any]:
    """The stream of an answer; what the answer holds comes back if that fails."""
    try:
        return OpenStream(running, answer)
    except BaseException as error:
        running.leave(error)
        raise


# The states of a stream, for ChatStream and AsyncChatStream alike. "over" is `_over`; the rest is
# read from `_open`, its connection and its error.
#
# state            | event                            | next     | what else happens
# -----------------|----------------------------------|----------|----------------------------------
# unused           | next, with: first content came   | reading  | holds permit and connection
# unused           | next, with: the whole answer     | complete | the permit is back already
#                  | came at once                     |          |
# unused           | next, with: the call fails       | over     | its error is raised (R)
# unused           | close                            | over     | no request is sent (S1)
# reading          | next, a chunk waits              | reading  | it is delivered
# reading          | next, none waits: more arrives   | reading  |
# reading          | next, none waits: the answer is  | complete | permit back, the connection is
#                  | whole                            |          | kept if it can be (S11)
# reading          | next, none waits: it broke, or   | broken   | permit back, connection closed
#                  | holds an error                   |          | (S7, S13)
# reading          | the read is cancelled, or Ctrl-C | over     | as for close; raised again
# reading          | close, end of with               | over     | permit back as neutral,
#                  |                                  |          | connection closed (S8)
# reading          | closed by another thread during  | over     | the reader closes the descriptor,
#                  | a read                           |          | and stops (S10)
# reading          | lost to the garbage collector    | over     | shut down, ResourceWarning,
#                  |                                  |          | events come later (S9)
# complete         | next, a chunk waits              | complete | it is delivered; the last one has
#                  |                                  |          | the whole answer
# complete         | next, none waits                 | over     | StopIteration
# broken           | next, a chunk waits              | broken   | it is delivered
# broken           | next, none waits                 | over     | the error, with `partial`
# complete, broken | close                            | over     | waiting chunks and the error are
#                  |                                  |          | dropped
# over             | next                             | over     | StopIteration
# over             | close                            | over     | nothing


class _Stream(Generic[ConnectionT]):
    """What both kinds of stream show."""

    def __init__(self) -> None:
        self._open: OpenStream[ConnectionT] | None = None
        self._over = False

    @property
    def response(self) -> ChatResponse | None:
        """The answer put together so far; whole after the end; None before anything came."""
        if self._open is None:
            return None
        response = self._open.response_reader.partial()
        return None if response is None else self._open.running.dress(response, self._open.answer)

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, or ours; None before the request went out."""
        return None if self._open is None else self._open.running.request_id(self._open.answer)

    @property
    def endpoint(self) -> str | None:
        """The label of the endpoint that answers; None before one was chosen."""
        return None if self._open is None else self._open.answer.permit.endpoint.label

    @property
    def waiting(self) -> int:
        """How many chunks have come already and wait to be taken."""
        return 0 if self._open is None else len(self._open.chunks)

    def _hold(self, opened: OpenStream[ConnectionT], connection: ConnectionT) -> None:
        """Whoever reads is who gives the place back."""
        reader, ticket = connection.reader(), opened.running.ticket
        ticket.read_at = time.monotonic_ns()
        if ticket.holder != reader:
            opened.running.limiter.held_by(ticket, reader)

    def _end(self, opened: OpenStream[ConnectionT]) -> None:
        """Everything was handed out: raise what cut the stream short, if anything did."""
        self._over = True
        if opened.error is not None:
            raise opened.error

    def __del__(self) -> None:
        """Dropped before its end: break the connection.

        May run anywhere, so it must not wait or lock.
        """
        opened = getattr(self, "_open", None)
        if opened is not None and opened.connection is not None:
            opened.connection.shutdown()
            opened.connection = None
            opened.running.dropped(opened.answer)
            warnings.warn(
                "a stream was dropped before its end; close it, or use it in a with statement",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )


class ChatStream(_Stream["SyncConnection"]):
    """Chunks of an answer. The request goes out at the first ``next`` or ``with``.

    Iterate it, or use it as a context manager, which closes it. Raises StreamInterrupted (with
    ``partial``) when the answer breaks off after something was handed out.
    """

    def __init__(self, start: Callable[[], OpenStream[SyncConnection]]) -> None:
        super().__init__()
        self._start = start

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChatChunk:
        if self._over:
            raise StopIteration
        opened = self._open or self._begin()
        while True:
            if opened.chunks:
                return opened.pop()
            connection = opened.connection
            if connection is None:
                self._end(opened)
                raise StopIteration
            self._read(opened, connection)

    def close(self) -> None:
        """Stop: the connection is closed, so that the server stops too."""
        self._over = True
        if self._open is not None:
            self._open.abandon()

    def __enter__(self) -> Self:
        if self._open is None and not self._over:
            self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self) -> OpenStream[SyncConnection]:
        try:
            self._open = self._start()
        except BaseException:
            self._over = True
            raise
        if self._over:  # closed while the first chunk was awaited
            self.close()
        return self._open

    def _read(self, opened: OpenStream[SyncConnection], connection: SyncConnection) -> None:
        try:
            self._hold(opened, connection)
            outcome = connection.read()
            if outcome is None or opened.connection is not connection:  # it was closed meanwhile
                return
            keep = opened.close(outcome)
        except BaseException:
            self.close()
            raise
        connection.finish() if keep else connection.discard()


class AsyncChatStream(_Stream["AsyncConnection"]):
    """The async twin of ``ChatStream``: ``async for``, ``async with``, ``aclose``."""

    def __init__(self, start: Callable[[], Awaitable[OpenStream[AsyncConnection]]]) -> None:
        super().__init__()
        self._start = start
        self._handed = 0

    def __aiter__(self) -> Self:
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        """``async for chunk in await opea.astream_chat(...)`` works, too.

        Other clients have it like that.
        """
        return self._itself().__await__()

    async def _itself(self) -> Self:
        return self

    async def __anext__(self) -> ChatChunk:
        if self._over:
            raise StopAsyncIteration
        opened = self._open or await self._begin()
        while True:
            if opened.chunks:
                if self._handed < _TURN:
                    self._handed += 1
                    return opened.pop()
                self._handed = 0
                await _Turn()  # what has come already waits for nothing: let others run in between
                continue
            connection = opened.connection
            if connection is None:
                self._end(opened)
                raise StopAsyncIteration
            await self._read(opened, connection)

    async def aclose(self) -> None:
        """Stop: the connection is closed, so that the server stops too."""
        self._over = True
        if self._open is not None:
            self._open.abandon()

    async def __aenter__(self) -> Self:
        if self._open is None and not self._over:
            await self._begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _begin(self) -> OpenStream[AsyncConnection]:
        try:
            self._open = await self._start()
        except BaseException:
            self._over = True
            raise
        if self._over:
            await self.aclose()
        return self._open

    async def _read(self, opened: OpenStream[AsyncConnection], connection: AsyncConnection) -> None:
        try:
            self._hold(opened, connection)
            outcome = await connection.read()
            if outcome is None or opened.connection is not connection:
                return
            keep = opened.close(outcome)
        except BaseException:
            await self.aclose()
            raise
        await connection.finish() if keep else connection.discard()
