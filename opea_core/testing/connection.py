"""One TCP connection of the scripted server: HTTP/1.1 requests in, the steps of answers out."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from opea_core.testing.answers import Answer, Forever, Hold, Step, Wait, error
from opea_core.testing.record import Record, Seen

_MAX_HEAD = 1024 * 1024
_LOOK_EVERY = 0.002
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds
_TLS_HANDSHAKE = b"\x16"  # the first byte of a client that speaks TLS


class Holds:
    """Lets a loop wait for ``threading.Event``s.

    One timer looks at all of them, and only while something is held.
    """

    def __init__(self) -> None:
        self._held: dict[threading.Event, asyncio.Event] = {}

    async def wait(self, event: threading.Event) -> None:
        """Come back once the event is set."""
        if event.is_set():
            return
        if not self._held:
            asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look)
        await self._held.setdefault(event, asyncio.Event()).wait()

    def _look(self) -> None:
        for event in [event for event in self._held if event.is_set()]:
            self._held.pop(event).set()
        if self._held:
            asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look)


class Endable(asyncio.Protocol):
    """A TCP connection that the server can end at any time."""

    _transport: asyncio.Transport

    def reset(self) -> None:
        """End it with an RST, whatever is under way."""
        if not self._transport.is_closing():
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE
            )
        self.end()

    def end(self) -> None:
        """End it, whatever is under way."""
        self._transport.abort()


class Connection(Endable):
    """Reads requests one after the other and answers each before the next.

    While an answer is under way, a client that goes away cancels it.
    """

    def __init__(
        self,
        record: Record,
        choose: Callable[[Seen], Awaitable[Answer]],
        holds: Holds,
        open_ones: set[Endable],
        welcome: Callable[[], bool] = lambda: True,
    ) -> None:
        self._record = record
        self._welcome = welcome
        self._choose = choose
        self._holds = holds
        self._open = open_ones
        self._reader = asyncio.StreamReader(limit=_MAX_HEAD)
        self._writable = asyncio.Event()
        self._lost = False
        self._ours = False  # it was us who ended the connection
        self._answering = False

    # --- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected: serve it."""
        self._transport = cast(asyncio.Transport, transport)
        over_tls = self._transport.get_extra_info("ssl_object") is not None
        # Over TLS, asyncio would pause at 0 for ever.
        self._transport.set_write_buffer_limits(int(over_tls), 0)
        self._writable.set()
        self._number = self._record.connect()
        self._open.add(self)
        if not self._welcome():  # an outage began since it was accepted
            self.reset()
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._reader.feed_data(data)

    def eof_received(self) -> None:
        """The client sends no more, which we take as its leaving."""
        self._lose()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the interface has it
        """The connection is gone, whoever ended it."""
        self._open.discard(self)
        self._writable.set()
        self._lose()

    def pause_writing(self) -> None:
        """Something is in the buffer still."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Everything was handed to the kernel."""
        self._writable.set()

    def _lose(self) -> None:
        self._lost = True
        self._reader.feed_eof()
        if self._answering:
            self._task.cancel()

    def end(self) -> None:
        """End the connection, whatever is under way."""
        self._ours = True
        super().end()

    # --- requests

    async def _serve(self) -> None:
        try:
            while (seen := await self._next()) is not None:
                if not await self._respond(seen):
                    break
        except (ValueError, asyncio.LimitOverrunError):
            await self._perform(error(400, "This is no HTTP/1.1 request.").replace(end="close"))
        except ConnectionError:
            pass
        finally:
            self._transport.close()

    async def _next(self) -> Seen | None:
        """The next request, None when there is no more; ValueError if it is no HTTP."""
        try:
            first = await self._reader.readexactly(1)
            if first == _TLS_HANDSHAKE:
                raise ValueError("not HTTP but TLS")
            head = first + await self._reader.readuntil(b"\r\n\r\n")
            line, *fields = head[:-4].decode("latin-1").split("\r\n")
            method, target, version = line.split(" ")
            if not version.startswith("HTTP/1."):
                raise ValueError("not HTTP/1")
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (field.partition(":") for field in fields)
            }
            if version == "HTTP/1.0":
                headers.setdefault("connection", "close")
            body = await self._body(headers)
        except asyncio.IncompleteReadError:
            return None
        url = urlsplit(target)
        return Seen(
            method,
            url.path,
            dict(parse_qsl(url.query, keep_blank_values=True)),
            headers,
            body,
            _parsed(body),
            self._number,
        )

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "chunked" not in headers.get("transfer-encoding", "").lower():
            return await self._reader.readexactly(int(headers.get("content-length", "0")))
        pieces = []
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            pieces.append((await self._reader.readexactly(size + 2))[:-2])
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass  # trailers
        return b"".join(pieces)

    # --- answers

    async def _respond(self, seen: Seen) -> bool:
        """Answer one request; gives whether the connection goes on."""
        self._record.begin(seen)
        finished = False
        try:
            self._answering = True
            if not self._lost:
                answer = await self._choose(seen)
                seen.answer = answer.label
                keep = await self._perform(answer)
                finished = True
                return keep and seen.headers.get("connection", "").lower() != "close"
            return False
        finally:
            self._answering = False
            self._record.end(
                seen, finished=finished, disconnected=self._lost and not self._ours and not finished
            )

    async def _perform(self, answer: Answer) -> bool:
        """Send an answer and do with the connection what it says.

        Gives whether that was to keep it.
        """
        if answer.before != "answer":
            return await self._leave(answer.before)
        pending = answer.head
        for step in answer.steps:
            if isinstance(step, bytes):
                await self._write(pending + answer.frame(step))
                pending = b""
            elif isinstance(step, Forever):
                await self._write(pending)
                await self._repeat(answer.frame(step.data), step.seconds)
            else:
                await self._pass(step)
        if pending or answer.tail:
            await self._write(pending + answer.tail)
        return await self._leave(
            "close" if answer.length == "none" and answer.end == "keep" else answer.end
        )

    async def _pass(self, step: Step) -> None:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Hold):
            await self._holds.wait(step.event)

    async def _repeat(self, data: bytes, seconds: float) -> None:
        """Until the client goes, which cancels it, or the server stops."""
        while True:
            await self._write(data)
            await asyncio.sleep(seconds)

    async def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            self._lost = True
            raise ConnectionResetError("The client is gone.")
        if data:
            self._transport.write(data)
            await self._writable.wait()

    async def _leave(self, how: str) -> bool:
        if how == "hang":
            await asyncio.get_running_loop().create_future()
        elif how == "reset":
            self.reset()
        elif how != "keep":
            self._ours = True
            self._transport.close()
        return how == "keep"


class Refuser(Endable):
    """A connection in an outage.

    It is accepted, and then closed or reset at its first byte, or left alone.
    """

    def __init__(self, how: str, open_ones: set[Endable]) -> None:
        self._how = how
        self._open = open_ones

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected; where nobody listens any more it was accepted a moment too early."""
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)
        if self._how in ("refuse", "ignore"):
            self.reset()

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - nobody reads it
        """The client says something."""
        if self._how == "reset":
            self.reset()
        elif self._how == "close":
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the interface has it
        """The connection is gone."""
        self._open.discard(self)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None
