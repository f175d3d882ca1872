"""A scripted OpenAI-compatible server on loopback, with real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from ssl import SSLContext
from types import TracebackType
from typing import Literal, Self, TypeAlias, get_args

from opea_core.testing.answers import Answer, error
from opea_core.testing.connection import Connection, Endable, Holds, Refuser
from opea_core.testing.faults import Fault, Script, checked, chosen
from opea_core.testing.model import ScriptedModel
from opea_core.testing.rate_limits import rate_limit
from opea_core.testing.record import Record, Seen
from opea_core.testing.responses import as_responses, is_for

Outage: TypeAlias = Literal["refuse", "ignore", "reset", "close", "hang"]
"""How a port behaves in an outage.

Connections are refused, or get no reply at all (a black hole), or are accepted and then reset or
closed at the first byte, or accepted and left alone.
"""

_LOG = logging.getLogger(__name__)
_BACKLOG = 1024
_PATIENCE = 10.0
_FILLERS = 8


class ScriptedServer:
    """An OpenAI-compatible server for tests.

    It answers as it is told, or as a small scripted model; at ``/v1/responses`` in that dialect.

    It listens on a free port of 127.0.0.1 and runs in a thread with an event loop of its own, so it
    serves sync and async tests alike; use it as a context manager, or call ``start`` and ``stop``.
    All methods may be called from any thread. Functions given to ``script`` and ``always`` run in
    the server's thread and must not block.

        with ScriptedServer() as server:
            server.script(error(503, "busy"), chat("Hello"))
            ...
            assert [seen.path for seen in server.seen] == ["/v1/chat/completions"] * 2

    Args:
        model: the name under which the default model answers and is listed.
        api_key: the default model answers 401 unless this key comes.
        latency: seconds before each of its answers.
        capacity: so many requests are answered at once; what becomes of the others says
            ``overload``.
        overload: an answer or fault for the requests above the capacity (429 with
            ``retry-after: 1`` unless given), or ``"wait"``: they wait for their turn.
        tls: speak TLS with this context (``ssl.SSLContext`` with a certificate).
        wants_responses: the default model thinks, and takes tools then at ``/v1/responses`` only.
        host: the address to listen at, of IPv4 or IPv6.
        port: the port; 0 takes a free one.
        on_end: called in the server's thread with each request whose answer is over.

    ``latency``, ``capacity``, ``overload`` and what ``model`` has may be changed while it runs: a
    brownout, a key that is revoked.
    """

    def __init__(
        self,
        *,
        model: str = "scripted-model",
        api_key: str | None = None,
        latency: float = 0.0,
        capacity: int | None = None,
        overload: Answer | Fault | Literal["wait"] | None = None,
        tls: SSLContext | None = None,
        wants_responses: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        on_end: Callable[[Seen], None] | None = None,
    ) -> None:
        if capacity is not None and capacity < 1:
            raise ValueError(f"capacity={capacity!r}: it must be at least 1.")
        self.model = ScriptedModel(model, api_key, wants_responses)
        self.latency = latency
        self.capacity = capacity
        self.overload: Answer | Fault | Literal["wait"] = overload or rate_limit(1.0)
        self._tls = tls
        self._host = host
        self._wanted_port = port
        self._record = Record(on_end)
        self.errors: list[Exception] = []
        """What functions given to ``script`` and ``always`` raised.

        The first is raised at the end of the ``with`` block.
        """
        self._script: deque[Script] = deque()
        self._always: Script | None = None
        self._thread: threading.Thread | None = None
        self._open: set[Endable] = set()
        self._port = 0
        self._outage: Outage | None = None
        self._turns = 0  # requests that are being worked at, of those that wait for their turn
        self._fillers: list[socket.socket] = []
        self._welcomes: set[asyncio.Task[None]] = set()

    # --- life

    def start(self) -> Self:
        """Listen and answer; gives the server itself."""
        if self._port:
            raise RuntimeError("A ScriptedServer is started once.")
        listening: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(listening,), name="scripted-server", daemon=True
        )
        self._thread.start()
        try:
            listening.result(_PATIENCE)
        except BaseException:
            self._thread = None
            raise
        return self

    def stop(self) -> None:
        """End every connection, the listening socket and the thread. Twice does nothing more."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            thread.join(_PATIENCE)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if self.errors and error is None:
            raise RuntimeError(
                f"A script of the ScriptedServer failed: {self.errors[0]!r}"
            ) from self.errors[0]

    def pause(self, how: Outage = "refuse") -> None:
        """An outage: open connections are reset, and new ones are refused (or what ``how`` says).

        The port stays ours.
        """
        if how not in get_args(Outage):
            raise ValueError(f"pause({how!r}): an outage is one of {', '.join(get_args(Outage))}.")
        self._run(lambda: self._change(how))

    def resume(self) -> None:
        """The end of an outage: answer again on the same port."""
        self._run(lambda: self._change(None))

    # --- what to answer

    def script(self, *answers: Script, times: int = 1) -> None:
        """Answer the next requests with these, one after the other; all of it so many times."""
        for answer in answers:
            checked(answer)
        self._script.extend(answers * times)

    def always(self, answer: Script | None) -> None:
        """Answer every request with this after what ``script`` still holds.

        None: the default model.
        """
        self._always = checked(answer)

    # --- where it is and what it saw

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:PORT`` (``https`` with ``tls``).

        It stays valid after ``stop``, when nobody listens there.
        """
        if not self._port:
            raise RuntimeError("The ScriptedServer has not been started.")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self._port}"

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
        """Block until the predicate holds.

        It is looked at after every request, answer and connection.

        ``server.wait(lambda: server.seen[0].disconnected)``. Raises TimeoutError.
        """
        self._record.wait(predicate, timeout, "a condition")

    def __repr__(self) -> str:
        return (
            f"<ScriptedServer {self.origin if self._port else '(not started)'},"
            f" {len(self.seen)} requests, {self.in_flight} in flight>"
        )

    # --- in the server's thread

    def _serve(self, listening: Future[None]) -> None:
        # The one that has add_reader everywhere.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._main(listening))

    async def _main(self, listening: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._holds = Holds()
        self._places = asyncio.Condition()
        try:
            self._socket = _bound(self._host, self._wanted_port)
            self._port = self._socket.getsockname()[1]
            self._listen()
        except Exception as problem:  # noqa: BLE001 - told to whoever starts it
            listening.set_exception(problem)
            return
        listening.set_result(None)
        await self._stopped.wait()
        self._release()
        for connection in list(self._open):
            connection.end()
        await asyncio.sleep(0)

    def _listen(self) -> None:
        """Accept connections.

        Not by ``create_server``, which loses those that are accepted while it is closed.
        """
        self._socket.setblocking(False)
        self._socket.listen(_BACKLOG)
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                accepted, _ = self._socket.accept()
                accepted.setblocking(False)
                task = self._loop.create_task(self._welcome(accepted))
                self._welcomes.add(task)
                task.add_done_callback(self._welcomes.discard)

    async def _welcome(self, accepted: socket.socket) -> None:
        tls = None if self._outage else self._tls  # in an outage it ends before the handshake
        with contextlib.suppress(OSError):  # it is gone already, or its handshake failed
            await self._loop.connect_accepted_socket(self._connection, accepted, ssl=tls)

    def _connection(self) -> Connection | Refuser:
        if self._outage is not None:
            return Refuser(self._outage, self._open)
        return Connection(
            self._record, self._choose, self._holds, self._open, lambda: self._outage is None
        )

    def _change(self, how: Outage | None) -> None:
        """Begin an outage, or end it."""
        if how is None and self._outage is None:
            return
        self._outage = how
        for connection in list(self._open) if how else ():
            connection.reset()
        self._release()
        # Bound but not listening: connections are refused, the port stays ours.
        self._socket = _bound(self._host, self._port)
        if how == "ignore":
            self._fillers = _filled(self._socket)
        elif how != "refuse":
            self._listen()

    def _release(self) -> None:
        self._loop.remove_reader(self._socket)
        for one in (self._socket, *self._fillers):
            one.close()
        self._fillers = []

    def _run(self, action: Callable[[], None]) -> None:
        """Do something in the server's thread and wait for it; at once if that is ours."""

        async def act() -> None:
            action()

        if self._thread is None:
            raise RuntimeError("The ScriptedServer is not running.")
        if threading.current_thread() is not self._thread:
            asyncio.run_coroutine_threadsafe(act(), self._loop).result(_PATIENCE)
        else:
            action()

    async def _choose(self, seen: Seen) -> Answer:
        try:
            said = chosen(self._script.popleft() if self._script else self._always, seen)
            answer = said if isinstance(said, Answer) else await self._of_the_model(seen, said)
            return as_responses(answer, seen.body) if is_for(seen.path) else answer
        except Exception as problem:  # noqa: BLE001
            # Of a test's own function, for example: the client gets it, and the test.
            _LOG.exception("no answer to %s %s", seen.method, seen.path)
            self.errors.append(problem)
            return error(500, f"The script failed: {problem!r}", type="script_error")

    async def _of_the_model(self, seen: Seen, fault: Fault | None) -> Answer:
        """The model's answer after the latency, with the damage a fault does."""
        overload = self.overload
        if overload == "wait":
            await self._turn()
        elif fault is None and self.capacity is not None and self.in_flight > self.capacity:
            if isinstance(overload, Answer):
                return overload
            fault = overload
        elif self.latency:
            await asyncio.sleep(self.latency)
        if fault is None:
            return self.model.answer(seen)
        return fault(self.model.answer(fault.ask(seen)))

    async def _turn(self) -> None:
        """Wait for a turn, and let it take the latency."""
        async with self._places:
            await self._places.wait_for(
                lambda: self.capacity is None or self._turns < self.capacity
            )
            self._turns += 1
        try:
            await asyncio.sleep(self.latency)
        finally:
            self._turns -= 1
            async with self._places:
                self._places.notify_all()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if it says TCP.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":  # else it would let others take the port
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as problem:
        sock.close()
        raise OSError(
            problem.errno, f"cannot listen at {host}:{port}: {problem.strerror}"
        ) from None
    except BaseException:
        sock.close()
        raise
    return sock


def _filled(sock: socket.socket) -> list[socket.socket]:
    """Listen with the shortest backlog, and fill it: further connections get no reply."""
    sock.listen(0)
    fillers = []
    for _ in range(_FILLERS):
        filler = socket.socket(sock.family)
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect(sock.getsockname())
        fillers.append(filler)
    return fillers
