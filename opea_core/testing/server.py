"""A scripted OpenAI-compatible server on loopback, with real sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeAlias

from opea_core.testing.answers import Answer, error
from opea_core.testing.connection import Connection, Holds
from opea_core.testing.model import ScriptedModel
from opea_core.testing.record import Record, Seen

Script: TypeAlias = Answer | Callable[[Seen], Answer | None]
"""An answer, or a function that gives one for a request (None: the default model's)."""

_LOG = logging.getLogger(__name__)
_BACKLOG = 1024
_PATIENCE = 10.0


class ScriptedServer:
    """An OpenAI-compatible server for tests: it answers as it is told, or as a small scripted model.

    It listens on a free port of 127.0.0.1 and runs in a thread with an event loop of its own, so it serves
    sync and async tests alike; use it as a context manager, or call ``start`` and ``stop``. All methods
    may be called from any thread. Functions given to ``script`` and ``always`` run in the server's thread
    and must not block.

        with ScriptedServer() as server:
            server.script(error(503, "busy"), chat("Hello"))
            ...
            assert [seen.path for seen in server.seen] == ["/v1/chat/completions"] * 2

    Args:
        model: the name under which the default model answers and is listed.
        api_key: the default model answers 401 unless this key comes.
        latency: seconds before each of its answers.
        capacity: with more requests than this under way, it answers 429 with ``retry-after: 1``.
    """

    def __init__(
        self, *, model: str = "scripted-model", api_key: str | None = None, latency: float = 0.0, capacity: int | None = None
    ) -> None:
        self.model = ScriptedModel(model, api_key)
        self.latency = latency
        self.capacity = capacity
        self._record = Record()
        self._script: deque[Script] = deque()
        self._always: Script | None = None
        self._thread: threading.Thread | None = None
        self._open: set[Connection] = set()
        self._port = 0
        self._listening = False

    # --- life

    def start(self) -> Self:
        """Listen and answer; gives the server itself."""
        if self._port:
            raise RuntimeError("A ScriptedServer is started once.")
        listening: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(listening)), name="scripted-server", daemon=True)
        self._thread.start()
        listening.result(_PATIENCE)
        return self

    def stop(self) -> None:
        """End every connection, the listening socket and the thread. Twice does nothing more."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            thread.join(_PATIENCE)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def pause(self) -> None:
        """An outage: the port refuses connections, and open ones are reset. The port stays ours."""
        self._run(self._pause)

    def resume(self) -> None:
        """The end of an outage: listen again on the same port."""
        self._run(self._listen)

    # --- what to answer

    def script(self, *answers: Script) -> None:
        """Answer the next requests with these, in the order in which the requests come."""
        self._script.extend(answers)

    def always(self, answer: Script | None) -> None:
        """Answer every request from now on with this, after what ``script`` still holds; None: the default model."""
        self._always = answer

    # --- where it is and what it saw

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:PORT``; stays valid after ``stop``, when nobody listens there."""
        if not self._port:
            raise RuntimeError("The ScriptedServer has not been started.")
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The base URL for clients: the origin and ``/v1``."""
        return f"{self.origin}/v1"

    @property
    def seen(self) -> list[Seen]:
        """The requests that came, in their order; the list itself, which grows."""
        return self._record.seen

    @property
    def in_flight(self) -> int:
        """Requests that are being answered now."""
        return self._record.in_flight

    @property
    def max_in_flight(self) -> int:
        """The most requests that were being answered at once."""
        return self._record.max_in_flight

    @property
    def connections(self) -> int:
        """TCP connections accepted so far."""
        return self._record.connections

    def wait_seen(self, count: int, timeout: float = 5) -> None:
        """Block until so many requests came. Raises TimeoutError.

        In async code: ``await asyncio.to_thread(server.wait_seen, 3)``.
        """
        self._record.wait(lambda: len(self.seen) >= count, timeout, f"{count} requests")

    def wait(self, predicate: Callable[[], bool], timeout: float = 5) -> None:
        """Block until the predicate holds; it is looked at after every request, answer and connection.

        ``server.wait(lambda: server.seen[0].disconnected)``. Raises TimeoutError.
        """
        self._record.wait(predicate, timeout, "a condition")

    def __repr__(self) -> str:
        return f"<ScriptedServer {self.origin if self._port else '(not started)'}, {len(self.seen)} requests, {self.in_flight} in flight>"

    # --- in the server's thread

    async def _main(self, listening: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._holds = Holds()
        try:
            self._socket = _bound(0)
            self._port = self._socket.getsockname()[1]
            await self._listen()
        except OSError as problem:
            listening.set_exception(problem)
            return
        listening.set_result(None)
        await self._stopped.wait()
        self._server.close()
        self._socket.close()
        for connection in list(self._open):
            connection.end()
        await asyncio.sleep(0)

    async def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            self._server = await self._loop.create_server(self._connection, sock=self._socket, backlog=_BACKLOG)

    def _pause(self) -> None:
        if self._listening:
            self._listening = False
            self._server.close()
            self._socket = _bound(self._port)  # bound but not listening: connections are refused, the port stays ours
        for connection in list(self._open):
            connection.reset()

    def _connection(self) -> Connection:
        return Connection(self._record, self._choose, self._holds, self._open)

    def _run(self, action: Callable[[], Coroutine[None, None, None] | None]) -> None:
        """Do something in the server's thread and wait for it; at once and without waiting if that is ours."""

        async def act() -> None:
            rest = action()
            if rest is not None:
                await rest

        if self._thread is None:
            raise RuntimeError("The ScriptedServer is not running.")
        if threading.current_thread() is not self._thread:
            asyncio.run_coroutine_threadsafe(act(), self._loop).result(_PATIENCE)
        elif (rest := action()) is not None:
            self._task = self._loop.create_task(rest)

    async def _choose(self, seen: Seen) -> Answer:
        try:
            return self._scripted(seen) or await self._default(seen)
        except Exception as problem:  # noqa: BLE001 - of a test's own function, for example: the client gets it
            _LOG.exception("no answer to %s %s", seen.method, seen.path)
            return error(500, f"The script failed: {problem!r}", type="script_error")

    async def _default(self, seen: Seen) -> Answer:
        if self.capacity is not None and self.in_flight > self.capacity:
            return error(429, "Too many requests at once.", code="rate_limit_exceeded", headers={"retry-after": "1"})
        if self.latency:
            await asyncio.sleep(self.latency)
        return self.model.answer(seen)

    def _scripted(self, seen: Seen) -> Answer | None:
        script = self._script.popleft() if self._script else self._always
        return script(seen) if callable(script) else script


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only if it says TCP
    if os.name == "posix":  # else it would let others take the port
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock
